"""Files to catalogues: every form, and every way a file can be broken."""

import gzip
import json
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from pydantic import ValidationError

from sidrec.catalog import Catalog, CatalogConfig, read_catalog
from sidrec.errors import CatalogError

CSV = 'isbn,title,author\n007,"Mugs, a history",NA\n1.0,NA,"Zoë ""Z"" Q"\n'
EVENTS = "reader,isbn,lent_at\nal,1.0,2024-02-01\nal,007,2024-01-01\n"
COLUMNS = {"item_id": "isbn", "user_id": "reader", "timestamp": "lent_at"}
LCREC_ITEMS = {"0": {"title": "Mug", "brand": "Acme"}, "1": {"title": "Pot", "brand": ""}}


def zstd(data: bytes) -> bytes:
    packed = pa.BufferOutputStream()
    with pa.CompressedOutputStream(packed, "zstd") as stream:
        stream.write(data)
    return packed.getvalue().to_pybytes()


def write(path: Path, content: str | bytes) -> Path:
    data = content.encode() if isinstance(content, str) else content
    if path.suffix == ".zst":
        data = zstd(data)
    path.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)
    return path


def read(directory: Path, items: str = CSV, interactions: str = EVENTS) -> Catalog:
    return read_catalog(
        CatalogConfig(
            items=write(directory / "books.csv", items),
            interactions=write(directory / "loans.csv", interactions),
            **COLUMNS,
        )
    )


def as_form(content: str, suffix: str) -> bytes:
    """Turn a CSV text into another form of the same table."""
    frame = pd.read_csv(pd.io.common.StringIO(content), dtype=str, keep_default_na=False)
    if suffix == "parquet":
        return frame.to_parquet()
    if suffix == "tsv":
        return frame.to_csv(index=False, sep="\t").encode()
    if suffix in ("jsonl", "ndjson"):
        return frame.to_json(orient="records", lines=True).encode()
    return content.encode()


@pytest.mark.parametrize(
    "suffix",
    [
        *["csv", "tsv", "jsonl", "ndjson", "parquet"],
        *["csv.gz", "tsv.gz", "jsonl.gz", "ndjson.gz"],
        *["csv.zst", "tsv.zst", "jsonl.zst", "ndjson.zst"],
    ],
)
def test_every_form_gives_the_same_catalogue(tmp_path, suffix):
    form = suffix.removesuffix(".gz").removesuffix(".zst")
    catalog = read_catalog(
        CatalogConfig(
            items=write(tmp_path / f"books.{suffix}", as_form(CSV, form)),
            interactions=write(tmp_path / f"loans.{suffix}", as_form(EVENTS, form)),
            **COLUMNS,
        )
    )
    assert catalog.items["item_id"].tolist() == ["007", "1.0"]
    assert catalog.items["title"].tolist() == ["Mugs, a history", "NA"]
    assert catalog.items["text"].tolist() == ["Mugs, a history. NA", 'NA. Zoë "Z" Q']
    assert catalog.interactions["item_id"].tolist() == ["007", "1.0"]
    assert catalog.order == "column 'lent_at'"
    assert catalog.sha256 == read(tmp_path).sha256


def test_a_byte_order_mark_is_accepted(tmp_path):
    assert read(tmp_path, "\ufeff" + CSV).sha256 == read(tmp_path).sha256


def test_windows_line_ends_and_cells_over_two_lines_are_accepted(tmp_path):
    catalog = read(tmp_path, 'isbn,title\r\n007,"Mug\r\nand pot"\r\n1.0,x\r\n')
    assert catalog.items["title"].tolist() == ["Mug and pot", "x"]


def test_integer_ids_in_parquet_and_jsonl_are_text(tmp_path):
    items = pd.DataFrame({"item_id": [7, 8], "title": ["a", "b"]})
    items.to_parquet(tmp_path / "items.parquet")
    lines = '{"user_id": 1, "item_id": 7}\n\n{"user_id": 1, "item_id": 8, "note": "x"}\n'
    catalog = read_catalog(
        CatalogConfig(items=tmp_path / "items.parquet", interactions=write(tmp_path / "e.jsonl", lines))
    )
    assert catalog.interactions.values.tolist() == [["1", "7", 0], ["1", "8", 1]]


def test_an_index_stored_by_pandas_is_read_as_a_column(tmp_path):
    pd.DataFrame({"title": ["a"]}, index=pd.Index(["x1"], name="item_id")).to_parquet(tmp_path / "i.parquet")
    events = write(tmp_path / "e.csv", "user_id,item_id\nu,x1\n")
    catalog = read_catalog(CatalogConfig(items=tmp_path / "i.parquet", interactions=events))
    assert catalog.items["item_id"].tolist() == ["x1"]


def test_decimal_ids_in_jsonl_stay_as_written(tmp_path):
    items = write(tmp_path / "i.jsonl", '{"item_id": 1.10, "title": "a"}\n')
    events = write(tmp_path / "e.jsonl", '{"user_id": "u", "item_id": 1.10}\n')
    assert read_catalog(CatalogConfig(items=items, interactions=events)).items["item_id"].tolist() == ["1.10"]


def write_lcrec(directory: Path, items: object = LCREC_ITEMS, events: object = None) -> Path:
    directory.mkdir(exist_ok=True)
    write(directory / "Any.item.json", json.dumps(items))
    write(
        directory / "Any.inter.json", json.dumps({"u": [1, 0, 1], "v": ["0"]} if events is None else events)
    )
    return directory


def test_lcrec_json_is_read_from_its_two_files(tmp_path):
    folder = write_lcrec(tmp_path)
    catalog = read_catalog(
        CatalogConfig(items=folder / "Any.item.json", interactions=folder / "Any.inter.json", item_id="asin")
    )
    assert catalog.items["text"].tolist() == ["Mug. Acme", "Pot"]
    assert catalog.interactions["user_id"].tolist() == ["u", "u", "u", "v"]
    assert catalog.interactions["item_id"].tolist() == ["1", "0", "1", "0"]
    assert catalog.order == "rows"


def test_lcrec_json_is_read_from_its_directory(tmp_path):
    catalog = read_catalog(CatalogConfig(items=write_lcrec(tmp_path)))
    assert (catalog.num_items, catalog.num_users) == (2, 2)


@pytest.mark.parametrize(
    ("items", "events", "message"),
    [
        ([], None, r"Any\.item\.json holds a list, expected an object\. Write \{item:"),
        ({}, None, r"Any\.item\.json holds an empty object"),
        ({"0": "Mug"}, None, r'item "0" is a string, expected an object of fields'),
        ({"0": {"item_id": "1"}}, None, r'item "0" has a field "item_id" beside its key'),
        (LCREC_ITEMS, {"u": 3}, r'user "u" is a number, expected a list of items'),
        (LCREC_ITEMS, {"u": [None]}, r'user "u" has the item null, expected the id of an item'),
        (LCREC_ITEMS, {"u": [[1]]}, r'user "u" has the item \[1\], expected the id of an item'),
        (LCREC_ITEMS, {"u": []}, r"Any\.inter\.json has users but no events"),
        (LCREC_ITEMS, {"u": [5]}, r'Any\.inter\.json: 1 of 1 events .* Any\.item\.json does not have: "5"'),
    ],
)
def test_broken_lcrec_json_is_refused(tmp_path, items, events, message):
    with pytest.raises(CatalogError, match=message):
        read_catalog(CatalogConfig(items=write_lcrec(tmp_path, items, events)))


def test_json_cut_short_is_refused_with_its_place(tmp_path):
    folder = write_lcrec(tmp_path)
    write(folder / "Any.inter.json", '{"u": [1, 0],\n"v": [')
    with pytest.raises(CatalogError, match=r"Any\.inter\.json is not JSON: .*line 2 column 7"):
        read_catalog(CatalogConfig(items=folder))


def test_a_json_key_that_is_there_twice_is_refused(tmp_path):
    folder = write_lcrec(tmp_path)
    write(folder / "Any.item.json", '{"1": {"title": "a"}, "1": {"title": "b"}}')
    with pytest.raises(CatalogError, match=r'Any\.item\.json has the key "1" twice in one object'):
        read_catalog(CatalogConfig(items=folder))


def test_a_directory_without_one_lcrec_pair_is_refused(tmp_path):
    with pytest.raises(
        CatalogError, match=r"of no known form: it holds nothing, expected one of: one \*\.item\.json and one"
    ):
        read_catalog(CatalogConfig(items=tmp_path))


def test_a_directory_in_place_of_a_file_is_refused(tmp_path):
    events = write(tmp_path / "loans.csv", EVENTS)
    (tmp_path / "books.csv").mkdir()
    with pytest.raises(CatalogError, match=r"catalog\.items: .*books\.csv is a directory, expected a file"):
        read_catalog(CatalogConfig(items=tmp_path / "books.csv", interactions=events))


def test_items_without_interactions_are_refused(tmp_path):
    with pytest.raises(CatalogError, match=r"catalog\.interactions is not set, but catalog\.items is"):
        read_catalog(CatalogConfig(items=write(tmp_path / "books.csv", CSV)))


def test_interactions_without_items_are_refused(tmp_path):
    with pytest.raises(CatalogError, match=r"catalog\.items is not set"):
        read_catalog(CatalogConfig(interactions=write(tmp_path / "loans.csv", EVENTS)))


@pytest.mark.parametrize("name", ["no.csv", "no.csv.gz", "no.jsonl", "no.parquet", "no.item.json", "no.xlsx"])
def test_a_missing_file_is_refused(tmp_path, name):
    events = write(tmp_path / "loans.csv", EVENTS)
    with pytest.raises(CatalogError, match=rf"catalog\.items: there is no file .*{name}\. Check the path"):
        read_catalog(CatalogConfig(items=tmp_path / name, interactions=events))


def test_an_unknown_extension_is_refused(tmp_path):
    events = write(tmp_path / "loans.csv", EVENTS)
    items = write(tmp_path / "books.xlsx", "x")
    with pytest.raises(
        CatalogError, match=r"books\.xlsx has an unknown extension, expected \.csv, \.tsv, \.jsonl"
    ):
        read_catalog(CatalogConfig(items=items, interactions=events))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("i.csv", b"", r"i\.csv is empty, expected data"),
        ("i.csv", b"\xef\xbb\xbf \n\n", r"i\.csv is empty, expected data"),
        ("i.jsonl", b"\n", r"i\.jsonl is empty, expected data"),
        ("i.parquet", b"", r"i\.parquet is empty, expected data"),
        ("i.csv", b"isbn,title\n", r"i\.csv has a header but no rows, expected one row at least"),
        ("i.csv", b"isbn,title\n1,a\n2,b,c\n", r"i\.csv: line 3 has 3 cells, expected 2 .*'2,b,c'\. Comp"),
        ("i.csv", b"isbn,title\n1,a\n2\n", r"i\.csv: line 3 has 1 cells, expected 2 as the header has"),
        ("i.csv", b"isbn,title,title\n1,a,b\n", r'i\.csv has more than one column "title"'),
        ("i.csv", b"isbn#title\n1#a\n", r'i\.csv has no column "isbn" .*isbn#title. If .*catalog\.separator'),
        ("i.csv", b"isbn,title\n1,\xe2\xe0\xe7\n", r"not UTF-8: byte 0xe2 at position 13 \(line 2\)\. Set"),
        (
            "i.csv",
            gzip.compress(b"isbn,title\n1,a\n", mtime=0),  # the same test in every process
            r"is compressed with gzip\. Rename it to i\.csv\.gz",
        ),
        ("i.csv", zstd(b"isbn,title\n1,a\n"), r"is compressed with zstd\. Rename it to i\.csv\.zst"),
        ("i.jsonl", b'{"isbn": "1"}\n\n{"isbn": \n', r"line 3 is not JSON .*Mend or remove the line"),
        ("i.jsonl", b'["1", "a"]\n', r"i\.jsonl: line 1 is not a JSON object: '\[\"1\", \"a\"\]'"),
        ("i.jsonl", b'{"isbn": "\\ud800", "title": "a"}', r"line 1 has half a character, the escape \\ud800"),
        ("i.parquet", b"PAR1 and no more", r"i\.parquet is not a readable Parquet file .*cut short"),
    ],
)  # fmt: skip
def test_a_broken_file_is_refused(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    config = CatalogConfig(
        items=tmp_path / name, interactions=write(tmp_path / "loans.csv", EVENTS), **COLUMNS
    )
    with pytest.raises(CatalogError, match=message):
        read_catalog(config)


def test_a_parquet_file_whose_notes_by_pandas_are_broken_is_read(tmp_path):
    table = pa.table({"isbn": ["1"], "title": ["a"]}).replace_schema_metadata({"pandas": b"\xfc{"})
    parquet.write_table(table, tmp_path / "i.parquet")
    loans = write(tmp_path / "loans.csv", "reader,isbn,lent_at\nal,1,2024-02-01\n")
    catalog = read_catalog(CatalogConfig(items=tmp_path / "i.parquet", interactions=loans, **COLUMNS))
    assert catalog.items["title"].tolist() == ["a"]


def test_a_parquet_file_cut_short_is_refused(tmp_path):
    path = tmp_path / "i.parquet"
    path.write_bytes(as_form(CSV, "parquet")[:-30])
    config = CatalogConfig(items=path, interactions=write(tmp_path / "loans.csv", EVENTS), **COLUMNS)
    with pytest.raises(
        CatalogError, match=r"i\.parquet is not a readable Parquet file .*write or copy it again"
    ):
        read_catalog(config)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            CSV.encode(),
            r"books\.csv\.gz is not gzip: it begins with b'isbn'\. Compress it, or rename it to books\.csv",
        ),
        (gzip.compress(CSV.encode(), mtime=0)[:-12], r"books\.csv\.gz is a broken gzip file"),
    ],
)
def test_a_gz_that_is_none_or_cut_short_is_refused(tmp_path, content, message):
    (tmp_path / "books.csv.gz").write_bytes(content)
    config = CatalogConfig(
        items=tmp_path / "books.csv.gz", interactions=write(tmp_path / "loans.csv", EVENTS), **COLUMNS
    )
    with pytest.raises(CatalogError, match=message):
        read_catalog(config)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (CSV.encode(), r"books\.csv\.zst is not zstd: it begins with b'isbn'\. Compress it, or rename it"),
        (zstd(CSV.encode())[:-3], r"books\.csv\.zst is a broken zstd file \(Truncated"),
        (zstd(CSV.encode()) + b"more", r"books\.csv\.zst is a broken zstd file \(ZSTD"),
        (b"", r"books\.csv\.zst is empty, expected data"),
        (zstd(b""), r"books\.csv\.zst is empty, expected data"),
    ],
)
def test_a_zst_that_is_none_or_cut_short_is_refused(tmp_path, content, message):
    (tmp_path / "books.csv.zst").write_bytes(content)
    config = CatalogConfig(
        items=tmp_path / "books.csv.zst", interactions=write(tmp_path / "loans.csv", EVENTS), **COLUMNS
    )
    with pytest.raises(CatalogError, match=message):
        read_catalog(config)


def test_a_zst_of_several_frames_is_read_whole(tmp_path):
    half = CSV.index("1.0")
    (tmp_path / "books.csv.zst").write_bytes(zstd(CSV[:half].encode()) + zstd(CSV[half:].encode()))
    config = CatalogConfig(
        items=tmp_path / "books.csv.zst", interactions=write(tmp_path / "loans.csv", EVENTS), **COLUMNS
    )
    assert read_catalog(config).num_items == 2


def test_messages_name_the_file_the_column_came_from(tmp_path):
    with pytest.raises(CatalogError, match=r'loans\.csv has no column "lent_at" .*Did you mean "lent_on"\?'):
        read(tmp_path, interactions=EVENTS.replace("lent_at", "lent_on"))


def test_cells_are_never_executed(tmp_path):
    catalog = read(tmp_path, "isbn,title\n007,\"[__import__('os').abort()]\"\n1.0,{titel}\n")
    assert catalog.items["title"].tolist() == ["[__import__('os').abort()]", "{titel}"]


def test_an_unknown_setting_is_refused():
    with pytest.raises(ValidationError, match="item_ids"):
        CatalogConfig(item_ids="isbn")
