"""Let a causal LM read an item of a history as one position, and tell the codes of a target one by one.

What later positions see of an item is one position, the sum of the embeddings of its SID tokens. The codes
that the next ones are told from stand beside it in a branch: each sees what is before the item and the
earlier codes of the item, at the positions right after them, and nothing outside the branch sees it. So a row
of n items has n merged positions and n (L - 1) in branches, of which those are left out that nothing is told
from; a prompt has n.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sidrec.attention import AttentionKind
from sidrec.item_positions import ItemPositions, level_table, levels_of, runs_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class ItemMerger:
    """Turn rows of tokens into the positions that a causal LM reads."""

    def __init__(self, model: PreTrainedModel, token_ids: list[list[int]], attention: AttentionKind) -> None:
        """Take the model, whose weights stay as they are.

        Args:
            model: A causal LM that takes `inputs_embeds`, explicit masks and positions.
            token_ids: Level by level, the token id of every code.
            attention: How the model attends.
        """
        self._model, self._attention = model, attention
        self._num_levels = len(token_ids)
        self._levels = level_table(token_ids).to(model.device)

    def is_code(self, input_ids: Tensor) -> Tensor:
        """Return which tokens are SID tokens."""
        return levels_of(self._levels, input_ids) >= 0

    def embed(self, input_ids: Tensor) -> Tensor:
        """Return the vectors of tokens that stay tokens, (..., H)."""
        vectors: Tensor = self._model.get_input_embeddings()(input_ids)
        return vectors

    def prompts(self, input_ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Merge every item of (B, P) prompts.

        Returns:
            (B, W, H) vectors, W <= P, and their (B, W) mask, padded on the left.
        """
        found = ItemPositions.find(levels_of(self._levels, input_ids), self._num_levels, mask, to_right=True)
        return found.gather(found.sums(self.embed(input_ids))), found.mask

    def states(self, input_ids: Tensor, mask: Tensor, told: Tensor) -> Tensor:
        """Return for each of (B, T) tokens the state that the next one is told from, (B, T, H).

        Args:
            input_ids: Of rows, padded anywhere.
            mask: (B, T), nonzero = a real token.
            told: (B, T) bool: tokens whose states are asked for; others may be wrong.
        """
        levels = levels_of(self._levels, input_ids)
        found = ItemPositions.find(levels, self._num_levels, mask, told=told)
        vectors = self.embed(input_ids)
        merged = torch.where(found.is_inside.unsqueeze(-1), vectors, found.sums(vectors))
        branches = found.gather(found.is_inside)
        positions = _positions(branches, found.gather(found.levels), found.mask)
        visible = _visible(branches, found.gather(runs_of(found.levels)), found.mask)
        states: Tensor = self._model.base_model(
            inputs_embeds=found.gather(merged),
            attention_mask=self._attention.masks(visible, positions, positions, self._model.dtype),
            position_ids=positions,
            use_cache=False,
        ).last_hidden_state
        return found.spread(states)


def _positions(branches: Tensor, levels: Tensor, mask: Tensor) -> Tensor:
    """(B, W) int64: those outside branches count; a branch goes on from what stands before its item."""
    counts = (~branches & mask).long()
    return counts.cumsum(1) - counts + levels.clamp(min=0) * branches


def _visible(branches: Tensor, runs: Tensor, mask: Tensor) -> Tensor:
    """(B, W, W) bool: causal, and the positions of a branch are seen by that branch alone."""
    same = runs.unsqueeze(2) == runs.unsqueeze(1)
    shown = ~branches.unsqueeze(1) | (same & branches.unsqueeze(2))
    width = mask.shape[1]
    causal = torch.ones((width, width), dtype=torch.bool, device=mask.device).tril()
    # Padding sees itself, so that no row of the softmax is empty.
    own = torch.eye(width, dtype=torch.bool, device=mask.device)
    return (causal & shown & mask.unsqueeze(1)) | own
