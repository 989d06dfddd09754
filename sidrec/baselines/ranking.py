"""From scores of all items to ranked lists, in the same way for every baseline.

A baseline is a function from histories to scores (`ScoreItems`). What the scores mean is left to it; where
they are equal, the item that stands first in the catalogue comes first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from sidrec.catalog import EvaluationRows
from sidrec.metrics import PADDING, metrics_at_k, target_ranks


class ScoreItems(Protocol):
    """Score every item of the catalogue as the next one of each history."""

    def __call__(self, histories: Sequence[np.ndarray]) -> np.ndarray:
        """Return (B, N) float scores, higher is better, -inf for what is never recommended, without NaN.

        Args:
            histories: B arrays of int64 item indices, oldest first; an empty one is allowed.
        """


@dataclass(frozen=True, eq=False)
class HistoryEvents:
    """The E events of B histories, one history after the other.

    Attributes:
        rows: (E,) int64, whose history it is: 0..B-1.
        items: (E,) int64 item indices.
        steps_back: (E,) int64, how many events of the same history came later: 0 for the newest.
    """

    rows: np.ndarray
    items: np.ndarray
    steps_back: np.ndarray


def history_events(histories: Sequence[np.ndarray]) -> HistoryEvents:
    """Lay B histories end to end, so that a batch is computed without a loop over users."""
    lengths = np.array([len(history) for history in histories], dtype=np.int64)
    rows = np.repeat(np.arange(len(histories)), lengths)
    items = np.concatenate([np.empty(0, dtype=np.int64), *histories])
    return HistoryEvents(rows, items, steps_back=np.cumsum(lengths)[rows] - 1 - np.arange(len(items)))


def top_items(scores: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Find the k best items of each row, equal scores in catalogue order.

    Exact, in time linear in N: only the k kept items of a row are sorted.

    Args:
        scores: (B, N) float.
        k: Length of the lists, at least 1; N when the catalogue is smaller.

    Returns:
        (B, M) int64 items and (B, M) scores, best first, with M = min(k, N). A place whose score would be
        -inf holds `PADDING` and -inf; such places come last.

    Raises:
        ValueError: If k is below 1.
        RuntimeError: If a score is NaN, which no ranking can mean: a fault of ours.
    """
    if k < 1:
        raise ValueError(f"Lists of {k} items cannot be made. Ask for k of 1 or more.")
    if np.isnan(scores).any():
        raise RuntimeError("A score is NaN, so items cannot be ranked by it: a fault of ours.")
    num_rows, num_items = scores.shape
    if k >= num_items:
        items = np.tile(np.arange(num_items), (num_rows, 1))  # (B, M) as below
    else:
        # Negated, since numpy finds a low place ten times faster than a high one where most scores are 0.
        threshold = -np.partition(-scores, k - 1, axis=1)[:, k - 1 : k]  # (B, 1) the k-th best score
        above = scores > threshold  # (B, N) bool
        ties = scores == threshold
        places_left = k - above.sum(axis=1, keepdims=True)  # (B, 1), at least 1
        first_ties = ties & (np.cumsum(ties, axis=1, dtype=np.int32) <= places_left)
        items = np.nonzero(above | first_ties)[1].reshape(num_rows, k)  # (B, M), each row in catalogue order
    kept = np.take_along_axis(scores, items, axis=1)
    best_first = np.argsort(-kept, axis=1, kind="stable")
    items = np.take_along_axis(items, best_first, axis=1)
    kept = np.take_along_axis(kept, best_first, axis=1)
    return np.where(kept == -np.inf, PADDING, items), kept


def rank_by_scores(
    score_items: ScoreItems,
    histories: Sequence[np.ndarray],
    *,
    k: int,
    exclude_history: bool = False,
    batch_size: int = 256,
    on_batch: Callable[[int, int], None] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Rank the whole catalogue for each history and return its top, as `top_items` does.

    Args:
        score_items: The baseline.
        histories: U arrays of int64 item indices, oldest first.
        k: Length of the lists.
        exclude_history: Whether the items of a user's own history are left out of their list.
        batch_size: Histories that are scored at once; (batch_size, N) scores are in memory.
        on_batch: Told (users done, users in all) after each batch.

    Returns:
        (U, M) int64 items, rows that have fewer than M ending in `PADDING`, and (U, M) scores.

    Raises:
        ValueError: If there are no histories, or k is below 1.
        RuntimeError: As `top_items`.
    """
    if not len(histories):
        raise ValueError("There is no history to rank for. Give one or more.")
    items, scores = [], []
    for start in range(0, len(histories), batch_size):
        batch = histories[start : start + batch_size]
        batch_scores = score_items(batch)  # (B, N)
        assert len(batch_scores) == len(batch)
        if exclude_history:
            events = history_events(batch)
            batch_scores = batch_scores.copy()  # a baseline may keep what it returned
            batch_scores[events.rows, events.items] = -np.inf
        best, best_scores = top_items(batch_scores, k)
        items.append(best)
        scores.append(best_scores)
        if on_batch is not None:
            on_batch(start + len(batch), len(histories))
    return np.concatenate(items), np.concatenate(scores)


def mean_metrics(
    score_items: ScoreItems, rows: EvaluationRows, *, exclude_history: bool = False
) -> dict[str, float]:
    """Return the mean `ndcg@10` and `hr@10` over users, the whole catalogue ranked for each."""
    items, _ = rank_by_scores(score_items, rows.histories, k=10, exclude_history=exclude_history)
    values = metrics_at_k(target_ranks(items, rows.targets), ks=(10,))  # a shorter list ends where it ends
    return {name: float(values[name].mean()) for name in ("ndcg@10", "hr@10")}
