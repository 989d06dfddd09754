"""Items and interactions in a file each, both named: any table, LC-Rec JSON or RecBole files."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from sidrec.catalog.config import CatalogConfig
from sidrec.catalog.forms.lcrec import is_lcrec, read_lcrec_fields, read_lcrec_interactions
from sidrec.catalog.forms.recbole import is_recbole, read_recbole
from sidrec.catalog.forms.table_files import read_table
from sidrec.catalog.tables import Tables, read_file
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
    items = read_items(config.items, item_id=config.item_id)
    setting = "catalog.interactions"
    if is_lcrec(config.interactions):
        interactions = read_lcrec_interactions(
            config.interactions, setting, item_id=config.item_id, user_id=config.user_id
        )
    else:
        interactions = _read_table(config.interactions, setting)
    files = (read_file(items, config.items), read_file(interactions, config.interactions))
    return Tables(items, interactions, files=files)


def read_items(path: Path, *, item_id: str, setting: str = "catalog.items") -> pd.DataFrame:
    """Read a table of items as it is in the file; `normalize_items` checks it."""
    if is_lcrec(path):
        return read_lcrec_fields(path, setting, id_column=item_id)
    return _read_table(path, setting)


def read_users(path: Path, *, user_id: str) -> pd.DataFrame:
    """Read a table of users as it is in the file; `normalize_users` checks it."""
    if is_lcrec(path):
        return read_lcrec_fields(path, "catalog.users", id_column=user_id, what="user")
    return _read_table(path, "catalog.users")


def _read_table(path: Path, setting: str) -> pd.DataFrame:
    """Read a table of either kind."""
    return read_recbole(path, setting) if is_recbole(path) else read_table(path, setting)
