"""The JSON form of LC-Rec, LETTER and MiniOneRec, as the two tables it stands for.

Items: `{item: {"title": ..., "description": ..., ...}}`. Interactions: `{user: [item, item, ...]}`, oldest
first. The index files of semantic IDs that lie beside them are not a catalogue's and are not read here.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from sidrec.catalog.files import read_utf8, reject_lone_surrogates
from sidrec.errors import CatalogError


def read_lcrec_fields(
    path: Path, setting: str, *, id_column: str, what: Literal["item", "user"] = "item"
) -> pd.DataFrame:
    """Read `*.item.json`, or users in its form: a row per key, which becomes `id_column`, a column per field.

    Raises:
        CatalogError: If the file is missing, no JSON, or not an object of objects.
    """
    form = '{item: {"title": ..., ...}}' if what == "item" else '{user: {"preference": ..., ...}}'
    document = _read_object(path, setting, form)
    for key, fields in document.items():
        if not isinstance(fields, dict):
            raise CatalogError(
                f'{path}: {what} "{key}" is {_kind(fields)}, expected an object of fields. Write {form}.'
            )
        if id_column in fields:
            raise CatalogError(
                f'{path}: {what} "{key}" has a field "{id_column}" beside its key, expected the key alone. '
                f"Remove the field, or set catalog.{what}_id to another name."
            )
    frame = pd.DataFrame([{id_column: key, **fields} for key, fields in document.items()], dtype=object)
    frame.attrs["source"] = path.name
    return frame


def read_lcrec_interactions(path: Path, setting: str, *, item_id: str, user_id: str) -> pd.DataFrame:
    """Read `*.inter.json`: one row per event, user by user, in the order of the lists.

    Raises:
        CatalogError: If the file is missing, no JSON, or not an object of lists of item ids.
    """
    form = "{user: [item, item, ...]}"
    document = _read_object(path, setting, form)
    users: list[str] = []
    items: list[str] = []
    for user, sequence in document.items():
        if not isinstance(sequence, list):
            raise CatalogError(
                f'{path}: user "{user}" is {_kind(sequence)}, expected a list of items. Write {form}.'
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
    frame.attrs["source"] = path.name
    return frame


def find_lcrec_pair(directory: Path) -> tuple[Path, Path]:
    """Return the `*.item.json` and the `*.inter.json` of a directory that holds exactly one of each."""
    found = [sorted(directory.glob(pattern)) for pattern in ("*.item.json", "*.inter.json")]
    if [len(paths) for paths in found] != [1, 1]:
        raise CatalogError(
            f"catalog.items: {directory} is a directory with {len(found[0])} files *.item.json and "
            f"{len(found[1])} files *.inter.json, expected one of each. "
            "Name the files in catalog.items and catalog.interactions."
        )
    return found[0][0], found[1][0]


def _read_object(path: Path, setting: str, form: str) -> dict[str, Any]:
    """Read a JSON object that is not empty and has no key twice."""

    def reject_repeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = dict(pairs)
        if len(keys) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in keys if names.count(name) > 1)
            raise CatalogError(
                f'{path} has the key "{twice}" twice in one object. Remove or rename one of them.'
            )
        return keys

    data = read_utf8(path, setting)
    try:
        document = json.loads(data, parse_float=str, object_pairs_hook=reject_repeated)
    except CatalogError:
        raise
    except (ValueError, RecursionError) as error:
        raise CatalogError(f"{path} is not JSON: {error}. Mend it there, or write it again.") from error
    reject_lone_surrogates(document, data, str(path))
    if not isinstance(document, dict):
        raise CatalogError(f"{path} holds {_kind(document)}, expected an object. Write {form}.")
    if not document:
        raise CatalogError(f"{path} holds an empty object, expected {form}. Check what wrote it.")
    return document


def _kind(value: object) -> str:
    """Name the JSON type of a value."""
    names = {dict: "an object", list: "a list", str: "a string", int: "a number", bool: "a boolean"}
    return names.get(type(value), "null")
