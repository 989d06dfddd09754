"""How sure a mean over users is, or a difference of two; several seeds are left to `seeds`.

A resample draws U users with replacement (each with all of its values, where users have several). Its mean
depends only on how often each distinct row of values is drawn, so where there are far fewer distinct rows
than users (a rank in a list of M items takes M + 1 values) the counts are drawn directly, from a multinomial:
the same distribution, in O(samples x distinct rows).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sidrec.metrics.arrays import FloatArray, IntArray
from sidrec.metrics.ranks import metrics_at_k

_CHUNK_ELEMENTS = 2**21  # resampled users or counts held at once: 16 MB of int64
_USERS_PER_ROW = 16  # drawing a count costs about as much as drawing this many users


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


def bootstrap_interval(values: FloatArray, *, seed: int, samples: int = 1000) -> Interval:
    """Give the mean over users with its 95% percentile bootstrap interval.

    Args:
        values: (U,) one value per user.
        seed: Of the resampling. Equal seed and samples give equal intervals, whatever the order of users.
        samples: Number of resamples.

    Raises:
        ValueError: If there is no user or no sample, or a value is not finite.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 13.
    """
    return bootstrap_intervals({"values": values}, seed=seed, samples=samples)["values"]


def bootstrap_intervals(
    values: Mapping[str, FloatArray], *, seed: int, samples: int = 1000, users: IntArray | None = None
) -> dict[str, Interval]:
    """Give `bootstrap_interval` for many metrics at once; a resample draws the same users for all of them.

    Args:
        values: Name to (U,) values, as `metrics_at_k` returns them.
        seed: Of the resampling.
        samples: Number of resamples.
        users: As in `resampled_means`.

    Raises:
        ValueError: As `bootstrap_interval`, or if the metrics are not of the same users.
    """
    if len({np.shape(one) for one in values.values()}) != 1:
        raise ValueError(
            f"Metrics that share resampled users must be of the same users, got lengths "
            f"{ {name: np.shape(one) for name, one in values.items()} }."
        )
    table = np.stack([np.asarray(one, dtype=np.float64) for one in values.values()], axis=-1)  # (U, F)
    draws = resampled_means(table, np.random.default_rng(seed), samples, users)  # (samples, F)
    return _named_intervals(list(values), table.mean(axis=0), draws)


def rank_intervals(
    ranks: IntArray, ks: Sequence[int], *, seed: int, samples: int = 1000, users: IntArray | None = None
) -> dict[str, Interval]:
    """Give `bootstrap_intervals` of `metrics_at_k` from the distinct ranks alone.

    Args:
        ranks: (U,) 1-based ranks, 0 for a miss.
        ks: Depths, each at least 1.
        seed: Of the resampling; a resample draws the same users for all metrics.
        samples: Number of resamples.
        users: As in `resampled_means`.

    Returns:
        Name to interval, in the order hr, ndcg, mrr for each k.

    Raises:
        ValueError: As `metrics_at_k` and `bootstrap_interval`.
    """
    if users is not None:
        return bootstrap_intervals(metrics_at_k(ranks, ks), seed=seed, samples=samples, users=users)
    distinct, counts = np.unique(ranks, return_counts=True)  # (R,) each
    values = metrics_at_k(distinct, ks)
    table = np.stack(list(values.values()), axis=-1)  # (R, F)
    _check_resampling(table, samples)
    draws = _means_of_counts(table, counts, np.random.default_rng(seed), samples)
    return _named_intervals(list(values), counts @ table / counts.sum(), draws)


def paired_difference(
    a: FloatArray, b: FloatArray, *, seed: int, samples: int = 1000, users: IntArray | None = None
) -> Interval:
    """Give the mean of a - b over the same users, with its 95% bootstrap interval.

    Args:
        a: (U,) values of one run.
        b: (U,) values of the other, users in the same order.
        seed: Of the resampling.
        samples: Number of resamples.
        users: As in `resampled_means`.

    Raises:
        ValueError: If the lengths differ, or as `bootstrap_interval`.
    """
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    check_pair(a, b)
    return bootstrap_intervals({"a - b": a - b}, seed=seed, samples=samples, users=users)["a - b"]


def resampled_means(
    values: FloatArray, rng: np.random.Generator, samples: int, users: IntArray | None = None
) -> FloatArray:
    """Return (samples, F) means of (U, F) values over users drawn with replacement, in bounded memory.

    Args:
        values: A row per user, or per target where users have several.
        rng: Of the resampling.
        samples: Number of resamples.
        users: (U,) which user each row is of; a user is drawn with all of its rows, since they are no
            independent evidence. None: every row is a user.
    """
    _check_resampling(values, samples)
    if users is not None:
        _, numbers = np.unique(users, return_inverse=True)
        rows_and_sums = np.zeros((int(numbers.max()) + 1, values.shape[1] + 1))
        np.add.at(rows_and_sums, numbers, np.column_stack([np.ones(len(values)), values]))
        means = resampled_means(rows_and_sums, rng, samples)
        return means[:, 1:] / means[:, :1]  # sums over rows: the ratio of what a resample has of both
    num_users = len(values)
    in_order = values[np.lexsort(values.T)]
    starts = np.flatnonzero(np.append(True, (in_order[1:] != in_order[:-1]).any(axis=1)))  # (R,)
    if len(starts) * _USERS_PER_ROW <= num_users:
        return _means_of_counts(in_order[starts], np.diff(starts, append=num_users), rng, samples)
    means = np.empty((samples, values.shape[1]))
    for rows in _chunks(samples, num_users):
        size = rows.stop - rows.start
        drawn = rng.integers(num_users, size=(size, num_users))
        drawn += np.arange(size)[:, None] * num_users
        counts = np.bincount(drawn.ravel(), minlength=size * num_users).reshape(size, num_users)
        means[rows] = counts @ in_order / num_users
    return means


def percentile_interval(value: float, draws: FloatArray) -> Interval:
    """Put the middle 95% of (samples,) draws around a value."""
    low, high = np.percentile(draws, (2.5, 97.5))
    return Interval(float(value), float(low), float(high))


def check_pair(a: FloatArray, b: FloatArray) -> None:
    """Refuse values of different users."""
    if a.shape != b.shape:
        raise ValueError(
            "A paired difference needs the same users in both runs, "
            f"got values of shapes {a.shape} and {b.shape}."
        )


def _means_of_counts(
    rows: FloatArray, counts: IntArray, rng: np.random.Generator, samples: int
) -> FloatArray:
    """Return (samples, F) resampled means of (R, F) rows that (R,) `counts` users have each."""
    num_users = int(counts.sum())
    means = np.empty((samples, rows.shape[1]))
    for chunk in _chunks(samples, len(rows)):
        drawn = rng.multinomial(num_users, counts / num_users, size=chunk.stop - chunk.start)
        means[chunk] = drawn @ rows / num_users
    return means


def _chunks(samples: int, row_size: int) -> list[slice]:
    step = max(1, _CHUNK_ELEMENTS // row_size)
    return [slice(start, min(start + step, samples)) for start in range(0, samples, step)]


def _named_intervals(names: list[str], values: FloatArray, draws: FloatArray) -> dict[str, Interval]:
    return {name: percentile_interval(values[column], draws[:, column]) for column, name in enumerate(names)}


def _check_resampling(values: FloatArray, samples: int) -> None:
    """Refuse (U, F) values that have no interval."""
    if values.ndim != 2 or len(values) == 0:
        raise ValueError(
            f"An interval needs one value for each of at least one user, got shape {values.shape[:-1]}."
        )
    if samples < 1:
        raise ValueError(f"An interval needs at least one resample, got samples={samples}.")
    if not np.isfinite(values).all():
        raise ValueError("An interval needs finite values, got NaN or infinity.")
