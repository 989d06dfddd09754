"""From `CatalogConfig` to `Catalog`: which reader a file gets, by its suffix."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from sidrec.catalog.catalog import Catalog
from sidrec.catalog.config import CatalogConfig
from sidrec.catalog.lcrec import find_lcrec_pair, read_lcrec_interactions, read_lcrec_items
from sidrec.catalog.tables import read_table
from sidrec.errors import CatalogError


def read_catalog(config: CatalogConfig) -> Catalog:
    """Read and check the two tables that `config` names.

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
        interactions = read_table(interactions_path, "catalog.interactions")
    return Catalog(
        items,
        interactions,
        item_id=config.item_id,
        user_id=config.user_id,
        timestamp=config.timestamp,
        text=config.text,
        title=config.title,
    )


def read_items(path: Path, *, item_id: str, setting: str = "catalog.items") -> pd.DataFrame:
    """Read a table of items as it is in the file; `normalize_items` checks it."""
    if _is_lcrec(path):
        return read_lcrec_items(path, setting, item_id=item_id)
    return read_table(path, setting)


def _is_lcrec(path: Path) -> bool:
    """Say whether a file is JSON as a whole, as against a table."""
    return path.name.lower().removesuffix(".gz").endswith(".json")


def _resolve_paths(config: CatalogConfig) -> tuple[Path, Path]:
    """Return the paths of items and interactions."""
    if config.items is None:
        raise CatalogError("catalog.items is not set, expected a file of items. Set catalog.items=FILE.")
    if config.interactions is None:
        if config.items.is_dir():
            return find_lcrec_pair(config.items)
        raise CatalogError(
            f"catalog.interactions is not set, but catalog.items is ({config.items}). "
            "Set catalog.interactions=FILE to the file that says who had what."
        )
    return config.items, config.interactions
