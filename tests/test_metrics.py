"""Ranks and their metrics against hand-computed cases, scikit-learn's ndcg_score and plain loops."""

from __future__ import annotations

import math

import checks
import numpy as np
import pytest
from checks import LISTS, SID_OF_ITEM
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score

from sidrec.metrics import INVALID, PADDING, check_metrics, metrics_at_k, sid_ranks, target_ranks


def test_ranks_are_one_based_and_zero_for_a_miss() -> None:
    checks.check_ranks(target_ranks)


def test_an_invalid_entry_holds_its_place_and_is_no_hit() -> None:
    checks.check_invalid_entries_hold_their_place(target_ranks)


def test_an_item_with_the_same_sid_is_no_hit() -> None:
    checks.check_item_level(target_ranks)


def test_a_sid_is_ranked_among_distinct_sids() -> None:
    checks.check_sid_level(sid_ranks)


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
    checks.check_values_at_k(metrics_at_k)


def test_a_rank_far_beyond_all_depths_is_a_miss() -> None:
    values = metrics_at_k(np.array([10**15, 5]), ks=(3, 10))
    assert values["mrr@10"].tolist() == [0, 1 / 5]


def test_a_depth_far_beyond_all_ranks_costs_nothing() -> None:
    assert metrics_at_k(np.array([5, 0]), ks=(10**15,))["hr@1000000000000000"].tolist() == [1, 0]


def test_metrics_of_no_users_are_empty() -> None:
    assert metrics_at_k(np.empty(0, dtype=int), ks=(3,))["ndcg@3"].tolist() == []


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
    cut = metrics_at_k(target_ranks(items[:, :10], targets), ks=(k,))[f"ndcg@{k}"].mean()
    assert cut == pytest.approx(ndcg_score(relevance, scores, k=min(k, 10)))


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
@settings(max_examples=100, deadline=None)
def test_ranks_equal_a_search_with_plain_lists(data: st.DataObject) -> None:
    num_users, depth, num_items = data.draw(
        st.tuples(st.integers(1, 5), st.integers(1, 6), st.integers(1, 8))
    )
    items = data.draw(checks.lists_over(num_items, num_users=num_users, depth=depth))
    targets = data.draw(st.lists(st.integers(0, num_items - 1), min_size=num_users, max_size=num_users))
    sids = data.draw(st.lists(st.integers(-2, 3), min_size=num_items, max_size=num_items))
    expected, expected_sid = [], []
    for row, target in zip(items.tolist(), targets, strict=True):
        expected.append(row.index(target) + 1 if target in row else 0)
        named = [("none", place) if item == INVALID else sids[item] for place, item in enumerate(row)]
        distinct = list(dict.fromkeys(sid for sid, item in zip(named, row, strict=True) if item != PADDING))
        expected_sid.append(distinct.index(sids[target]) + 1 if sids[target] in distinct else 0)
    assert target_ranks(items, np.array(targets)).tolist() == expected
    assert sid_ranks(items, np.array(targets), np.array(sids)).tolist() == expected_sid


def test_chunks_do_not_change_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    items, targets = rng.integers(0, 5, size=(50, 6)), rng.integers(5, size=50)
    whole = [target_ranks(items, targets).tolist(), sid_ranks(items, targets, SID_OF_ITEM).tolist()]
    monkeypatch.setattr("sidrec.metrics.arrays._CHUNK_ELEMENTS", 20)  # 3 of the 50 users at a time
    assert [target_ranks(items, targets).tolist(), sid_ranks(items, targets, SID_OF_ITEM).tolist()] == whole


def test_sid_ranks_equal_item_ranks_when_no_sid_collides() -> None:
    targets = np.array([0, 2, 3, 1])
    assert (
        sid_ranks(LISTS, targets, np.array([9, 7, 5, 3, 1])).tolist() == target_ranks(LISTS, targets).tolist()
    )


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


def test_unknown_negative_entries_are_refused() -> None:
    with pytest.raises(ValueError, match=r"PADDING \(-1\) and INVALID \(-2\), got -3"):
        target_ranks(np.array([[0, -3]]), np.array([0]))


def test_items_outside_the_catalogue_have_no_sid() -> None:
    with pytest.raises(ValueError, match="1 list entries are no item: the catalogue has items 0 to 3"):
        sid_ranks(LISTS, np.array([0, 0, 0, 0]), np.arange(4))
    with pytest.raises(ValueError, match="Target 7 is not an item"):
        sid_ranks(LISTS, np.array([0, 0, 0, 7]), np.arange(5))


def test_codes_are_not_taken_for_numbers_of_sids() -> None:
    with pytest.raises(ValueError, match=r"one number per item, got shape \(5, 3\)"):
        sid_ranks(LISTS, np.array([0, 0, 0, 0]), np.zeros((5, 3), dtype=int))


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
