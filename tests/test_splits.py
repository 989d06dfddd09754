"""Which event is train, valid, test or context by each method, the rows, their sample, and the hash."""

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from sidrec.catalog import Catalog, SplitConfig, split_catalog
from sidrec.catalog.parts import cuts
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


TIMES = {
    "u": [("a", 1), ("b", 2), ("c", 9)],
    "v": [("c", 3), ("a", 4), ("b", 8), ("d", 10)],
    "w": [("d", 9.5), ("a", 11)],
}


def timed(sequences: dict[str, list[tuple[str, float]]] = TIMES, **columns: list) -> Catalog:
    rows = [(user, item, time) for user, row in sequences.items() for item, time in row]
    events = pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"])
    return Catalog(ITEMS, events.assign(**columns))


def asked(rows) -> list[tuple[str, str, str]]:
    """(user, history, target) of each row, in letters."""
    return [
        (user, "".join("abcd"[item] for item in history), "abcd"[target])
        for user, history, target in zip(rows.user_ids, rows.histories, rows.targets, strict=True)
    ]


def test_the_last_n_events_are_test_and_the_n_before_are_valid():
    split = split_catalog(catalog_of({"u": "abcda", "v": "abcd"}), SplitConfig(method="last_n", n=2))
    assert [items.tolist() for items in split.train] == [[0], [0, 1, 2, 3]]  # v has fewer than 5
    assert asked(split.valid) == [("u", "a", "b"), ("u", "ab", "c")]
    assert asked(split.test) == [("u", "abc", "d"), ("u", "abcd", "a")]
    assert split.test.target_numbers.tolist() == [1, 2]


def test_the_last_one_is_leave_one_out():
    last, loo = (
        split_catalog(catalog_of(SEQUENCES), SplitConfig(method=method))
        for method in ("last_n", "leave_one_out")
    )
    assert asked(last.test) == asked(loo.test)
    assert asked(last.valid) == asked(loo.valid)
    assert [items.tolist() for items in last.train] == [items.tolist() for items in loo.train]


def test_by_time_the_latest_targets_are_test():
    # Targets, which have an earlier event of their user: b 2 and c 9 of u, a 4, b 8 and d 10 of v, a 11 of w.
    # In order: 2, 4, 8, 9, 10, 11; with a third each: train 2 4, valid 8 9, test 10 11.
    split = split_catalog(timed(), SplitConfig(method="by_time", valid_share=1 / 3, test_share=1 / 3))
    assert asked(split.valid) == [("u", "ab", "c"), ("v", "ca", "b")]
    assert asked(split.test) == [("v", "cab", "d"), ("w", "d", "a")]
    # The first event of w is no target, but it came after the last train target: it is context alone.
    assert [items.tolist() for items in split.train] == [[0, 1], [2, 0], []]
    assert split.train_times.tolist() == [1, 2, 3, 4]


def test_by_time_no_train_event_is_after_the_cut():
    rng = np.random.default_rng(0)
    sequences = {
        f"u{user}": [
            ("abcd"[rng.integers(4)], float(time)) for time in np.sort(rng.random(rng.integers(1, 9)))
        ]
        for user in range(200)
    }
    split = split_catalog(timed(sequences), SplitConfig(method="by_time"))
    times = {}
    for user, row in sequences.items():
        times |= {(user, place): time for place, (_, time) in enumerate(row)}
    valid, test = (
        [times[user, len(history)] for user, history in zip(rows.user_ids, rows.histories, strict=True)]
        for rows in (split.valid, split.test)
    )
    assert split.train_times.max() < min(valid)
    assert max(valid) < min(test)
    targets = sum(len(row) - 1 for row in sequences.values())
    assert (len(valid), len(test)) == (int(0.9 * targets) - int(0.8 * targets), targets - int(0.9 * targets))


def test_the_cuts_are_those_of_minionerec():
    """Its released Industrial data has 4,532 valid and 4,533 test samples; 45,325 in all give them."""
    train, valid = cuts(45_325, 0.1, 0.1)
    assert (train, valid - train, 45_325 - valid) == (36_260, 4_532, 4_533)


def test_by_user_nothing_of_the_drawn_users_is_trained_on():
    sequences = {f"u{n}": "abcd"[: 1 + n % 4] for n in range(40)}
    config = SplitConfig(method="by_user", valid_share=0.2, test_share=0.3)
    split = split_catalog(catalog_of(sequences), config)
    # 30 users have two events or more: 6 are valid, 9 test
    assert (len(split.valid), len(split.test)) == (6, 9)
    drawn = {*split.valid.user_ids, *split.test.user_ids}
    assert len(drawn) == 15
    for user, items in zip(split.user_ids, split.train, strict=True):
        assert len(items) == (0 if user in drawn else len(sequences[user]))
    for user, history, target in [*asked(split.valid), *asked(split.test)]:
        assert history + target == sequences[user]


def test_by_user_the_draw_is_the_split_s_own():
    sequences = {f"u{n}": "abcd" for n in range(40)}
    one, same, other = (
        split_catalog(catalog_of(sequences), SplitConfig(method="by_user", seed=seed)) for seed in (0, 0, 1)
    )
    assert one.test.user_ids == same.test.user_ids != other.test.user_ids
    assert one.sha256 == same.sha256 != other.sha256


def test_given_parts_are_kept():
    parts = ["train", "validation", "test", "context", "train", "valid", "test", "context", "test"]
    split = split_catalog(timed(split=parts), SplitConfig(method="given"))
    assert [items.tolist() for items in split.train] == [[0], [0], []]
    assert asked(split.valid) == [("u", "a", "b"), ("v", "ca", "b")]
    assert asked(split.test) == [("u", "ab", "c"), ("v", "cab", "d"), ("w", "d", "a")]


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (["valid", "train", "test"], r'user "u" has a train event \(b\) after one of valid or test'),
        (["train", "test", "valid"], r'user "u" has a valid event \(c\) after one of valid or test'),
        (["train", "train", "test"], r"the files call no event valid, expected some of each"),
    ],
)
def test_given_parts_that_leak_or_lack_one_are_refused(parts, message):
    catalog = timed({"u": TIMES["u"]}, split=parts)
    with pytest.raises(CatalogError, match=message):
        split_catalog(catalog, SplitConfig(method="given"))


def test_a_part_that_is_none_is_refused_where_the_column_was_named():
    events = pd.DataFrame({"user_id": "u", "item_id": ["a", "b"], "part": ["train", "holdout"]})
    with pytest.raises(CatalogError, match=r'data row 2 has "holdout" as part, expected one of train, valid'):
        Catalog(ITEMS, events, split="part")


def test_a_column_of_other_splits_is_not_taken_for_parts():
    events = pd.DataFrame({"user_id": "u", "item_id": ["a", "b"], "split": ["left", "right"]})
    assert "split" not in Catalog(ITEMS, events).interactions.columns


def test_without_parts_none_can_be_given():
    with pytest.raises(CatalogError, match=r"split\.method=given needs a column that says which event"):
        split_catalog(timed(), SplitConfig(method="given"))


def test_a_split_without_train_events_is_for_evaluation_only():
    split = split_catalog(
        timed({"u": TIMES["u"]}, split=["context", "valid", "test"]), SplitConfig(method="given")
    )
    assert asked(split.test) == [("u", "ab", "c")]
    with pytest.raises(CatalogError, match=r"none of the events is a train event.*for evaluation only"):
        split.require_train()


def test_histories_are_cut_to_the_newest():
    split = split_catalog(catalog_of({"u": "abcda"}), SplitConfig(max_history=2))
    assert asked(split.valid) == [("u", "bc", "d")]
    assert asked(split.test) == [("u", "cd", "a")]
    assert split.sha256 != split_of({"u": "abcda"}).sha256


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("by_time", "have no column of times"),
        ("by_user", "of whom there are 1: .* give 0 and 0 of them"),
        ("last_n", "needs users with 3 events or more"),
    ],
)
def test_a_catalogue_that_cannot_be_divided_so_is_refused(method, message):
    with pytest.raises(CatalogError, match=message):
        split_catalog(catalog_of({"u": "ab"}), SplitConfig(method=method))


def test_too_few_targets_by_time_are_refused():
    with pytest.raises(CatalogError, match="finds 2 events with an earlier one of the same user, too few"):
        split_catalog(timed({"u": TIMES["u"]}), SplitConfig(method="by_time"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n": 2}, "n changes nothing where method is leave_one_out; it is for last_n"),
        ({"method": "last_n", "test_share": 0.2}, "test_share changes nothing where method is last_n"),
        ({"method": "by_time", "valid_share": 0.5, "test_share": 0.5}, "leave nothing to train on"),
    ],
)
def test_settings_that_change_nothing_are_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        SplitConfig(**settings)
