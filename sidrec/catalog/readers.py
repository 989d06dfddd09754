"""From `CatalogConfig` to `Catalog`."""

from __future__ import annotations

from sidrec.catalog.catalog import Catalog
from sidrec.catalog.config import CatalogConfig
from sidrec.catalog.forms import read_tables
from sidrec.catalog.guessing import timestamp_columns
from sidrec.catalog.normalize import BY_ROWS
from sidrec.catalog.tables import Tables


def read_catalog(config: CatalogConfig) -> Catalog:
    """Read and check the tables that `config` names.

    Raises:
        CatalogError: If a file cannot be read or the tables do not fit together.
    """
    return catalog_of(read_tables(config), config)


def catalog_of(tables: Tables, config: CatalogConfig) -> Catalog:
    """Check tables that have been read already, and make the catalogue that `config` asks for."""
    catalog = Catalog(
        tables.items,
        tables.interactions,
        users=tables.users,
        item_id=config.item_id,
        user_id=config.user_id,
        timestamp=config.timestamp,
        time_format=config.time_format,
        rating=config.rating,
        weight=config.weight,
        split=config.split_column,
        text=config.text,
        title=config.title,
        category=config.category,
        filters=config.filters,
    )
    catalog.files, catalog.notes = tables.files, tables.notes
    if catalog.order == BY_ROWS:
        used = (config.item_id, config.user_id, config.rating, config.weight, config.split_column)
        catalog.unused_times = tuple(timestamp_columns(tables.interactions, taken=used))
    return catalog
