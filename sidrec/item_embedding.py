"""Vectors of items' own, which a trunk that reads an item as one position adds to those of its codes.

Items that have most of their codes in common are told apart by them, and an item that has none of its own, as
those that `add-items` brings, is read as the sum of its codes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sidrec.trie import NOWHERE, SIDTrie


class ItemEmbedding(nn.Embedding):
    """A vector for each of N items, zero at first, looked up by semantic IDs.

    Attributes:
        codes: (N, L) int64 semantic IDs, saved with the vectors. Of items that share one the first is read.
    """

    codes: Tensor

    def __init__(self, num_items: int, num_levels: int, hidden_size: int) -> None:
        """Make room; `take` brings the semantic IDs."""
        super().__init__(num_items, hidden_size)
        nn.init.zeros_(self.weight)
        self.register_buffer("codes", torch.zeros(num_items, num_levels, dtype=torch.int64))
        self._trie: SIDTrie | None = None

    def take(self, codes: Tensor) -> None:
        """Take the (N, L) semantic IDs of a catalogue; items beyond those that there are have zeros."""
        self.codes = codes.to(self.weight.device)
        self._trie = None
        missing = len(codes) - self.num_embeddings
        if missing > 0:
            longer = nn.functional.pad(self.weight.detach(), (0, 0, 0, missing))
            self.weight = nn.Parameter(longer, requires_grad=self.weight.requires_grad)
            self.num_embeddings = len(codes)

    def of_codes(self, codes: Tensor) -> Tensor:
        """Return the vectors of the items with these (S, L) semantic IDs, (S, H); zeros for none."""
        if self._trie is None or self._trie.device != self.codes.device:
            self._trie = SIDTrie(self.codes.cpu().numpy()).to(self.codes.device)
        ends = self._trie.find(codes)[:, -1]
        items = self._trie.leaf_items(ends.clamp(min=0), torch.zeros_like(ends))
        vectors: Tensor = self(items)
        return vectors.masked_fill((ends == NOWHERE).unsqueeze(1), 0)


def item_embedding_of(model: nn.Module) -> ItemEmbedding | None:
    """Return the vectors of items' own that a model reads histories with; None where it has none."""
    found: ItemEmbedding | None = getattr(model, "item_embedding", None)
    return found
