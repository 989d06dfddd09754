"""Leave-one-out: which event is which, the sample of users, and the hash."""

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from sidrec.catalog import Catalog, SplitConfig, split_catalog
from sidrec.errors import CatalogError, ConfigError

ITEMS = pd.DataFrame({"item_id": list("abcd"), "title": ["A", "B", "C", "D"]})
SEQUENCES = {"long": "abcda", "three": "dba", "short": "cc"}


def catalog_of(sequences: dict[str, str], items: pd.DataFrame = ITEMS) -> Catalog:
    events = [(user, item) for user, sequence in sequences.items() for item in sequence]
    return Catalog(items, pd.DataFrame(events, columns=["user_id", "item_id"]))


def split_of(sequences: dict[str, str]):
    return split_catalog(catalog_of(sequences), SplitConfig())


def test_the_last_event_is_test_and_the_one_before_is_valid():
    split = split_of(SEQUENCES)
    assert split.user_ids == ["long", "three", "short"]
    assert [items.tolist() for items in split.train] == [[0, 1, 2], [3], [2, 2]]
    assert split.valid.targets.tolist() == [3, 1]
    assert split.test.targets.tolist() == [0, 0]


def test_a_user_with_two_events_goes_wholly_to_train():
    split = split_of(SEQUENCES)
    assert split.valid.user_ids == split.test.user_ids == ["long", "three"]
    assert split.train[2].tolist() == [2, 2]


def test_the_history_of_test_includes_the_valid_item():
    split = split_of(SEQUENCES)
    assert [items.tolist() for items in split.valid.histories] == [[0, 1, 2], [3]]
    assert [items.tolist() for items in split.test.histories] == [[0, 1, 2, 3], [3, 1]]


def test_train_counts_leave_valid_and_test_out():
    # train: a b c, d, c c
    assert split_of(SEQUENCES).train_counts(5).tolist() == [1, 1, 3, 1, 0]


def test_train_times_stand_beside_the_train_items():
    events = pd.DataFrame(
        {
            "user_id": ["u", "v", "u", "u", "v", "u"],
            "item_id": ["a", "c", "b", "d", "d", "c"],
            "timestamp": [4.0, 7.5, 1.0, 3.0, 2.5, 2.0],
        }
    )
    split = split_catalog(Catalog(ITEMS, events), SplitConfig())
    # u by time: b 1, c 2, then d 3 (valid) and a 4 (test); v is too short to be split: d 2.5, c 7.5
    assert np.concatenate(split.train).tolist() == [1, 2, 3, 2]
    assert split.train_times.tolist() == [1, 2, 2.5, 7.5]


def test_without_timestamps_train_times_are_the_numbers_of_the_rows():
    # Rows 0-4 are those of "long", 5-7 of "three", 8-9 of "short"; valid and test are 3 4 and 6 7.
    split = split_of(SEQUENCES)
    assert split.train_times.tolist() == [0, 1, 2, 5, 8, 9]
    assert split.train_times.dtype == np.int64


def test_times_of_valid_and_test_do_not_reach_the_train_times():
    events = pd.DataFrame({"user_id": "u", "item_id": list("abcd"), "timestamp": [1, 2, 3, 4]})
    later = events.assign(timestamp=[1, 2, 30, 40])
    splits = [split_catalog(Catalog(ITEMS, table), SplitConfig()) for table in (events, later)]
    assert [split.train_times.tolist() for split in splits] == [[1, 2]] * 2
    assert splits[0].sha256 == splits[1].sha256


def test_two_users_with_the_same_history_keep_their_own_targets():
    split = split_of({"u": "abc", "v": "abd"})
    assert split.test.targets.tolist() == [2, 3]


def test_the_hash_follows_users_items_and_their_order():
    assert split_of(SEQUENCES).sha256 == split_of(dict(SEQUENCES)).sha256
    for other in (
        {**SEQUENCES, "short": "cb"},
        {**SEQUENCES, "three": "dab"},
        {"long": "abcda", "three": "dba", "small": "cc"},
        {"long": "abcd", "three": "adba", "short": "cc"},
    ):
        assert split_of(other).sha256 != split_of(SEQUENCES).sha256


def test_the_hash_does_not_depend_on_items_that_nobody_had():
    more = pd.concat([pd.DataFrame({"item_id": ["new"], "title": ["N"]}), ITEMS], ignore_index=True)
    split = split_catalog(catalog_of(SEQUENCES, more), SplitConfig())
    assert split.test.targets.tolist() == [1, 1]
    assert split.sha256 == split_of(SEQUENCES).sha256


def test_the_hash_is_the_same_in_every_process():
    assert split_of(SEQUENCES).sha256[:16] == "b159849ab4d5d441"


def test_a_sample_is_fixed_by_its_seed_and_keeps_the_order_of_rows():
    rows = split_of({f"u{user:02d}": "abc" if user % 2 else "abd" for user in range(50)}).test
    sample = rows.sample(10, seed=3)
    assert len(sample) == 10
    assert sample.user_ids == sorted(set(sample.user_ids)) == rows.sample(10, seed=3).user_ids
    assert sample.user_ids != rows.sample(10, seed=4).user_ids
    expected = [2 if int(user[1:]) % 2 else 3 for user in sample.user_ids]
    assert sample.targets.tolist() == expected
    assert all(np.array_equal(history, [0, 1]) for history in sample.histories)


def test_a_sample_of_more_than_all_is_all():
    rows = split_of(SEQUENCES).test
    assert rows.sample(2, seed=0) is rows


def test_a_sample_of_nobody_is_refused():
    with pytest.raises(ConfigError, match=r"A sample of 0 users cannot be evaluated on\. Ask for 1 or more"):
        split_of(SEQUENCES).test.sample(0, seed=0)


def test_a_catalogue_in_which_nobody_has_three_events_is_refused():
    with pytest.raises(
        CatalogError,
        match=r"leave_one_out needs users with 3 events or more, .*longest history of the 2 users has 2",
    ):
        split_of({"u": "ab", "v": "c"})


def test_an_unknown_method_is_refused():
    with pytest.raises(ValidationError, match="leave_one_out"):
        SplitConfig(method="random")
