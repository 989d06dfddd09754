"""Items that must not be in a row's list, such as those of its history, left out as the search goes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from sidrec.trie import SIDTrie


class RowFilter:
    """For each of B rows, the items to leave out.

    The items below a node stand in one stretch of the trie's order, so a node is closed to a row if as many
    excluded items fall into that stretch as it is long: two binary searches, for all beams at once.

    Attributes:
        counts: (B,) int64: how many items of the trie each row leaves out.
        most: The most of them.
    """

    def __init__(self, trie: SIDTrie, excluded: Sequence[Sequence[int] | np.ndarray | Tensor]) -> None:
        """Take the items of every row.

        Args:
            trie: What is searched; items that it does not hold are left out anyway.
            excluded: B lists of items.

        Raises:
            ValueError: If a number is not that of an item.
        """
        self._trie = trie
        lists = [np.asarray(items, dtype=np.int64).reshape(-1) for items in excluded]
        rows = torch.from_numpy(np.repeat(np.arange(len(lists)), [len(items) for items in lists]))
        items = torch.from_numpy(np.concatenate([np.empty(0, np.int64), *lists]))
        self._place = trie.places()
        places = self._place[trie.known(items.to(trie.device))]
        pairs = torch.stack([rows.to(trie.device), places])[:, places >= 0].unique(
            dim=1
        )  # sorted by row, place
        self.counts = torch.bincount(pairs[0], minlength=len(lists))
        self.most = int(self.counts.max()) if len(lists) else 0
        within = (
            torch.arange(pairs.shape[1], device=trie.device) - (self.counts.cumsum(0) - self.counts)[pairs[0]]
        )
        self._places = torch.full((len(lists), self.most), trie.num_items, device=trie.device)
        self._places[pairs[0], within] = pairs[1]

    def rows(self, rows: Sequence[int]) -> RowFilter:
        """Return the filter of some of the rows."""
        part = object.__new__(RowFilter)
        part._trie, part._place = self._trie, self._place
        index = torch.tensor(rows, device=self.counts.device)
        part.counts = self.counts[index]
        part.most = int(part.counts.max())
        part._places = self._places[index, : part.most].contiguous()
        return part

    def leaves(self, states: Tensor) -> Tensor:
        """Return whether an item that a row does not leave out is at or below each of (B, ...) states."""
        return self._any_left(*self._trie.stretch(states))

    def leaves_ends(self, states: Tensor) -> Tensor:
        """Return whether an item that a row does not leave out ends at each of (B, ...) states."""
        start, _ = self._trie.stretch(states)
        return self._any_left(start, start + self._trie.leaf_sizes(states))

    def leaves_beyond(self, states: Tensor) -> Tensor:
        """Return whether an item that a row does not leave out goes on beyond each of (B, ...) states."""
        start, end = self._trie.stretch(states)
        return self._any_left(start + self._trie.leaf_sizes(states), end)

    def _any_left(self, start: Tensor, end: Tensor) -> Tensor:
        return self._before(end) - self._before(start) < end - start

    def drops(self, items: Tensor) -> Tensor:
        """Return which of (B, n) items their row leaves out."""
        place = self._place[items]
        return self._before(place + 1) > self._before(place)

    def _before(self, places: Tensor) -> Tensor:
        """How many excluded items of its row stand before each of (B, ...) places of the trie's order."""
        flat = places.flatten(1).contiguous()
        return torch.searchsorted(self._places, flat).view(places.shape)
