"""Which column holds the items' categories, and which one category of a hierarchy is an item's own."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from sidrec.catalog.columns import as_strings
from sidrec.errors import CatalogError, nearest

USUAL = ("category", "categories", "class", "genre", "genres")
"""Columns that are taken for the categories when none is named; the first that is there."""

_DIVIDERS = re.compile(r"[>|;,]")


def category_column(items: pd.DataFrame, named: str | None, *, name: str) -> str | None:
    """Return the column of the categories: the one that was named, else a usual one, else None.

    Raises:
        CatalogError: If the named one is not there; `name` is what to call the table.
    """
    columns = [str(column) for column in items.columns]
    if named is None:
        return next((column for column in USUAL if column in columns), None)
    if named not in columns:
        raise CatalogError(
            f'{name} has no column "{named}" (catalog.category).{nearest(named, columns)} '
            f"Columns: {', '.join(columns)}. Set catalog.category to one of them."
        )
    return named


def main_categories(column: pd.Series) -> np.ndarray | None:
    """Return one category per item, (N,) text, "" where it has none; None if no item has one.

    A cell may be a hierarchy, "Science > Tapes > Duct tape", or a list: parts divided by >, |, ; or commas
    (a comma within a name so cuts it short). The first part tells little where it is the name of the whole
    shop. So all items give the same part, counted from the first: the first one that no more than half of
    them agree in; if there is none, the first. An item with fewer parts gives its last.
    """
    cells = [[part.strip() for part in _DIVIDERS.split(cell) if part.strip()] for cell in as_strings(column)]
    for place in range(max(map(len, cells))):
        labels = np.array([parts[min(place, len(parts) - 1)] if parts else "" for parts in cells])
        _, counts = np.unique(labels[labels != ""], return_counts=True)
        if counts.max() <= len(cells) / 2:
            return labels
    return np.array([parts[0] if parts else "" for parts in cells]) if any(cells) else None
