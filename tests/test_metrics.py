"""Metrics against hand-computed cases, scikit-learn's ndcg_score and properties of any ranks."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score

from sidrec.metrics import (
    PADDING,
    Interval,
    bootstrap_interval,
    bootstrap_intervals,
    check_metrics,
    count_duplicates,
    count_invalid,
    count_padded,
    coverage_at_k,
    gini_at_k,
    metrics_at_k,
    paired_difference,
    popularity_slices,
    sid_ranks,
    target_ranks,
)

LISTS = np.array([[4, 2, 0], [1, 3, 2], [3, PADDING, PADDING], [PADDING, PADDING, PADDING]])


def test_ranks_are_one_based_and_zero_for_a_miss() -> None:
    assert target_ranks(LISTS, np.array([4, 2, 3, 0])).tolist() == [1, 3, 1, 0]
    assert target_ranks(LISTS, np.array([0, 0, 0, 4])).tolist() == [3, 0, 0, 0]


def test_two_users_with_the_same_list_keep_their_own_targets() -> None:
    items = np.array([[5, 6, 7], [5, 6, 7]])
    assert target_ranks(items, np.array([7, 5])).tolist() == [3, 1]


def test_no_users_and_empty_lists_have_ranks_too() -> None:
    assert target_ranks(np.empty((0, 3), dtype=int), np.empty(0, dtype=int)).tolist() == []
    assert target_ranks(np.empty((2, 0), dtype=int), np.array([0, 1])).tolist() == [0, 0]


def test_a_target_at_place_k_counts_at_k_and_not_at_k_minus_1() -> None:
    values = metrics_at_k(np.array([10, 11, 1, 0]), ks=(1, 9, 10))
    assert values["hr@1"].tolist() == [0, 0, 1, 0]
    assert values["hr@9"].tolist() == [0, 0, 1, 0]
    assert values["hr@10"].tolist() == [1, 0, 1, 0]


def test_metrics_of_hand_computed_ranks() -> None:
    values = metrics_at_k(np.array([1, 3, 7, 0]), ks=(5, 10))
    # rank 1: 1/log2(2) = 1; rank 3: 1/log2(4) = 1/2; rank 7: 1/log2(8) = 1/3, beyond 5
    assert values["ndcg@5"] == pytest.approx([1, 1 / 2, 0, 0])
    assert values["ndcg@10"] == pytest.approx([1, 1 / 2, 1 / 3, 0])
    assert values["mrr@5"] == pytest.approx([1, 1 / 3, 0, 0])
    assert values["mrr@10"] == pytest.approx([1, 1 / 3, 1 / 7, 0])
    assert list(values) == ["hr@5", "ndcg@5", "mrr@5", "hr@10", "ndcg@10", "mrr@10"]


def test_default_depths_are_those_of_the_design() -> None:
    names = [f"{name}@{k}" for k in (1, 3, 5, 10, 20) for name in ("hr", "ndcg", "mrr")]
    assert list(metrics_at_k(np.array([1]))) == names


@pytest.mark.parametrize("k", [1, 3, 10, 20])
def test_ndcg_equals_scikit_learn(k: int) -> None:
    num_items, num_users = 20, 40
    rng = np.random.default_rng(0)
    items = rng.permuted(np.tile(np.arange(num_items), (num_users, 1)), axis=1)
    targets = rng.integers(num_items, size=num_users)
    scores = np.empty((num_users, num_items))  # a whole ranking as scores: best item N, worst 1
    np.put_along_axis(scores, items, np.arange(num_items, 0, -1.0)[None, :], axis=1)
    relevance = np.eye(num_items)[targets]
    ours = metrics_at_k(target_ranks(items, targets), ks=(k,))[f"ndcg@{k}"].mean()
    assert ours == pytest.approx(ndcg_score(relevance, scores, k=k))


@given(
    st.lists(st.integers(0, 60), min_size=1, max_size=30), st.sets(st.integers(1, 50), min_size=1, max_size=6)
)
@settings(max_examples=50, deadline=None)
def test_metrics_grow_with_k_and_ndcg_stays_below_hit_rate(ranks: list[int], depths: set[int]) -> None:
    ks = sorted(depths)
    values = metrics_at_k(np.array(ranks), ks)
    for k, next_k in zip(ks, [*ks[1:], ks[-1]], strict=True):
        assert (values[f"mrr@{k}"] <= values[f"ndcg@{k}"]).all()
        assert (values[f"ndcg@{k}"] <= values[f"hr@{k}"]).all()
        for name in ("hr", "ndcg", "mrr"):
            assert (values[f"{name}@{k}"] <= values[f"{name}@{next_k}"]).all()


@given(st.data())
@settings(max_examples=50, deadline=None)
def test_ranks_equal_a_search_with_plain_lists(data: st.DataObject) -> None:
    num_users, depth, num_items = data.draw(
        st.tuples(st.integers(1, 5), st.integers(1, 6), st.integers(1, 8))
    )
    rows, targets = (
        [],
        data.draw(st.lists(st.integers(0, num_items - 1), min_size=num_users, max_size=num_users)),
    )
    for _ in range(num_users):
        found = data.draw(st.lists(st.integers(0, num_items - 1), max_size=depth, unique=True))
        rows.append(found + [PADDING] * (depth - len(found)))
    sids = data.draw(st.lists(st.integers(-2, 3), min_size=num_items, max_size=num_items))
    expected, expected_sid = [], []
    for row, target in zip(rows, targets, strict=True):
        expected.append(row.index(target) + 1 if target in row else 0)
        distinct = list(dict.fromkeys(sids[item] for item in row if item != PADDING))
        expected_sid.append(distinct.index(sids[target]) + 1 if sids[target] in distinct else 0)
    assert target_ranks(np.array(rows), np.array(targets)).tolist() == expected
    assert sid_ranks(np.array(rows), np.array(targets), np.array(sids)).tolist() == expected_sid


def test_a_sid_is_ranked_among_distinct_sids() -> None:
    sid_of_item = np.array([0, 0, 1, 1, 2])
    items = np.array([[0, 1, 2, 3, 4], [2, 3, 0, PADDING, PADDING], [2, PADDING, PADDING, PADDING, PADDING]])
    # SIDs of row 0: 0 0 1 1 2, so item 4 is item-level 5th and SID-level 3rd. Row 1: 1 1 0, target 1 has the
    # SID of item 0: a SID-level hit at 2 although the item is missing. Row 2: SID 2 is absent.
    targets = np.array([4, 1, 4])
    assert sid_ranks(items, targets, sid_of_item).tolist() == [3, 2, 0]
    assert target_ranks(items, targets).tolist() == [5, 0, 0]


def test_sid_ranks_equal_item_ranks_when_no_sid_collides() -> None:
    targets = np.array([0, 2, 3, 1])
    assert (
        sid_ranks(LISTS, targets, np.array([9, 7, 5, 3, 1])).tolist() == target_ranks(LISTS, targets).tolist()
    )


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


def test_metrics_share_the_resampled_users() -> None:
    values = np.random.default_rng(0).random(200)
    both = bootstrap_intervals({"one": values, "minus": -values}, seed=1)
    # the same users are drawn, so the interval of -x is the mirrored interval of x
    assert both["minus"].low == pytest.approx(-both["one"].high)
    assert both["minus"].high == pytest.approx(-both["one"].low)


def test_chunks_do_not_change_the_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).random(100)
    whole = bootstrap_interval(values, seed=1, samples=100)
    monkeypatch.setattr("sidrec.metrics.intervals._CHUNK_ELEMENTS", 700)  # 7 of the 100 resamples at a time
    chunked = bootstrap_interval(values, seed=1, samples=100)
    assert (chunked.low, chunked.high) == pytest.approx((whole.low, whole.high))


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


def test_coverage_counts_items_of_the_top_k_only() -> None:
    items = np.array([[0, 1, 5], [0, 2, PADDING]])
    assert coverage_at_k(items, 10, 1) == pytest.approx(1 / 10)  # {0}
    assert coverage_at_k(items, 10, 2) == pytest.approx(3 / 10)  # {0, 1, 2}
    assert coverage_at_k(items, 10, 3) == pytest.approx(4 / 10)  # and 5; padding is no item


def test_gini_is_zero_for_equal_exposure_and_near_one_for_a_single_item() -> None:
    assert gini_at_k(np.array([[0, 1], [2, 3]]), 4, 2) == pytest.approx(0)
    assert gini_at_k(np.array([[0], [0], [0]]), 4, 1) == pytest.approx(1 - 1 / 4)


def test_gini_of_hand_computed_exposures() -> None:
    # exposures 3 1 0 0, sorted 0 0 1 3: 2 * (3 * 1 + 4 * 3) / (4 * 4) - 5 / 4 = 30 / 16 - 20 / 16 = .625
    items = np.array([[0, 1], [0, PADDING], [0, PADDING]])
    assert gini_at_k(items, 4, 2) == pytest.approx(0.625)


def test_slices_are_thirds_of_the_train_events() -> None:
    counts = np.array([0, 4, 2, 2, 1, 1, 1, 1])  # 12 events, thirds of 4
    # by popularity: item 1 (events 0-3) head; 2 and 3 (4-7) mid; 4 to 7 (8-11) tail; 0 cold
    slices = popularity_slices(np.arange(8), counts)
    assert np.flatnonzero(slices["head"]).tolist() == [1]
    assert np.flatnonzero(slices["mid"]).tolist() == [2, 3]
    assert np.flatnonzero(slices["tail"]).tolist() == [4, 5, 6, 7]
    assert np.flatnonzero(slices["cold"]).tolist() == [0]
    assert list(slices) == ["cold", "tail", "mid", "head"]


def test_an_item_belongs_to_the_third_of_its_first_event() -> None:
    # 9 events, thirds of 3: item 0 holds 0-4 (head), item 1 5-6 (mid), items 2 and 3 7 and 8 (tail)
    slices = popularity_slices(np.array([3, 0, 1, 2, 0]), np.array([5, 2, 1, 1]))
    assert slices["head"].tolist() == [False, True, False, False, True]
    assert slices["mid"].tolist() == [False, False, True, False, False]
    assert slices["tail"].tolist() == [True, False, False, True, False]


def test_every_user_is_in_exactly_one_slice() -> None:
    rng = np.random.default_rng(0)
    slices = popularity_slices(rng.integers(50, size=300), rng.poisson(1.5, size=50))
    assert (np.sum(list(slices.values()), axis=0) == 1).all()


def test_without_train_events_every_target_is_cold() -> None:
    assert popularity_slices(np.array([0, 1]), np.zeros(2, dtype=int))["cold"].all()


def test_invalid_padded_and_duplicate_entries_are_told_apart() -> None:
    items = np.array([[0, 0, 0], [5, -2, 1], [2, PADDING, PADDING]])
    assert count_invalid(items, 5) == 2  # 5 and -2
    assert count_padded(items) == 1  # the last row
    assert count_duplicates(items) == 2  # two repeats of 0; padding repeats freely


def test_targets_of_other_users_are_refused() -> None:
    with pytest.raises(ValueError, match=r"same users, got shapes \(4, 3\) and \(3,\)"):
        target_ranks(LISTS, np.array([0, 1, 2]))


def test_a_padding_target_is_refused_rather_than_found_in_the_padding() -> None:
    with pytest.raises(ValueError, match="at least 0, got -1"):
        target_ranks(LISTS, np.array([0, 1, 2, PADDING]))


def test_float_indices_are_refused() -> None:
    with pytest.raises(ValueError, match="integer indices, got float64"):
        target_ranks(LISTS.astype(float), np.array([0, 1, 2, 3]))


def test_padding_before_an_item_is_a_fault_of_ours() -> None:
    with pytest.raises(RuntimeError, match="item after a padding entry"):
        target_ranks(np.array([[PADDING, 1]]), np.array([1]))


def test_items_outside_the_catalogue_are_refused() -> None:
    with pytest.raises(ValueError, match="1 list entries are no item: the catalogue has items 0 to 3"):
        sid_ranks(LISTS, np.array([0, 0, 0, 0]), np.arange(4))
    with pytest.raises(ValueError, match="Target 7 is not an item"):
        sid_ranks(LISTS, np.array([0, 0, 0, 7]), np.arange(5))
    with pytest.raises(ValueError, match="1 list entries are no item"):
        coverage_at_k(LISTS, 4, 3)
    with pytest.raises(ValueError, match="target is not an item"):
        popularity_slices(np.array([3]), np.array([1, 2, 3]))


def test_a_k_beyond_the_lists_is_refused() -> None:
    with pytest.raises(ValueError, match="k=4 is outside the lists, which have 3 places"):
        gini_at_k(LISTS, 5, 4)


def test_gini_of_empty_lists_is_refused() -> None:
    with pytest.raises(ValueError, match="lists without any item"):
        gini_at_k(LISTS[3:], 5, 3)


def test_negative_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="0 or more, for every item"):
        popularity_slices(np.array([0]), np.array([-1]))


def test_negative_ranks_and_depths_are_refused() -> None:
    with pytest.raises(ValueError, match="1 or more, and 0 for a target"):
        metrics_at_k(np.array([-1]))
    with pytest.raises(ValueError, match=r"at least 1, got \[0, 5\]"):
        metrics_at_k(np.array([1]), ks=(0, 5))


@pytest.mark.parametrize(
    ("name", "wrong", "message"),
    [
        ("ndcg@1", 1.5, "ndcg@1 is not at most hr@1"),
        ("hr@1", math.nan, "ndcg@1 is not at most hr@1"),
        ("mrr@3", -1.0, "0 is not at most mrr@3"),
        ("hr@3", 2.0, "hr@3 is not at most 1"),
    ],
)
def test_impossible_metrics_are_a_fault_of_ours(name: str, wrong: float, message: str) -> None:
    values = metrics_at_k(np.array([1, 2]), ks=(1, 3))
    values[name] = np.array([wrong, 1.0])
    with pytest.raises(RuntimeError, match=message):
        check_metrics(values)


def test_a_metric_that_falls_with_k_is_a_fault_of_ours() -> None:
    values = metrics_at_k(np.array([1]), ks=(1, 3))
    swapped = {name: values[name] * (0 if name.endswith("@3") else 1) for name in values}
    with pytest.raises(RuntimeError, match="hr@1 is not at most hr@3"):
        check_metrics(swapped)


def test_intervals_need_finite_values_of_the_same_users() -> None:
    with pytest.raises(ValueError, match="finite values"):
        bootstrap_interval(np.array([1.0, math.nan]), seed=0)
    with pytest.raises(ValueError, match="at least one user"):
        bootstrap_interval(np.array([]), seed=0)
    with pytest.raises(ValueError, match="samples=0"):
        bootstrap_interval(np.array([1.0]), seed=0, samples=0)
    with pytest.raises(ValueError, match="must be of the same users"):
        bootstrap_intervals({"one": np.zeros(2), "other": np.zeros(3)}, seed=0)
    with pytest.raises(ValueError, match="same users in both runs"):
        paired_difference(np.zeros(2), np.zeros(3), seed=0)
