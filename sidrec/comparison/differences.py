"""Means with intervals, and paired differences to the first result, metric by metric."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from sidrec.comparison.groups import Group, align, read_groups, slice_masks, users_of
from sidrec.comparison.results import METRIC
from sidrec.errors import ConfigError, nearest
from sidrec.metrics import (
    Difference,
    Estimate,
    difference_over_seeds,
    estimate_over_seeds,
    holm,
    metrics_at_k,
)

LEVEL = 0.05
_DEFAULT_K = 10
_ROUNDING = 1e-12  # means over seeds this near to each other are equal


@dataclass(frozen=True)
class Versus:
    """A result against the first one, in one metric.

    Attributes:
        difference: This one minus the first.
        holm: p-value adjusted for the number of differences; None when there is one.
        wins: Users for whom this one is better, as `Comparison.by_rank` says.
        losses: Users for whom it is worse.
        ties: All others.
        verdict: "better", "worse" or "not distinguishable".
    """

    difference: Difference
    holm: float | None
    wins: int
    losses: int
    ties: int
    verdict: str


@dataclass(frozen=True)
class MetricComparison:
    """One metric: an estimate for each result, a `Versus` for each but the first."""

    metric: str
    estimates: list[Estimate]
    versus: list[Versus]


@dataclass(frozen=True)
class SliceComparison:
    """One metric within one slice, as `MetricComparison`; without users both lists are empty."""

    kind: str
    name: str
    metric: str
    users: int
    estimates: list[Estimate]
    differences: list[Difference]


@dataclass(frozen=True)
class Comparison:
    """What `sidrec compare` found; lists of results are in the order of `groups`.

    Attributes:
        groups: The results, the one that others are compared with first.
        users: U.
        split_sha256: Of the split they all share.
        depth: Items that every list has.
        samples: Resamples behind every interval.
        seed: Of the resampling.
        pair_seeds: Whether equal seeds of two results belong together.
        metrics: In the order asked for.
        slices: By metric, kind and slice.
    """

    groups: list[Group]
    users: int
    split_sha256: str
    depth: int
    samples: int
    seed: int
    pair_seeds: bool
    metrics: list[MetricComparison]
    slices: list[SliceComparison]

    @property
    def by_rank(self) -> bool:
        """Whether wins and losses go by the rank of a user's target in the first `depth` items.

        So it is with one seed each. With several there is no one rank, and the user's mean of the metric over
        the seeds counts.
        """
        return all(len(group.results) == 1 for group in self.groups)


@dataclass(frozen=True, eq=False)
class _Resampling:
    """How intervals are made: `users` says whose each of the U values is, None that each is a user's own."""

    seed: int
    samples: int
    users: np.ndarray | None
    pair_seeds: bool

    def within(self, mask: np.ndarray) -> _Resampling:
        """Return the same for some of the values, (U,) bool."""
        return replace(self, users=None if self.users is None else self.users[mask])

    def estimate(self, values: np.ndarray) -> Estimate:
        return estimate_over_seeds(values, seed=self.seed, samples=self.samples, users=self.users)

    def difference(self, a: np.ndarray, b: np.ndarray) -> Difference:
        return difference_over_seeds(a, b, **vars(self))


def compare(
    results: Sequence[str],
    *,
    metrics: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
    slices: Sequence[str] = (),
    samples: int = 2000,
    seed: int = 0,
    pair_seeds: bool = False,
) -> Comparison:
    """Compare each result with the first one, over the same users.

    Args:
        results: Directories of results; several seeds of one model as a pattern or with commas between.
        metrics: Such as "ndcg@10", or "all" for those that all results report; left out, hr and ndcg at 10
            or at the end of the shortest lists.
        names: A name per result.
        slices: Kinds of slices in which to compare too, such as "popularity".
        samples: Number of resamples.
        seed: Of the resampling.
        pair_seeds: Equal seeds of two results belong together, as with SFT and the RL that began from it;
            else seeds vary independently, which makes for wider intervals.

    Raises:
        ConfigError: If an argument cannot be met.
        ArtifactError: If a directory is no result, has changed, or is of another split.
    """
    if seed < 0:
        raise ConfigError(f"--seed {seed}: expected 0 or more.")
    groups = read_groups(results, names)
    if pair_seeds:
        _check_pairs(groups)
    needed = round(2 / LEVEL) * (len(groups) - 1)
    if samples < needed:
        raise ConfigError(
            f"--samples {samples} is too few: with {len(groups)} results no difference could have a p below "
            f"{LEVEL}. Use {needed} or more."
        )
    chosen = _choose(metrics, groups)
    ids, ranks = align(groups)
    how = _Resampling(seed, samples, users_of(groups, ids), pair_seeds)
    kinds = {kind: slice_masks(groups, kind, ids) for kind in slices}
    depth = min(group.depth for group in groups)
    found, parts = [], []
    for metric in chosen:
        values = [_values(each, metric) for each in ranks]
        found.append(_compare_metric(metric, values, _places(ranks, depth), how))
        for kind, masks in kinds.items():
            for name, mask in masks.items():
                inside = [each[:, mask] for each in values]
                parts.append(_compare_slice((kind, name, metric), inside, how.within(mask)))
    sha = groups[0].results[0].split_sha256
    return Comparison(groups, ranks[0].shape[1], sha, depth, samples, seed, pair_seeds, found, parts)


def _check_pairs(groups: Sequence[Group]) -> None:
    """Refuse to pair what has other seeds than the first result."""
    first, *others = ([result.seed for result in group.results] for group in groups)
    for seeds, group in zip(others, groups[1:], strict=True):
        if seeds != first:
            raise ConfigError(
                f"--pair-seeds: {groups[0].label} has seeds {', '.join(map(str, first))}, {group.label} "
                f"{', '.join(map(str, seeds))}; pairs need the same ones. Leave it out, or name those."
            )


def _choose(asked: Sequence[str] | None, groups: Sequence[Group]) -> list[str]:
    """Return the metrics to compare, or refuse what is no metric or deeper than a list."""
    shallow = min(groups, key=lambda group: group.depth)
    if asked is None:
        k = min(_DEFAULT_K, shallow.depth)
        return [f"hr@{k}", f"ndcg@{k}"]
    results = [result for group in groups for result in group.results]
    common = [name for name in results[0].metrics if all(name in result.metrics for result in results)]
    if list(asked) == ["all"]:
        if not common:
            raise ConfigError("--metrics all: the results report no metric in common. Name some.")
        return common
    for name in asked:
        match = METRIC.fullmatch(name)
        if match is None:
            raise ConfigError(
                f'--metrics: "{name}" is no metric.{nearest(name, ["all", *common])} There are hr@k, ndcg@k '
                f"and mrr@k, here with k up to {shallow.depth}."
            )
        if int(match[2]) > shallow.depth:
            raise ConfigError(
                f"--metrics: {name} was asked for, but {shallow.results[0].directory} lists {shallow.depth} "
                f"items. Ask for k up to {shallow.depth}."
            )
    return list(dict.fromkeys(asked))


def _values(ranks: np.ndarray, metric: str) -> np.ndarray:
    """Return one metric of (S, U) ranks: (S, U)."""
    k = int(metric.partition("@")[2])
    return np.stack([metrics_at_k(of_seed, (k,))[metric] for of_seed in ranks])


def _places(ranks: list[np.ndarray], depth: int) -> list[np.ndarray] | None:
    """Return (U,) places for each result, depth + 1 for a miss; None where a result has several seeds."""
    if any(len(each) > 1 for each in ranks):
        return None
    return [np.where((each[0] == 0) | (each[0] > depth), depth + 1, each[0]) for each in ranks]


def _compare_metric(
    metric: str, values: list[np.ndarray], places: list[np.ndarray] | None, how: _Resampling
) -> MetricComparison:
    """Compare (S, U) values of one metric; `places`, or else means over seeds, say for whom one is better."""
    estimates = [how.estimate(each) for each in values]
    first, *others = values
    differences = [how.difference(each, first) for each in others]
    adjusted = holm([difference.p_value for difference in differences])
    versus = []
    for row, difference in enumerate(differences, start=1):
        if places is not None:
            gains = places[0] - places[row]  # (U,)
        else:
            gains = values[row].mean(axis=0) - first.mean(axis=0)
        p_holm = adjusted[row - 1] if len(others) > 1 else None
        wins, losses = (int(np.count_nonzero(each > _ROUNDING)) for each in (gains, -gains))
        ties = len(gains) - wins - losses
        versus.append(Versus(difference, p_holm, wins, losses, ties, _verdict(difference, p_holm)))
    return MetricComparison(metric, estimates, versus)


def _compare_slice(
    which: tuple[str, str, str], values: list[np.ndarray], how: _Resampling
) -> SliceComparison:
    """Compare (S, U) values of the users of a slice: kind, name and metric."""
    users = values[0].shape[1]
    if users == 0:
        return SliceComparison(*which, 0, [], [])
    estimates = [how.estimate(each) for each in values]
    differences = [how.difference(each, values[0]) for each in values[1:]]
    return SliceComparison(*which, users, estimates, differences)


def _verdict(difference: Difference, p_holm: float | None) -> str:
    """Call it a difference only where the interval excludes 0, also after adjusting for their number."""
    if not difference.interval.excludes_zero or (p_holm is not None and p_holm >= LEVEL):
        return "not distinguishable"
    return "better" if difference.interval.value > 0 else "worse"
