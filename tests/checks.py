"""What the metrics and the split must pass, and their broken twins in `test_broken_metrics.py` must not.

Each check takes the function to be checked; all expectations were computed by hand.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import strategies as st

from sidrec.catalog import Catalog
from sidrec.catalog.splits import Split
from sidrec.metrics import INVALID, PADDING

Function = Callable[..., Any]

LISTS = np.array([[4, 2, 0], [1, 3, 2], [3, PADDING, PADDING], [PADDING, PADDING, PADDING]])
SID_OF_ITEM = np.array([0, 0, 1, 1, 2])  # items 0 and 1 collide, and 2 and 3


@st.composite
def lists_over(draw: st.DrawFn, num_items: int, *, num_users: int, depth: int, unique: bool = True) -> Any:
    """Draw (U, M) lists that may be short and may hold `INVALID`."""
    rows = []
    for _ in range(num_users):
        found = draw(st.lists(st.integers(0, num_items - 1), max_size=depth, unique=unique))
        marked = [INVALID if draw(st.integers(0, 4)) == 0 else item for item in found]
        rows.append(marked + [PADDING] * (depth - len(marked)))
    return np.array(rows, dtype=draw(st.sampled_from([np.int32, np.int64]))).reshape(num_users, depth)


def check_ranks(target_ranks: Function) -> None:
    """Check that ranks count from 1 and are 0 for a miss."""
    assert target_ranks(LISTS, np.array([4, 2, 3, 0])).tolist() == [1, 3, 1, 0]
    assert target_ranks(LISTS, np.array([0, 0, 0, 4])).tolist() == [3, 0, 0, 0]


def check_invalid_entries_hold_their_place(target_ranks: Function) -> None:
    """Check that items do not move up to where a foreign list names no item."""
    items = np.array([[INVALID, 2, 0], [INVALID, INVALID, INVALID], [1, INVALID, 2]])
    assert target_ranks(items, np.array([2, 0, 2])).tolist() == [2, 0, 3]


def check_item_level(target_ranks: Function) -> None:
    """Check that another item with the target's semantic ID is a miss and takes a place."""
    items = np.array([[0, 2, 4], [0, 1, 2], [2, 3, 4]])
    # Target 1 is not in the first list, though item 0 has its SID; items 2 and 4 are third.
    assert target_ranks(items, np.array([1, 2, 4])).tolist() == [0, 3, 3]


def check_sid_level(sid_ranks: Function) -> None:
    """Check that any item with the target's semantic ID is a hit, and that a SID takes one place."""
    items = np.array([[0, 2, 4, 1, 3], [0, 1, 2, 3, 4], [INVALID, INVALID, 2, 3, 0], [2, 3, 2, -1, -1]])
    # SIDs: 0 1 2 0 1, target SID 0 first; 0 0 1 1 2, SID 2 third; ? ? 1 1 0, SID 0 fourth; 1 1 1, no SID 0.
    assert sid_ranks(items, np.array([1, 4, 1, 0]), SID_OF_ITEM).tolist() == [1, 3, 4, 0]


def check_values_at_k(metrics_at_k: Function) -> None:
    """Check HR, NDCG and MRR of hand-computed ranks, within k and just beyond it."""
    values = metrics_at_k(np.array([1, 3, 7, 0]), (2, 3, 6, 7))
    # rank 1: 1/log2(2) = 1; rank 3: 1/log2(4) = 1/2; rank 7: 1/log2(8) = 1/3
    assert values["hr@2"].tolist() == [1, 0, 0, 0]
    assert values["hr@3"].tolist() == values["hr@6"].tolist() == [1, 1, 0, 0]
    assert values["hr@7"].tolist() == [1, 1, 1, 0]
    assert values["ndcg@2"] == pytest.approx([1, 0, 0, 0])
    assert values["ndcg@6"] == pytest.approx([1, 1 / 2, 0, 0])
    assert values["ndcg@7"] == pytest.approx([1, 1 / 2, 1 / 3, 0])
    assert values["mrr@6"] == pytest.approx([1, 1 / 3, 0, 0])
    assert values["mrr@7"] == pytest.approx([1, 1 / 3, 1 / 7, 0])


def check_coverage(coverage_at_k: Function) -> None:
    """Check that only items of the top k are covered, and each once."""
    items = np.array([[0, INVALID, 5], [0, 2, PADDING]])
    assert coverage_at_k(items, 10, 1) == pytest.approx(1 / 10)  # {0}
    assert coverage_at_k(items, 10, 2) == pytest.approx(2 / 10)  # {0, 2}
    assert coverage_at_k(items, 10, 3) == pytest.approx(3 / 10)  # {0, 2, 5}


def check_gini(gini_at_k: Function) -> None:
    """Check the Gini coefficient of hand-computed exposures."""
    assert gini_at_k(np.array([[0, 1], [2, 3]]), 4, 2) == pytest.approx(0)
    assert gini_at_k(np.array([[0], [0], [0]]), 4, 1) == pytest.approx(1 - 1 / 4)
    # exposures 3 1 0 0, sorted 0 0 1 3: 2 * (3 * 1 + 4 * 3) / (4 * 4) - 5 / 4 = 30 / 16 - 20 / 16 = .625
    assert gini_at_k(np.array([[0, 1], [0, INVALID], [0, PADDING]]), 4, 2) == pytest.approx(0.625)


def check_diversity(intra_list_diversity_at_k: Function) -> None:
    """Check 1 - the mean cosine over pairs, of vectors of any length, one of them zero."""
    vectors = np.array([[1.0, 0], [0, 2], [3, 0], [0, 0], [1, 1]])
    items = np.array([[0, 1, 2], [0, 3, PADDING], [4, INVALID, PADDING]])
    # cosines of 0, 1, 2: 0 1 0, so 1 - 1/3; of 0 and the zero vector: 0, so 1; the last list has one item
    assert intra_list_diversity_at_k(items, vectors, 3) == pytest.approx((2 / 3 + 1) / 2)
    assert intra_list_diversity_at_k(items, vectors, 2) == pytest.approx(1)  # of 0 and 1, of 0 and 3
    assert intra_list_diversity_at_k(np.array([[0, 4]]), vectors, 2) == pytest.approx(1 - np.sqrt(1 / 2))
    assert intra_list_diversity_at_k(np.array([[0, 2, 0]]), vectors, 3) == pytest.approx(0)


def check_novelty(novelty_at_k: Function) -> None:
    """Check the mean of -log2 p over the shown entries, in bits, one event added to each item."""
    counts = np.array([3, 0, 2])  # with one more each 4, 1 and 3 of 8: 1 bit, 3 bits, log2(8/3) bits
    assert novelty_at_k(np.array([[0, 1]]), counts, 2) == pytest.approx(2)
    assert novelty_at_k(np.array([[0, 1]]), counts, 1) == pytest.approx(1)
    assert novelty_at_k(np.array([[0, 1], [INVALID, 1], [1, PADDING]]), counts, 2) == pytest.approx(10 / 4)


def check_history_share(history_share_at_k: Function) -> None:
    """Check the share of shown entries that their own user has had."""
    histories = [np.array([2, 0, 2]), np.array([4, 0]), np.array([], dtype=int)]
    items = np.array([[0, 1, 2], [1, INVALID, 4], [0, PADDING, PADDING]])
    # shown: 0 1 2, 1 4, 0; in the own history: 0 2, 4, none
    assert history_share_at_k(items, histories, 3) == pytest.approx(3 / 6)
    assert history_share_at_k(items, histories, 1) == pytest.approx(1 / 3)
    assert history_share_at_k(items, histories, 2) == pytest.approx(1 / 4)


def check_no_leak(split: Callable[[Catalog], Split]) -> None:
    """Check that no user's last two items are in train, and none is in the history that predicts it.

    Users have each item once, so that an item stands for its event.
    """
    rng = np.random.default_rng(0)
    items = pd.DataFrame({"item_id": [f"i{n}" for n in range(12)], "title": "a thing"})
    for _ in range(5):
        histories = {f"u{user}": rng.permutation(12)[: rng.integers(1, 9)] for user in range(30)}
        events = [(user, f"i{item}") for user, history in histories.items() for item in history]
        found = split(Catalog(items, pd.DataFrame(events, columns=["user_id", "item_id"])))
        assert found.valid.user_ids == found.test.user_ids == [u for u, h in histories.items() if len(h) > 2]
        train = dict(zip(found.user_ids, found.train, strict=True))
        of_valid = dict(zip(found.valid.user_ids, found.valid.histories, strict=True))
        of_test = dict(zip(found.test.user_ids, found.test.histories, strict=True))
        for user in found.test.user_ids:
            valid, test = histories[user][-2:]
            assert not {valid, test} & set(train[user]), f"train of {user} knows its valid or test item"
            assert not {valid, test} & set(of_valid[user]), f"the valid history of {user} knows the answer"
            assert test not in of_test[user], f"the test history of {user} knows the answer"
