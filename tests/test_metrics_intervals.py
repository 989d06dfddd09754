"""Intervals against plain resampling, closed forms and simulations with a known truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidrec.metrics import (
    Interval,
    bootstrap_interval,
    bootstrap_intervals,
    difference_over_seeds,
    estimate_over_seeds,
    holm,
    metrics_at_k,
    paired_difference,
    rank_intervals,
)
from sidrec.metrics.intervals import resampled_means
from sidrec.metrics.seeds import two_sided_p


def plain_means(values: np.ndarray, samples: int) -> np.ndarray:
    """The reference: draw users, take the mean, one resample after the other."""
    rng = np.random.default_rng(11)
    return np.array([values[rng.integers(len(values), size=len(values))].mean() for _ in range(samples)])


def toy_ranks(num_users: int = 300, depth: int = 20) -> np.ndarray:
    rng = np.random.default_rng(5)
    return np.where(rng.random(num_users) < 0.4, rng.integers(1, depth + 1, size=num_users), 0)


def test_interval_of_a_constant_is_that_constant() -> None:
    interval = bootstrap_interval(np.full(50, 0.25), seed=0)
    assert (interval.value, interval.low, interval.high) == (0.25, 0.25, 0.25)


def test_interval_is_the_binomial_one_for_hits() -> None:
    hits = np.repeat([1.0, 0.0], [400, 600])
    interval = bootstrap_interval(hits, seed=3, samples=4000)
    # mean .4, standard error sqrt(.4 * .6 / 1000) = .01549, 1.96 of them = .0304
    assert interval.value == pytest.approx(0.4)
    assert interval.low == pytest.approx(0.4 - 0.0304, abs=0.003)
    assert interval.high == pytest.approx(0.4 + 0.0304, abs=0.003)


def test_same_seed_gives_the_same_interval_and_another_seed_another() -> None:
    values = np.random.default_rng(0).random(200)
    assert bootstrap_interval(values, seed=1) == bootstrap_interval(values, seed=1)
    assert bootstrap_interval(values, seed=1) != bootstrap_interval(values, seed=2)
    ranks = toy_ranks()
    assert rank_intervals(ranks, (5, 10), seed=1) == rank_intervals(ranks, (5, 10), seed=1)
    assert rank_intervals(ranks, (5, 10), seed=1) != rank_intervals(ranks, (5, 10), seed=2)


def test_the_order_of_the_users_does_not_matter() -> None:
    rng = np.random.default_rng(0)
    for values in (rng.random(200), rng.integers(3, size=200) / 2):  # of many and of few distinct values
        interval, shuffled = (bootstrap_interval(each, seed=1) for each in (values, rng.permutation(values)))
        assert (interval.low, interval.high) == (shuffled.low, shuffled.high)


def test_metrics_share_the_resampled_users() -> None:
    for values in (np.random.default_rng(0).random(200), metrics_at_k(toy_ranks())["ndcg@10"]):
        both = bootstrap_intervals({"one": values, "minus": -values}, seed=1)
        # the same users are drawn, so the interval of -x is the mirrored interval of x
        assert both["minus"].low == pytest.approx(-both["one"].high)
        assert both["minus"].high == pytest.approx(-both["one"].low)


@pytest.mark.parametrize("num_distinct", [100, 4])
def test_chunks_do_not_change_the_interval(num_distinct: int, monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.resize(np.random.default_rng(0).random(num_distinct), 100)
    whole = bootstrap_interval(values, seed=1, samples=100)
    monkeypatch.setattr("sidrec.metrics.intervals._CHUNK_ELEMENTS", 28)
    # 1 of the 100 resamples at a time where users are drawn, 7 where counts are
    chunked = bootstrap_interval(values, seed=1, samples=100)
    assert (chunked.low, chunked.high) == pytest.approx((whole.low, whole.high))


@pytest.mark.parametrize("name", ["hr@10", "ndcg@10", "mrr@20"])
def test_drawing_counts_gives_the_quantiles_of_drawing_users(name: str) -> None:
    ranks, samples = toy_ranks(), 20_000
    values = metrics_at_k(ranks)[name]
    reference = plain_means(values, samples)
    error = values.std() / math.sqrt(len(values))
    # a quantile of 20,000 draws has a Monte-Carlo error of about .02 standard errors at 2.5%
    expected = [float(quantile) for quantile in np.percentile(reference, (2.5, 97.5))]
    for interval in (
        rank_intervals(ranks, (10, 20), seed=0, samples=samples)[name],
        bootstrap_interval(values, seed=0, samples=samples),
    ):
        assert interval.value == pytest.approx(values.mean())
        assert [interval.low, interval.high] == pytest.approx(expected, abs=0.1 * error)
    draws = resampled_means(values[:, None], np.random.default_rng(0), samples)[:, 0]
    assert draws.std() == pytest.approx(reference.std(), rel=0.03)
    assert np.percentile(draws, (10, 50, 90)) == pytest.approx(
        np.percentile(reference, (10, 50, 90)), abs=0.06 * error
    )


def test_rank_intervals_have_the_names_and_means_of_metrics_at_k() -> None:
    ranks = np.array([1, 3, 7, 0])
    intervals = rank_intervals(ranks, (5, 10), seed=0)
    values = metrics_at_k(ranks, (5, 10))
    assert list(intervals) == list(values)
    # ndcg@10: 1 + 1/2 + 1/3 + 0 = 11/6 over 4 users
    assert intervals["ndcg@10"].value == pytest.approx(11 / 24)
    assert [each.value for each in intervals.values()] == pytest.approx([v.mean() for v in values.values()])


@given(st.lists(st.integers(0, 30), min_size=1, max_size=60))
@settings(max_examples=30, deadline=None)
def test_an_interval_lies_within_the_values_and_holds_a_mean(ranks: list[int]) -> None:
    for name, interval in rank_intervals(np.array(ranks), (1, 10), seed=0, samples=50).items():
        values = metrics_at_k(np.array(ranks), (1, 10))[name]
        rounding = 1e-12
        assert values.min() - rounding <= interval.low <= interval.high <= values.max() + rounding


def test_intervals_hold_the_known_mean_in_95_of_100_experiments() -> None:
    rng = np.random.default_rng(1)
    # a target is at place 1..4 with 5% each, else missing: mean mrr@10 = .05 (1 + 1/2 + 1/3 + 1/4) = .104167
    truth, held = 0.05 * (1 + 1 / 2 + 1 / 3 + 1 / 4), 0
    for trial in range(400):
        ranks = rng.choice([1, 2, 3, 4, 0], p=[0.05, 0.05, 0.05, 0.05, 0.8], size=500)
        interval = rank_intervals(ranks, (10,), seed=trial, samples=200)["mrr@10"]
        held += interval.low <= truth <= interval.high
    assert 0.92 <= held / 400 <= 0.98  # 95% with a standard error of 1.1%


def test_paired_difference_is_sharper_than_the_two_intervals() -> None:
    rng = np.random.default_rng(0)
    b = rng.random(500)
    a = b + 0.02 + 0.01 * rng.standard_normal(500)
    difference = paired_difference(a, b, seed=0)
    assert difference.value == pytest.approx((a - b).mean())
    assert difference.excludes_zero
    assert difference.high - difference.low < 0.01
    assert bootstrap_interval(a, seed=0).low < b.mean()


def test_a_run_does_not_differ_from_itself() -> None:
    values = np.random.default_rng(0).random(50)
    difference = paired_difference(values, values, seed=0)
    assert difference == Interval(0.0, 0.0, 0.0)
    assert not difference.excludes_zero


def test_one_seed_says_that_it_is_one_and_gives_the_interval_over_users() -> None:
    values = metrics_at_k(toy_ranks())["ndcg@10"]
    estimate = estimate_over_seeds(values[None], seed=4)
    assert (estimate.seeds, estimate.sd) == (1, None)
    assert estimate.interval == bootstrap_interval(values, seed=4)
    difference = difference_over_seeds(values[None], values[None, ::-1], seed=4)
    assert difference.seeds == (1, 1)
    assert difference.interval == paired_difference(values, values[::-1], seed=4)


def test_without_variation_among_users_the_interval_is_that_of_the_seeds() -> None:
    # seeds of means 0, 1 and 2: mean 1, sd 1. Three of three drawn: the extremes 0 and 2 come 1 time in 27
    # each (3.7%, more than 2.5%), and their deviation of 1 is inflated by sqrt(3 / 2)
    estimate = estimate_over_seeds(np.repeat([[0.0], [1.0], [2.0]], 10, axis=1), seed=0, samples=4000)
    assert (estimate.interval.value, estimate.seeds, estimate.sd) == (1.0, 3, 1.0)
    assert estimate.interval.low == pytest.approx(1 - math.sqrt(3 / 2))
    assert estimate.interval.high == pytest.approx(1 + math.sqrt(3 / 2))


def test_seeds_of_two_models_vary_independently() -> None:
    # each side has variance s^2 / S = 1/2 of its mean, so the difference has 1/2 + 1/2 = 1 and not 0
    values = np.repeat([[0.0], [math.sqrt(2)]], 10, axis=1)  # s = 1, S = 2
    difference = difference_over_seeds(values, values, seed=0, samples=4000)
    assert difference.interval.value == 0
    # both sides at their extremes, 1 / 4 * 1 / 4 = 6%: +-2 * sqrt(2) / 2 * sqrt(2) = +-2
    assert (difference.interval.low, difference.interval.high) == pytest.approx((-2, 2))
    assert difference.p_value > 0.5


def test_paired_seeds_vary_together() -> None:
    seeds = np.repeat([[0.0], [math.sqrt(2)]], 10, axis=1)
    gain = np.repeat([[0.1], [0.3]], 10, axis=1)
    same = difference_over_seeds(seeds, seeds, seed=0, pair_seeds=True)
    assert same.interval == Interval(0.0, 0.0, 0.0)
    found = difference_over_seeds(seeds + gain, seeds, seed=0, pair_seeds=True).interval
    # two of two drawn: the extremes .1 and .3 come 1 time in 4 each, their deviation of .1 times sqrt(2 / 1)
    assert (found.value, found.low, found.high) == pytest.approx(
        (0.2, 0.2 - 0.1 * math.sqrt(2), 0.2 + 0.1 * math.sqrt(2))
    )
    with pytest.raises(ValueError, match="as many on both sides, got 2 and 1"):
        difference_over_seeds(seeds, seeds[:1], seed=0, pair_seeds=True)


def seeded(rng: np.random.Generator, num_seeds: int, seed_sd: float) -> np.ndarray:
    """(S, 150) normal values of mean 0: a part of the seed, one of the user (sd 1), and a rest (sd .5)."""
    return (
        seed_sd * rng.standard_normal((num_seeds, 1))
        + rng.standard_normal((1, 150))
        + 0.5 * rng.standard_normal((num_seeds, 150))
    )


@pytest.mark.parametrize(
    ("num_seeds", "share", "least", "most_ignorant"),
    [
        # share of the seeds in the mean's variance; who ignores it is right in P(|z| < 1.96 sqrt(1 - share))
        pytest.param(3, 1 / 2, 0.88, 0.86, id="three seeds of equal part"),  # ignorant 83%
        pytest.param(5, 1 / 2, 0.88, 0.86, id="five seeds of equal part"),  # ignorant 83%
        pytest.param(5, 9 / 10, 0.84, 0.52, id="five seeds that decide"),  # ignorant 46%
    ],
)
def test_intervals_over_users_and_seeds_hold_the_truth(
    num_seeds: int, share: float, least: float, most_ignorant: float
) -> None:
    rng = np.random.default_rng(2)
    seed_sd = math.sqrt(num_seeds * share / (1 - share) * (1 + 0.25 / num_seeds) / 150)
    held = ignorant = 0
    for trial in range(300):
        values = seeded(rng, num_seeds, seed_sd)
        interval = estimate_over_seeds(values, seed=trial, samples=200).interval
        users_only = bootstrap_interval(values.mean(axis=0), seed=trial, samples=200)
        held += interval.low <= 0 <= interval.high
        ignorant += users_only.low <= 0 <= users_only.high
    assert least <= held / 300 <= 0.98
    assert ignorant / 300 <= most_ignorant  # negative control


def test_differences_over_users_and_seeds_hold_the_truth() -> None:
    rng = np.random.default_rng(0)
    held = ignorant = rejected = 0
    for trial in range(300):
        a, b = seeded(rng, 4, 0.2), seeded(rng, 3, 0.2)
        difference = difference_over_seeds(a, b, seed=trial, samples=200)
        users_only = paired_difference(a.mean(axis=0), b.mean(axis=0), seed=trial, samples=200)
        held += not difference.interval.excludes_zero
        rejected += difference.p_value < 0.05
        ignorant += not users_only.excludes_zero
    assert 0.9 <= held / 300 <= 0.98
    assert 0.02 <= rejected / 300 <= 0.1
    assert ignorant / 300 <= 0.86


def test_p_values_of_counted_draws() -> None:
    # 19 draws, 2 at or below 0: 2 * (2 + 1) / (19 + 1) = .3
    assert two_sided_p(np.array([-1.0, 0.0] + [1.0] * 17)) == pytest.approx(0.3)
    assert two_sided_p(-np.array([-1.0, 0.0] + [1.0] * 17)) == pytest.approx(0.3)
    # none at or below 0: the floor 2 / (19 + 1)
    assert two_sided_p(np.ones(19)) == pytest.approx(0.1)
    # 10 below and 9 above: 2 * (9 + 1) / 20 = 1; all at 0: 2 * (19 + 1) / 20 = 2, capped
    assert two_sided_p(np.array([-1.0] * 10 + [1.0] * 9)) == 1
    assert two_sided_p(np.zeros(19)) == 1


def test_a_difference_of_zero_for_every_user_has_p_1() -> None:
    values = metrics_at_k(toy_ranks())["ndcg@10"][None]
    assert difference_over_seeds(values, values, seed=0).p_value == 1


def test_a_clear_difference_has_the_smallest_p_there_is() -> None:
    b = np.random.default_rng(0).random((1, 100))
    assert difference_over_seeds(b + 1, b, seed=0, samples=999).p_value == pytest.approx(2 / 1000)


def test_holm_of_hand_computed_p_values() -> None:
    # in order .005 .01 .03 .04: 4 * .005 = .02; 3 * .01 = .03; 2 * .03 = .06; 1 * .04 = .04, raised to .06
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.4, 0.6]) == pytest.approx([0.8, 0.8])  # 2 * .4; .6, raised to .8
    assert holm([0.7, 0.8]) == [1, 1]  # 2 * .7 is capped
    assert holm([0.02]) == [0.02]
    assert holm([]) == []


def test_intervals_need_finite_values_of_the_same_users() -> None:
    with pytest.raises(ValueError, match="finite values"):
        bootstrap_interval(np.array([1.0, math.nan]), seed=0)
    with pytest.raises(ValueError, match="at least one user"):
        bootstrap_interval(np.array([]), seed=0)
    with pytest.raises(ValueError, match="at least one user"):
        rank_intervals(np.array([], dtype=int), (10,), seed=0)
    with pytest.raises(ValueError, match="samples=0"):
        bootstrap_interval(np.array([1.0]), seed=0, samples=0)
    with pytest.raises(ValueError, match="samples=0"):
        rank_intervals(np.array([1]), (10,), seed=0, samples=0)
    with pytest.raises(ValueError, match="must be of the same users"):
        bootstrap_intervals({"one": np.zeros(2), "other": np.zeros(3)}, seed=0)
    with pytest.raises(ValueError, match="same users in both runs"):
        paired_difference(np.zeros(2), np.zeros(3), seed=0)
    with pytest.raises(ValueError, match=r"same users in both runs, got values of shapes \(2,\) and \(3,\)"):
        difference_over_seeds(np.zeros((4, 2)), np.zeros((4, 3)), seed=0)


def test_values_over_seeds_need_a_row_per_seed() -> None:
    with pytest.raises(ValueError, match=r"a row per seed and a column per user, got shape \(3,\)"):
        estimate_over_seeds(np.zeros(3), seed=0)
    with pytest.raises(ValueError, match=r"got shape \(0, 3\)"):
        difference_over_seeds(np.zeros((1, 3)), np.zeros((0, 3)), seed=0)
