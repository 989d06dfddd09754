"""The JSON form of LC-Rec, LETTER and MiniOneRec, as the two tables it stands for.

Items: `{item: {"title": ..., "description": ..., ...}}`. Interactions: `{user: [item, item, ...]}`, oldest
first. The files of semantic IDs and of vectors that lie beside them are not a catalogue's: a note says so.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import pandas as pd

from sidrec.catalog.config import CatalogConfig
from sidrec.catalog.forms.json_files import kind_of, read_object
from sidrec.catalog.forms.packing import unpacked_name
from sidrec.catalog.forms.unread import note_codes_and_vectors, shown
from sidrec.catalog.tables import Tables, read_file
from sidrec.errors import CatalogError


def matches(config: CatalogConfig) -> bool:
    """Say whether `catalog.items` is a directory with files of this form.

    Items beside CSV files, and without `*.inter.json`, are those of MiniOneRec.
    """
    path = config.items_path
    if config.interactions_path is not None or path is None or not path.is_dir():
        return False
    items, interactions = _pair(path)
    return bool(interactions or (items and not any(path.glob("*.csv"))))


def read(config: CatalogConfig) -> Tables:
    """Read the one pair in a directory.

    Raises:
        CatalogError: If there is not one of each file, or one is broken.
    """
    assert config.items_path is not None
    found = _pair(config.items_path)
    if [len(paths) for paths in found] != [1, 1]:
        raise CatalogError(
            f"catalog.items: {config.items_path} is a directory with {len(found[0])} files *.item.json and "
            f"{len(found[1])} files *.inter.json, expected one of each. "
            "Name the files in catalog.items and catalog.interactions."
        )
    (items_path,), (interactions_path,) = found
    items = read_lcrec_fields(items_path, "catalog.items", id_column=config.item_id)
    interactions = read_lcrec_interactions(
        interactions_path, "catalog.interactions", item_id=config.item_id, user_id=config.user_id
    )
    files = (read_file(items, items_path), read_file(interactions, interactions_path))
    notes = (*note_codes_and_vectors(config.items_path), *_note_rows(config.items_path))
    return Tables(items, interactions, files=files, notes=notes)


def is_lcrec(path: Path) -> bool:
    """Say whether a file is JSON as a whole, as against a table."""
    return unpacked_name(path).endswith(".json")


def read_lcrec_fields(
    path: Path, setting: str, *, id_column: str, what: Literal["item", "user"] = "item"
) -> pd.DataFrame:
    """Read `*.item.json`, or users in its form: a row per key, which becomes `id_column`, a column per field.

    Raises:
        CatalogError: If the file is missing, no JSON, or not an object of objects.
    """
    form = '{item: {"title": ..., ...}}' if what == "item" else '{user: {"preference": ..., ...}}'
    document = read_object(path, setting, form)
    for key, fields in document.items():
        if not isinstance(fields, dict):
            raise CatalogError(
                f'{path}: {what} "{key}" is {kind_of(fields)}, expected an object of fields. Write {form}.'
            )
        if id_column in fields:
            raise CatalogError(
                f'{path}: {what} "{key}" has a field "{id_column}" beside its key, expected the key alone. '
                f"Remove the field, or set catalog.{what}_id to another name."
            )
    frame = pd.DataFrame([{id_column: key, **fields} for key, fields in document.items()], dtype=object)
    frame.attrs |= {"source": path.name, "form": "LC-Rec JSON"}
    return frame


def read_lcrec_interactions(path: Path, setting: str, *, item_id: str, user_id: str) -> pd.DataFrame:
    """Read `*.inter.json`: one row per event, user by user, in the order of the lists.

    Raises:
        CatalogError: If the file is missing, no JSON, or not an object of lists of item ids.
    """
    form = "{user: [item, item, ...]}"
    document = read_object(path, setting, form)
    users: list[str] = []
    items: list[str] = []
    for user, sequence in document.items():
        if not isinstance(sequence, list):
            raise CatalogError(
                f'{path}: user "{user}" is {kind_of(sequence)}, expected a list of items. Write {form}.'
            )
        wrong = [item for item in sequence if not isinstance(item, str | int) or isinstance(item, bool)]
        if wrong:
            raise CatalogError(
                f'{path}: user "{user}" has the item {json.dumps(wrong[0])[:60]}, expected the id of an item '
                f"(a string or an integer). Write {form}."
            )
        users.extend([user] * len(sequence))
        items.extend(map(str, sequence))
    if not items:
        raise CatalogError(f"{path} has users but no events, expected one at least. Check what wrote it.")
    frame = pd.DataFrame({user_id: users, item_id: items})
    frame.attrs |= {"source": path.name, "form": "LC-Rec JSON"}
    return frame


def _pair(directory: Path) -> tuple[list[Path], list[Path]]:
    """Return the files of items and those of interactions in a directory."""
    return sorted(directory.glob("*.item.json")), sorted(directory.glob("*.inter.json"))


def _note_rows(directory: Path) -> tuple[str, ...]:
    """Say which rows of a split lie there, of which the lists have all events."""
    found = sorted(directory.glob("*.inter"))
    if not found:
        return ()
    names = shown(path.name for path in found)
    return (f"Rows of a split left unread: {len(found)} file(s), {names}; the events are read whole.",)
