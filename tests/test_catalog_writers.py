"""Catalogues written for RecBole and LC-Rec, and read back: what is the same, and what a form cannot hold."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidrec.catalog import Catalog, CatalogConfig, read_catalog
from sidrec.catalog.writers import write_lcrec, write_recbole
from sidrec.errors import CatalogError

ITEMS = pd.DataFrame(
    {"item_id": ["007", "x 1"], "title": ["Mug", "Pot"], "about": ["a\tb\nc", ""], "price": [2.5, np.nan]}
)
EVENTS = pd.DataFrame(
    {"user_id": ["u", "v", "u"], "item_id": ["x 1", "007", "007"], "timestamp": [30, 20, 10]}
)
USERS = pd.DataFrame({"user_id": ["u", "v"], "likes": ["mugs", "pots"], "age": [30, 40]})
WRITERS = {"recbole": write_recbole, "lcrec": write_lcrec}

texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12).filter(
    lambda text: text.strip()
)
ids = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=5).filter(
    lambda text: text.strip()
)


@st.composite
def catalogs(draw: st.DrawFn) -> Catalog:
    """Catalogues of a few items and events, with times or without."""
    items = draw(st.lists(ids, min_size=1, max_size=4, unique_by=str.strip))
    titles = draw(st.lists(texts, min_size=len(items), max_size=len(items)))
    blurbs = draw(st.lists(texts, min_size=len(items), max_size=len(items)))
    events = draw(st.lists(st.tuples(ids.map(str.strip), st.sampled_from(items)), min_size=1, max_size=8))
    table = pd.DataFrame(events, columns=["user_id", "item_id"])
    if draw(st.booleans()):
        times = st.integers(-(2**53), 2**53) | st.integers(0, 3)
        table["timestamp"] = draw(st.lists(times, min_size=len(events), max_size=len(events)))
    frame = pd.DataFrame({"item_id": items, "title": titles, "blurb": blurbs})
    return Catalog(frame, table, text="{title} {blurb}")


def histories(catalog: Catalog) -> list[tuple[str, list[str]]]:
    """Each user's items, oldest first, in the order of the users."""
    sequences, names = catalog.sequences(), catalog.items["item_id"].to_numpy()
    return [(user, names[sequences[place]].tolist()) for place, user in enumerate(sequences.user_ids)]


def in_an_atomic_file(text: str) -> str:
    return text.replace("\t", " ").replace("\r", " ").replace("\n", " ")


@given(catalog=catalogs())
@settings(max_examples=60, deadline=None)
def test_what_lcrec_json_holds_comes_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, catalog: Catalog
) -> None:
    directory = tmp_path_factory.mktemp("lcrec")
    write_lcrec(catalog, directory, "set")
    back = read_catalog(CatalogConfig(items=directory, text="{text}"))
    for column in ("item_id", "title", "text", "blurb"):
        assert back.items[column].tolist() == catalog.items[column].tolist()
    assert histories(back) == histories(catalog)


@given(catalog=catalogs())
@settings(max_examples=60, deadline=None)
def test_what_recbole_files_hold_comes_back_with_blanks_for_tabs(
    tmp_path_factory: pytest.TempPathFactory, catalog: Catalog
) -> None:
    directory = tmp_path_factory.mktemp("recbole")
    written = write_recbole(catalog, directory, "set")
    back = read_catalog(CatalogConfig(items=directory, text="{text}"))
    assert back.items["item_id"].tolist() == catalog.items["item_id"].tolist()
    assert back.items["title"].tolist() == catalog.items["title"].tolist()
    for column in ("text", "blurb"):
        assert back.items[column].tolist() == [in_an_atomic_file(text) for text in catalog.items[column]]
    assert histories(back) == histories(catalog)
    changed = [
        text
        for column in ("text", "blurb")
        for text in catalog.items[column]
        if in_an_atomic_file(text) != text
    ]
    assert written.notes == (
        (f"Cells whose tabs or line ends became blanks: {len(changed)}.",) if changed else ()
    )
    if catalog.order != "rows":
        assert back.interactions["timestamp"].tolist() == catalog.interactions["timestamp"].tolist()


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False, width=64), min_size=1, max_size=6))
@settings(max_examples=60, deadline=None)
def test_times_with_a_fraction_keep_their_order_in_recbole_files(
    tmp_path_factory: pytest.TempPathFactory, times: list[float]
) -> None:
    directory = tmp_path_factory.mktemp("times")
    frame = pd.DataFrame({"item_id": [str(place) for place in range(len(times))], "title": "Mug"})
    events = pd.DataFrame({"user_id": "u", "item_id": frame["item_id"], "timestamp": times})
    catalog = Catalog(frame, events)
    write_recbole(catalog, directory, "set")
    assert histories(read_catalog(CatalogConfig(items=directory))) == histories(catalog)


def test_recbole_files_have_typed_headers_and_raw_cells(tmp_path: Path) -> None:
    catalog = Catalog(ITEMS, EVENTS, users=USERS, text="{about} by {title}")
    written = write_recbole(catalog, tmp_path / "new" / "folder", "set")
    assert [path.name for path in written.files] == ["set.item", "set.inter", "set.user"]
    item, inter, user = (path.read_text() for path in written.files)
    assert item == (
        "item_id:token\ttitle:token_seq\ttext:token_seq\tabout:token_seq\tprice:float\n"
        "007\tMug\ta b c by Mug\ta b c\t2.5\n"
        "x 1\tPot\tby Pot\t\t\n"
    )
    assert inter == "user_id:token\titem_id:token\ttimestamp:float\nu\t007\t10\nu\tx 1\t30\nv\t007\t20\n"
    assert user == "user_id:token\tlikes:token_seq\tage:float\nu\tmugs\t30\nv\tpots\t40\n"
    assert written.notes == ("Cells whose tabs or line ends became blanks: 2.",)  # text and about of 007
    back = read_catalog(CatalogConfig(items=tmp_path / "new" / "folder"))
    assert back.users is not None
    assert back.users["age"].tolist() == [30, 40]


def test_lcrec_json_has_fields_and_lists_of_ids(tmp_path: Path) -> None:
    catalog = Catalog(ITEMS, EVENTS, users=USERS, text="{about} by {title}")
    written = write_lcrec(catalog, tmp_path, "set")
    item, inter, user = (json.loads(path.read_text()) for path in written.files)
    assert item == {
        "007": {"title": "Mug", "text": "a\tb\nc by Mug", "about": "a\tb\nc", "price": 2.5},
        "x 1": {"title": "Pot", "text": "by Pot", "about": "", "price": None},
    }
    assert inter == {"u": ["007", "x 1"], "v": ["007"]}
    assert user == {"u": {"likes": "mugs", "age": 30}, "v": {"likes": "pots", "age": 40}}
    assert written.notes == ("Times left out: 3; the order stays.",)
    back = read_catalog(CatalogConfig(items=tmp_path, users=tmp_path / "set.user.json"))
    assert back.users is not None
    assert back.users["likes"].tolist() == ["mugs", "pots"]


def test_an_order_without_times_is_written_without_times(tmp_path: Path) -> None:
    catalog = Catalog(ITEMS, EVENTS.drop(columns="timestamp"))
    written = write_recbole(catalog, tmp_path, "set")
    assert written.files[1].read_text().startswith("user_id:token\titem_id:token\nu\tx 1\n")
    assert read_catalog(CatalogConfig(items=tmp_path)).order == "rows"
    assert write_lcrec(catalog, tmp_path, "set").notes == ()


def test_numbers_that_json_does_not_have_are_written_as_words(tmp_path: Path) -> None:
    catalog = Catalog(ITEMS.assign(price=[np.inf, -np.inf]), EVENTS)
    item = json.loads(write_lcrec(catalog, tmp_path, "set").files[0].read_text())
    assert [item[key]["price"] for key in item] == ["inf", "-inf"]


@pytest.mark.parametrize("form", WRITERS)
def test_nothing_is_overwritten(tmp_path: Path, form: str) -> None:
    catalog = Catalog(ITEMS, EVENTS)
    last = WRITERS[form](catalog, tmp_path, "set").files[-1]
    for path in tmp_path.iterdir():
        if path != last:
            path.unlink()
    last.write_text("mine")
    with pytest.raises(
        CatalogError, match=rf"{last.name} is there already, .*nothing is overwritten\. Remove it, or"
    ):
        WRITERS[form](catalog, tmp_path, "set")
    assert {path: path.read_text() for path in tmp_path.iterdir()} == {last: "mine"}


@pytest.mark.parametrize("form", WRITERS)
def test_nothing_is_there_in_part_when_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    write_bytes = Path.write_bytes

    def fill_up(path: Path, data: bytes) -> int:
        if "inter" in path.name:
            write_bytes(path, data[:5])
            raise OSError(28, "No space left on device")
        return write_bytes(path, data)

    monkeypatch.setattr(Path, "write_bytes", fill_up)
    with pytest.raises(OSError, match="No space left on device"):
        WRITERS[form](Catalog(ITEMS, EVENTS), tmp_path, "set")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a/b", "../a", "", ".hidden"])
def test_a_name_is_a_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(CatalogError, match=r"is no name of a file, expected a name such as beauty"):
        write_recbole(Catalog(ITEMS, EVENTS), tmp_path / "new", name)
    assert not (tmp_path / "new").exists()


def test_a_column_that_an_atomic_file_cannot_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        CatalogError, match=r"set\.item: the column 'a\\tb' cannot be in a RecBole file, expected a"
    ):
        write_recbole(Catalog(ITEMS.rename(columns={"price": "a\tb"}), EVENTS), tmp_path, "set")
    assert list(tmp_path.iterdir()) == []


def test_a_nul_in_a_text_becomes_a_blank_in_an_atomic_file(tmp_path: Path) -> None:
    write_recbole(Catalog(ITEMS.assign(note="a\0b"), EVENTS), tmp_path, "set")
    assert set(read_catalog(CatalogConfig(items=tmp_path)).items["note"]) == {"a b"}
