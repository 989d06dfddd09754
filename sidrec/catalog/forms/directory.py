"""What a directory of a public data set has beside its items and its events."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pandas as pd

from sidrec.catalog.config import CatalogConfig
from sidrec.catalog.forms.separate import read_users
from sidrec.catalog.tables import Tables, read_file
from sidrec.errors import CatalogError

_NAMES_SHOWN = 5


def complete(tables: Tables, config: CatalogConfig) -> Tables:
    """Add the users that `catalog.users` names, and a note on the files of the directory left unread."""
    if config.users is not None:
        users = read_users(config.users, user_id=config.user_id)
        tables = replace(tables, users=users, files=(*tables.files, read_file(users, config.users)))
    if config.items is None or not config.items.is_dir():
        return tables
    was_read = {file.path.resolve() for file in tables.files}
    unread = [path.name for path in files_in(config.items) if path.resolve() not in was_read]
    if not unread:
        return tables
    note = f"{config.items}: {counted(len(unread), 'other file')} left unread: {_listed(unread)}."
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
    held = f"{len(found)} files of {what} ({_listed(path.name for path in found)})" if found else f"no {what}"
    mend = (
        "Move the others away, or name the files in catalog.items and catalog.interactions."
        if found
        else f"Add {pattern}."
    )
    raise CatalogError(
        f"catalog.items: {config.items} has {held}, expected one file of {what} ({pattern}). {mend}"
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


def _listed(names: Iterable[str]) -> str:
    """List the first names."""
    every = list(names)
    return ", ".join(every[:_NAMES_SHOWN]) + (", ..." if len(every) > _NAMES_SHOWN else "")
