"""How sure a mean over users is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from sidrec.metrics.arrays import FloatArray

_CHUNK_ELEMENTS = 2**21  # resampled users held at once: 16 MB of int64


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
