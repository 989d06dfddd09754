"""A catalogue as files for other projects: RecBole's atomic files, and the JSON of LC-Rec.

Both hold `title` and `text`, then the other columns of the items. Read back, the texts are the same with
`catalog.text="{text}"`; without it they are made anew of all text columns. The part that an event is for is a
matter of the split, and not written.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from sidrec.catalog.catalog import Catalog
from sidrec.catalog.columns import as_strings
from sidrec.catalog.normalize import BY_ROWS
from sidrec.errors import CatalogError

_BREAKS = re.compile(r"[\t\r\n\0]")


@dataclass(frozen=True)
class Written:
    """What was written.

    Attributes:
        files: The files, items first.
        notes: What the form could not hold, a sentence each.
    """

    files: tuple[Path, ...]
    notes: tuple[str, ...] = ()


def write_recbole(catalog: Catalog, directory: Path, name: str) -> Written:
    """Write `NAME.item`, `NAME.inter` and, where the catalogue has users, `NAME.user`.

    Numbers are `float`, the ids `token`, all else `token_seq`. Tabs and line ends in texts become blanks. The
    events have a `timestamp` unless the order of the rows is all that is known of their time.

    Raises:
        CatalogError: If a file is there already, or an id or the name of a column cannot be in such a file.
    """
    events = catalog.interactions
    if catalog.order == BY_ROWS:
        events = events.drop(columns="timestamp")
    tables = {"item": catalog.items, "inter": events}
    if catalog.users is not None:
        tables["user"] = catalog.users
    contents, broken = {}, 0
    for kind, table in tables.items():
        contents[f"{name}.{kind}"], count = _atomic(table, f"{name}.{kind}")
        broken += count
    notes = (f"Cells whose tabs or line ends became blanks: {broken:,}.",) if broken else ()
    return Written(_write_all(directory, contents), notes)


def write_lcrec(catalog: Catalog, directory: Path, name: str) -> Written:
    """Write `NAME.item.json`, `NAME.inter.json` and, where the catalogue has users, `NAME.user.json`.

    The order of the events is kept, their times and weights are not. `catalog.users=NAME.user.json` reads the
    users.

    Raises:
        CatalogError: If a file is there already.
    """
    sequences = catalog.sequences()
    ids = catalog.items["item_id"].tolist()
    events = {user: [ids[item] for item in sequences[place]] for place, user in enumerate(sequences.user_ids)}
    documents: dict[str, Any] = {"item": _fields(catalog.items, "item_id"), "inter": events}
    if catalog.users is not None:
        documents["user"] = _fields(catalog.users, "user_id")
    contents = {
        f"{name}.{kind}.json": json.dumps(document, ensure_ascii=False, indent=2) + "\n"
        for kind, document in documents.items()
    }
    notes = []
    if catalog.order != BY_ROWS:
        notes.append(f"Times left out: {len(catalog.interactions):,}; the order stays.")
    if "weight" in catalog.interactions.columns:
        notes.append(f"Weights left out: {len(catalog.interactions):,}.")
    return Written(_write_all(directory, contents), tuple(notes))


def _atomic(table: pd.DataFrame, file: str) -> tuple[str, int]:
    """Return a table as the text of an atomic file, and the number of cells that had to be changed."""
    header, columns, broken = [], [], 0
    for name in table.columns:
        if not str(name) or _BREAKS.search(str(name)):
            raise CatalogError(
                f"{file}: the column {str(name)!r} cannot be in a RecBole file, expected a name without tabs "
                "and line ends. Rename it before the catalogue is made."
            )
        is_id = name in ("item_id", "user_id")
        numbers = pd.api.types.is_numeric_dtype(table[name]) and not pd.api.types.is_bool_dtype(table[name])
        header.append(f"{name}:{'token' if is_id else 'float' if numbers else 'token_seq'}")
        cells = as_strings(table[name]).tolist()
        with_breaks = [cell for cell in cells if _BREAKS.search(cell)]
        broken += len(with_breaks)
        columns.append([_BREAKS.sub(" ", cell) for cell in cells] if with_breaks else cells)
    lines = ("\t".join(cells) for cells in zip(*columns, strict=True))
    return "\n".join(["\t".join(header), *lines, ""]), broken


def _fields(table: pd.DataFrame, key: str) -> dict[str, dict[str, Any]]:
    """Return {id: fields}; numbers stay numbers, a missing one is null."""
    columns = {str(name): _plain(table[name]) for name in table.columns if name != key}
    rows: Iterable[tuple[Any, ...]] = zip(*columns.values(), strict=True) if columns else [()] * len(table)
    return {item: dict(zip(columns, row, strict=True)) for item, row in zip(table[key], rows, strict=True)}


def _plain(column: pd.Series) -> list[Any]:
    """Return cells as JSON has them."""
    if pd.api.types.is_numeric_dtype(column):
        cells = column.tolist()
        return [None if pd.isna(cell) else cell if math.isfinite(cell) else str(cell) for cell in cells]
    return as_strings(column).tolist()


def _write_all(directory: Path, contents: dict[str, str]) -> tuple[Path, ...]:
    """Write texts under other names first, so that no file is there in part; then rename them."""
    if not all(Path(name).name == name and not name.startswith(".") for name in contents):
        raise CatalogError(
            f"{next(iter(contents))!r} is no name of a file, expected a name such as beauty, of which "
            "beauty.item is made. Choose one, and name the folder in the directory."
        )
    directory = Path(directory)
    paths = [directory / name for name in contents]
    there = [path for path in paths if path.exists()]
    if there:
        raise CatalogError(
            f"{there[0]} is there already, expected a name that is free: nothing is overwritten. "
            "Remove it, or choose another directory or name."
        )
    directory.mkdir(parents=True, exist_ok=True)
    unfinished = [path.with_name(f".{path.name}.partial") for path in paths]
    try:
        for path, text in zip(unfinished, contents.values(), strict=True):
            path.write_bytes(text.encode())
        for path, final in zip(unfinished, paths, strict=True):
            os.replace(path, final)
    finally:
        for path in unfinished:
            path.unlink(missing_ok=True)
    return tuple(paths)
