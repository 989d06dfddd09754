"""What needs no likeness between items: the items that everyone has, and those that the user had before."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sidrec.baselines.ranking import ScoreItems, history_events
from sidrec.catalog import Split


def popularity(split: Split, *, num_items: int) -> ScoreItems:
    """Score an item by the summed weight of its train events, their number without weights, for everyone.

    Args:
        split: Only `train` and `train_weights` are read.
        num_items: N.
    """
    return _same_for_everyone(_added_up(np.concatenate(split.train), split.train_weights, num_items))


def recent_popularity(split: Split, *, num_items: int, window: float) -> ScoreItems:
    """Score an item by the summed weight of its train events among the latest ones of all users together.

    The latest events are the share `window` of all train events, by number whatever their weights, rounded,
    at least one, and every other event at the same time as the first of them: which of several simultaneous
    events counts must not depend on the order of users. Where the events have no times (`Catalog.order` is
    "rows"), the latest events are those that stand late in the file; in a file sorted by user that is another
    sample of users, not a later time.

    Args:
        split: Only `train`, `train_times` and `train_weights` are read.
        num_items: N.
        window: Share of the train events, in (0, 1]; 1 is `popularity`.
    """
    times = split.train_times
    first = len(times) - max(1, round(window * len(times)))
    is_recent = times >= np.partition(times, first)[first]
    recent_items = np.concatenate(split.train)[is_recent]
    return _same_for_everyone(_added_up(recent_items, split.train_weights[is_recent], num_items))


def repeat_history(*, num_items: int) -> ScoreItems:
    """Recommend the items of the user's own history and no others, the most recent first.

    The score is minus the number of events since the item was last had: 0 for the newest. All other items
    get -inf, so that a list is no longer than the history has distinct items.

    Args:
        num_items: N.
    """

    def score(histories: Sequence[np.ndarray]) -> np.ndarray:
        events = history_events(histories)
        scores = np.full((len(histories), num_items), -np.inf)
        np.maximum.at(scores, (events.rows, events.items), -events.steps_back.astype(np.float64))
        return scores

    return score


def _added_up(items: np.ndarray, weights: np.ndarray, num_items: int) -> np.ndarray:
    """Return (N,) sums of weights to 12 digits, so that .1 + .2 ties with .3 as 1 + 2 does with 3."""
    sums = np.bincount(items, weights, minlength=num_items)
    return np.array([float(f"{total:.12g}") for total in sums.tolist()])


def _same_for_everyone(item_scores: np.ndarray) -> ScoreItems:
    """Score (N,) items alike for every history."""

    def score(histories: Sequence[np.ndarray]) -> np.ndarray:
        return np.tile(item_scores, (len(histories), 1))

    return score
