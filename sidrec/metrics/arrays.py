"""The arrays that metrics are made of, and the two marks that stand where a list names no item."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

PADDING = -1
"""Where a list has fewer than M items, its row ends in these."""

INVALID = -2
"""An entry of a foreign list that names no item of the catalogue.

It holds its place, so that later items stand no higher than they were listed. It is never a hit, covers
nothing, is a semantic ID of its own and no duplicate of another one; `count_invalid` counts it.
"""

IntArray = NDArray[np.integer]
FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

_CHUNK_ELEMENTS = 2**18  # of a temporary array: 2 MB of int64, so that it stays in the processor's cache


def row_chunks(num_rows: int, row_size: int) -> Iterator[slice]:
    """Yield slices that cover all rows; a temporary array of `row_size` elements per row stays small."""
    step = max(1, _CHUNK_ELEMENTS // max(row_size, 1))
    for start in range(0, num_rows, step):
        yield slice(start, start + step)


def for_entries(table: NDArray, otherwise: float) -> NDArray:
    """Append two rows of `otherwise` to a table of items: (N, ...) becomes (N + 2, ...).

    Negative indices count from the end, so `for_entries(table, 0)[items]` needs no mask: the last row is
    that of `PADDING`, the one before that of `INVALID`.
    """
    rows = np.full((2, *table.shape[1:]), otherwise, dtype=table.dtype)
    return np.concatenate([table, rows])


def check_items(items: IntArray, num_items: int) -> None:
    """Raise when an entry is neither an item nor `PADDING` nor `INVALID`."""
    if not items.size or (items.min() >= INVALID and items.max() < num_items):
        return
    strangers = np.count_nonzero((items < INVALID) | (items >= num_items))
    raise ValueError(
        f"{strangers} list entries are no item: the catalogue has items 0 to {num_items - 1}. "
        f"Mark an entry that names no item as INVALID ({INVALID})."
    )


def check_marks(items: IntArray) -> None:
    """Raise when an entry is negative but neither `PADDING` nor `INVALID`: all that is known without N."""
    if items.size and items.min() < INVALID:
        raise ValueError(
            f"A list holds items from 0, PADDING ({PADDING}) and INVALID ({INVALID}), got {items.min()}."
        )


def check_counts(train_counts: IntArray) -> None:
    """Raise unless there is a count of 0 or more for each of at least one item."""
    if train_counts.ndim != 1 or train_counts.size == 0 or train_counts.min() < 0:
        raise ValueError("Popularity needs a count of train events, 0 or more, for every item.")
