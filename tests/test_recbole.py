"""RecBole's atomic files: typed headers, raw tab separated cells, and MovieLens 100K as it is released."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from sidrec.catalog import Catalog, CatalogConfig, read_catalog
from sidrec.catalog.forms import read_tables
from sidrec.config import load_config
from sidrec.errors import CatalogError

REPO = Path(__file__).parents[1]
ITEMS = (
    "item_id:token\tmovie_title:token_seq\tprice:float\tvector:float_seq\n"
    '007\tThe "Big" Mug, a history\t12.50\t0.1 0.2\n'
    "1.0\tNA\t\t0.3 0.4\n"
)
EVENTS = (
    "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
    "b\t1.0\t3\t20\nal\t007\t5\t10\nb\t007\t1\t20\nb\t1.0\t4\t5\n"
)


def write(directory: Path, items: str = ITEMS, events: str = EVENTS) -> Path:
    (directory / "set.item").write_text(items, encoding="utf-8", newline="")
    (directory / "set.inter").write_text(events, encoding="utf-8", newline="")
    return directory


def read(directory: Path, **settings: str) -> Catalog:
    return read_catalog(CatalogConfig(items=directory, **settings))


def test_a_directory_of_atomic_files_needs_no_other_setting(tmp_path: Path) -> None:
    catalog = read(write(tmp_path))
    assert catalog.items.columns.tolist() == ["item_id", "title", "text", "movie_title", "price", "vector"]
    assert catalog.items["item_id"].tolist() == ["007", "1.0"]
    assert catalog.items["movie_title"].tolist() == ['The "Big" Mug, a history', "NA"]
    assert catalog.items["vector"].tolist() == ["0.1 0.2", "0.3 0.4"]
    assert catalog.order == "column 'timestamp'"


def test_events_are_in_order_of_time_and_of_the_file_where_times_are_equal(tmp_path: Path) -> None:
    events = read(write(tmp_path)).interactions[["user_id", "item_id", "timestamp"]]
    assert events.values.tolist() == [["b", "1.0", 5], ["b", "1.0", 20], ["b", "007", 20], ["al", "007", 10]]


def test_a_float_is_a_number_and_an_empty_one_is_missing(tmp_path: Path) -> None:
    prices = read(write(tmp_path)).items["price"].to_numpy()
    np.testing.assert_array_equal(prices, [12.5, np.nan])


def test_a_double_quote_that_opens_a_cell_ends_nothing(tmp_path: Path) -> None:
    items = 'item_id:token\ttitle:token_seq\n1\t"Heroes\n2\t"Low"\n'
    events = "user_id:token\titem_id:token\nu\t1\nu\t2\n"
    assert read(write(tmp_path, items, events)).items["title"].tolist() == ['"Heroes', '"Low"']


def test_the_text_is_made_of_columns_without_their_types(tmp_path: Path) -> None:
    catalog = read(write(tmp_path), text="{movie_title} at {price}", title="movie_title")
    assert catalog.items["text"].tolist() == ['The "Big" Mug, a history at 12.5', "NA at"]


def test_other_names_of_columns_are_set_as_in_any_table(tmp_path: Path) -> None:
    items = "asin:token\ttitle:token_seq\nA\tmug\n"
    events = "reader:token\tasin:token\nu\tA\n"
    catalog = read(write(tmp_path, items, events), item_id="asin", user_id="reader")
    assert catalog.interactions.values.tolist() == [["u", "A", 0]]
    assert catalog.order == "rows"


def test_the_two_files_can_be_named_gzipped_and_with_windows_line_ends(tmp_path: Path) -> None:
    plain = read(write(tmp_path)).sha256
    (tmp_path / "x.item.gz").write_bytes(gzip.compress(ITEMS.replace("\n", "\r\n").encode()))
    named = CatalogConfig(items=tmp_path / "x.item.gz", interactions=tmp_path / "set.inter")
    assert read_catalog(named).sha256 == plain


def test_atomic_events_go_with_a_table_of_items(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "items.csv").write_text("item_id,title\n007,Mug\n1.0,Pot\n")
    named = CatalogConfig(items=tmp_path / "items.csv", interactions=tmp_path / "set.inter")
    assert read_catalog(named).items["title"].tolist() == ["Mug", "Pot"]


@pytest.mark.parametrize(
    ("items", "events", "message"),
    [
        ("item_id\tt:token\n1\ta\n", EVENTS, r'set\.item: the header cell "item_id" has no known type, '
         r"expected name:type with a type of token, token_seq, float, float_seq .* e\.g\. item_id:token"),
        ("item_id:token\tt:str\n1\ta\n", EVENTS, r'header cell "t:str" has no known type.* e\.g\. t:token'),
        ("item_id:token\t:token\n1\ta\n", EVENTS, r'the header cell ":token" has no known type'),
        ("item_id:token\tt:token\tt:float\n1\ta\t2\n", EVENTS, r'set\.item has more than one column "t"'),
        ("item_id:token\tt:token\n", EVENTS, r"set\.item has a header but no rows"),
        ("", EVENTS, r"set\.item is empty"),
        ("item_id:token\tt:token\n1\ta\tb\n", EVENTS, r"set\.item: line 2 has 3 cells"
         r", expected 2 .*Complete the row, or mend a cell that contains the separator"),
        ("item_id:token\tt:token\n007\ta\n", EVENTS, r"set\.inter: 2 of 4 events \(the first in data row 1\) "
         r'have items that set\.item does not have: "1\.0"'),
        (ITEMS, EVENTS.replace("\t10\n", "\tsoon\n"), r'set\.inter: row 3 \(the header is row 1\) has "soon" '
         r"as timestamp, which the header calls a float, expected a number\. Mend the cell, or write timest"),
        (ITEMS, EVENTS.replace("\t10\n", "\t\n"), r'set\.inter: data row 2 has "" as timestamp, expected'),
        (ITEMS, EVENTS.replace("user_id:", "user:"), r'set\.inter has no column "user_id" .*Columns: user,'),
    ],
)  # fmt: skip
def test_broken_atomic_files_are_refused(tmp_path: Path, items: str, events: str, message: str) -> None:
    with pytest.raises(CatalogError, match=message):
        read(write(tmp_path, items, events))


def test_a_set_without_texts_of_its_items_is_refused(tmp_path: Path) -> None:
    (write(tmp_path) / "set.item").unlink()
    with pytest.raises(
        CatalogError, match=r"with set\.inter but no file \*\.item, and semantic IDs .* texts"
    ):
        read(tmp_path)


def test_items_without_events_and_two_files_of_a_kind_are_refused(tmp_path: Path) -> None:
    (write(tmp_path) / "set.inter").unlink()
    with pytest.raises(CatalogError, match=r"1 files \*\.item and 0 files \*\.inter, expected one of each"):
        read(tmp_path)
    write(tmp_path)
    (tmp_path / "more.inter").write_text(EVENTS)
    with pytest.raises(CatalogError, match=r"1 files \*\.item and 2 files \*\.inter, expected one of each"):
        read(tmp_path)


def test_a_directory_of_neither_form_or_both_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(
        CatalogError, match=r"of no known form: it holds notes\.txt, .*one \*\.inter \(recbole\)"
    ):
        read(tmp_path)
    (write(tmp_path) / "set.item.json").write_text("{}")
    message = r"files of more than one form: .* \(lcrec\) and .* \(recbole\)\. Set catalog\.format to one of"
    with pytest.raises(CatalogError, match=message):
        read(tmp_path)
    assert read_catalog(CatalogConfig(items=tmp_path, format="recbole")).num_items == 2


def test_movielens_100k_has_its_published_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """943 users, 1,682 films, 100,000 ratings of September 1997 to April 1998, 20 or more by each user."""
    if not (REPO / "data" / "ml-100k").is_dir():
        pytest.skip("data/ml-100k is not there: make data")
    monkeypatch.chdir(REPO)
    catalog = read_catalog(load_config(Path("configs/ml-100k.yaml")).catalog)
    assert (catalog.num_users, catalog.num_items, len(catalog.interactions)) == (943, 1682, 100_000)
    assert catalog.items["title"].iloc[0] == "Toy Story"
    assert catalog.items["text"].iloc[0] == "Toy Story (1995) Animation Children's Comedy"
    assert catalog.order == "column 'timestamp'"
    lengths = np.diff(catalog.sequences().offsets)
    assert (lengths.min(), lengths.max()) == (20, 737)
    times = catalog.interactions["timestamp"]
    assert (times.min(), times.max()) == (874724710, 893286638)
    assert (catalog.interactions.groupby("user_id", sort=False)["timestamp"].diff().dropna() >= 0).all()


PARTS = {
    "train": "user_id:token\titem_id:token\ttimestamp:float\nal\t007\t1\nb\t1.0\t2\nal\t1.0\t3\n",
    "valid": "user_id:token\titem_id:token\ttimestamp:float\nal\t007\t4\n",
    "test": "user_id:token\titem_id:token\ttimestamp:float\nal\t1.0\t5\nb\t007\t6\n",
}
LISTS = "user_id:token\titem_id_list:token_seq\titem_id:token\n"


def write_parts(directory: Path, **parts: str) -> Path:
    (directory / "set.item").write_text(ITEMS, encoding="utf-8")
    for part, text in parts.items():
        (directory / f"set.{part}.inter").write_text(text, encoding="utf-8")
    return directory


def events_of(directory: Path) -> list[list[str]]:
    events = read_tables(CatalogConfig(items=directory)).interactions
    return events[["user_id", "item_id", "split"]].values.tolist()


def test_benchmark_files_say_what_each_event_is_for(tmp_path: Path) -> None:
    assert events_of(write_parts(tmp_path, **PARTS)) == [
        ["al", "007", "train"], ["b", "1.0", "train"], ["al", "1.0", "train"], ["al", "007", "valid"],
        ["al", "1.0", "test"], ["b", "007", "test"],
    ]  # fmt: skip
    files = read_tables(CatalogConfig(items=tmp_path)).files
    assert [(file.path.name, file.rows) for file in files] == [
        ("set.item", 2), ("set.train.inter", 3), ("set.valid.inter", 1), ("set.test.inter", 2),
    ]  # fmt: skip


def test_a_part_that_is_not_there_is_told(tmp_path: Path) -> None:
    write_parts(tmp_path, train=PARTS["train"], test=PARTS["test"])
    assert read_tables(CatalogConfig(items=tmp_path)).notes == ("There is no valid file: no event is valid.",)


@pytest.mark.parametrize("newest_first", [False, True])
def test_histories_of_a_benchmark_become_events_whichever_way_they_lie(
    tmp_path: Path, newest_first: bool
) -> None:
    """al: 007 1.0 1.0 007 | 1.0 | 007; histories are cut at 4."""
    rows = ["al\t007\t1.0\n", "al\t007 1.0\t1.0\n", "al\t007 1.0 1.0\t007\n"]
    write_parts(
        tmp_path,
        train=LISTS + "".join(reversed(rows) if newest_first else rows),
        valid=LISTS + "al\t007 1.0 1.0 007\t1.0\n",
        test=LISTS + "al\t1.0 1.0 007 1.0\t007\n",
    )
    items = ["007", "1.0", "1.0", "007", "1.0", "007"]
    splits = ["train"] * 4 + ["valid", "test"]
    assert events_of(tmp_path) == [["al", item, split] for item, split in zip(items, splits, strict=True)]


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"valid": LISTS + "al\t007\t1.0\n", "test": LISTS + "al\t007\t1.0\n"}, r"set\.test\.inter: row 2 "
         r'\(the header is row 1\) gives user "al" the history \[007\], expected \[1\.0\]: the newest'),
        ({"train": PARTS["train"], "test": LISTS + "al\t007\t1.0\n"}, r"set\.test\.inter has the columns "
         r"user_id, item_id_list, item_id, expected those of set\.train\.inter: user_id, item_id, timestamp"),
        ({"test": "item_id_list:token_seq\titem_id:token\n007\t1.0\n"}, r'set\.test\.inter has no column "u'),
    ],
)  # fmt: skip
def test_benchmark_files_that_do_not_fit_together_are_refused(
    tmp_path: Path, parts: dict[str, str], message: str
) -> None:
    with pytest.raises(CatalogError, match=message):
        events_of(write_parts(tmp_path, **parts))


def test_histories_that_are_for_no_part_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        CatalogError, match=r'set\.inter has rows with histories \(column "item_id_list"\) and'
    ):
        read(write(tmp_path, events=LISTS + "al\t007\t1.0\n"))


def test_a_whole_beside_its_parts_is_refused(tmp_path: Path) -> None:
    (write_parts(tmp_path, **PARTS) / "set.inter").write_text(EVENTS)
    with pytest.raises(
        CatalogError, match=r"4 files \*\.inter, expected one of each, or \*\.train\.inter, \*\.v"
    ):
        read(tmp_path)
