"""Items and interactions in files of their own, all named: any table, LC-Rec JSON or RecBole files.

Each may be one file, a pattern such as `events-*.csv`, or a list.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from sidrec.catalog.config import CatalogConfig
from sidrec.catalog.forms.delimited import Dialect
from sidrec.catalog.forms.lcrec import is_lcrec, read_lcrec_fields, read_lcrec_interactions
from sidrec.catalog.forms.recbole import is_recbole, read_recbole
from sidrec.catalog.forms.several import Joined, read_files
from sidrec.catalog.forms.table_files import read_table
from sidrec.catalog.tables import Tables
from sidrec.errors import CatalogError


def matches(config: CatalogConfig) -> bool:
    """Say whether a config names both files."""
    return config.items is not None and config.interactions is not None


def read(config: CatalogConfig) -> Tables:
    """Read the files, each in its own form."""
    if config.items is None or config.interactions is None:
        raise CatalogError(
            "catalog.format=tables needs catalog.items and catalog.interactions. Set them to a file each."
        )
    dialect, setting = dialect_of(config), "catalog.interactions"

    def read_interactions(path: Path) -> pd.DataFrame:
        if is_lcrec(path):
            return read_lcrec_interactions(path, setting, item_id=config.item_id, user_id=config.user_id)
        return _read_table(path, setting, dialect)

    items = read_files(
        config.items, "catalog.items", lambda path: read_items(path, item_id=config.item_id, dialect=dialect)
    )
    interactions = read_files(config.interactions, setting, read_interactions)
    return Tables(
        items.frame,
        interactions.frame,
        files=(*items.files, *interactions.files),
        notes=(*items.notes, *interactions.notes),
    )


def read_items(
    path: Path, *, item_id: str, setting: str = "catalog.items", dialect: Dialect | None = None
) -> pd.DataFrame:
    """Read a table of items as it is in the file; `normalize_items` checks it."""
    if is_lcrec(path):
        return read_lcrec_fields(path, setting, id_column=item_id)
    return _read_table(path, setting, dialect)


def read_users(named: Path | Sequence[Path], config: CatalogConfig) -> Joined:
    """Read the tables of users as they are in the files; `normalize_users` checks them."""
    setting, dialect = "catalog.users", dialect_of(config)

    def read_one(path: Path) -> pd.DataFrame:
        if is_lcrec(path):
            return read_lcrec_fields(path, setting, id_column=config.user_id, what="user")
        return _read_table(path, setting, dialect)

    return read_files(named, setting, read_one)


def dialect_of(config: CatalogConfig) -> Dialect:
    """Return how the user says that text files are written."""
    return Dialect(config.separator, config.quoting, config.encoding)


def _read_table(path: Path, setting: str, dialect: Dialect | None) -> pd.DataFrame:
    """Read a table of either kind."""
    return read_recbole(path, setting) if is_recbole(path) else read_table(path, setting, dialect)
