"""New items and retired ones as the user hands them over, checked against the items that are there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from sidrec.catalog.columns import as_strings, require_column, source_of
from sidrec.catalog.config import CatalogConfig
from sidrec.catalog.forms.files import read_utf8
from sidrec.catalog.forms.separate import dialect_of, read_items
from sidrec.catalog.ids import name_unknown
from sidrec.catalog.normalize import normalize_items
from sidrec.catalog.template import text_columns
from sidrec.errors import CatalogError

SHOWN = 3


def read_new_items(
    table: pd.DataFrame | Path, config: CatalogConfig, known: pd.DataFrame, *, retired: Sequence[str] = ()
) -> pd.DataFrame:
    """Return new items as `normalize_items` does, with texts made as those of the items that are there.

    Args:
        table: A table in the form of `catalog.items`, or the file that holds it.
        config: How the items that are there were read.
        known: They, normalized.
        retired: Which of their ids are retired.

    Raises:
        CatalogError: If the table cannot be read, lacks a column, names an item twice or one that is there.
    """
    if isinstance(table, pd.DataFrame):
        frame = table
    else:
        frame = read_items(table, item_id=_item_id_of(config), setting="--items", dialect=dialect_of(config))
    item_id, text, title = _columns_of(frame, config, known)
    items = normalize_items(frame, item_id=item_id, text=text, title=title)
    taken = set(known["item_id"])
    there = [item_id for item_id in items["item_id"] if item_id in taken]
    if there:
        gone = [item for item in there if item in set(retired)]
        advice = f'"{gone[0]}" is retired, and ids do not come back: give that item another. ' if gone else ""
        raise CatalogError(
            f"{source_of(frame, 'items')}: {len(there)} of {len(items)} items are in the catalogue already: "
            f"{_names(there)}. {advice}Remove them from the table: an item keeps the semantic ID it has."
        )
    return items


def append_items(known: pd.DataFrame, items: pd.DataFrame) -> pd.DataFrame:
    """Put new items below those that are there, whose columns they get: others go, missing ones are empty."""
    return normalize_items(
        pd.concat([known, items.reindex(columns=known.columns)], ignore_index=True),
        text="{text}",
        title="title",
    )


def read_retired(
    ids: Sequence[str] | Path, config: CatalogConfig, known: Sequence[str], *, retired: Sequence[str] = ()
) -> list[str]:
    """Return the ids of items to retire, each once.

    Args:
        ids: They; or a table with the item ids, or a text file with one on each line.
        config: How the items were read.
        known: All ids there are.
        retired: Those retired before.

    Raises:
        CatalogError: If the file cannot be read, or an id is unknown or retired before.
    """
    source = ids.name if isinstance(ids, Path) else "retire"
    given = _ids_in(ids, config) if isinstance(ids, Path) else [str(item_id) for item_id in ids]
    wanted = list(dict.fromkeys(given))
    everything = set(known)
    unknown = [item_id for item_id in wanted if item_id not in everything]
    if unknown:
        raise CatalogError(
            f"{source}: {len(unknown)} of {len(wanted)} items are not in the catalogue: "
            f"{name_unknown(unknown, pd.Index(known))} Retire items that it has."
        )
    before = set(retired)
    twice = [item_id for item_id in wanted if item_id in before]
    if twice:
        raise CatalogError(
            f"{source}: {len(twice)} of {len(wanted)} items are retired already: {_names(twice)}. "
            "Remove them from the list."
        )
    return wanted


def _ids_in(path: Path, config: CatalogConfig) -> list[str]:
    """Read item ids from a table, or from the lines of a text file."""
    if path.suffix in ("", ".txt"):
        lines = read_utf8(path, "--retire").decode("utf-8").splitlines()
        return [line.strip() for line in lines if line.strip()]
    item_id = _item_id_of(config)
    frame = read_items(path, item_id=item_id, setting="--retire", dialect=dialect_of(config))
    column = require_column(frame, item_id, setting="catalog.item_id", default="retire")
    return as_strings(column).tolist()


def _item_id_of(config: CatalogConfig) -> str:
    """Name the column of ids: what the config says was not asked where the tables came from Python."""
    return "item_id" if config.items is None else config.item_id


def _columns_of(
    frame: pd.DataFrame, config: CatalogConfig, known: pd.DataFrame
) -> tuple[str, str | list[str], str | None]:
    """Return the columns of ids, texts (or their template) and titles, as `normalize_items` takes them."""
    name = source_of(frame, "items")
    if config.items is None:
        missing = [column for column in ("item_id", "text") if column not in frame.columns]
        if missing:
            raise CatalogError(
                f'{name} has no column "{missing[0]}". The run was made from tables in Python and does not '
                "know how texts are made of other columns: give item_id, text and, if you like, title."
            )
        return "item_id", "{text}", "title" if "title" in frame.columns else None
    if config.text is not None:
        return config.item_id, config.text, config.title
    words = text_columns(known, item_id="item_id")
    columns = [column for column in frame.columns if column in words]
    # Every table of ours has a title and a text, whether the user's had them or not.
    missing = [column for column in words if column not in (*columns, "title", "text")]
    if missing or not columns:
        raise CatalogError(
            f'{name} has no column "{(missing or words)[0]}", of which the texts in the catalogue are made, '
            f"since catalog.text is not set. Columns: {', '.join(map(str, frame.columns))}. Add it."
        )
    return config.item_id, columns, config.title


def _names(item_ids: Sequence[str]) -> str:
    return ", ".join(f'"{item_id}"' for item_id in item_ids[:SHOWN]) + (
        ", ..." if len(item_ids) > SHOWN else ""
    )
