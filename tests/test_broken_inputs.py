"""Tables as people really have them: understood, with the right figures, or refused in one sentence."""

import gzip
import io
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import pytest
from conftest import Ended
from test_errors import EVENTS, FAST, ITEMS, assert_refused

Command = Callable[..., Ended]
CODE = "__import__('os').system('touch executed')"


@dataclass(frozen=True)
class Files:
    """Two files as a person has them, and what was set; None: the case makes the file itself.

    Attributes:
        items: Content of `items.{form}`.
        events: Content of `events.{form}`; of CSV where `form` is packed or binary.
        form: Ending of the file of items.
        settings: Beside the two files.
        make: Puts something else into the directory.
    """

    items: str | bytes | None = ITEMS
    events: str | bytes | None = EVENTS
    form: str = "csv"
    settings: list[str] = field(default_factory=list)
    make: Callable[[Path], object] = lambda directory: None

    def write(self, directory: Path) -> list[str]:
        """Write the files; return the arguments that name them, and an output beside them."""
        ends = {"items": self.form, "events": self.form if self.form in ("tsv", "jsonl") else "csv"}
        for name, content in (("items", self.items), ("events", self.events)):
            data = content.encode() if isinstance(content, str) else content
            if data is not None:
                (directory / f"{name}.{ends[name]}").write_bytes(data)
        self.make(directory)
        named = [f"catalog.items=items.{self.form}", f"catalog.interactions=events.{ends['events']}"]
        return [*named, "output=run", *self.settings]


def json_lines(frame: str) -> str:
    """The rows of a CSV as JSON lines."""
    rows = pd.read_csv(io.StringIO(frame), dtype=str).to_dict("records")
    return "".join(json.dumps(row) + "\n" for row in rows)


def json_files(items: object, events: str = json_lines(EVENTS)) -> Files:
    """Files of JSON lines, the items whatever is given."""
    return Files(items if isinstance(items, str) else json.dumps(items), events, "jsonl")


def parquet_of(items: str) -> bytes:
    file = io.BytesIO()
    pd.read_csv(io.StringIO(items), dtype=str).to_parquet(file)
    return file.getvalue()


def events_at(*times: str) -> str:
    """Three events at these times."""
    rows = (f"u1,{item},{time}\n" for item, time in zip("ABC", times, strict=True))
    return "user_id,item_id,timestamp\n" + "".join(rows)


def numbers(items: str, events: str) -> Files:
    """Three items by number, and three events of them; both written as `str.format` gives them."""
    rows = [items.format(number) + f",Lamp no {number}\n" for number in (1, 2, 3)]
    had = [f"u1,{events.format(number)}\n" for number in (1, 2, 3)]
    return Files("item_id,title\n" + "".join(rows), "user_id,item_id\n" + "".join(had))


def with_item(item_id: str, title: str) -> str:
    """The items, and one more before them; both cells quoted."""
    quoted = ",".join('"' + cell.replace('"', '""') + '"' for cell in (item_id, title))
    return ITEMS.replace("item_id,title\n", f"item_id,title\n{quoted}\n")


def link(to: str) -> Callable[[Path], None]:
    return lambda directory: os.symlink(to, directory / "items.csv")


def forbid(directory: Path) -> None:
    (directory / "items.csv").chmod(0)


PACKED = gzip.compress(ITEMS.encode(), mtime=0)
PARQUET = parquet_of(ITEMS)
RECORDS = [json.loads(line) for line in json_lines(ITEMS).splitlines()]
REFUSED = {
    # How a row is written
    "cells divided by what nobody guesses": (
        Files(ITEMS.replace(",", "~")),
        r'items\.csv has no column "item_id" .* Columns: item_id~title\. .* set catalog\.separator',
    ),
    "quotes that do not close": (
        Files('item_id,title\nA,"Red lamp\nB,Blue lamp\nC,Green rug\n'),
        r"items\.csv: the quotes of a cell that begins in line 2 are not closed: .* Close them at the end",
    ),
    "words after a quoted cell": (
        Files(ITEMS + 'D,"Big" mug\n'),
        r"begins in line 5 are not closed: .* Close",
    ),
    # Encodings
    "Cyrillic of Windows": (
        Files(ITEMS.encode() + "D,Ваза\n".encode("cp1251")),
        r"items\.csv is not UTF-8: byte 0xc2 at position 51 \(line 5\)\. Set catalog\.encoding",
    ),
    "UTF-16 without its mark": (Files(ITEMS.encode("utf-16-le")), r"items\.csv.* NUL"),
    "a NUL byte": (Files(ITEMS.replace("Blue", "Bl\0ue")), r"items\.csv.* NUL"),
    "a spreadsheet that is called a table": (Files(b"PK\x03\x04\x14\x00\x06\xff" * 9), r"items\.csv"),
    "half a last line": (
        Files(events=EVENTS + "u1,A"),
        r"events\.csv: line 5 has 2 cells, expected 3 .*: 'u1,A'\. .* may have been cut short: copy it again",
    ),
    "a last line of items cut": (
        Files(ITEMS + "D"),
        r"items\.csv: line 5 has 1 cells, expected 2 .*: 'D'\. It",
    ),
    "an unquoted comma": (
        Files(ITEMS + "D,Mug, red\n"),
        r"items\.csv: line 5 has 3 cells, expected 2 .* mend a cell that contains the separator",
    ),
    "a name twice": (
        Files("item_id,title,title\nA,x,y\n"),
        r"items\.csv has more than one column \"title\"\. R",
    ),
    "items without a header": (
        Files(ITEMS.partition("\n")[2]),
        r'items\.csv has no column "item_id" .* Columns: A, Red lamp\. Set catalog\.item_id',
    ),
    "events without a header": (
        Files(events=EVENTS.partition("\n")[2]),
        r'events\.csv has no column "user_id" .* Columns: u1, A, 1\. Set catalog\.user_id',
    ),
    "a name in capitals": (
        Files(ITEMS.replace("item_id", "ITEM_ID")),
        r'no column "item_id" \(catalog\.item_id\)\. Did you mean "ITEM_ID"\? .* Set catalog\.item_id',
    ),
    "a web page": (
        Files("<!DOCTYPE html><html>404</html>\n"),
        r"items\.csv has a header but no rows, expected",
    ),
    "the two files swapped": (
        Files(EVENTS, ITEMS),
        r'events\.csv has no column "user_id" .* Set catalog\.user_id',
    ),
    # Ids
    "ids read as floats": (
        numbers("{}", "{}.0"),
        r'events\.csv: 3 of 3 events .* row 1\) .* "1\.0", .* Did you mean "1"\? .* write both as text',
    ),
    "ids without their zeros": (numbers("00{}", "{}"), r'"1", "2", "3"\. Did you mean "001"\? .* as text'),
    "ids as a spreadsheet has them": (
        Files("item_id,title\n9.78E+12,Red\n9.78E+12,Blue\n"),
        r'the item_id "9\.78E\+12" is in data rows 1 and 2, expected each item once .* Remove',
    ),
    "two ids that a blank tells apart": (
        Files(ITEMS + "A ,Sofa\n"),
        r"items\.csv: the item_ids 'A' and 'A ' differ only by white space .* Remove the white",
    ),
    "a blank behind the id of an event": (
        Files(events=EVENTS + "u1,A ,4\n"),
        r"events\.csv: the item_ids 'A' and 'A ' differ only by white space",
    ),
    "an id with a control character": (
        Files(with_item("D\x1b[31m", "Mug")),
        r"items\.csv: data row 1 has the item_id 'D\\x1b\[31m' with a control character, .* Remove",
    ),
    "NaN in JSON": (
        json_files(json_lines(ITEMS) + '{"item_id": NaN, "title": "Mug"}\n'),
        r"items\.jsonl: data row 4 has an empty item_id, expected an id .* Fill it in or remove the row",
    ),
    "null as a user": (
        json_files(json_lines(ITEMS), json_lines(EVENTS) + '{"user_id": null, "item_id": "A"}\n'),
        r"events\.jsonl: data row 4 has an empty user_id, expected an id",
    ),
    "an item twice, in other words": (
        Files(ITEMS + "A,Sofa\n"),
        r'the item_id "A" is in data rows 1 and 4, .* or set catalog\.filters\.duplicate_items=first',
    ),
    "events of other items": (
        Files(events="user_id,item_id\nu1,x\nu1,y\nu1,z\n"),
        r'events\.csv: 3 of 3 events .* items\.csv does not have: "x", "y", "z"\. Add the items, remove',
    ),
    # Times and ratings
    "dates after numbers": (
        Files(events=events_at("5", "2020-01-01", "7")),
        r'events\.csv: data row 2 has "2020-01-01" as timestamp, .* in one form .* Mend the row',
    ),
    "numbers after dates": (
        Files(events=events_at("2020-01-01", "5", "7")),
        r'data row 2 has "5" as timestamp',
    ),
    "no time": (
        Files(events=events_at("1", "", "3")),
        r'data row 2 has "" as timestamp, expected a number or',
    ),
    "an endless time": (
        Files(events=events_at("1", "2", "inf")),
        r'data row 3 has "inf" as timestamp, expected',
    ),
    "dates with the day or the month first": (
        Files(events=events_at("12/11/2020", "01/01/2021", "02/03/2021")),
        r'events\.csv: "12/11/2020" as timestamp can be "%d/%m/%Y" or "%m/%d/%Y", .* catalog\.time_format',
    ),
    "dates in two forms": (
        Files(events=events_at("31.12.2020", "2021-01-01", "02.01.2021")),
        r'data row 2 has "2021-01-01" as timestamp, expected a date written like the first, "31\.12\.2020"',
    ),
    "a format without a month": (
        Files(settings=["catalog.time_format=%d/%M/%Y"]),
        r"catalog\.time_format: %d is there without a month, %m \(%M are minutes\), got '%d/%M/%Y'\.",
    ),
    "a rating in words": (
        Files(events="user_id,item_id,rating\nu1,A,3\nu1,B,good\n"),
        r'events\.csv: data row 2 has "good" as rating, expected a number\. Mend the row',
    ),
    # Nothing in it
    "an empty file": (Files(""), r"items\.csv is empty, expected data\. Check what wrote it"),
    "blank lines alone": (Files(" \n\n \n"), r"items\.csv is empty, expected data"),
    "a header alone": (
        Files(events="user_id,item_id\n"),
        r"events\.csv has a header but no rows, expected one",
    ),
    "no events": (Files(events=""), r"events\.csv is empty, expected data"),
    "all filtered away": (
        Files(settings=["catalog.filters.user_core=9"]),
        r"no event is left after user_core=9, .* before it there were 3, of 1 users and 3 items\. Loosen it",
    ),
    "texts of spaces": (
        Files(ITEMS + "D,   \n"),
        r'item "D" \(data row 4\) has an empty text, expected words\. Fi',
    ),
    "texts of numbers": (
        Files("item_id,title\nA,1\nB,2\nC,3\n"),
        r'has no text column beside "item_id", expected',
    ),
    # What the path leads to
    "a directory": (
        Files(None, make=lambda directory: (directory / "items.csv").mkdir()),
        r"catalog\.items: items\.csv is a directory, expected a file\. Name the file inside it",
    ),
    "no file": (Files(None), r"catalog\.items: there is no file items\.csv\. Check the path"),
    "a link to itself": (
        Files(None, make=link("items.csv")),
        r"items\.csv is a symbolic link that leads to no fi",
    ),
    "a link to nothing": (
        Files(None, make=link("gone.csv")),
        r"that leads to no file \(gone\.csv\)\. Name the f",
    ),
    "a pipe": (
        Files(None, make=lambda directory: os.mkfifo(directory / "items.csv")),
        r"catalog\.items: items\.csv is a pipe or a device, expected a file\. Save what it gives",
    ),
    "too long a name": (
        Files(settings=[f"catalog.items={'x' * 300}.csv"]),
        r"catalog\.items: x{100}\.\.\. cannot be read \(File name too long\)\. Check the path",
    ),
    "a spreadsheet": (
        Files(b"PK\x03\x04", form="xlsx"),
        r"items\.xlsx has an unknown extension, expected \.csv.* Co",
    ),
    # Packed and binary files
    "a packed file cut short": (
        Files(PACKED[:-9], form="csv.gz"),
        r"items\.csv\.gz is a broken gzip file \(.*end-of-stream.*\)\. Copy it or compress it again",
    ),
    "a packed file with more behind it": (Files(PACKED + b"more", form="csv.gz"), r"is a broken gzip file"),
    "a packed file that does not say so": (
        Files(PACKED),
        r"is compressed with gzip\. Rename it to items\.csv\.gz",
    ),
    "Parquet cut short": (
        Files(PARQUET[:-20], form="parquet"),
        r"items\.parquet is not a readable Parquet file .* It may have been cut short: write or copy it",
    ),
    "Parquet that is CSV": (Files(form="parquet"), r"items\.parquet is not a readable Parquet file"),
    # JSON
    "an array of JSON": (
        json_files(RECORDS),
        r"line 1 is not a JSON object: .* Write one object per line, e\.g\.",
    ),
    "JSON over several lines": (
        json_files(json.dumps(RECORDS[0], indent=1)),
        r"line 1 is not JSON .* '\{'\. Write one object per line",
    ),
    "JSON one level too deep": (
        json_files({"items": RECORDS}),
        r'items\.jsonl has no column "item_id" .* Did you mean "items"\? Columns: items\. Set catalog',
    ),
    "JSON without a bottom": (
        json_files('{"a": ' + "[" * 100_000),
        r"line 1 is not JSON \(.*recursion.*\[\[\[",
    ),
    "a number without an end": (
        json_files('{"item_id": ' + "1" * 5000 + "}"),
        r"line 1 is not JSON \(Exceeds",
    ),
    # What is set
    "code in a template": (
        Files(settings=["catalog.text={title.__class__}"]),
        r'catalog\.text: "\{title\.__class__\}" names a column that items\.csv does not have\. Columns',
    ),
}
"""Case -> the files, and what the message says: where, the value, what was expected, what to do."""


@pytest.mark.parametrize("case", REFUSED)
def test_broken_files_are_refused_and_nothing_is_written(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    files, message = REFUSED[case]
    monkeypatch.chdir(tmp_path)
    arguments = files.write(tmp_path)
    assert_refused(command("tokenize", *arguments, *FAST), message)
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "executed").exists()


def test_users_who_are_all_too_short_are_refused_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = Files(events="user_id,item_id\nu1,A\nu2,B\n").write(tmp_path)
    message = r"needs users with 3 events or more, but the longest history of the 2 users has 1\. Add events"
    assert_refused(command("run", *arguments, *FAST), message)
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is unreadable to root")
def test_a_file_that_may_not_be_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = Files(make=forbid).write(tmp_path)
    message = r"catalog\.items: items\.csv cannot be read \(Permission denied\)\. Check its permissions"
    assert_refused(command("tokenize", *arguments, *FAST), message)


@dataclass(frozen=True)
class Understood:
    """What a command should say of files that look worse than they are.

    Attributes:
        counts: Users, items and events.
        items: Some of the first items: their ids and texts.
        doubt: Part of what is found doubtful; "": there need be nothing.
    """

    counts: tuple[int, int, int] = (1, 3, 3)
    items: tuple[tuple[str, str], ...] = (("A", "Red lamp"), ("B", "Blue lamp"))
    doubt: str = ""


UNDERSTOOD = {
    "semicolons": (Files(ITEMS.replace(",", ";"), EVENTS.replace(",", ";")), Understood()),
    "tabs in a file of commas": (Files(ITEMS.replace(",", "\t")), Understood()),
    "Latin-1": (
        Files(with_item("D", "Café").encode("latin-1")),
        Understood((1, 4, 3), (("D", "Café"),)),
    ),
    "UTF-16 of a spreadsheet": (Files(ITEMS.replace(",", "\t").encode("utf-16")), Understood()),
    "a quote within a cell": (
        Files(ITEMS.replace("Red lamp", '5" nail')),
        Understood(items=(("A", '5" nail'),)),
    ),
    "a byte order mark": (Files("\ufeff" + ITEMS, "\ufeff" + EVENTS), Understood()),
    "line ends of Windows": (Files(ITEMS.replace("\n", "\r\n")), Understood()),
    "line ends of an old Mac": (Files(ITEMS.replace("\n", "\r")), Understood()),
    "blank lines between": (Files(ITEMS.replace("\n", "\n\n")), Understood()),
    "no line end at the end": (Files(ITEMS.rstrip(), EVENTS.rstrip()), Understood()),
    "a column without a name": (
        Files(",item_id,title\n0,A,Red lamp\n1,B,Blue lamp\n2,C,Rug\n"),
        Understood(),
    ),
    "ids that are floats in both": (numbers("{}.0", "{}.0"), Understood(items=(("1.0", "Lamp no 1"),))),
    "NaN as an item": (
        Files(with_item("NaN", "Vase")),
        Understood((1, 4, 3), (("NaN", "Vase"),), doubt='"NaN" is the id of one of the items'),
    ),
    "nan as a user": (
        Files(events=EVENTS + "nan,A,4\n"),
        Understood((2, 3, 4), doubt='"nan" is the id of one of the users, and what is written for none'),
    ),
    "times before 1970": (
        Files(events=events_at("-3", "-2", "-1")),
        Understood(doubt="times, -3 to -1, are no d"),
    ),
    "milliseconds": (
        Files(events=events_at("1700000000000", "1700000001000", "1700000002000")),
        Understood(doubt="the times look like milliseconds"),
    ),
    "seconds and milliseconds": (
        Files(events=events_at("1700000000", "1700000001000", "1700000002000")),
        Understood(doubt="1700000000 to 1700000002000, are no dates between 1980 and 2100 in any unit"),
    ),
    "American dates": (Files(events=events_at("12/31/2020", "01/01/2021", "01/02/2021")), Understood()),
    "dates that nothing names": (
        Files(events=events_at("31.12.2020", "1.1.2021", "2.1.2021").replace("timestamp", "lent")),
        Understood(doubt='events are in the order of the rows, but "lent" may be their time'),
    ),
    "dates of an old spreadsheet": (Files(events=events_at("31.12.99", "1.1.00", "2.1.00")), Understood()),
    "dates to come": (
        Files(events=events_at("2090-01-01", "2090-01-02", "2090-01-03")),
        Understood(doubt="the newest event is of 2090-01-03, which is still to come"),
    ),
    "dates of all ages": (Files(events=events_at("0001-01-01", "9999-12-31", "2000-01-01")), Understood()),
    "cells of many types": (
        json_files(
            '{"item_id": 1, "title": ["Red", "lamp"]}\n{"item_id": "2", "title": {"en": "Rug"}}\n',
            '{"user_id": true, "item_id": "1"}\n{"user_id": true, "item_id": 2}\n',
        ),
        Understood((1, 2, 2), (("1", "Red, lamp"), ("2", '{"en": "Rug"}'))),
    ),
    "items without events": (
        Files(ITEMS + "".join(f"D{number},Mug no {number}\n" for number in range(9))),
        Understood((1, 12, 3), doubt="9 of 12 items have no event"),
    ),
    "one item": (
        Files("item_id,title\nA,Red lamp\n", "user_id,item_id\nu1,A\nu1,A\nu1,A\n"),
        Understood((1, 1, 3), (("A", "Red lamp"),)),
    ),
    "users of one event": (
        Files(events="user_id,item_id\nu1,A\nu2,B\n"),
        Understood((2, 3, 2), doubt="2 of 2 users have fewer than 3 events"),
    ),
    "the first of two texts": (
        Files(ITEMS + "A,Sofa\n", settings=["catalog.filters.duplicate_items=first"]),
        Understood(),
    ),
    "a text like a semantic ID": (
        Files(with_item("D", "<a_1><b_2> <|im_end|>")),
        Understood((1, 4, 3), (("D", "<a_1><b_2> <|im_end|>"),)),
    ),
    "a text with what stands between texts": (
        Files(with_item("D", "Mug; pot, => {title} ### Response:")),
        Understood((1, 4, 3), (("D", "Mug; pot, => {title} ### Response:"),)),
    ),
    "a text over two lines": (
        Files(with_item("D", 'Big "old"\nmug')),
        Understood((1, 4, 3), (("D", 'Big "old"\nmug'),)),
    ),
    "a text of a megabyte": (
        Files(with_item("D", "x" * 1_000_000)),
        Understood((1, 4, 3), (("D", "x" * 1_000_000),), doubt="more than 10,000 characters"),
    ),
    "ids with blanks": (Files(with_item("my mug", "Mug")), Understood((1, 4, 3), (("my mug", "Mug"),))),
    "ids like paths": (
        Files(with_item("../../etc/x", "Mug")),
        Understood((1, 4, 3), (("../../etc/x", "Mug"),)),
    ),
    "code in a cell": (Files(with_item(CODE, CODE)), Understood((1, 4, 3), ((CODE, CODE),))),
    "a formula in a cell": (
        Files(with_item("=1+1", "=cmd|'/C calc'!A0")),
        Understood((1, 4, 3), (("=1+1", "=cmd|'/C calc'!A0"),)),
    ),
    "Parquet": (Files(PARQUET, form="parquet"), Understood()),
    "a packed file": (Files(PACKED, form="csv.gz"), Understood()),
}
"""Case -> the files, and what `sidrec catalog` says of them."""


@pytest.mark.parametrize("case", UNDERSTOOD)
def test_files_that_look_broken_are_read_as_they_are(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    files, expected = UNDERSTOOD[case]
    monkeypatch.chdir(tmp_path)
    ended = command("catalog", *files.write(tmp_path), "--json")
    assert (ended.status, ended.err) == (0, "")
    said = json.loads(ended.out)
    assert tuple(said["statistics"][name] for name in ("users", "items", "events")) == expected.counts
    shown = [(item_id, text) for item_id, _, text in said["items"][: len(expected.items)]]
    assert shown == list(expected.items)
    assert expected.doubt in "\n".join(doubt["what"] for doubt in said["doubts"])
    assert not (tmp_path / "executed").exists()
