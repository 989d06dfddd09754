"""Whatever lies in the files of a catalogue: it becomes a catalogue that can be kept, or one sentence."""

import csv
import faulthandler
import functools
import gzip
import io
import json
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager, suppress
from pathlib import Path

import forms_public
import forms_research
import pandas as pd
import pytest
import toy
from hypothesis import given, settings
from hypothesis import strategies as st

from sidrec.catalog import Catalog, CatalogConfig, read_catalog
from sidrec.catalog.config import SplitConfig
from sidrec.catalog.forms import FORMS
from sidrec.catalog.overview import look_at
from sidrec.errors import SidrecError

CODE = "__import__('pathlib').Path('executed').touch()"
CELLS = (
    "", " ", "0", "1.0", "-1", "1e308", "nan", "NaN", "None", "null", "true", "007", "7 ", "A",
    "é漢\U0001f600", "a,b", "a;b", "a\tb", 'a"b', '"', '""', "a\nb", "a\rb", "a\\", "a\x00b",
    "\x1b[31m", "\u2028", "\ufeff",
    "<a_1><b_2>", "<|im_end|>", "{title}", "../../etc/passwd", "=1+1", "[1, 2]", "{'a': 1}",
    "2024-05-31", CODE,
)  # fmt: skip
BYTES = (
    b"", b"\x00", b"\n", b"\r", b'"', b"'", b"\\", b",", b"\t", b"|", b"::", b"{", b"}", b"[", b"]", b":",
    b"\xff", b"\xe9", b"\xef\xbb\xbf", b"\x1f\x8b", b"\\ud800", b"NaN", b"-", b"9" * 30, b"1e999", b"null",
    b"[" * 3000, CODE.encode(),
)  # fmt: skip


def tables(directory: Path, suffix: str) -> None:
    """Write the toy catalogue as two tables."""
    (directory / "my_data").mkdir()
    named = {"items": toy.items().head(6), "interactions": toy.interactions().head(12)}
    for name, frame in named.items():
        frame.loc[:, "item_id"] = [f"i{row % 6:02d}" for row in range(len(frame))]
        write_table(directory / "my_data" / f"{name}.{suffix}", frame)


def write_table(path: Path, frame: pd.DataFrame) -> None:
    """Write a table of texts in the form that the name says."""
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in frame.to_dict("records")), encoding="utf-8")
    else:
        text = io.StringIO()
        rows = csv.writer(text, delimiter="\t" if path.suffix == ".tsv" else ",")
        rows.writerows([frame.columns, *frame.itertuples(index=False)])
        path.write_bytes(text.getvalue().encode())


TABLES = ("csv", "tsv", "jsonl", "parquet")
WRITERS: dict[str, Callable[[Path], None]] = {
    **forms_public.FIXTURES,
    **forms_research.FIXTURES,
    **{suffix: functools.partial(tables, suffix=suffix) for suffix in TABLES},
}
VARIANTS = {
    "amazon2023": ["amazon2023", "amazon2023_benchmark"],
    "movielens": ["movielens_100k", "movielens_1m", "movielens_25m"],
    "yelp": ["yelp", "yelp_mapped"],
    "minionerec": ["minionerec", "minionerec_without_train"],
    "p5": ["p5", "openp5"],
    "sequences": ["actionpiece"],
    "recbole": ["recbole", "recbole_benchmark"],
    "tables": list(TABLES),
}
"""Form -> the fixtures of it; of the others there is one of the same name."""


@functools.cache
def files_of(fixture: str) -> dict[str, bytes]:
    """The files of a fixture."""
    with tempfile.TemporaryDirectory() as directory:
        WRITERS[fixture](Path(directory))
        return toy.contents(Path(directory) / "my_data")


places = st.floats(0, 1, exclude_max=True)
changes = st.one_of(
    st.tuples(st.just("cut"), places, st.just(b"")),
    st.tuples(st.just("flip"), places, st.binary(min_size=1, max_size=1)),
    st.tuples(st.just("insert"), places, st.sampled_from(BYTES) | st.binary(max_size=4)),
    st.tuples(st.just("remove"), places, st.binary(min_size=1, max_size=40)),
    st.tuples(st.just("word"), places, st.sampled_from([cell.encode() for cell in CELLS])),
    st.tuples(st.just("become"), places, st.binary(max_size=60)),
)
mutations = st.lists(changes, min_size=1, max_size=3)


def mutate(data: bytes, change: tuple[str, float, bytes]) -> bytes:
    """Spoil bytes in one place."""
    kind, place, new = change
    at = int(place * len(data))
    if kind == "cut":
        return data[:at]
    if kind == "become":
        return new
    if kind == "word":  # the whole word, whatever holds it together
        start = at - len(re.split(rb"[^\w.]", data[:at])[-1])
        return data[:start] + new + data[at + len(re.split(rb"[^\w.]", data[at:])[0]) :]
    end = at + {"flip": 1, "insert": 0, "remove": len(new)}[kind]
    return data[:at] + (b"" if kind == "remove" else new) + data[end:]


@contextmanager
def written(files: dict[str, bytes]) -> Iterator[Path]:
    """Write files, and stand beside them, where code in a cell would leave its trace; end what hangs."""
    faulthandler.dump_traceback_later(300, exit=True, file=sys.__stderr__)
    with tempfile.TemporaryDirectory() as directory, chdir(directory):
        for name, data in files.items():
            path = Path("my_data") / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        yield Path("my_data")
        assert not list(Path().rglob("executed"))
    faulthandler.cancel_dump_traceback_later()


def read_or_refused(config: CatalogConfig) -> Catalog | None:
    """Read a catalogue, look at it, save it and read it again; None where it is refused."""
    with suppress(SidrecError):
        catalog = read_catalog(config)
        assert catalog.items["item_id"].is_unique
        assert (catalog.sequences().items < catalog.num_items).all()
        look_at(catalog, SplitConfig())
        catalog.save(Path("saved"))
        assert Catalog.load(Path("saved")).sha256 == catalog.sha256
        return catalog
    return None


def check_spoilt(form: str, data: st.DataObject) -> None:
    """Spoil one file of a data set, packed or unpacked."""
    fixture = data.draw(st.sampled_from(VARIANTS.get(form, [form])))
    files = dict(files_of(fixture))
    name = data.draw(st.sampled_from(sorted(files)))
    is_unpacked = name.endswith(".gz") and data.draw(st.booleans())
    spoilt = gzip.decompress(files[name]) if is_unpacked else files[name]
    for change in data.draw(mutations):
        spoilt = mutate(spoilt, change)
    files[name] = gzip.compress(spoilt) if is_unpacked else spoilt
    with written(files) as directory:
        named = {"items": directory}
        if form == "tables":
            named = {key: directory / f"{key}.{fixture}" for key in ("items", "interactions")}
        read_or_refused(CatalogConfig(format=data.draw(st.sampled_from([None, form])), **named))


cells = st.sampled_from(CELLS) | st.text(st.characters(codec="utf-8"), max_size=8)


def check_cells(suffix: str, rows: list[tuple[str, str]], events: list[tuple[str, int, str]]) -> None:
    """Write hostile cells as they have to be written; what is read must be what was written."""
    items = pd.DataFrame(rows, columns=["item_id", "title"], dtype=str)
    chosen = [(user, rows[item % len(rows)][0], time) for user, item, time in events]
    interactions = pd.DataFrame(chosen, columns=["user_id", "item_id", "timestamp"], dtype=str)
    with written({"here": b""}) as directory:
        paths = {
            "items": directory / f"items.{suffix}",
            "interactions": directory / f"interactions.{suffix}",
        }
        write_table(paths["items"], items)
        write_table(paths["interactions"], interactions)
        catalog = read_or_refused(CatalogConfig(**paths, text="Item {title}"))
        if catalog is not None:
            assert catalog.items["item_id"].tolist() == items["item_id"].tolist()
            assert set(catalog.sequences().user_ids) == set(interactions["user_id"])


quick = settings(max_examples=25, deadline=None)
thorough = settings(max_examples=10_000 // (len(FORMS) + len(TABLES)), deadline=None)
of_items = st.lists(st.tuples(cells, cells), min_size=1, max_size=4, unique_by=lambda row: row[0])
of_events = st.lists(
    st.tuples(cells, st.integers(0, 3), st.sampled_from(["1", "2", "-3", "2024-05-31", "1.5", "1e20", "x"])),
    min_size=1,
    max_size=6,
)


@pytest.mark.parametrize("form", FORMS)
@quick
@given(data=st.data())
def test_a_spoilt_file_is_read_or_refused(form: str, data: st.DataObject) -> None:
    check_spoilt(form, data)


@pytest.mark.parametrize("suffix", TABLES)
@quick
@given(rows=of_items, events=of_events)
def test_hostile_cells_are_read_as_they_were_written_or_refused(
    suffix: str, rows: list[tuple[str, str]], events: list[tuple[str, int, str]]
) -> None:
    check_cells(suffix, rows, events)


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
@thorough
@given(data=st.data())
def test_thousands_of_spoilt_files_are_read_or_refused(form: str, data: st.DataObject) -> None:
    check_spoilt(form, data)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", TABLES)
@thorough
@given(rows=of_items, events=of_events)
def test_thousands_of_hostile_cells_are_read_as_they_were_written_or_refused(
    suffix: str, rows: list[tuple[str, str]], events: list[tuple[str, int, str]]
) -> None:
    check_cells(suffix, rows, events)
