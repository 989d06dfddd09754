"""Sort a table of code sequences into the flat arrays of a prefix tree: numpy alone, no loop over items.

Nodes are numbered level by level: the root is 0, the children of the nodes of one level stand next to each
other on the next. So a child's number is the number of its edge plus one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

END = -1
"""Fills the table after the last code of a sequence that is shorter than others."""


@dataclass(frozen=True)
class TrieArrays:
    """A prefix tree over N sequences of codes, all int32.

    Attributes:
        first_edge: (nodes + 1,): the edges of node n are [n] : [n + 1].
        edge_codes: (nodes - 1,): the code of each edge, ascending within a node.
        item_start: (nodes,): where in `items` the items at or below a node begin; those that end at the node
            come first. A subset keeps the nodes that have none left.
        item_end: (nodes,): where they end.
        items: (N,): the rows of the table in the order of their sequences, equal ones in the table's order.
    """

    first_edge: np.ndarray
    edge_codes: np.ndarray
    item_start: np.ndarray
    item_end: np.ndarray
    items: np.ndarray

    def check(self) -> None:
        """Look whether the arrays can be a tree: those of a file need not be.

        Raises:
            ValueError: If they are not.
        """
        nodes, items = len(self.item_start), len(self.items)
        tree = (
            all(array.ndim == 1 and array.dtype == np.int32 for array in vars(self).values())
            and nodes >= 2
            and len(self.item_end) == nodes
            and len(self.first_edge) == nodes + 1
            and len(self.edge_codes) == nodes - 1
            and self.first_edge[0] == 0
            and self.first_edge[-1] == nodes - 1
            and (self.first_edge[1:] >= self.first_edge[:-1]).all()
            # Children are numbered after their parents: no walk runs in a circle.
            and (self.first_edge[:-1] >= np.arange(nodes)).all()
            and self.edge_codes.min() >= 0
            and (self.item_start >= 0).all()
            and (self.item_end >= self.item_start).all()
            and self.item_end.max() <= items
            and self.items.min() >= 0
        )
        if not tree:
            raise ValueError("The arrays are not those of a trie.")


def code_table(codes: np.ndarray | Sequence[Sequence[int]]) -> np.ndarray:
    """Return an (N, L) table of codes; shorter sequences end in `END`.

    Raises:
        ValueError: If there is no item, an item without a code, or a code that is not an integer of at least
            0.
    """
    if not isinstance(codes, np.ndarray):
        codes = _padded(codes)
    if codes.ndim != 2 or codes.shape[0] == 0 or codes.shape[1] == 0:
        raise ValueError(
            f"A trie needs an (N, L) table of codes with N and L at least 1, got shape {codes.shape}."
        )
    if not np.issubdtype(codes.dtype, np.integer) or codes.min() < END:
        raise ValueError("A trie needs integer codes of at least 0 (-1 after the end of a shorter sequence).")
    if codes.max() >= np.iinfo(np.int32).max:
        raise ValueError(f"A trie needs codes below 2**31 - 1, got {codes.max()}.")
    if codes.min() == END:
        if (codes[:, 0] == END).any():
            raise ValueError(f"Item {int((codes[:, 0] == END).argmax())} has no code at all.")
        if ((codes[:, :-1] == END) & (codes[:, 1:] != END)).any():
            raise ValueError("-1 stands before a code; it may only fill the table after a sequence's end.")
    return codes


def _padded(sequences: Sequence[Sequence[int]]) -> np.ndarray:
    lengths = np.array([len(sequence) for sequence in sequences], dtype=np.int64)
    flat = np.array([code for sequence in sequences for code in sequence])
    if len(flat) and (not np.issubdtype(flat.dtype, np.integer) or flat.min() < 0):
        raise ValueError("A trie needs integer codes of at least 0.")
    table = np.full((len(lengths), lengths.max(initial=0)), END, dtype=np.int64)
    table[np.arange(table.shape[1]) < lengths[:, None]] = flat
    return table


def build(codes: np.ndarray) -> TrieArrays:
    """Build the tree of a table that `code_table` has passed."""
    order = _lexicographic_order(codes)
    num_items, num_levels = codes.shape
    edge_codes, starts, ends, counts = [], [np.zeros(1, np.int32)], [np.full(1, num_items, np.int32)], []
    opens = np.zeros(num_items, dtype=bool)  # whether a sorted row leaves the path of the row before it
    opens[0] = True
    parent_rows = np.zeros(1, dtype=np.int32)  # sorted row at which each node of the level above begins
    for level in range(num_levels):
        column = codes[:, level].astype(np.int32)[order]  # (N,)
        opens[1:] |= column[1:] != column[:-1]
        rows = np.flatnonzero(opens & (column != END)).astype(np.int32)  # a node begins at each
        if not len(rows):
            counts.append(np.zeros(len(parent_rows), np.int32))
            break
        counts.append(_children_of(parent_rows, rows))
        edge_codes.append(column[rows])
        starts.append(rows)
        ends.append(_ends(opens, rows))
        parent_rows = rows
    else:
        counts.append(np.zeros(len(parent_rows), np.int32))
    del column, opens, rows, parent_rows  # of 1M items, what is not needed is soon most of the memory
    first_edge = np.zeros(sum(map(len, counts)) + 1, dtype=np.int32)
    np.cumsum(np.concatenate(counts), out=first_edge[1:])
    return TrieArrays(first_edge, _joined(edge_codes), _joined(starts), _joined(ends), order)


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    """Concatenate the levels and let go of them."""
    whole = np.concatenate(parts)
    parts.clear()
    return whole


def _children_of(parent_rows: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """How many nodes, which begin at `rows`, stand below each node of the level above."""
    first = np.searchsorted(rows, parent_rows).astype(np.int32)
    return np.diff(first, append=np.int32(len(rows)))


def _ends(opens: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Where the run of sorted rows that begins at each of `rows` ends: at the next row that opens a path."""
    if np.count_nonzero(opens) == len(rows):
        return np.append(rows[1:], np.int32(len(opens)))
    bounds = np.flatnonzero(opens).astype(np.int32)
    following = np.append(bounds[1:], np.int32(len(opens)))
    return following[np.searchsorted(bounds, rows)]


def _lexicographic_order(codes: np.ndarray) -> np.ndarray:
    """Return the (N,) int32 order of the rows, equal rows in their own order, by as few sorts as can be."""
    key = np.zeros(len(codes), dtype=np.int64)
    size = 1  # number of values that key may have
    for level in range(codes.shape[1]):
        column = codes[:, level]
        width = int(column.max()) + 2  # END comes first
        if size * width >= 2**62:
            values, key = np.unique(key, return_inverse=True)
            size = len(values)
        key *= width
        key += column
        key += 1
        size *= width
    return np.argsort(key, kind="stable").astype(np.int32)
