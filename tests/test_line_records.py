"""Files of an object per line and of an event per line: blocks, types, and the line that is named."""

import gzip
from pathlib import Path

import pyarrow as pa
import pytest

from sidrec.catalog.forms.event_files import EventColumns, read_events
from sidrec.catalog.forms.files import Block, read_blocks
from sidrec.catalog.forms.line_records import first_keys, read_line_records
from sidrec.errors import CatalogError

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("count", pa.int64()),
        ("score", pa.float64()),
        ("parts", pa.list_(pa.string())),
        ("at", pa.timestamp("s")),
    ]
)
COLUMNS = EventColumns({"u": "user_id", "i": "item_id", "r": "rating", "t": "timestamp"})


def write(directory: Path, content: str | bytes, name: str = "lines.json") -> Path:
    path = directory / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def rows(path: Path, **options: int) -> list[dict]:
    return read_line_records(path, "catalog.items", SCHEMA, required=("id",), **options).to_pylist()


def test_blocks_are_whole_lines_and_know_their_place(tmp_path: Path) -> None:
    path = write(tmp_path, b"\xef\xbb\xbfone\ntwo\nthree is long\nend")
    assert list(read_blocks(path, "catalog.items", block_bytes=6)) == [
        Block(1, b"one\ntwo\n"),  # the first 6 bytes are the mark and 3 letters: no line end, so 6 more
        Block(3, b"three is long\n"),
        Block(4, b"end"),
    ]


@pytest.mark.parametrize("block_bytes", [1, 7, 64, 1 << 20])
def test_the_size_of_blocks_changes_nothing(tmp_path: Path, block_bytes: int) -> None:
    lines = [f'{{"id": "é{number}", "count": {number}, "other": [1]}}' for number in range(20)]
    path = write(tmp_path, gzip.compress("\n".join(lines).encode()), "lines.json.gz")
    found = rows(path, block_bytes=block_bytes)
    assert [(row["id"], row["count"]) for row in found] == [(f"é{number}", number) for number in range(20)]


def test_json_and_python_give_the_same_types(tmp_path: Path) -> None:
    as_json = '{"id": "a", "count": 2, "score": 3, "parts": ["x", null], "at": "2018-07-07 22:09:11"}\n'
    as_python = "{'id': u'a', 'count': 2, 'score': 3, 'parts': ['x', None], 'at': '2018-07-07 22:09:11'}\n"
    first, second = rows(write(tmp_path, as_json + as_python))
    assert first == second
    assert (first["score"], first["parts"], first["at"].isoformat()) == (
        3.0,
        ["x", None],
        "2018-07-07T22:09:11",
    )


def test_other_types_become_those_of_the_schema(tmp_path: Path) -> None:
    lines = (
        '{"id": 7, "parts": "x", "count": 2.0}\n\n{"id": "b", "parts": "", "at": "2018-07-08T01:00+02:00"}\n'
    )
    first, second = rows(write(tmp_path, lines))
    assert (first["id"], first["parts"], first["count"]) == ("7", ["x"], 2)
    assert (second["parts"], second["at"].isoformat()) == ([], "2018-07-07T23:00:00")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"id": "b"', r"line 3 is neither JSON nor a Python literal \(Expecting ',' delimiter\): '\{\"id\": "
         r"\"b\"'\. Mend or remove the line"),
        ("{'id': __import__('os').system('touch broken')}", r"line 3 is neither JSON nor a Python literal "
         r"\(malformed node or string\): "),
        ("{'id': {[]: 1}}", r"line 3 is neither JSON nor a Python literal \("),
        ("{'id': 'b'", r"line 3 is neither JSON nor a Python literal \('\{' was never closed\)"),
        ("{'id': " + "[" * 5000 + "]" * 5000 + "}", r"line 3 is neither JSON nor a Python literal \("),
        ('["b"]', r"line 3 is not an object: '\[\"b\"\]'\. Expected one object per line, such as"),
        ("null", r"line 3 is not an object: 'null'"),  # Arrow's parser crashes at one that comes first
        ('{"count": 1}', r'line 3 has no value for "id", expected one in every line\. Keys: count\. Add'),
        ('{"id": null}', r'line 3 has no value for "id"'),
        ('{"id": "b"} {"id": "c"}', r"line 3 is neither JSON nor a Python literal \(Extra data\)"),
        ('{"id": ["b"]}', r'line 3 has \["b"\] as id, expected a text\. Mend or remove the line'),
        ('{"id": "b", "count": "2"}', r'line 3 has "2" as count, expected a whole number'),
        ('{"id": "b", "count": 2.5}', r"line 3 has 2\.5 as count, expected a whole number"),
        ('{"id": "b", "count": true}', r"line 3 has true as count, expected a whole number"),
        ('{"id": "b", "count": 1e999}', r"line 3 has Infinity as count, expected a whole number"),
        ('{"id": "b", "count": 12345678901234567890}', r"as count, expected a whole number"),
        ('{"id": "b", "score": "good"}', r'line 3 has "good" as score, expected a number'),
        ('{"id": "b", "parts": {"x": 1}}', r'line 3 has \{"x": 1\} as parts, expected a list, each part a'),
        ('{"id": "b", "at": "soon"}', r'has "soon" as at, expected an ISO date such as 2018-07-07 22:09:11'),
        ('{"id": "b", "at": 5}', r"line 3 has 5 as at, expected an ISO date"),
        ('{"id": "\\ud800"}', r"line 3 has half a character, the escape \\ud800"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("block_bytes", [1, 1 << 20])
def test_a_broken_line_is_named(tmp_path: Path, line: str, message: str, block_bytes: int) -> None:
    path = write(tmp_path, f'{{"id": "a"}}\n\n{line}\n{{"id": "z"}}\n')
    with pytest.raises(CatalogError, match=r"lines\.json: .*" + message):
        rows(path, block_bytes=block_bytes)
    assert not Path("broken").exists()


def test_an_escape_of_half_a_character_in_a_key_that_is_not_read_does_not_matter(tmp_path: Path) -> None:
    assert rows(write(tmp_path, '{"id": "a", "text": "\\ud800"}\n'))[0]["id"] == "a"


def test_two_objects_in_a_line_are_refused_whatever_the_number_of_lines(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"line 1 is neither JSON .*Extra data"):
        rows(write(tmp_path, '{"id": "a"} {"id": "b"}\n{"id":\n"c"}\n'))


def test_an_object_over_two_lines_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"line 1 is neither JSON nor"):
        rows(write(tmp_path, '{"id":\n"a"}\n'))


def test_a_last_line_cut_short_is_told_from_a_broken_one(tmp_path: Path) -> None:
    message = (
        r"line 2 is neither JSON .*It is the last line and has no line end, so the file may have been cut"
    )
    with pytest.raises(CatalogError, match=message):
        rows(write(tmp_path, '{"id": "a"}\n{"id": "b'))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", b"", r"a\.json is empty, expected data"),
        ("a.json", b"\xef\xbb\xbf\n \n", r"a\.json is empty, expected data"),
        ("a.json", b'{"id": "a"}\n{"id": "\xe9"}\n', r"is not UTF-8: byte 0xe9 at position 20 \(line 2\)"),
        ("a.json", gzip.compress(b"{}", mtime=0), r"is compressed with gzip\. Rename it to a\.json\.gz"),
        ("a.json.gz", b'{"id": "a"}\n', r"is not gzip: it begins with b'\{\"id'\. Compress it, or rename"),
        ("a.json.gz", gzip.compress(b'{"id": "a"}\n', mtime=0)[:-9], r"a\.json\.gz is a broken gzip file"),
        ("a.json.gz", gzip.compress(b'{"id": "a"}\n', mtime=0)[:-5] + b"12345", r"broken gzip file"),
    ],
)
@pytest.mark.parametrize("block_bytes", [4, 1 << 20])
def test_a_broken_file_is_refused(
    tmp_path: Path, name: str, content: bytes, message: str, block_bytes: int
) -> None:
    with pytest.raises(CatalogError, match=message):
        rows(write(tmp_path, content, name), block_bytes=block_bytes)


def test_the_keys_of_a_first_line_are_found_or_none(tmp_path: Path) -> None:
    assert first_keys(write(tmp_path, '{"a": 1, "b": 2}\n{"c"')) == {"a", "b"}
    assert first_keys(write(tmp_path, "{'a': [['x']]}\n")) == {"a"}
    for content in ("", "[1]", "{'a'", "a,b\n", "{'a': f()}\n", "{'a'}\n"):
        assert first_keys(write(tmp_path, content)) == frozenset()
    assert first_keys(tmp_path / "none.json") == frozenset()
    assert first_keys(write(tmp_path, "{}", "none.json.gz")) == frozenset()


@pytest.mark.parametrize("block_bytes", [1, 9, 1 << 20])
def test_events_are_read_by_the_names_in_the_header(tmp_path: Path, block_bytes: int) -> None:
    path = write(tmp_path, 'note,t,u,i,r\r\n"a, b",10,007,x,4.5\r\n,20,é,y,3\r\n', "events.csv")
    frame = read_events(path, "catalog.interactions", COLUMNS, block_bytes=block_bytes)
    assert frame[["user_id", "item_id", "rating", "timestamp"]].values.tolist() == [
        ["007", "x", 4.5, 10],
        ["é", "y", 3.0, 20],
    ]
    assert frame.attrs["source"] == "events.csv"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("u,i,r\n1,2,3\n", r'the header "u, i, r" does not name "t" once, expected u, i, r, t in the first'),
        ("u,i,r,t,t\n1,2,3,4,5\n", r'does not name "t" once'),
        ("u,i,r,t\n", r"e\.csv has a header but no rows, expected one at least"),
        ("u,i,r,t\n1,2,3,4\n\n1,2,3\n1,2,3,4\n", r"e\.csv: line 4 has 3 cells, expected 4 \(u, i, r, t\): '1,"
         r"2,3'\. Mend or remove the line"),
        ("u,i,r,t\n1,2,3,4\n1,2,good,4\n", r'e\.csv: line 3 has "good" as r, expected a number'),
        ("u,i,r,t\n1,2,3,4\n1,2,3,4.5\n", r'e\.csv: line 3 has "4\.5" as t, expected a whole number'),
        ("u,i,r,t\n1,2,3,4\n1,2,3,\n", r'e\.csv: line 3 has "" as t, expected a whole number'),
        ("u,i,r,t\n1,2,3,4\n1,2,3", r"line 3 has 3 cells.* the file may have been cut short: copy it again"),
        ("u,i,r,t\n1,2,3,1234567890123456789012\n", r"the lines from 2 on cannot be read \(.*\)\. Copy the"),
    ],
)  # fmt: skip
def test_broken_events_are_refused(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(CatalogError, match=message):
        read_events(write(tmp_path, content, "e.csv"), "catalog.interactions", COLUMNS)
