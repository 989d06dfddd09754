"""Catalog: what it checks, how it orders events, what it says and saves."""

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidrec.catalog import Catalog, CatalogConfig, read_catalog
from sidrec.catalog.template import parse_template
from sidrec.errors import ArtifactError, CatalogError, nearest

SCIENTIFIC = Path(__file__).parent.parent / "data" / "scientific"

ITEMS = pd.DataFrame(
    {
        "item_id": ["007", "7", "1.0"],
        "title": ["Mug", "NA", "Pot"],
        "brand": ["Acme", "", "Zed"],
        "pages": ["12", "", "9"],
    }
)
EVENTS = pd.DataFrame({"user_id": ["bo", "al", "bo", "bo"], "item_id": ["7", "7", "007", "1.0"]})


def events(timestamps: list) -> pd.DataFrame:
    return EVENTS.assign(timestamp=timestamps)


def test_ids_stay_text_with_leading_zeros_and_decimal_points():
    assert Catalog(ITEMS, EVENTS).items["item_id"].tolist() == ["007", "7", "1.0"]


def test_items_have_id_title_and_text_first_and_keep_the_other_columns():
    columns = Catalog(ITEMS, EVENTS).items.columns.tolist()
    assert columns == ["item_id", "title", "text", "brand", "pages"]


def test_default_text_joins_text_columns_without_numbers_or_empty_cells():
    assert Catalog(ITEMS, EVENTS).items["text"].tolist() == ["Mug. Acme", "NA", "Pot. Zed"]


def test_default_text_does_not_double_a_full_stop():
    items = pd.DataFrame({"item_id": ["a"], "title": ["It works."], "summary": ["A book"]})
    catalog = Catalog(items, pd.DataFrame({"user_id": ["u"], "item_id": ["a"]}))
    assert catalog.items["text"].tolist() == ["It works. A book"]


def test_text_follows_the_template():
    catalog = Catalog(ITEMS, EVENTS, text="{title}, by {brand}")
    assert catalog.items["text"].tolist() == ["Mug, by Acme", "NA, by", "Pot, by Zed"]


def test_doubled_braces_in_a_template_are_braces():
    assert parse_template("{{{title}}} {x:y}") == (["{", "} ", ""], ["title", "x:y"])


def test_title_falls_back_to_the_name_column_and_then_to_the_first_60_characters_of_the_text():
    one_event = pd.DataFrame({"user_id": ["u"], "item_id": ["a"]})
    named = pd.DataFrame({"item_id": ["a"], "name": ["A\n mug"], "summary": ["Blue"]})
    assert Catalog(named, one_event).items["title"].tolist() == ["A mug"]
    unnamed = pd.DataFrame({"item_id": ["a"], "summary": ["x" * 80]})
    assert Catalog(unnamed, one_event).items["title"].tolist() == ["x" * 60]


def test_lists_in_cells_become_text():
    items = pd.DataFrame({"item_id": [5], "title": ["Mug"], "categories": [["Home", "Kitchen"]]})
    catalog = Catalog(items, pd.DataFrame({"user_id": [1], "item_id": [5]}))
    assert catalog.items.iloc[0].to_dict() == {
        "item_id": "5",
        "title": "Mug",
        "text": "Mug. Home, Kitchen",
        "categories": "Home, Kitchen",
    }


def test_without_timestamps_the_order_is_that_of_the_rows_and_users_keep_their_first_appearance():
    catalog = Catalog(ITEMS, EVENTS)
    assert catalog.order == "rows"
    assert catalog.interactions["user_id"].tolist() == ["bo", "bo", "bo", "al"]
    assert catalog.interactions["timestamp"].tolist() == [0, 2, 3, 1]


@pytest.mark.parametrize(
    "timestamps",
    [
        [30, 0, 20, 10],
        [30.5, 0, 20.0, 10.0],
        ["30", "0", "20", "10"],
        ["2024-05-31", "2024-01-01", "2024-03-01T10:00:00", "2024-03-01T10:00:00+02:00"],
        pd.to_datetime(["2024-05-31", "2024-01-01", "2024-03-02", "2024-03-01"]).tolist(),
    ],
)
def test_events_are_sorted_by_the_timestamp_column_when_there_is_one(timestamps):
    catalog = Catalog(ITEMS, events(timestamps))
    assert catalog.order == "column 'timestamp'"
    assert catalog.interactions["item_id"].tolist() == ["1.0", "007", "7", "7"]


def test_events_of_one_time_keep_the_order_of_the_rows():
    catalog = Catalog(ITEMS, events([5, 5, 5, 5]))
    assert catalog.interactions["item_id"].tolist() == ["7", "007", "1.0", "7"]


def test_dates_become_utc_seconds():
    catalog = Catalog(
        ITEMS, events(["1970-01-02", "1970-01-01", "1970-01-01T01:00:00+01:00", "1970-01-01T00:01:00"])
    )
    # bo: 0 s (01:00 at +01:00), 60 s, one day of 86,400 s
    assert catalog.interactions["timestamp"].tolist() == [0, 60, 86400, 0]


def test_sequences_hold_item_indices_by_user():
    sequences = Catalog(ITEMS, EVENTS).sequences()
    assert sequences.user_ids == ["bo", "al"]
    assert [sequences[user].tolist() for user in range(len(sequences))] == [[1, 0, 2], [1]]
    assert sequences.items.dtype == np.int64
    assert sequences.offsets.tolist() == [0, 3, 4]
    assert [items.tolist() for items in sequences] == [[1, 0, 2], [1]]


def test_index_of_gives_the_rows_of_ids():
    assert Catalog(ITEMS, EVENTS).index_of(["1.0", "007"]) == [2, 0]
    assert Catalog(ITEMS, EVENTS).index_of([]) == []


def test_index_of_names_unknown_ids_with_a_near_match():
    with pytest.raises(CatalogError, match=r'3 items does not have "0077", "x"\. Did you mean "007"\?'):
        Catalog(ITEMS, EVENTS).index_of(["7", "0077", "x"])


def test_statistics_are_counted():
    items = pd.DataFrame({"item_id": ["a", "b", "c", "d"], "title": ["A", "B", "C", "D"]})
    facts = Catalog(
        items, pd.DataFrame({"user_id": ["u", "u", "u", "v"], "item_id": ["a", "b", "a", "c"]})
    ).statistics()
    # 4 events / (2 users x 4 items); lengths 3 and 1; v has fewer than 3 events; d has none
    assert facts["density"] == 0.5
    assert (facts["users"], facts["items"], facts["events"]) == (2, 4, 4)
    assert (facts["items_without_events"], facts["users_too_short_to_split"]) == (1, 1)
    assert (facts["events_per_user"]["min"], facts["events_per_user"]["max"]) == (1, 3)
    assert facts["events_per_user"]["mean"] == 2.0
    assert facts["order"] == "rows"


def test_description_says_what_gave_the_order():
    text = Catalog(ITEMS, EVENTS.assign(lent_at=[4, 3, 2, 1]), timestamp="lent_at").describe()
    assert "2 users, 3 items, 4 events (density 66.667%), in the order of: column 'lent_at'" in text


def test_a_saved_catalogue_comes_back_the_same(tmp_path):
    catalog = Catalog(ITEMS, EVENTS, text="{title} {brand}")
    catalog.save(tmp_path / "catalog")
    loaded = Catalog.load(tmp_path / "catalog")
    pd.testing.assert_frame_equal(loaded.items, catalog.items)
    pd.testing.assert_frame_equal(loaded.interactions, catalog.interactions)
    assert (loaded.sha256, loaded.order) == (catalog.sha256, "rows")


def test_saving_twice_gives_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        Catalog(ITEMS, events([4, 3, 2, 1.5])).save(tmp_path / name)
    for table in ("items.parquet", "interactions.parquet"):
        assert (tmp_path / "a" / table).read_bytes() == (tmp_path / "b" / table).read_bytes()


def test_the_hash_is_the_same_in_every_process():
    assert Catalog(ITEMS, EVENTS).sha256[:16] == "e5a6d0efffb6cfa8"


@pytest.mark.parametrize(
    ("items", "interactions"),
    [
        (ITEMS.assign(title=["Cup", "NA", "Pot"]), EVENTS),
        (ITEMS, EVENTS.assign(item_id=["7", "7", "1.0", "007"])),
        (ITEMS, EVENTS.assign(user_id=["bo", "al", "bo", "al"])),
        (ITEMS.iloc[::-1], EVENTS),
    ],
)
def test_the_hash_changes_with_the_content(items, interactions):
    assert Catalog(items, interactions).sha256 != Catalog(ITEMS, EVENTS).sha256


def test_loading_says_which_file_is_missing(tmp_path):
    with pytest.raises(ArtifactError, match=r"There is no .*items\.parquet\. Make it again: sidrec tokenize"):
        Catalog.load(tmp_path)


def test_loading_says_which_file_is_broken(tmp_path):
    Catalog(ITEMS, EVENTS).save(tmp_path)
    path = tmp_path / "interactions.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ArtifactError, match=r"interactions\.parquet cannot be read .*Remove it and rerun"):
        Catalog.load(tmp_path)


@pytest.mark.parametrize(
    ("items", "interactions", "message"),
    [
        (ITEMS.iloc[:0], EVENTS, r"items has no rows, expected one at least"),
        (ITEMS, EVENTS.iloc[:0], r"interactions has no rows, expected one at least"),
        (
            ITEMS.rename(columns={"item_id": "itemid"}),
            EVENTS,
            r'no column "item_id" \(catalog\.item_id\)\. Did you mean "itemid"\? Columns: itemid, title',
        ),
        (
            ITEMS,
            EVENTS.rename(columns={"user_id": "who"}),
            r'interactions has no column "user_id" \(catalog\.user_id\)',
        ),
        (
            ITEMS.assign(item_id=["7", "8", "7"]),
            EVENTS,
            r'the item_id "7" is in data rows 1 and 3, expected each item once \(1 rows too many\)',
        ),
        (
            ITEMS.assign(item_id=["7", " ", "9"]),
            EVENTS,
            r"items: data row 2 has an empty item_id",
        ),
        (
            ITEMS.assign(item_id=["7", None, "9"]),
            EVENTS,
            r"items: data row 2 has an empty item_id",
        ),
        (
            ITEMS,
            EVENTS.assign(user_id=["u", "v", None, ""]),
            r"row 3 has an empty user_id.*2 such rows",
        ),
        (
            ITEMS.assign(title=["Mug", " ", "Pot"]),
            EVENTS,
            r'items: item "7" \(data row 2\) has an empty text, expected words\. Fill in its columns',
        ),
        (
            ITEMS,
            EVENTS.assign(item_id=["7", "1.00", "x9", "x9"]),
            r"interactions: 3 of 4 events \(the first in data row 2\) have items that items does not have: "
            r'"1\.00", "x9"\. Did you mean "1\.0"\? Add the items, remove the events, or set catalog\.',
        ),
        (
            ITEMS,
            events(["1", "2", "soon", "4"]),
            r'row 3 has "soon" as timestamp, expected a number or',
        ),
        (
            ITEMS,
            events(["2024-01-01", "2024-13-01", "x", "y"]),
            r'row 2 has "2024-13-01" as timestamp',
        ),
        (ITEMS, events([1.0, 2.0, float("nan"), 4.0]), r'row 3 has "" as timestamp'),
        (ITEMS, events([1.0, float("inf"), 3.0, 4.0]), r'row 2 has "inf" as timestamp'),
        (ITEMS, events(["", "2", "3", "4"]), r'row 1 has "" as timestamp'),
        (
            ITEMS[["item_id", "pages"]],
            EVENTS,
            r'has no text column beside "item_id".*Columns: item_id, pages',
        ),
    ],
)
def test_broken_tables_are_refused(items, interactions, message):
    with pytest.raises(CatalogError, match=message):
        Catalog(items, interactions)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        (
            {"text": "{titel}"},
            r'catalog\.text: "\{titel\}" names a column that items does not have\. Did you mean "title"\? '
            r"Columns: item_id, title, brand, pages\.",
        ),
        ({"text": "{title"}, r'catalog\.text: "\{title" has an unmatched "\{" at character 1'),
        ({"text": "title}"}, r'catalog\.text: "title\}" has an unmatched "\}" at character 6'),
        ({"text": "{}"}, r'catalog\.text: "\{\}" has an unmatched "\{"'),
        ({"text": "hello"}, r'catalog\.text: "hello" names no column'),
        ({"title": "tilte"}, r'no column "tilte" \(catalog\.title\)\. Did you mean "title"\?'),
        ({"timestamp": "when"}, r'interactions has no column "when" \(catalog\.timestamp\)'),
    ],
)
def test_settings_that_name_what_is_not_there_are_refused(keywords, message):
    with pytest.raises(CatalogError, match=message):
        Catalog(ITEMS, EVENTS, **keywords)


def test_an_item_whose_template_columns_are_all_empty_has_no_text():
    with pytest.raises(CatalogError, match=r'item "7" .* has an empty text'):
        Catalog(ITEMS, EVENTS, text="by {brand}")


def test_nearest_suggests_only_what_is_alike():
    assert nearest("TITEL", ["title", "author"]) == ' Did you mean "title"?'
    assert nearest("xyz", ["title", "author"]) == ""


@pytest.mark.skipif(not SCIENTIFIC.exists(), reason="data/scientific is absent: run make data")
def test_scientific_has_its_published_counts():
    facts = read_catalog(CatalogConfig(items=SCIENTIFIC)).statistics()
    assert (facts["users"], facts["items"], facts["events"]) == (8317, 4344, 58492)
    assert facts["order"] == "rows"


def test_a_title_cut_at_a_blank_is_the_same_after_a_reload(tmp_path):
    items = pd.DataFrame({"item_id": ["a"], "text": ["x" * 59 + " and more"]})
    catalog = Catalog(items, pd.DataFrame({"user_id": ["u"], "item_id": ["a"]}))
    assert catalog.items["title"].tolist() == ["x" * 59]
    catalog.save(tmp_path)
    assert Catalog.load(tmp_path).sha256 == catalog.sha256


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(st.text(max_size=70), st.text(min_size=1, max_size=90)).filter(
            lambda cells: cells[1].strip()
        ),
        min_size=1,
        max_size=5,
    )
)
def test_any_texts_hash_the_same_after_a_reload(rows):
    try:
        items = pd.DataFrame(rows, columns=["title", "text"]).assign(
            item_id=[str(n) for n in range(len(rows))]
        )
        catalog = Catalog(items, pd.DataFrame({"user_id": ["u"], "item_id": ["0"]}), text="{text}")
    except CatalogError:  # a lone surrogate, say, is refused
        return
    with tempfile.TemporaryDirectory() as folder:
        catalog.save(Path(folder))
        assert Catalog.load(Path(folder)).sha256 == catalog.sha256
