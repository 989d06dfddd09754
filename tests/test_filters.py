"""Filters of a catalogue: what each leaves out, in which order, and what it says of it."""

from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from sidrec.catalog import Catalog, CatalogConfig, FiltersConfig, read_catalog
from sidrec.errors import CatalogError

ITEMS = pd.DataFrame({"item_id": list("abcd"), "title": ["Mug", "Red pot", "A very blue vase", "Rug"]})


def catalog_of(sequences: dict[str, str], items: pd.DataFrame = ITEMS, **filters: object) -> Catalog:
    rows = [(user, item) for user, sequence in sequences.items() for item in sequence]
    events = pd.DataFrame(rows, columns=["user_id", "item_id"])
    return Catalog(items, events, filters=FiltersConfig(**filters))


def histories(catalog: Catalog) -> dict[str, str]:
    events = catalog.interactions
    return {user: "".join(rows["item_id"]) for user, rows in events.groupby("user_id", sort=False)}


def steps(catalog: Catalog) -> list[tuple]:
    return [(step.name, (step.users, step.items, step.events), step.left) for step in catalog.filtered]


def test_without_filters_nothing_is_removed_and_nothing_said():
    catalog = catalog_of({"u": "aab", "v": "c"})
    assert histories(catalog) == {"u": "aab", "v": "c"}
    assert catalog.filtered == []


def test_consecutive_repeats_leave_the_first_of_each_run():
    catalog = catalog_of({"u": "aabba", "v": "ac"}, deduplicate="consecutive")
    assert histories(catalog) == {"u": "aba", "v": "ac"}
    assert steps(catalog) == [("deduplicate=consecutive", (0, 0, 2), (2, 4, 5))]


def test_all_repeats_leave_the_first_event_of_every_item():
    assert histories(catalog_of({"u": "aabba", "v": "ca"}, deduplicate="all")) == {"u": "ab", "v": "ca"}


def test_a_repeat_after_a_removed_event_is_consecutive():
    # b goes by its title, so that the two a follow on each other
    catalog = catalog_of({"u": "abac"}, drop_titles="^Red", deduplicate="consecutive")
    assert histories(catalog) == {"u": "ac"}


def test_users_outside_the_lengths_go_whole():
    catalog = catalog_of({"u": "a", "v": "ab", "w": "abc"}, min_history=2, max_history=2)
    assert histories(catalog) == {"v": "ab"}
    assert steps(catalog) == [("min_history=2, max_history=2", (2, 0, 4), (1, 4, 2))]


def test_the_core_is_met_by_users_and_items_at_once():
    # c has one event and goes; then u has one left and goes; then a has one left and goes; then v, and all
    # that is left is w and x with b and d.
    sequences = {"u": "ac", "v": "ab", "w": "bd", "x": "bd"}
    catalog = catalog_of(sequences, user_core=2, item_core=2)
    assert histories(catalog) == {"w": "bd", "x": "bd"}
    assert catalog.items["item_id"].tolist() == ["b", "d"]
    assert steps(catalog) == [("user_core=2, item_core=2", (2, 2, 4), (2, 2, 4))]


def test_items_without_events_stay_unless_a_core_of_items_is_asked_for():
    assert catalog_of({"u": "ab", "v": "c"}, user_core=2).num_items == 4
    assert catalog_of({"u": "ab", "v": "c"}, item_core=1).num_items == 3


@given(
    st.dictionaries(st.sampled_from("uvwxyz"), st.text("abcd", min_size=1, max_size=6), min_size=1),
    st.integers(1, 3),
    st.integers(0, 3),
)
@settings(max_examples=60, deadline=None)
def test_the_core_is_the_largest_that_meets_both_limits(sequences, user_core, item_core):
    """Against a slow reference: remove one user or item that has too few, until there is none."""
    kept = dict(sequences)
    items = set("abcd")
    while True:
        rows = {user: [item for item in sequence if item in items] for user, sequence in kept.items()}
        short = [user for user, row in rows.items() if len(row) < max(user_core, 1)]
        counts = {item: sum(row.count(item) for row in rows.values()) for item in items}
        rare = [item for item, count in counts.items() if count < item_core]
        if short:
            del kept[short[0]]
        elif rare:
            items.remove(rare[0])
        else:
            break
    if not kept:
        with pytest.raises(CatalogError, match="no event is left"):
            catalog_of(sequences, user_core=user_core, item_core=item_core)
        return
    catalog = catalog_of(sequences, user_core=user_core, item_core=item_core)
    assert histories(catalog) == {user: "".join(row) for user, row in rows.items()}
    assert set(catalog.items["item_id"]) == items


def test_titles_are_kept_by_pattern_and_length():
    # "Mug" and "Rug" are too short, "A very blue vase" too long, and "Red pot" has a pot
    sequences = {"u": "abcd", "v": "b"}
    short = catalog_of(sequences, min_title_characters=4, max_title_characters=15)
    assert short.items["title"].tolist() == ["Red pot"]
    assert steps(short) == [
        ("min_title_characters=4", (0, 2, 2), (2, 2, 3)),
        ("max_title_characters=15", (0, 1, 1), (2, 1, 2)),
    ]
    assert catalog_of(sequences, drop_titles="pot$").items["item_id"].tolist() == ["a", "c", "d"]


def rated(**settings: object) -> Catalog:
    times = [datetime(2020, 1, day, tzinfo=UTC).timestamp() for day in (1, 2, 3, 4)]
    events = pd.DataFrame(
        {"user_id": "u", "item_id": list("abcd"), "stars": [5, 3, 4, None], "at": np.array(times)}
    )
    filters = FiltersConfig(**settings)
    return Catalog(ITEMS, events, timestamp="at", rating="stars", filters=filters)


def test_events_below_a_rating_go_and_those_without_one():
    assert histories(rated(min_rating=4)) == {"u": "ac"}
    assert rated(min_rating=4).interactions["rating"].tolist() == [5, 4]


def test_dates_are_utc_the_first_included_and_the_last_not():
    assert histories(rated(start="2020-01-02", end="2020-01-04")) == {"u": "bc"}
    # midnight of the 3rd in Berlin is 23:00 of the 2nd in UTC
    assert histories(rated(start="2020-01-03T00:00:00+01:00")) == {"u": "cd"}


def test_dates_know_milliseconds():
    events = pd.DataFrame({"user_id": "u", "item_id": ["a", "b"], "timestamp": [1.5e12, 1.6e12]})
    catalog = Catalog(ITEMS, events, filters=FiltersConfig(start="2020-01-01"))  # 1.6e12 is September 2020
    assert histories(catalog) == {"u": "b"}


@pytest.mark.parametrize(
    ("timestamps", "message"),
    [(None, "have no column of times"), ([1, 2], "the times go from 1 to 2, which no unit puts between")],
)
def test_dates_without_times_are_refused(timestamps, message):
    events = pd.DataFrame({"user_id": "u", "item_id": ["a", "b"]})
    if timestamps:
        events["timestamp"] = timestamps
    with pytest.raises(CatalogError, match=message):
        Catalog(ITEMS, events, filters=FiltersConfig(start="2020-01-01"))


def test_a_rating_filter_without_ratings_is_refused():
    with pytest.raises(CatalogError, match=r'min_rating=4 needs ratings, but .* no column "rating"'):
        catalog_of({"u": "ab"}, min_rating=4)


def test_a_rating_that_is_no_number_is_refused():
    events = pd.DataFrame({"user_id": "u", "item_id": ["a", "b"], "rating": ["5", "good"]})
    with pytest.raises(CatalogError, match=r'data row 2 has "good" as rating, expected a number'):
        Catalog(ITEMS, events)


def test_unknown_items_can_be_dropped():
    catalog = catalog_of({"u": "axb", "v": "y"}, unknown_items="drop")
    assert histories(catalog) == {"u": "ab"}
    assert steps(catalog) == [("unknown_items=drop", (1, 0, 2), (1, 4, 2))]


def test_of_duplicate_items_the_first_can_count():
    items = pd.concat([ITEMS, pd.DataFrame({"item_id": ["a"], "title": ["Another mug"]})])
    catalog = catalog_of({"u": "ab"}, items, duplicate_items="first")
    assert catalog.items["title"].tolist()[0] == "Mug"
    assert steps(catalog) == [("duplicate_items=first", (0, 1, 0), (1, 4, 2))]


def test_items_without_text_can_be_dropped_with_their_events():
    catalog = catalog_of(
        {"u": "ab", "v": "b"}, ITEMS.assign(title=["Mug", " ", "Vase", "Rug"]), empty_texts="drop"
    )
    assert histories(catalog) == {"u": "a"}
    assert steps(catalog) == [("empty_texts=drop", (1, 1, 2), (1, 3, 1))]


def test_when_nothing_is_left_the_filter_is_named():
    message = r"no event is left after min_history=9; before it there were 3, of 2 users and 4 items\. Loosen"
    with pytest.raises(CatalogError, match=message):
        catalog_of({"u": "ab", "v": "c"}, min_history=9)


def test_what_the_filters_left_is_the_same_after_a_reload(tmp_path):
    catalog = rated(min_rating=4)
    catalog.save(tmp_path)
    loaded = Catalog.load(tmp_path)
    assert loaded.sha256 == catalog.sha256
    pd.testing.assert_frame_equal(loaded.interactions, catalog.interactions)


def test_a_filtered_catalogue_is_that_of_the_filtered_files(tmp_path):
    ITEMS.to_csv(tmp_path / "items.csv", index=False)
    events = pd.DataFrame([("u", "a"), ("u", "b"), ("v", "c")], columns=["user_id", "item_id"])
    events.to_csv(tmp_path / "events.csv", index=False)
    config = CatalogConfig(
        items=tmp_path / "items.csv", interactions=tmp_path / "events.csv", filters={"min_history": 2}
    )
    by_hand = Catalog(ITEMS, events[:2])
    assert read_catalog(config).sha256 == by_hand.sha256


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ({"drop_titles": "("}, "regular expression"),
        ({"min_history": 5, "max_history": 4}, "leave no user"),
        ({"start": "yesterday"}, "datetime"),
        ({"minimum": 3}, "Extra inputs"),
    ],
)
def test_filters_that_mean_nothing_are_refused(filters, message):
    with pytest.raises(ValidationError, match=message):
        FiltersConfig(**filters)
