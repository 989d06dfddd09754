"""The items with the most train events, the same list for everyone."""

from __future__ import annotations

import numpy as np

from sidrec.catalog import EvaluationRows, Split


def popularity(
    split: Split, rows: EvaluationRows, *, num_items: int, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Rank by events in train; ties in catalogue order.

    Returns:
        (U, M) items and (U, M) scores, events per item; M is k or, if that is less, N.
    """
    counts = split.train_counts(num_items)
    best = np.argsort(-counts, kind="stable")[:k]
    shape = (len(rows), len(best))
    return np.broadcast_to(best, shape), np.broadcast_to(counts[best].astype(np.float64), shape)
