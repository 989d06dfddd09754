"""What a reader gives: the tables as the files have them, what was read from where, what was left unread."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd


@dataclass(frozen=True)
class ReadFile:
    """A file that was read.

    Attributes:
        path: Its path.
        rows: Rows of the table that it holds, or of that part of it which was read.
        form: What it was taken for, such as "CSV, separator ';', Latin-1".
    """

    path: Path
    rows: int
    form: str


@dataclass(frozen=True, eq=False)
class Tables:
    """Items and interactions, nothing in them checked; `Catalog` does that.

    Forms with names of their own for ids, times and ratings give them as `item_id`, `user_id`, `timestamp`
    and `rating`; a form that says which events are for training has them in `split`.

    Attributes:
        items: One row per item.
        interactions: One row per event.
        users: One row per user, if the form has them.
        files: What was read.
        notes: What a user should know of the reading: what was left unread, what cannot be told.
    """

    items: pd.DataFrame
    interactions: pd.DataFrame
    users: pd.DataFrame | None = None
    files: tuple[ReadFile, ...] = ()
    notes: tuple[str, ...] = ()


def read_file(frame: pd.DataFrame, path: Path) -> ReadFile:
    """Return what to say of the file that a table was read from; its reader left its form in `attrs`."""
    return ReadFile(path, len(frame), str(frame.attrs.get("form", "")))
