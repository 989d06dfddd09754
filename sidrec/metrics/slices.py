"""Kinds of users whose figures are worth seeing apart."""

from __future__ import annotations

import numpy as np

from sidrec.metrics.arrays import BoolArray, IntArray


def popularity_slices(targets: IntArray, train_counts: IntArray) -> dict[str, BoolArray]:
    """Divide users by how often their target occurs in train.

    Items are sorted by train events, most first, equal counts in catalogue order. Head items are the first
    ones that together reach a third of all train events, mid the next ones that reach two thirds, tail the
    rest that has any event, cold those without. (An item belongs to the third in which its first event
    falls.)

    Args:
        targets: (U,) item indices.
        train_counts: (N,) train events of each item.

    Returns:
        (U,) bool for "cold", "tail", "mid" and "head"; every user is in exactly one.

    Raises:
        ValueError: If a target is not in 0..N-1 or a count is negative.
    """
    counts = np.asarray(train_counts)
    if counts.size == 0 or counts.min() < 0:
        raise ValueError("Popularity slices need a count of train events, 0 or more, for every item.")
    if targets.size and not 0 <= targets.min() <= targets.max() < len(counts):
        raise ValueError(f"A target is not an item: the catalogue has items 0 to {len(counts) - 1}.")
    order = np.argsort(-counts, kind="stable")
    events_before = np.empty(len(counts), dtype=np.int64)  # (N,) events of all more popular items
    events_before[order] = np.cumsum(counts[order]) - counts[order]
    third = np.floor_divide(
        3 * events_before, max(int(counts.sum()), 1)
    )  # (N,) 0, 1 or 2; meaningless where cold
    third = np.where(counts == 0, 3, third)[targets]  # (U,)
    return {"cold": third == 3, "tail": third == 2, "mid": third == 1, "head": third == 0}
