"""Kinds of users: hand-computed cuts, and that every user is in exactly one slice of each kind."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidrec.metrics import (
    Slice,
    arrival_slices,
    collision_slices,
    history_length_slices,
    popularity_slices,
)


def users(slices: dict[str, Slice]) -> dict[str, list[int]]:
    return {name: np.flatnonzero(one.mask).tolist() for name, one in slices.items()}


def descriptions(slices: dict[str, Slice]) -> list[str]:
    return [one.description for one in slices.values()]


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_every_user_is_in_exactly_one_slice_of_each_kind(data: st.DataObject) -> None:
    num_items = data.draw(st.integers(1, 12))
    targets = np.array(data.draw(st.lists(st.integers(0, num_items - 1), min_size=1, max_size=9)))
    counts = data.draw(st.lists(st.integers(0, 5), min_size=num_items, max_size=num_items))
    sids = data.draw(st.lists(st.integers(0, 5), min_size=num_items, max_size=num_items))
    lengths = data.draw(st.lists(st.integers(0, 9), min_size=len(targets), max_size=len(targets)))
    for slices in (
        popularity_slices(targets, np.array(counts)),
        history_length_slices(np.array(lengths)),
        arrival_slices(targets, num_items),
        collision_slices(targets, np.array(sids)) or {"all": Slice("no SID is shared", targets >= 0)},
    ):
        assert (np.sum([one.mask for one in slices.values()], axis=0) == 1).all()


def test_popularity_slices_are_thirds_of_the_train_events() -> None:
    counts = np.array([0, 4, 2, 2, 1, 1, 1, 1])  # 12 events, thirds of 4
    # by popularity: item 1 (events 0-3) head; 2 and 3 (4-7) mid; 4 to 7 (8-11) tail; 0 cold
    slices = popularity_slices(np.arange(8), counts)
    assert users(slices) == {"cold": [0], "tail": [4, 5, 6, 7], "mid": [2, 3], "head": [1]}
    assert list(slices) == ["cold", "tail", "mid", "head"]
    assert descriptions(slices) == [
        "targets with 0 train events (1 item)",
        "targets with 1 train event (4 items)",
        "targets with 2 train events (2 items)",
        "targets with 4 train events (1 item)",
    ]


def test_an_item_belongs_to_the_third_of_its_first_event() -> None:
    # 9 events, thirds of 3: item 0 holds 0-4 (head), item 1 5-6 (mid), items 2 and 3 7 and 8 (tail)
    slices = popularity_slices(np.array([3, 0, 1, 2, 0]), np.array([5, 2, 1, 1]))
    assert users(slices) == {"cold": [], "tail": [0, 3], "mid": [2], "head": [1, 4]}
    assert slices["cold"].description == "no item of the catalogue"


def test_equal_counts_on_both_sides_of_a_cut_are_seen_in_both_descriptions() -> None:
    slices = popularity_slices(np.arange(4), np.array([1, 2, 1, 1]))  # 5 events: 0-1 head, 2-3 mid, 4 tail
    # the first events 0, 2, 3 and 4 of five lie in thirds 0, 1, 1 and 2
    assert users(slices) == {"cold": [], "tail": [3], "mid": [0, 2], "head": [1]}
    assert slices["tail"].description == "targets with 1 train event (1 item)"
    assert slices["mid"].description == "targets with 1 train event (2 items)"


def test_without_train_events_every_target_is_cold() -> None:
    assert users(popularity_slices(np.array([0, 1]), np.zeros(2, dtype=int)))["cold"] == [0, 1]


def test_histories_are_cut_into_quarters_of_the_users() -> None:
    slices = history_length_slices(np.array([8, 1, 2, 3, 7, 4, 5, 6]))
    assert users(slices) == {"1-2": [1, 2], "3-4": [3, 5], "5-6": [6, 7], "7-8": [0, 4]}
    assert slices["1-2"].description == "histories of 1-2 items"


def test_users_with_equal_histories_stay_together() -> None:
    # 3 3 3 3 3 3 are users 1 to 7 of 10, their middle is at 4 of 10: the second quarter. 1 is in the first,
    # 4 (middle 7.5 of 10) and 9 and 20 in the last.
    lengths = np.array([3, 3, 1, 3, 3, 4, 9, 20, 3, 3])
    assert users(history_length_slices(lengths)) == {"1": [2], "3": [0, 1, 3, 4, 8, 9], "4-20": [5, 6, 7]}
    assert history_length_slices(lengths)["1"].description == "histories of 1 item"


@pytest.mark.parametrize(
    ("lengths", "names"),
    [([5, 5, 5], ["5"]), ([2, 6], ["2", "6"]), ([7], ["7"]), ([], []), ([0, 0, 0, 0, 9], ["0", "9"])],
)
def test_few_distinct_lengths_make_fewer_slices(lengths: list[int], names: list[str]) -> None:
    assert list(history_length_slices(np.array(lengths, dtype=int))) == names


def test_arrival_is_cut_into_quarters_of_the_catalogue() -> None:
    slices = arrival_slices(np.array([9, 0, 2, 3, 4, 5, 7, 8]), 10)
    # item i is in quarter 4 i // 10: 0-2, 3-4, 5-7, 8-9
    assert users(slices) == {
        "first quarter": [1, 2],
        "second quarter": [3, 4],
        "third quarter": [5, 6],
        "last quarter": [0, 7],
    }
    assert slices["first quarter"].description == "targets in rows 0-2 of the catalogue (3 items)"
    assert slices["last quarter"].description == "targets in rows 8-9 of the catalogue (2 items)"


def test_a_catalogue_of_fewer_than_four_items_has_empty_quarters() -> None:
    assert descriptions(arrival_slices(np.array([0]), 2)) == [
        "targets in rows 0-0 of the catalogue (1 item)",
        "no item of the catalogue",
        "targets in rows 1-1 of the catalogue (1 item)",
        "no item of the catalogue",
    ]


def test_arrival_does_not_overflow_small_integers() -> None:
    slices = arrival_slices(np.array([2**30], dtype=np.int32), 2**30 + 1)
    assert users(slices)["last quarter"] == [0]


def test_collisions_are_counted_in_the_catalogue_and_not_among_the_targets() -> None:
    sid_of_item = np.repeat([7, 3, 5, 9, 1], [1, 2, 3, 5, 6])  # items 0; 1 2; 3-5; 6-10; 11-16
    slices = collision_slices(np.array([16, 0, 2, 5, 6, 0]), sid_of_item)
    assert users(slices) == {"own": [1, 5], "2": [2], "3-5": [3, 4], "6 or more": [0]}
    assert descriptions(slices) == [
        "targets whose semantic ID is theirs alone (1 item)",
        "targets whose semantic ID is shared by 2 items (2 items)",
        "targets whose semantic ID is shared by 3-5 items (8 items)",
        "targets whose semantic ID is shared by 6 or more items (6 items)",
    ]


def test_without_collisions_there_is_nothing_to_divide() -> None:
    assert collision_slices(np.array([0, 1]), np.array([4, 2, 3])) == {}


def test_targets_outside_the_catalogue_are_refused() -> None:
    message = "A target is not an item: the catalogue has items 0 to 2"
    for outside in (np.array([3]), np.array([-1])):
        with pytest.raises(ValueError, match=message):
            popularity_slices(outside, np.array([1, 2, 3]))
        with pytest.raises(ValueError, match=message):
            arrival_slices(outside, 3)
        with pytest.raises(ValueError, match=message):
            collision_slices(outside, np.array([0, 0, 1]))


def test_negative_counts_and_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="0 or more, for every item"):
        popularity_slices(np.array([0]), np.array([-1]))
    with pytest.raises(ValueError, match="0 items or more, got a length of -2"):
        history_length_slices(np.array([3, -2]))
