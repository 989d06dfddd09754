"""Score lists of recommended items against the one item that each user had next.

Pure functions on numpy arrays, without a loop over users: ranks first, then everything else from ranks or
lists. A list is a row of item indices, best first, and where fewer than M items were found it ends in
`PADDING`. Where the lists come from, and what is written to disk, is left to the stages.

The definitions are those of DESIGN.md, section 6. Items that share a semantic ID stand in a list one after
another in catalogue order, so item-level ranks need no correction for collisions; `sid_ranks` gives the
SID-level figure.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PADDING = -1
DEFAULT_KS = (1, 3, 5, 10, 20)

_CHUNK_ELEMENTS = 2**21  # resampled users held at once: 16 MB of int64

IntArray = NDArray[np.integer]
FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class Interval:
    """A mean over users and its 95% bootstrap interval, in the unit of the values."""

    value: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether 0 lies outside the interval: what "better" or "worse" needs for a paired difference."""
        return self.low > 0 or self.high < 0


def target_ranks(items: IntArray, targets: IntArray) -> NDArray[np.int64]:
    """Find the 1-based place of each user's target in their list; 0 where the list lacks it.

    Args:
        items: (U, M) item indices, best first; rows may end in `PADDING`.
        targets: (U,) item indices.

    Returns:
        (U,) ranks, 0 or 1..M. An item listed twice counts at its first place.

    Raises:
        ValueError: If the shapes do not fit, an index is not an integer, or a target is negative.
        RuntimeError: If an item follows a padding entry: then no place would be the rank.
    """
    _check_lists(items, targets)
    return _first_places(items == targets[:, None])


def sid_ranks(items: IntArray, targets: IntArray, sid_of_item: IntArray) -> NDArray[np.int64]:
    """Find the 1-based place of each target's semantic ID among the distinct semantic IDs of the list.

    This is the SID-level figure: a list that names any item with the target's SID is a hit, so where SIDs
    collide it is at least as good as the item-level rank, and not what a customer sees.

    Args:
        items: (U, M) item indices, best first; rows may end in `PADDING`.
        targets: (U,) item indices.
        sid_of_item: (N,) a number per distinct SID, for instance the inverse of `np.unique(codes, axis=0)`.

    Returns:
        (U,) ranks, 0 where the SID is not in the list.

    Raises:
        ValueError: As `target_ranks`, and if an index is not below N.
        RuntimeError: As `target_ranks`.
    """
    _check_lists(items, targets)
    sid_of_item = np.asarray(sid_of_item)
    num_items = len(sid_of_item)
    _refuse_invalid(items, num_items)
    if targets.size and targets.max() >= num_items:
        raise ValueError(
            f"Target {targets.max()} is not an item: the catalogue has items 0 to {num_items - 1}."
        )
    _, numbers = np.unique(sid_of_item, return_inverse=True)  # (N,) 0 or more, so that PADDING is no SID
    sids = np.where(items == PADDING, PADDING, numbers[items])  # (U, M)
    place = _first_places(sids == numbers[targets][:, None])
    order = np.argsort(sids, axis=1, kind="stable")
    in_order = np.take_along_axis(sids, order, axis=1)
    starts = np.ones_like(in_order, dtype=bool)
    starts[:, 1:] = in_order[:, 1:] != in_order[:, :-1]
    is_new = np.empty_like(starts)  # (U, M) bool: the first item of its SID in the list
    np.put_along_axis(is_new, order, starts, axis=1)
    distinct_so_far = np.cumsum(is_new, axis=1)
    ranks = np.take_along_axis(distinct_so_far, np.maximum(place - 1, 0)[:, None], axis=1)[:, 0]
    return np.where(place > 0, ranks, 0).astype(np.int64)


def metrics_at_k(ranks: IntArray, ks: Sequence[int] = DEFAULT_KS) -> dict[str, FloatArray]:
    """Turn ranks into per-user values of `hr@k`, `ndcg@k` and `mrr@k`.

    With one target per user HR@k is also recall@k, and NDCG@k is 1 / log2(rank + 1), since the ideal DCG is
    1. Nothing here can know how long the lists were: a k beyond that gives the value at the lists' end.

    Args:
        ranks: (U,) 1-based ranks, 0 for a miss.
        ks: Depths, each at least 1.

    Returns:
        Name to (U,) float64 in [0, 1], in the order hr, ndcg, mrr for each k.

    Raises:
        ValueError: If a rank is negative or no integer, or a k is below 1.
        RuntimeError: As `check_metrics`.
    """
    ranks = np.asarray(ranks)
    if ranks.ndim != 1 or not np.issubdtype(ranks.dtype, np.integer) or (ranks.size and ranks.min() < 0):
        raise ValueError(
            "Ranks are a row of integers: 1 or more, and 0 for a target that is not in the list."
        )
    if not ks or min(ks) < 1:
        raise ValueError(f"Metrics are taken at one or more depths k of at least 1, got {list(ks)}.")
    places = np.maximum(ranks, 1)  # a miss is masked below
    values: dict[str, FloatArray] = {}
    for k in ks:
        hit = (ranks >= 1) & (ranks <= k)
        values[f"hr@{k}"] = hit.astype(np.float64)
        values[f"ndcg@{k}"] = np.where(hit, 1 / np.log2(places + 1.0), 0.0)
        values[f"mrr@{k}"] = np.where(hit, 1 / places, 0.0)
    check_metrics(values)
    return values


def check_metrics(values: Mapping[str, FloatArray]) -> None:
    """Check that for every user 0 <= MRR@k <= NDCG@k <= HR@k <= 1, and that none of them falls as k grows.

    Args:
        values: As `metrics_at_k` returns them.

    Raises:
        RuntimeError: If that does not hold, which no input can cause: a fault of ours.
    """
    ks = sorted({int(name.partition("@")[2]) for name in values})
    for k in ks:
        chain: list[tuple[str, FloatArray | float]] = [("0", 0.0)]
        chain += [(f"{name}@{k}", values[f"{name}@{k}"]) for name in ("mrr", "ndcg", "hr")]
        chain += [("1", 1.0)]
        for (small_name, small), (large_name, large) in itertools.pairwise(chain):
            _check_order(small_name, small, large_name, large)
    for k, next_k in itertools.pairwise(ks):
        for name in ("hr", "ndcg", "mrr"):
            _check_order(f"{name}@{k}", values[f"{name}@{k}"], f"{name}@{next_k}", values[f"{name}@{next_k}"])


def bootstrap_interval(values: FloatArray, *, seed: int, samples: int = 1000) -> Interval:
    """Give the mean over users with its 95% percentile bootstrap interval.

    Args:
        values: (U,) one value per user.
        seed: Of the resampling; equal seeds and U resample the same users.
        samples: Number of resamples.

    Raises:
        ValueError: If there is no user or no sample, or a value is not finite.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 13.
    """
    return bootstrap_intervals({"values": values}, seed=seed, samples=samples)["values"]


def bootstrap_intervals(
    values: Mapping[str, FloatArray], *, seed: int, samples: int = 1000
) -> dict[str, Interval]:
    """Give `bootstrap_interval` for many metrics at once; a resample draws the same users for all of them.

    Args:
        values: Name to (U,) values, as `metrics_at_k` returns them.
        seed: Of the resampling.
        samples: Number of resamples.

    Raises:
        ValueError: As `bootstrap_interval`, or if the metrics are not of the same users.
    """
    if len({np.shape(one) for one in values.values()}) != 1:
        raise ValueError(
            f"Metrics that share resampled users must be of the same users, got lengths "
            f"{ {name: np.shape(one) for name, one in values.items()} }."
        )
    stacked = np.stack([np.asarray(one, dtype=np.float64) for one in values.values()])  # (F, U)
    if stacked.ndim != 2 or stacked.shape[1] == 0:
        raise ValueError(
            f"An interval needs one value for each of at least one user, got shape {stacked.shape[1:]}."
        )
    if samples < 1:
        raise ValueError(f"An interval needs at least one resample, got samples={samples}.")
    if not np.isfinite(stacked).all():
        raise ValueError("An interval needs finite values, got NaN or infinity.")
    means = _resampled_means(stacked, np.random.default_rng(seed), samples)  # (F, samples)
    low, high = np.percentile(means, (2.5, 97.5), axis=1)  # (F,) each
    centre = stacked.mean(axis=1)
    return {
        name: Interval(float(centre[row]), float(low[row]), float(high[row]))
        for row, name in enumerate(values)
    }


def paired_difference(a: FloatArray, b: FloatArray, *, seed: int, samples: int = 1000) -> Interval:
    """Give the mean of a - b over the same users, with its 95% bootstrap interval.

    Args:
        a: (U,) values of one run.
        b: (U,) values of the other, users in the same order.
        seed: Of the resampling.
        samples: Number of resamples.

    Raises:
        ValueError: If the lengths differ, or as `bootstrap_interval`.
    """
    if np.shape(a) != np.shape(b):
        raise ValueError(
            "A paired difference needs the same users in both runs, "
            f"got values of shapes {np.shape(a)} and {np.shape(b)}."
        )
    return bootstrap_interval(np.asarray(a, dtype=np.float64) - b, seed=seed, samples=samples)


def coverage_at_k(items: IntArray, num_items: int, k: int) -> float:
    """Give the share of the catalogue that stands in at least one user's top k.

    Args:
        items: (U, M) item indices, best first; rows may end in `PADDING`.
        num_items: N.
        k: Depth, 1..M.

    Raises:
        ValueError: If k is not in 1..M, or an item is not in the catalogue.
    """
    return float(np.count_nonzero(_exposures(items, num_items, k)) / num_items)


def gini_at_k(items: IntArray, num_items: int, k: int) -> float:
    """Give the Gini coefficient of how often each of all N items stands in a top k.

    0 when every item is shown equally often, 1 - 1/N when one item takes every place.
    Items that are never shown count.

    Args:
        items: (U, M) item indices, best first; rows may end in `PADDING`.
        num_items: N.
        k: Depth, 1..M.

    Raises:
        ValueError: As `coverage_at_k`, or if no item is shown at all.
    """
    exposures = np.sort(_exposures(items, num_items, k))
    total = exposures.sum()
    if total == 0:
        raise ValueError("Gini of exposure is not defined for lists without any item.")
    places = np.arange(1, num_items + 1)
    return float(2 * (places * exposures).sum() / (num_items * total) - (num_items + 1) / num_items)


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


def count_invalid(items: IntArray, num_items: int) -> int:
    """Count entries that are no item of the catalogue; must be 0. For `PADDING` see `count_padded`."""
    return int(np.count_nonzero(((items < 0) | (items >= num_items)) & (items != PADDING)))


def count_padded(items: IntArray) -> int:
    """Count lists that are shorter than M."""
    return int(np.count_nonzero((items == PADDING).any(axis=1)))


def count_duplicates(items: IntArray) -> int:
    """Count entries that repeat an earlier entry of their own list, `PADDING` aside; must be 0."""
    in_order = np.sort(items, axis=1)
    repeats = (in_order[:, 1:] == in_order[:, :-1]) & (in_order[:, 1:] != PADDING)
    return int(np.count_nonzero(repeats))


def _check_lists(items: IntArray, targets: IntArray) -> None:
    """Refuse lists and targets for which a rank has no meaning."""
    if items.ndim != 2 or targets.shape != items.shape[:1]:
        raise ValueError(
            "Ranks need (U, M) items and (U,) targets of the same users, "
            f"got shapes {items.shape} and {targets.shape}."
        )
    if not (np.issubdtype(items.dtype, np.integer) and np.issubdtype(targets.dtype, np.integer)):
        raise ValueError(f"Items and targets are integer indices, got {items.dtype} and {targets.dtype}.")
    if targets.size and targets.min() < 0:
        raise ValueError(f"Targets are item indices of at least 0, got {targets.min()}.")
    padded = items == PADDING
    if (padded[:, :-1] & ~padded[:, 1:]).any():
        raise RuntimeError(
            "A list has an item after a padding entry, so places in it are no ranks: a fault of ours."
        )


def _first_places(matches: BoolArray) -> NDArray[np.int64]:
    """Return the 1-based place of the first True of each row, 0 without one."""
    if matches.shape[1] == 0:
        return np.zeros(len(matches), dtype=np.int64)
    return np.where(matches.any(axis=1), matches.argmax(axis=1) + 1, 0).astype(np.int64)


def _refuse_invalid(items: IntArray, num_items: int) -> None:
    """Raise when an entry is neither an item nor padding."""
    invalid = count_invalid(items, num_items)
    if invalid:
        raise ValueError(f"{invalid} list entries are no item: the catalogue has items 0 to {num_items - 1}.")


def _check_order(
    small_name: str, small: FloatArray | float, large_name: str, large: FloatArray | float
) -> None:
    """Raise unless small <= large everywhere; NaN raises too."""
    if not np.all(np.less_equal(small, large)):
        raise RuntimeError(f"{small_name} is not at most {large_name} for every user: a fault of ours.")


def _exposures(items: IntArray, num_items: int, k: int) -> NDArray[np.int64]:
    """Count in how many top k each of the N items stands: (N,)."""
    if not 1 <= k <= items.shape[1]:
        raise ValueError(f"k={k} is outside the lists, which have {items.shape[1]} places.")
    _refuse_invalid(items, num_items)
    shown = items[:, :k]
    return np.bincount(shown[shown != PADDING], minlength=num_items)


def _resampled_means(values: FloatArray, rng: np.random.Generator, samples: int) -> FloatArray:
    """Return (F, samples) means of (F, U) values over users drawn with replacement, in bounded memory."""
    num_users = values.shape[1]
    chunk = max(1, _CHUNK_ELEMENTS // num_users)
    means = np.empty((len(values), samples))
    for start in range(0, samples, chunk):
        size = min(chunk, samples - start)
        drawn = rng.integers(num_users, size=(size, num_users))
        drawn += np.arange(size)[:, None] * num_users
        counts = np.bincount(drawn.ravel(), minlength=size * num_users).reshape(
            size, num_users
        )  # how often each user
        means[:, start : start + size] = values @ counts.T.astype(np.float64) / num_users
    return means
