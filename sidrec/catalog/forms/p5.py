"""The files of P5, LLM-RecSys-ID, OpenP5 and GRAM: a line per user, the ids of the items and nothing else.

Lines `user item item ...`, oldest first, in `sequential_data.txt` (P5, LLM-RecSys-ID: numbers, which
`datamaps.json` turns into the original ids) or `user_sequence.txt` (OpenP5, GRAM: the original ids). The
texts of the items are in `item_plain_text.txt` or in Amazon's `meta.json.gz`, whose lines are the `repr` of
a dict and are parsed, never run. Pickles are not read: opening one runs what is in it.

Source: P5 (arXiv:2203.13366), preprocess/; GRAM (ACL 2025), rec_datasets/.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from sidrec.catalog.config import CatalogConfig
from sidrec.catalog.forms.files import read_lines
from sidrec.catalog.forms.json_files import read_object
from sidrec.catalog.forms.literals import parse_fields
from sidrec.catalog.forms.unread import note_columns, shown
from sidrec.catalog.tables import Tables, read_file
from sidrec.errors import CatalogError

SEQUENCES = ("sequential_data.txt", "user_sequence.txt")
METADATA = ("meta.json.gz", "meta.json", "meta_data.json.gz", "meta_data.json")
PLAIN_TEXTS = "item_plain_text.txt"
MAPS = "datamaps.json"
FIELDS = ("title", "brand", "categories", "description", "price")
"""What is read of a line of metadata."""

_TITLE = re.compile(r"title: (.*?)(?:; (?=\w+: )|$)")


def matches(config: CatalogConfig) -> bool:
    """Say whether `catalog.items` is a directory with the sequences of this form."""
    path = config.items_path
    if config.interactions_path is not None or path is None or not path.is_dir():
        return False
    return any((path / name).is_file() for name in SEQUENCES)


def read(config: CatalogConfig) -> Tables:
    """Read the sequences, and the texts of their items.

    Raises:
        CatalogError: If there are no sequences or no texts, or a file is broken.
    """
    directory = config.items_path
    assert directory is not None
    sequences_path = _first(directory, SEQUENCES)
    if sequences_path is None:
        raise CatalogError(
            f"catalog.items: {directory} has neither {' nor '.join(SEQUENCES)}, expected one of them. "
            "Add it, or set catalog.format to another form."
        )
    original_users, original_items = read_maps(directory / MAPS)
    events = read_sequences(sequences_path, user_id=config.user_id, item_id=config.item_id)
    notes: list[str] = []
    for column, originals in ((config.user_id, original_users), (config.item_id, original_items)):
        notes.extend(_note_unmapped(events[column], originals))
        events[column] = [originals.get(cell, cell) for cell in events[column]]
    items, items_path, unread = _read_texts(directory, original_items, config.item_id)
    notes.extend(unread)
    known = {*original_items.values(), *events[config.item_id]}
    in_data = items[config.item_id].isin(known)
    if not in_data.all():
        notes.append(f"Items left out: {int((~in_data).sum()):,} of {items_path.name}, which nobody had.")
    items = items[in_data].reset_index(drop=True)
    files = (read_file(items, items_path), read_file(events, sequences_path))
    return Tables(items, events, files=files, notes=tuple(notes))


def read_sequences(path: Path, *, user_id: str, item_id: str) -> pd.DataFrame:
    """Read lines `user item item ...`: one row per event, in the order of the lines.

    Raises:
        CatalogError: If the file is missing or broken, a line has no item, or a user has two lines.
    """
    users: list[str] = []
    items: list[str] = []
    lines: dict[str, int] = {}
    for number, line in read_lines(path, "catalog.items"):
        user, *sequence = line.split()
        if not sequence:
            raise CatalogError(
                f"{path}: line {number} is {line[:60]!r}, expected a user and items after it, with blanks "
                "between them. Complete or remove the line."
            )
        if user in lines:
            raise CatalogError(
                f'{path}: line {number} is of user "{user}", as line {lines[user]} is, expected one line '
                "per user. Join the lines, the older events first."
            )
        lines[user] = number
        users.extend([user] * len(sequence))
        items.extend(sequence)
    frame = pd.DataFrame({user_id: users, item_id: items})
    frame.attrs |= {"source": path.name, "form": "a line per user: user item item ..."}
    return frame


def read_maps(path: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Read number -> original id, of users and of items; both empty without the file.

    Raises:
        CatalogError: If the file is broken, or is not of the form.
    """
    if not path.is_file():
        return {}, {}
    form = '{"id2user": {"1": "A1YJEY40YUW4SE"}, "id2item": {"1": "B004756YJA"}}'
    document = read_object(path, "catalog.items", form)
    found = []
    for name in ("id2user", "id2item"):
        names = document.get(name)
        if not isinstance(names, dict) or not all(isinstance(x, str | int) for x in names.values()):
            raise CatalogError(
                f'{path}: "{name}" is not an object of ids, expected {form}. Write it so, or remove the file '
                "to keep the numbers."
            )
        found.append({number: str(original) for number, original in names.items()})
    return found[0], found[1]


def _first(directory: Path, names: Iterable[str]) -> Path | None:
    """Return the first of some files that is there."""
    return next((directory / name for name in names if (directory / name).is_file()), None)


def _note_unmapped(column: pd.Series, originals: dict[str, str]) -> list[str]:
    """Say how many ids a map does not have; nothing where there is no map."""
    absent = [cell for cell in dict.fromkeys(column) if cell not in originals]
    if not originals or not absent:
        return []
    return [f"{len(absent):,} of the {column.name} are not in {MAPS} and stay as they are ({shown(absent)})."]


def _read_texts(
    directory: Path, originals: dict[str, str], item_id: str
) -> tuple[pd.DataFrame, Path, tuple[str, ...]]:
    """Read the items with their texts; also the file they are from, and what to say of it."""
    if (path := directory / PLAIN_TEXTS).is_file():
        return _read_plain_texts(path, originals, item_id), path, ()
    if (metadata := _first(directory, METADATA)) is not None:
        table, unread = _read_metadata(metadata, item_id)
        return table, metadata, note_columns(unread, metadata.name)
    pickles = [file.name for file in sorted(directory.glob("*.pkl"))]
    never = f" ({shown(pickles)}: pickles are not read, opening one runs what is in it)" if pickles else ""
    raise CatalogError(
        f"catalog.items: {directory} has no texts of its items{never}, and semantic IDs are made from them. "
        f"Add {PLAIN_TEXTS} (lines: item id, blank, text) or {METADATA[0]} of Amazon's metadata."
    )


def _read_plain_texts(path: Path, originals: dict[str, str], item_id: str) -> pd.DataFrame:
    """Read lines `id text`; where every text begins with "title: ", its title is a column of its own."""
    ids, texts = [], []
    for number, line in read_lines(path, "catalog.items"):
        item, _, text = line.strip().partition(" ")
        if not text.strip():
            raise CatalogError(
                f"{path}: line {number} is {line[:60]!r}, expected an item id, a blank and a text. "
                "Complete or remove the line."
            )
        ids.append(originals.get(item, item))
        texts.append(text.strip())
    titles = [_TITLE.match(text) for text in texts]
    if all(titles):
        found = [title for title in titles if title is not None]
        rest = [text[title.end() :] for text, title in zip(texts, found, strict=True)]
        frame = pd.DataFrame({item_id: ids, "title": [title[1] for title in found], "fields": rest})
    else:
        frame = pd.DataFrame({item_id: ids, "text": texts})
    frame.attrs |= {"source": path.name, "form": "a line per item: id text"}
    return frame


def _read_metadata(path: Path, item_id: str) -> tuple[pd.DataFrame, list[str]]:
    """Read a dict per line; also the names of the fields that are left unread."""
    records: list[dict[str, Any]] = []
    names: dict[str, None] = {}
    for number, line in read_lines(path, "catalog.items"):
        fields = parse_fields(line, path, number)
        if not isinstance(item := fields.get("asin"), str):
            raise CatalogError(
                f'{path}: line {number} has no "asin", expected the id of an item in it '
                "(Amazon's metadata). Complete or remove the line."
            )
        names |= dict.fromkeys(fields)
        kept = {name: fields[name] for name in FIELDS if name in fields}
        if isinstance(kept.get("categories"), list):
            kept["categories"] = _joined(kept["categories"])
        records.append({item_id: item, **kept})
    frame = pd.DataFrame(records, dtype=object)
    frame.attrs |= {"source": path.name, "form": "Amazon metadata, a dict per line"}
    return frame, [name for name in names if name not in (*FIELDS, "asin")]


def _joined(paths: list[Any]) -> str:
    """Write categories as paths: "Beauty > Skin Care; Gifts"."""
    return "; ".join(" > ".join(map(str, path)) if isinstance(path, list) else str(path) for path in paths)
