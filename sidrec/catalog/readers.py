"""From `CatalogConfig` to `Catalog`: which reader a file gets, by its suffix."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from sidrec.catalog.catalog import Catalog
from sidrec.catalog.config import CatalogConfig
from sidrec.catalog.lcrec import find_lcrec_pair, read_lcrec_fields, read_lcrec_interactions
from sidrec.catalog.recbole import find_recbole_pair, find_recbole_users, is_recbole, read_recbole
from sidrec.catalog.tables import read_table
from sidrec.errors import CatalogError


def read_catalog(config: CatalogConfig) -> Catalog:
    """Read and check the tables that `config` names.

    Raises:
        CatalogError: If a file cannot be read or the tables do not fit together.
    """
    items_path, interactions_path = _resolve_paths(config)
    items = read_items(items_path, item_id=config.item_id)
    if _is_lcrec(interactions_path):
        interactions = read_lcrec_interactions(
            interactions_path, "catalog.interactions", item_id=config.item_id, user_id=config.user_id
        )
    else:
        interactions = _read_table(interactions_path, "catalog.interactions")
    return Catalog(
        items,
        interactions,
        users=_read_users(config),
        item_id=config.item_id,
        user_id=config.user_id,
        timestamp=config.timestamp,
        text=config.text,
        title=config.title,
        category=config.category,
    )


def read_items(path: Path, *, item_id: str, setting: str = "catalog.items") -> pd.DataFrame:
    """Read a table of items as it is in the file; `normalize_items` checks it."""
    if _is_lcrec(path):
        return read_lcrec_fields(path, setting, id_column=item_id)
    return _read_table(path, setting)


def _read_users(config: CatalogConfig) -> pd.DataFrame | None:
    """Read the table of users, if there is one."""
    path = config.users
    if path is None and config.items is not None and config.interactions is None:
        path = find_recbole_users(config.items)
    if path is None:
        return None
    if _is_lcrec(path):
        return read_lcrec_fields(path, "catalog.users", id_column=config.user_id, what="user")
    return _read_table(path, "catalog.users")


def _read_table(path: Path, setting: str) -> pd.DataFrame:
    """Read a table of either kind."""
    return read_recbole(path, setting) if is_recbole(path) else read_table(path, setting)


def _is_lcrec(path: Path) -> bool:
    """Say whether a file is JSON as a whole, as against a table."""
    return path.name.lower().removesuffix(".gz").endswith(".json")


def _resolve_paths(config: CatalogConfig) -> tuple[Path, Path]:
    """Return the paths of items and interactions."""
    if config.items is None:
        raise CatalogError("catalog.items is not set, expected a file of items. Set catalog.items=FILE.")
    if config.interactions is None:
        if config.items.is_dir():
            return _find_pair(config.items)
        raise CatalogError(
            f"catalog.interactions is not set, but catalog.items is ({config.items}). "
            "Set catalog.interactions=FILE to the file that says who had what."
        )
    return config.items, config.interactions


def _find_pair(directory: Path) -> tuple[Path, Path]:
    """Return the files of items and of interactions in a directory of either form that has such pairs."""
    patterns = ("*.item.json", "*.inter.json", "*.item", "*.inter")
    item_json, inter_json, item, inter = (len(list(directory.glob(pattern))) for pattern in patterns)
    lcrec, recbole = item_json + inter_json, item + inter
    if bool(lcrec) == bool(recbole):
        raise CatalogError(
            f"catalog.items: {directory} is a directory with {item_json} files *.item.json and {inter_json} "
            f"files *.inter.json (LC-Rec), {item} files *.item and {inter} files *.inter (RecBole), expected "
            "one of each of one form. Name the files in catalog.items and catalog.interactions."
        )
    return find_lcrec_pair(directory) if lcrec else find_recbole_pair(directory)
