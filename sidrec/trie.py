"""Hold all semantic IDs as a prefix tree of flat arrays, so that a step for all beams is one gather.

Nodes are numbered level by level: the root is 0, the children of the nodes of one level stand next to each
other on the next. So a child's number is the number of its edge plus one, and three arrays are the whole
tree. What is allowed after a prefix is known here; what it is worth is the business of `sidrec.scoring`, and
the search that of `sidrec.decoding`.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

ROOT = 0


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
    """Prefix tree over the (N, L) codes of a catalogue; leaves hold lists of items.

    Items that share a SID share a leaf, in catalogue order.
    """

    def __init__(self, codes: np.ndarray) -> None:
        """Build the tree.

        Args:
            codes: (N, L) integers >= 0; row i is the SID of item i.

        Raises:
            ValueError: If there is no item, no level, or a negative code.
        """
        codes = np.asarray(codes)
        if codes.ndim != 2 or codes.shape[0] == 0 or codes.shape[1] == 0:
            raise ValueError(
                f"A trie needs an (N, L) table of codes with N and L at least 1, got shape {codes.shape}."
            )
        if not np.issubdtype(codes.dtype, np.integer) or codes.min() < 0:
            raise ValueError("A trie needs integer codes of at least 0.")
        self.num_items, self.num_levels = codes.shape
        order = np.lexsort(codes.T[::-1])  # stable: items of one leaf stay in catalogue order
        rows = codes[order]
        # (N, L) bool: at which levels a sorted row leaves the path of the row before it
        branches = np.ones(rows.shape, dtype=bool)
        branches[1:] = np.logical_or.accumulate(rows[1:] != rows[:-1], axis=1)
        edge_codes, child_counts = [], []
        for level in range(self.num_levels):
            opens_parent = branches[:, level - 1] if level else np.arange(len(rows)) == 0
            parent_of_row = np.cumsum(opens_parent) - 1  # (N,)
            new = branches[:, level]
            edge_codes.append(rows[new, level])
            child_counts.append(np.bincount(parent_of_row[new], minlength=parent_of_row[-1] + 1))
        self._widths = [int(counts.max()) for counts in child_counts]
        self.level_sizes = [len(codes) for codes in edge_codes]  # nodes at depth 1..L
        self.num_nodes = 1 + sum(self.level_sizes)
        self.num_leaves = self.level_sizes[-1]
        self._first_leaf = self.num_nodes - self.num_leaves
        first_edge = np.concatenate([[0], np.cumsum(np.concatenate(child_counts))])
        leaf_of_row = np.cumsum(branches[:, -1]) - 1
        first_item = np.concatenate([[0], np.cumsum(np.bincount(leaf_of_row, minlength=self.num_leaves))])
        self.first_edge = _tensor(first_edge)  # (inner nodes + 1,): edges of node n are [n] : [n + 1]
        self.edge_codes = _tensor(np.concatenate(edge_codes))  # (nodes - 1,)
        self.first_item = _tensor(first_item)  # (leaves + 1,)
        self.leaf_items = _tensor(order)  # (N,) items, leaf by leaf

    def to(self, device: torch.device | str) -> SIDTrie:
        """Return the same trie with its arrays on `device`."""
        moved = copy.copy(self)
        for name in ("first_edge", "edge_codes", "first_item", "leaf_items"):
            setattr(moved, name, getattr(self, name).to(device))
        return moved

    def children(self, states: Tensor, level: int) -> Children:
        """Return what may follow `states`, nodes of depth `level`, in one gather.

        Args:
            states: (...) int64 nodes of depth `level`.
            level: Level of the codes asked for, 0 to L - 1.

        Returns:
            Children of shape (..., C), C the widest fan-out of the level, codes ascending.
        """
        first = self.first_edge[states].unsqueeze(-1)  # (..., 1)
        count = self.first_edge[states + 1].unsqueeze(-1) - first
        offsets = torch.arange(self._widths[level], device=states.device)  # (C,)
        allowed = offsets < count
        edges = torch.where(allowed, first + offsets, 0)
        codes = torch.where(allowed, self.edge_codes[edges], 0)
        return Children(codes, torch.where(allowed, edges + 1, ROOT), allowed)

    def walk(self, codes: Tensor) -> Tensor:
        """Follow prefixes from the root and return the state after each code.

        Args:
            codes: (..., l) int64 codes of the first l levels.

        Returns:
            (..., l + 1) int64 states; the first is the root.

        Raises:
            ValueError: If a prefix is in no item's SID (constraints fail closed).
        """
        states = [torch.full(codes.shape[:-1], ROOT, dtype=torch.int64, device=codes.device)]
        for level in range(codes.shape[-1]):
            children = self.children(states[-1], level)
            match = children.allowed & (children.codes == codes[..., level, None])
            found = match.any(-1)
            if not bool(found.all()):
                bad = codes[~found][0].tolist() if codes.dim() > 1 else codes.tolist()
                raise ValueError(
                    f"{bad[: level + 1]} is not the beginning of any semantic ID of this catalogue."
                )
            states.append((children.states * match).sum(-1))
        return torch.stack(states, dim=-1)

    def leaf_sizes(self, leaves: Tensor) -> Tensor:
        """Return how many items share each of `leaves`, states of depth L."""
        index = leaves - self._first_leaf
        return self.first_item[index + 1] - self.first_item[index]

    def leaf_start(self, leaves: Tensor) -> Tensor:
        """Return where in `leaf_items` the items of each of `leaves` begin."""
        return self.first_item[leaves - self._first_leaf]

    def items_of(self, codes: list[int]) -> list[int]:
        """Return the items whose SID is `codes`, in catalogue order.

        Raises ValueError where there is none.
        """
        if len(codes) != self.num_levels:
            raise ValueError(
                f"A semantic ID of this catalogue has {self.num_levels} codes, got {len(codes)}."
            )
        leaf = self.walk(torch.tensor(codes, device=self.leaf_items.device))[-1]
        start = int(self.leaf_start(leaf))
        return self.leaf_items[start : start + int(self.leaf_sizes(leaf))].tolist()


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.int64))
