"""What lists are, against hand-computed cases and plain loops."""

from __future__ import annotations

import itertools
import math
from typing import Any

import checks
import numpy as np
import pytest
from checks import LISTS
from hypothesis import given, settings
from hypothesis import strategies as st

from sidrec.metrics import (
    INVALID,
    PADDING,
    count_duplicates,
    count_invalid,
    count_padded,
    coverage_at_k,
    gini_at_k,
    history_share_at_k,
    intra_list_diversity_at_k,
    novelty_at_k,
)

UNDEFINED = np.array([[PADDING, PADDING, PADDING], [INVALID, PADDING, PADDING]])


def figures(items: np.ndarray, case: dict[str, Any], k: int) -> dict[str, float | None]:
    """Compute what the functions of this module say of one case."""
    num_items = len(case["counts"])
    return {
        "coverage": coverage_at_k(items, num_items, k),
        "gini": gini_at_k(items, num_items, k),
        "novelty": novelty_at_k(items, case["counts"], k),
        "diversity": intra_list_diversity_at_k(items, case["vectors"], k),
        "history": history_share_at_k(items, case["histories"], k),
        "invalid": count_invalid(items, num_items),
        "padded": count_padded(items),
        "duplicates": count_duplicates(items),
    }


def figures_by_loops(items: np.ndarray, case: dict[str, Any], k: int) -> dict[str, float | None]:
    """Compute the same user by user, item by item."""
    counts, vectors, num_items = case["counts"], case["vectors"], len(case["counts"])
    shown = [[item for item in row[:k] if item >= 0] for row in items.tolist()]
    entries = [item for row in shown for item in row]
    exposures = [entries.count(item) for item in range(num_items)]
    differences = sum(abs(a - b) for a in exposures for b in exposures)  # the mean absolute difference
    diversities = [
        1 - np.mean([cosine(vectors[a], vectors[b]) for a, b in itertools.combinations(row, 2)])
        for row in shown
        if len(row) > 1
    ]
    known = [item in history for row, history in zip(shown, case["histories"], strict=True) for item in row]
    whole = [[item for item in row if item >= 0] for row in items.tolist()]
    return {
        "coverage": len(set(entries)) / num_items,
        "gini": differences / (2 * num_items * len(entries)),
        "novelty": -np.mean([math.log2((counts[i] + 1) / (sum(counts) + num_items)) for i in entries]),
        "diversity": np.mean(diversities) if diversities else None,
        "history": np.mean(known),
        "invalid": int((items == INVALID).sum()),
        "padded": sum(PADDING in row for row in items.tolist()),
        "duplicates": sum(len(row) - len(set(row)) for row in whole),
    }


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    product = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / product if product else 0.0


@st.composite
def cases(draw: st.DrawFn) -> tuple[np.ndarray, dict[str, Any], int]:
    num_users, depth, num_items = draw(st.tuples(st.integers(1, 5), st.integers(1, 6), st.integers(1, 8)))
    items = draw(checks.lists_over(num_items, num_users=num_users, depth=depth, unique=False))
    items[0, 0] = draw(st.integers(0, num_items - 1))  # so that one item is shown
    history = st.lists(st.integers(0, num_items + 2), max_size=5)  # also of items that are listed nowhere
    histories = draw(st.lists(history, min_size=num_users, max_size=num_users))
    numbers = st.integers(-2, 2)
    case = {
        "counts": np.array(draw(st.lists(st.integers(0, 9), min_size=num_items, max_size=num_items))),
        "vectors": np.array([draw(st.tuples(numbers, numbers)) for _ in range(num_items)], dtype=float),
        "histories": [np.array(one, dtype=np.int64) for one in histories],
    }
    return items, case, draw(st.integers(1, depth))


@given(cases())
@settings(max_examples=100, deadline=None)
def test_every_figure_equals_plain_loops(case: tuple[np.ndarray, dict[str, Any], int]) -> None:
    assert figures(*case) == pytest.approx(figures_by_loops(*case), abs=1e-12)


def test_chunks_do_not_change_the_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    items = rng.integers(30, size=(50, 6))
    items[::7, 2], items[::5, 4:] = INVALID, PADDING
    case = {
        "counts": rng.integers(9, size=30),
        "vectors": rng.standard_normal((30, 4)),
        "histories": [rng.integers(30, size=size) for size in rng.integers(9, size=50)],
    }
    whole = figures(items, case, 5)
    monkeypatch.setattr("sidrec.metrics.arrays._CHUNK_ELEMENTS", 40)  # 2 to 8 of the 50 users at a time
    assert figures(items, case, 5) == pytest.approx(whole)
    assert figures(items.astype(np.int32), case, 5) == pytest.approx(whole)


def test_coverage_counts_items_of_the_top_k_only() -> None:
    checks.check_coverage(coverage_at_k)


def test_gini_of_hand_computed_exposures() -> None:
    checks.check_gini(gini_at_k)


def test_diversity_is_one_minus_the_mean_cosine_over_pairs() -> None:
    checks.check_diversity(intra_list_diversity_at_k)


def test_float32_vectors_are_as_good() -> None:
    rng = np.random.default_rng(0)
    items, vectors = rng.integers(100, size=(200, 10)), rng.standard_normal((100, 64))
    exact = intra_list_diversity_at_k(items, vectors, 10)
    assert intra_list_diversity_at_k(items, vectors.astype(np.float32), 10) == pytest.approx(exact, rel=1e-6)


def test_diversity_needs_a_list_with_two_items() -> None:
    assert intra_list_diversity_at_k(LISTS, np.eye(5), 1) is None
    assert intra_list_diversity_at_k(LISTS[2:], np.eye(5), 3) is None
    assert intra_list_diversity_at_k(LISTS[:0], np.eye(5), 3) is None


def test_novelty_is_in_bits_and_finite_for_a_cold_item() -> None:
    checks.check_novelty(novelty_at_k)


def test_the_history_is_that_of_the_user_of_the_list() -> None:
    checks.check_history_share(history_share_at_k)


def test_items_with_large_numbers_are_found_in_the_history() -> None:
    large = 2**50  # times the users it fits no int32
    histories = [np.array([large, 1]), np.array([large - 1])]
    assert history_share_at_k(np.array([[large, 1], [large, 1]]), histories, 2) == 1 / 2


def test_histories_may_be_of_int32() -> None:
    histories = [np.array([1], dtype=np.int32), np.array([0, 2], dtype=np.int32)]
    assert history_share_at_k(np.array([[1, 2], [1, 2]], dtype=np.int32), histories, 2) == 1 / 2


def test_without_any_history_nothing_is_known() -> None:
    nothing = [np.array([], dtype=int)] * 4
    assert history_share_at_k(LISTS, nothing, 3) == 0


def test_invalid_padded_and_duplicate_entries_are_told_apart() -> None:
    items = np.array([[0, 0, 0], [5, INVALID, 1], [INVALID, INVALID, 2], [2, PADDING, PADDING]])
    assert count_invalid(items, 5) == 4  # 5 and three times INVALID
    assert count_padded(items) == 1  # the last row
    assert count_duplicates(items) == 2  # two repeats of 0; what is no item repeats freely


def test_an_invalid_entry_is_never_shown() -> None:
    items, without = np.array([[1, INVALID, 2], [INVALID, 0, 2]]), np.array([[1, 2, -1], [0, 2, -1]])
    case = {
        "counts": np.array([2, 1, 0]),
        "vectors": np.array([[1.0, 0], [0, 1], [1, 1]]),
        "histories": [np.array([2]), np.array([1])],
    }
    counted = {"invalid", "padded"}
    expected = {name: value for name, value in figures(without, case, 3).items() if name not in counted}
    assert {name: value for name, value in figures(items, case, 3).items() if name not in counted} == expected


def test_items_outside_the_catalogue_are_refused() -> None:
    message = (
        "1 list entries are no item: the catalogue has items 0 to 3. Mark an entry that names no item as"
    )
    with pytest.raises(ValueError, match=message):
        coverage_at_k(LISTS, 4, 3)
    with pytest.raises(ValueError, match=message):
        gini_at_k(LISTS, 4, 3)
    with pytest.raises(ValueError, match=message):
        novelty_at_k(LISTS, np.ones(4, dtype=int), 3)
    with pytest.raises(ValueError, match=message):
        intra_list_diversity_at_k(LISTS, np.eye(4), 3)
    with pytest.raises(ValueError, match=r"1 list entries are no item"):
        coverage_at_k(np.array([[0, -3]]), 4, 2)
    with pytest.raises(ValueError, match=r"INVALID \(-2\), got -3"):
        history_share_at_k(np.array([[0, -3]]), [np.array([0])], 2)


def test_a_k_beyond_the_lists_is_refused() -> None:
    for k in (0, 4):
        with pytest.raises(ValueError, match=f"k={k} is outside the lists, which have 3 places"):
            gini_at_k(LISTS, 5, k)
        with pytest.raises(ValueError, match=f"k={k} is outside the lists"):
            intra_list_diversity_at_k(LISTS, np.eye(5), k)
        with pytest.raises(ValueError, match=f"k={k} is outside the lists"):
            history_share_at_k(LISTS, [np.array([0])] * 4, k)


def test_shares_of_nothing_are_refused_and_cover_nothing() -> None:
    with pytest.raises(ValueError, match="Gini of exposure is not defined for lists without any item"):
        gini_at_k(UNDEFINED, 5, 3)
    with pytest.raises(ValueError, match="Novelty is not defined for lists without any item"):
        novelty_at_k(UNDEFINED, np.ones(5, dtype=int), 3)
    with pytest.raises(ValueError, match="Share of the history is not defined for lists without any item"):
        history_share_at_k(UNDEFINED, [np.array([0])] * 2, 3)
    assert coverage_at_k(UNDEFINED, 5, 3) == 0


def test_histories_of_other_users_or_of_no_items_are_refused() -> None:
    with pytest.raises(ValueError, match="A history per user is needed, got 1 for 4 lists"):
        history_share_at_k(LISTS, [np.array([0])], 3)
    with pytest.raises(ValueError, match="integers of at least 0"):
        history_share_at_k(LISTS[:1], [np.array([0.5])], 3)
    with pytest.raises(ValueError, match="integers of at least 0"):
        history_share_at_k(LISTS[:1], [np.array([PADDING])], 3)


def test_vectors_that_are_not_finite_or_no_table_are_refused() -> None:
    with pytest.raises(ValueError, match="finite item vectors, got NaN or infinity"):
        intra_list_diversity_at_k(LISTS, np.full((5, 2), np.nan), 3)
    with pytest.raises(ValueError, match=r"\(N, D\), got shape \(5,\)"):
        intra_list_diversity_at_k(LISTS, np.ones(5), 3)


def test_negative_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="0 or more, for every item"):
        novelty_at_k(LISTS, np.array([1, -1, 0, 0, 0]), 3)
