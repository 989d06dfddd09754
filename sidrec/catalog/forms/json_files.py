"""A file that is one JSON object as a whole, as against a table of a record per line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sidrec.catalog.forms.files import read_utf8, reject_lone_surrogates
from sidrec.errors import CatalogError


def read_object(path: Path, setting: str, form: str) -> dict[str, Any]:
    """Read a JSON object that is not empty and has no key twice; decimals stay text, as written.

    Args:
        path: The file.
        setting: The option that named it, e.g. "catalog.items".
        form: What it should look like, for messages, e.g. "{user: [item, item, ...]}".

    Raises:
        CatalogError: If the file is missing, no JSON, or holds anything else.
    """

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
        raise CatalogError(f"{path} holds {kind_of(document)}, expected an object. Write {form}.")
    if not document:
        raise CatalogError(f"{path} holds an empty object, expected {form}. Check what wrote it.")
    return document


def kind_of(value: object) -> str:
    """Name the JSON type of a value."""
    names = {dict: "an object", list: "a list", str: "a string", int: "a number", bool: "a boolean"}
    return names.get(type(value), "null")
