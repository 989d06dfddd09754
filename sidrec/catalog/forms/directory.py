"""What a directory of a public data set has beside its items and its events."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd

from sidrec.catalog.config import CatalogConfig
from sidrec.catalog.forms.several import find_files
from sidrec.catalog.forms.unread import shown
from sidrec.catalog.tables import Tables
from sidrec.errors import CatalogError


def complete(tables: Tables, config: CatalogConfig) -> Tables:
    """Add a note on the files of the directory left unread; what `catalog.users` names will be read."""
    if config.items_path is None or not config.items_path.is_dir():
        return tables
    named = [] if config.users is None else find_files(config.users, "catalog.users")
    was_read = {path.resolve() for path in (*(file.path for file in tables.files), *named)}
    unread = [path.name for path in files_in(config.items_path) if path.resolve() not in was_read]
    if not unread:
        return tables
    note = f"{config.items_path}: {counted(len(unread), 'other file')} left unread: {shown(unread)}."
    return replace(tables, notes=(*tables.notes, note))


def files_in(directory: Path, pattern: str = "*") -> list[Path]:
    """Return the files of a directory in the order of their names, hidden ones left out."""
    return sorted(
        path for path in directory.glob(pattern) if path.is_file() and not path.name.startswith(".")
    )


def require_one(found: list[Path], config: CatalogConfig, *, what: str, pattern: str) -> Path:
    """Return the one file of a kind, or raise; `pattern` is what its name is like, for people."""
    if len(found) == 1:
        return found[0]
    held = f"{len(found)} files of {what} ({shown(path.name for path in found)})" if found else f"no {what}"
    mend = (
        "Move the others away, or name the files in catalog.items and catalog.interactions."
        if found
        else f"Add {pattern}."
    )
    raise CatalogError(
        f"catalog.items: {config.items_path} has {held}, expected one file of {what} ({pattern}). {mend}"
    )


def keep_first(items: pd.DataFrame, path: Path, *, key: str, form: str) -> tuple[pd.DataFrame, list[str]]:
    """Leave out the rows of items that an earlier row is about; the second result says how many."""
    repeated = items["item_id"].duplicated().to_numpy()
    notes = []
    if repeated.any():
        count = counted(int(repeated.sum()), "row")
        notes = [f"{path.name}: {count} left out for having the {key} of an earlier row."]
    items = items[~repeated].reset_index(drop=True)
    items.attrs |= {"source": path.name, "form": form}
    return items, notes


def counted(number: int, noun: str) -> str:
    """Write a count with its noun, such as "1 file" or "2,000 files"."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
