"""RecBole's atomic files as the tables they stand for: `NAME.item`, `NAME.inter` and `NAME.user`.

Tab separated, each header cell a name with its type (`movie_title:token_seq`), without quoting: a double
quote is a character like any other. `NAME.inter` may come in parts: `NAME.train.inter` and so on. The other
atomic files are not a catalogue's and are not read.

Source: RecBole's documentation, "Atomic Files".
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from sidrec.catalog.config import CatalogConfig
from sidrec.catalog.forms.chains import PARTS
from sidrec.catalog.forms.delimited import read_delimited
from sidrec.catalog.forms.packing import unpacked_name
from sidrec.catalog.forms.recbole_parts import WHOLE, join_parts, part_of
from sidrec.catalog.frames import require_distinct
from sidrec.catalog.tables import Tables, read_file
from sidrec.errors import CatalogError

TYPES = ("token", "token_seq", "float", "float_seq")


def matches(config: CatalogConfig) -> bool:
    """Say whether `catalog.items` is a directory with files of this form.

    `*.inter` beside `*.item.json` alone are what LC-Rec's and MiniOneRec's preparation leaves there.
    """
    path = config.items_path
    if config.interactions_path is not None or path is None or not path.is_dir():
        return False
    if any(file.name != "u.item" for file in path.glob("*.item")):  # MovieLens 100K calls its films so
        return True
    return any(path.glob("*.inter")) and not any(path.glob("*.item.json"))


def read(config: CatalogConfig) -> Tables:
    """Read the one pair in a directory, and the one file of users if there is one.

    Interactions in a file for each part (RecBole's `benchmark_filename`) are joined, with the part of each.

    Raises:
        CatalogError: If there is not one of each file, or one is broken.
    """
    assert config.items_path is not None
    items_path, interactions_paths = _find_pair(config.items_path)
    items = read_recbole(items_path, "catalog.items")
    frames = {part: read_recbole(path, "catalog.interactions") for part, path in interactions_paths.items()}
    joined = join_parts(frames, user_id=config.user_id, item_id=config.item_id)
    paths = interactions_paths.values()
    files = [read_file(frame, path) for frame, path in zip(frames.values(), paths, strict=True)]
    files.insert(0, read_file(items, items_path))
    users_path = _find_users(config.items_path) if config.users is None else None
    users = None
    if users_path is not None:
        users = read_recbole(users_path, "catalog.users")
        files.append(read_file(users, users_path))
    return Tables(items, joined.events, users, tuple(files), joined.notes)


def is_recbole(path: Path) -> bool:
    """Say whether a file is one of the atomic files that are read, by its name."""
    return unpacked_name(path).endswith((".item", ".inter", ".user"))


def read_recbole(path: Path, setting: str) -> pd.DataFrame:
    """Read one atomic file; its columns are called by the names of the header cells, without the types.

    A `float` becomes a number, an empty one a missing number. All else is text as written: tokens ("007"),
    and sequences with the blanks between their parts. `attrs["source"]` is the file's name, for messages.

    Args:
        path: The file.
        setting: The option that named it, e.g. "catalog.items".

    Raises:
        CatalogError: If the file is missing or broken, a header cell has no known type, a `float` is no
            number, or there are no rows.
    """
    frame = read_delimited(path, setting, delimiter="\t", quoted=False)
    types: dict[str, str] = {}
    names: list[str] = []
    for cell in frame.columns:
        name, _, kind = cell.rpartition(":")
        if not name or kind not in TYPES:
            raise CatalogError(
                f'{path}: the header cell "{cell}" has no known type, expected name:type with a type of '
                f"{', '.join(TYPES)} (RecBole atomic file). Write e.g. {name or kind or 'title'}:token."
            )
        names.append(name)
        types[name] = kind
    require_distinct(names, str(path))
    if not len(frame):
        raise CatalogError(
            f"{path} has a header but no rows, expected one row at least. Check what wrote it."
        )
    frame.columns = pd.Index(names)
    for name in names:
        if types[name] == "float":
            frame[name] = _numbers(frame[name], path)
    frame.attrs |= {"source": path.name, "form": "RecBole atomic file"}
    return frame


def _find_pair(directory: Path) -> tuple[Path, dict[str, Path]]:
    """Return the `*.item` of a directory, and its `*.inter`: one, or one for each part."""
    items, interactions = (sorted(directory.glob(pattern)) for pattern in ("*.item", "*.inter"))
    if not items:
        raise CatalogError(
            f"catalog.items: {directory} is a directory with {interactions[0].name} but no file *.item, and "
            "semantic IDs are made from the texts of the items. Add a file of items, or name one of any form "
            "in catalog.items."
        )
    named = {path: part_of(path) for path in interactions}
    parts = {part: path for path, part in named.items()}
    if len(items) != 1 or not parts or len(parts) < len(named) or (WHOLE in parts and len(parts) > 1):
        raise CatalogError(
            f"catalog.items: {directory} is a directory with {len(items)} files *.item and "
            f"{len(interactions)} files *.inter, expected one of each, or *.train.inter, *.valid.inter and "
            "*.test.inter in place of the second. "
            "Name the files in catalog.items and catalog.interactions."
        )
    return items[0], {part: parts[part] for part in (WHOLE, *PARTS) if part in parts}


def _find_users(directory: Path) -> Path | None:
    """Return the `*.user` of a directory, None without one."""
    found = sorted(directory.glob("*.user"))
    if len(found) > 1:
        raise CatalogError(
            f"catalog.items: {directory} is a directory with {len(found)} files *.user, expected one at "
            "most. Name it in catalog.users."
        )
    return found[0] if found else None


def _numbers(column: pd.Series, path: Path) -> pd.Series:
    """Return the cells of a `float` column as numbers, empty ones as missing."""
    numbers = pd.to_numeric(column, errors="coerce")
    wrong = (numbers.isna() & (column.str.strip() != "")).to_numpy()
    if wrong.any():
        row = int(np.argmax(wrong))
        raise CatalogError(
            f'{path}: row {row + 2} (the header is row 1) has "{column.iloc[row][:60]}" as {column.name}, '
            f"which the header calls a float, expected a number. Mend the cell, or write {column.name}:token."
        )
    return numbers
