"""Hold all semantic IDs as a prefix tree of flat arrays, so that a step for all beams is one gather.

What is allowed after a prefix is known here; what it is worth is the business of `sidrec.scoring`, and the
search that of `sidrec.decoding`.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sidrec.errors import ArtifactError
from sidrec.trie_arrays import END, TrieArrays, build, code_table

ROOT = 0
NOWHERE = -1
"""The state after codes that no item begins with."""


@dataclass(frozen=True)
class Children:
    """The codes that may follow each of a set of states, padded to the widest node of the level.

    Attributes:
        codes: (..., C) int64 codes of the next level; where not `allowed`, 0.
        states: (..., C) int64 states reached by them; where not `allowed`, the root.
        allowed: (..., C) bool, True = a real child.
    """

    codes: Tensor
    states: Tensor
    allowed: Tensor


class SIDTrie:
    """Prefix tree over the code sequences of N items, of equal length or not.

    A code is any integer of at least 0: a semantic ID's, or a token id of a language model, so that titles
        can
    be constrained as well. Items with equal sequences share a node, in catalogue order; a sequence may be the
    beginning of another.

    Attributes:
        num_items: N, or the items that `subset` kept; states and items keep their numbers then.
        num_rows: Item numbers are below this.
        num_levels: L, the length of the longest sequence.
        level_sizes: Nodes at depth 1 to L that lead to an item.
        ends: Whether items end at depth 1 to L.
        continues: Whether items go on beyond depth 1 to L.
        dead_end: A state that no code may follow.
        num_leaves: Distinct sequences.
    """

    def __init__(self, codes: np.ndarray | Sequence[Sequence[int]]) -> None:
        """Build the tree: 1M items of 3 levels in about half a second.

        Args:
            codes: (N, L) integers >= 0, row i for item i, with -1 after the end of a shorter sequence; or N
                sequences of any lengths.

        Raises:
            ValueError: If there is no item, no level, or something that is no code.
        """
        self._hold(build(code_table(codes)))

    def _hold(self, arrays: TrieArrays) -> None:
        """Take the arrays and count what stands on each level."""
        self._first_edge, self._edge_codes, self._item_start, self._item_end, self._items = (
            torch.from_numpy(getattr(arrays, field.name)) for field in fields(arrays)
        )
        bounds = _level_bounds(arrays.first_edge)
        self._widths = [int(np.diff(arrays.first_edge[a : b + 1]).max()) for a, b in bounds]
        self._bounds = bounds[1:]  # first and last + 1 node of depth 1 to L
        self.num_levels = len(self._bounds)
        self.continues = [level + 1 < self.num_levels for level in range(self.num_levels)]
        self.dead_end = len(arrays.item_start) - 1  # the last node of the deepest level
        self.num_rows = int(arrays.items.max()) + 1
        self._hold_items(self._item_start, self._item_end, self._items)

    def _hold_items(self, item_start: Tensor, item_end: Tensor, items: Tensor) -> None:
        """Take the items of a trie whose nodes stay."""
        self._item_start, self._item_end, self._items = item_start, item_end, items
        alive = item_end > item_start
        self._alive = None if bool(alive.all()) else alive
        self.num_items = len(items)
        self.level_sizes = [int(alive[a:b].sum()) for a, b in self._bounds]
        leaves = [self._num_ending(a, b) for a, b in self._bounds]
        self.ends = [count > 0 for count in leaves]
        self.num_nodes = 1 + sum(self.level_sizes)
        self.num_leaves = sum(leaves)

    def _num_ending(self, first: int, last: int) -> int:
        """How many of the nodes `first` to `last` - 1, of one level, are the end of an item."""
        is_inner = self._first_edge[first + 1 : last + 1] > self._first_edge[first:last]
        leaves = ~is_inner & (self._item_end[first:last] > self._item_start[first:last])
        inner = is_inner.nonzero().squeeze(1) + first
        return int(leaves.sum()) + int((self.leaf_sizes(inner) > 0).sum())

    @property
    def device(self) -> torch.device:
        """Where the arrays are."""
        return self._first_edge.device

    def to(self, device: torch.device | str) -> SIDTrie:
        """Return the same trie with its arrays on `device`."""
        moved = copy.copy(self)
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                setattr(moved, name, value.to(device))
        return moved

    def children(self, states: Tensor, level: int) -> Children:
        """Return what may follow `states`, nodes of depth `level`, in one gather.

        Args:
            states: (...) int64 nodes of depth `level`.
            level: Level of the codes asked for, 0 to L - 1.

        Returns:
            Children of shape (..., C), C the widest fan-out of the level, codes ascending.
        """
        first = self._first_edge[states].unsqueeze(-1)  # (..., 1)
        count = self._first_edge[states + 1].unsqueeze(-1) - first
        offsets = torch.arange(self._widths[level], dtype=first.dtype, device=first.device)  # (C,)
        allowed = offsets < count
        edges = torch.where(allowed, first + offsets, 0)
        codes = self._edge_codes[edges]
        if self._alive is not None:
            allowed = allowed & self._alive[edges + 1]
        return Children(
            torch.where(allowed, codes, 0).long(), torch.where(allowed, edges + 1, ROOT).long(), allowed
        )

    def codes_at(self, level: int) -> Tensor:
        """Return the code of every node of depth `level` + 1, those without items of a subset too."""
        first, last = self._bounds[level]
        return self._edge_codes[first - 1 : last - 1]

    def alive(self, states: Tensor) -> Tensor | None:
        """Return whether each of `states` leads to an item, (...) bool; None if all do (no subset)."""
        return None if self._alive is None else self._alive[states]

    def find(self, codes: Tensor) -> Tensor:
        """Follow prefixes from the root and return the state after each code.

        Args:
            codes: (..., l) int64 codes of the first l levels; at -1, after the end, the state stays.

        Returns:
            (..., l + 1) int64 states; the first is the root. NOWHERE from where no item goes on so.
        """
        states = [torch.full(codes.shape[:-1], ROOT, dtype=torch.int64, device=codes.device)]
        for code in codes.unbind(-1):
            states.append(torch.where(code == END, states[-1], self._step(states[-1], code)))
        return torch.stack(states, dim=-1)

    def _step(self, states: Tensor, codes: Tensor) -> Tensor:
        """Return the child of each state by its code, NOWHERE where there is none: bisection, all at once."""
        at = states.clamp(min=0)
        low, high = self._first_edge[at].long(), self._first_edge[at + 1].long()
        end, last = high, len(self._edge_codes) - 1
        for _ in range(max(self._widths).bit_length()):
            middle = (low + high) // 2
            right = (low < high) & (self._edge_codes[middle.clamp(max=last)] < codes)
            low, high = torch.where(right, middle + 1, low), torch.where(right, high, middle)
        found = (states >= 0) & (low < end) & (self._edge_codes[low.clamp(max=last)] == codes)
        if self._alive is not None:
            found = found & self._alive[(low + 1).clamp(max=len(self._alive) - 1)]
        return torch.where(found, low + 1, NOWHERE)

    def walk(self, codes: Tensor) -> Tensor:
        """Follow prefixes as `find`, none of which may leave the trie.

        Raises:
            ValueError: If a prefix is in no item's SID (constraints fail closed).
        """
        states = self.find(codes)
        lost = states == NOWHERE  # (..., l + 1)
        if bool(lost.any()):
            row = lost.any(-1).nonzero()[0] if codes.dim() > 1 else torch.empty(0, dtype=torch.int64)
            bad, where = codes[tuple(row)].tolist(), lost[tuple(row)].int().argmax()
            raise ValueError(
                f"{bad[: int(where)]} is not the beginning of any semantic ID of this catalogue."
            )
        return states

    def contains(self, codes: Tensor | Sequence[int]) -> Tensor:
        """Return whether an item has exactly these codes: (...) bool for (..., l), l of 1 to L."""
        codes = torch.as_tensor(codes, device=self.device)
        ends = self.find(codes)[..., -1]
        return (ends != NOWHERE) & (self.leaf_sizes(ends.clamp(min=0)) > 0)

    def codes_of(self, states: Tensor) -> Tensor:
        """Return the codes that lead to each of `states`, (..., L) int64, -1 after the last."""
        codes, depth = [], torch.zeros_like(states)
        for _ in range(self.num_levels):
            edges = states - 1  # -1 at the root, where the walk up ends
            depth += edges >= 0
            codes.append(torch.where(edges >= 0, self._edge_codes[edges.clamp(min=0)].long(), END))
            parent = torch.searchsorted(self._first_edge, edges.clamp(min=0).int(), right=True) - 1
            states = torch.where(edges >= 0, parent, ROOT)
        upward = torch.stack(codes, dim=-1)  # (..., L): the last code first
        place = depth.unsqueeze(-1) - 1 - torch.arange(self.num_levels, device=states.device)
        return torch.where(place >= 0, upward.gather(-1, place.clamp(min=0)), END)

    def stretch(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """Return where the items at or below each of `states` begin and end in the trie's order."""
        return self._item_start[states].long(), self._item_end[states].long()

    def places(self) -> Tensor:
        """Return where each item stands in the trie's order, (num_rows,); -1: not in the subset."""
        places = torch.full((self.num_rows,), -1, dtype=torch.int64, device=self.device)
        places[self._items.long()] = torch.arange(len(self._items), device=self.device)
        return places

    def state_of(self, items: Tensor) -> Tensor:
        """Return the node at which each of `items` ends."""
        place = self.places()[items]
        states = torch.full_like(place, ROOT)
        for first, last in self._bounds:
            # The last node of the level that begins at or before the place holds it, if any does.
            node = first - 1 + torch.searchsorted(self._item_start[first:last], place.int(), right=True)
            inside = (node >= first) & (self._item_end[node.clamp(min=first)] > place)
            states = torch.where(inside, node, states)
        return states

    def leaf_sizes(self, states: Tensor) -> Tensor:
        """Return how many items end at each of `states`."""
        child, following = self._first_edge[states], self._first_edge[states + 1]
        start = self._item_start[states]
        # The items that go on stand behind those that end here.
        beyond = self._item_start[(child + 1).clamp(max=len(self._item_start) - 1)]
        return (torch.where(child == following, self._item_end[states], beyond) - start).long()

    def leaf_items(self, states: Tensor, places: Tensor) -> Tensor:
        """Return the item at each of `places` among those that end at `states`; any, beyond the last."""
        return self._items[(self._item_start[states] + places).clamp(max=len(self._items) - 1)].long()

    def nests(self) -> bool:
        """Return whether the codes of an item are the beginning of another's."""
        for (first, last), ends in zip(self._bounds[:-1], self.ends, strict=False):
            states = torch.arange(first, last if ends else first, device=self.device)
            start, end = self.stretch(states)
            sizes = self.leaf_sizes(states)
            if bool(((sizes > 0) & (end > start + sizes)).any()):
                return True
        return False

    def most_items_of_a_sid(self) -> int:
        """Return how many items the SID has that most items share; 1 where none do."""
        if self.num_leaves == self.num_items:
            return 1
        return int(self.leaf_sizes(torch.arange(len(self._item_start), device=self.device)).max())

    def items_of(self, codes: Sequence[int]) -> list[int]:
        """Return the items whose SID is `codes`, in catalogue order.

        Raises ValueError where there is none.
        """
        found = self.walk(torch.tensor(codes, dtype=torch.int64, device=self.device))[-1]
        size = int(self.leaf_sizes(found))
        if size == 0:
            raise ValueError(
                f"{list(codes)} is the beginning of semantic IDs of this catalogue, but no whole one."
            )
        return self.leaf_items(found, torch.arange(size, device=self.device)).tolist()

    def subset(self, items: np.ndarray | Tensor | Sequence[int]) -> SIDTrie:
        """Return a trie of these items alone over the same nodes; nothing is sorted anew.

        Raises:
            ValueError: If no item is given, or one that is not here.
        """
        chosen = torch.as_tensor(items, dtype=torch.int64, device=self.device).flatten()
        keep = torch.zeros(self.num_rows, dtype=torch.bool, device=self.device)
        keep[self.known(chosen)] = True
        kept = keep[self._items.long()]  # (N,)
        if not len(chosen) or int(kept.sum()) < int(keep.sum()):
            raise ValueError("A subset needs at least one item, and only items that the trie holds.")
        before = torch.zeros(len(kept) + 1, dtype=torch.int32, device=self.device)
        before[1:] = kept.cumsum(0)
        part = copy.copy(self)
        part._hold_items(before[self._item_start], before[self._item_end], self._items[kept])
        return part

    def known(self, items: Tensor) -> Tensor:
        """Return `items`; raises ValueError if one is no item of the catalogue."""
        outside = (items < 0) | (items >= self.num_rows)
        if bool(outside.any()):
            raise ValueError(
                f"Item {int(items[outside][0])} is not one of the {self.num_rows} of this catalogue."
            )
        return items

    def __eq__(self, other: object) -> bool:
        """Whether both hold the same items with the same codes."""
        if not isinstance(other, SIDTrie):
            return NotImplemented
        mine, theirs = self._arrays(), other._arrays()
        return all(np.array_equal(mine[name], theirs[name]) for name in mine)

    __hash__ = None  # type: ignore[assignment]

    def _arrays(self) -> dict[str, np.ndarray]:
        return {field.name: getattr(self, f"_{field.name}").cpu().numpy() for field in fields(TrieArrays)}

    def save(self, directory: Path) -> None:
        """Write the arrays as `.npy` files into `directory`."""
        directory.mkdir(parents=True, exist_ok=True)
        for name, array in self._arrays().items():
            np.save(directory / f"{name}.npy", array, allow_pickle=False)

    @classmethod
    def load(cls, directory: Path) -> SIDTrie:
        """Read what `save` wrote, memory-mapped: only what a search touches is read.

        Raises:
            ArtifactError: If a file is missing or the files do not make a trie.
        """
        try:
            arrays = TrieArrays(
                **{
                    field.name: np.load(directory / f"{field.name}.npy", mmap_mode="c", allow_pickle=False)
                    for field in fields(TrieArrays)
                }
            )
            arrays.check()
        except (OSError, ValueError) as error:
            raise ArtifactError(
                f"{directory} holds no trie that can be read ({error}). Save it again with SIDTrie.save."
            ) from error
        trie = cls.__new__(cls)
        trie._hold(arrays)
        return trie


def _level_bounds(first_edge: np.ndarray) -> list[tuple[int, int]]:
    """Return the first and last + 1 node of every depth, the root's first."""
    bounds = [(0, 1)]
    while (first := int(first_edge[bounds[-1][0]])) < (last := int(first_edge[bounds[-1][1]])):
        bounds.append((first + 1, last + 1))
    return bounds
