"""The two tables as the user has them, checked and brought into the one form the rest of sidrec reads."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from sidrec.catalog.columns import as_strings, parse_timestamps, parse_weights, require_column, source_of
from sidrec.catalog.config import FiltersConfig
from sidrec.catalog.ids import name_unknown, require_ids, require_known, require_once
from sidrec.catalog.template import render_texts
from sidrec.errors import CatalogError

TITLE_CHARACTERS = 60
BY_ROWS = "rows"
PARTS = ("train", "valid", "test", "context")
"""What an event can be: learnt from, a target of valid or of test, or in histories alone."""

_OTHER_NAMES = {"training": "train", "validation": "valid", "val": "valid", "dev": "valid"}


def normalize_items(
    items: pd.DataFrame,
    *,
    item_id: str = "item_id",
    text: str | Sequence[str] | None = None,
    title: str | None = None,
    filters: FiltersConfig | None = None,
) -> pd.DataFrame:
    """Return `item_id`, `title`, `text` (all str), then the other columns, in the order of the rows.

    The id column is renamed. Columns called `title` and `text` give way to those made here. An item without a
    title gets the beginning of its text. Other columns stay as they are, lists and mixed cells become text.
    `text` is what `render_texts` takes. Rows that `filters` will drop are not refused; None: nothing will.

    Raises:
        CatalogError: If a column is missing, an id is none or there twice, or an item has no text.
    """
    name = source_of(items, "items")
    _require_rows(items, name)
    ids = as_strings(require_column(items, item_id, setting="catalog.item_id", default="items"))
    require_ids(ids, column=item_id, name=name)
    if filters is None or filters.duplicate_items == "error":
        or_set = "" if filters is None else ", or set catalog.filters.duplicate_items=first"
        require_once(ids, column=item_id, name=name, what="item", or_set=or_set)
    texts = render_texts(items, text, item_id=item_id)
    empty = next((row for row, rendered in enumerate(texts) if not rendered), None)
    if empty is not None and (filters is None or filters.empty_texts == "error"):
        or_set = "" if filters is None else ", or set catalog.filters.empty_texts=drop"
        raise CatalogError(
            f'{name}: item "{ids[empty]}" (data row {empty + 1}) has an empty text, expected words. '
            f"Fill in its columns, name others in catalog.text, or remove the item{or_set}."
        )
    normalized = pd.DataFrame(
        {"item_id": ids, "title": _titles(items, title, texts), "text": texts}, dtype=str
    )
    others = {
        str(column): _storable(items[column])
        for column in items.columns
        if column != item_id and str(column) not in normalized.columns
    }
    return pd.concat([normalized, pd.DataFrame(others, index=normalized.index)], axis=1)


def normalize_interactions(
    interactions: pd.DataFrame,
    item_ids: pd.Series,
    *,
    item_id: str = "item_id",
    user_id: str = "user_id",
    timestamp: str | None = None,
    time_format: str | None = None,
    rating: str | None = None,
    weight: str | None = None,
    split: str | None = None,
    items_name: str = "items",
    filters: FiltersConfig | None = None,
) -> tuple[pd.DataFrame, str]:
    """Return `user_id`, `item_id` (str), `timestamp` (int64 or float64), sorted, and what gave the order.

    `rating` (float64, NaN for none), `weight` (float64) and `split` (one of `PARTS`) follow where there are
    such columns. Users stay in order of first appearance; the events of a user are sorted by time, and by row
    where times are equal. No `timestamp` means the column of that name when there is one, else the number of
    the row; no `rating` or `split` the column of that name, if there is one; no `weight` none, since it would
    change figures unasked. Events that `filters` will drop for their items are not refused.

    Raises:
        CatalogError: If a column is missing, an id none, an item unknown, a time neither number nor date, a
            rating no number, a weight no positive one, or an event of no part.
    """
    filters = filters or FiltersConfig()
    name = source_of(interactions, "interactions")
    _require_rows(interactions, name)
    users = as_strings(
        require_column(interactions, user_id, setting="catalog.user_id", default="interactions")
    )
    items = as_strings(
        require_column(interactions, item_id, setting="catalog.item_id", default="interactions")
    )
    require_ids(users, column=user_id, name=name)
    require_ids(items, column=item_id, name=name, among=item_ids)
    if filters.unknown_items == "error":
        require_known(items, item_ids, name=name, items_name=items_name)
    times, order = _times(interactions, timestamp, time_format, name)
    table = pd.DataFrame({"user_id": users, "item_id": items, "timestamp": times})
    if (column := _column(interactions, rating, "rating", setting="catalog.rating")) is not None:
        table["rating"] = _ratings(column, name)
    if weight is not None:
        column = require_column(interactions, weight, setting="catalog.weight", default="interactions")
        table["weight"] = parse_weights(column, source=name)
    if (column := _column(interactions, split, "split", setting="catalog.split_column")) is not None:
        parts = _parts(column, name, must=split is not None)
        if parts is not None:
            table["split"] = parts
    return _in_order(table), order


def normalize_users(
    users: pd.DataFrame, user_ids: Sequence[str], *, user_id: str = "user_id"
) -> pd.DataFrame:
    """Return `user_id` (str), then the other columns: a row for each of `user_ids`, in their order.

    The id column is renamed. Users without events are left out: no row of any task is about them.

    Raises:
        CatalogError: If there is no id column, an id is empty or there twice, or a user has no row.
    """
    name = source_of(users, "users")
    _require_rows(users, name)
    ids = as_strings(require_column(users, user_id, setting="catalog.user_id", default="users"))
    require_ids(ids, column=user_id, name=name)
    require_once(ids, column=user_id, name=name, what="user")
    places = pd.Index(ids).get_indexer(pd.Index(user_ids))
    absent = [known for known, place in zip(user_ids, places.tolist(), strict=True) if place < 0]
    if absent:
        raise CatalogError(
            f"{name} has no row for {len(absent)} of the {len(user_ids)} users with events: "
            f"{name_unknown(absent, pd.Index(ids))} Add them, or set catalog.users to another file."
        )
    others = {
        str(column): _storable(users[column])
        for column in users.columns
        if column != user_id and str(column) != "user_id"
    }
    table = pd.concat([pd.DataFrame({"user_id": ids}), pd.DataFrame(others, index=ids.index)], axis=1)
    return table.iloc[places].reset_index(drop=True)


def _require_rows(frame: pd.DataFrame, name: str) -> None:
    """Raise for a table without rows."""
    if not len(frame):
        raise CatalogError(f"{name} has no rows, expected one at least. Check what made the table.")


def _times(
    interactions: pd.DataFrame, timestamp: str | None, time_format: str | None, name: str
) -> tuple[np.ndarray, str]:
    """Return the times of the events, or the numbers of their rows, and what gave the order."""
    column = _column(interactions, timestamp, "timestamp", setting="catalog.timestamp")
    if column is None and time_format is not None:
        raise CatalogError(
            f'catalog.time_format="{time_format}" would change nothing: {name} has no column "timestamp". '
            "Set catalog.timestamp to the column of the time, or leave catalog.time_format out."
        )
    if column is None:
        return np.arange(len(interactions), dtype=np.int64), BY_ROWS
    times = parse_timestamps(column, source=name, time_format=time_format)
    form = "" if times.form is None else f" ({times.form})"
    return times.values, f"column '{column.name}'{form}"


def _column(frame: pd.DataFrame, named: str | None, usual: str, *, setting: str) -> pd.Series | None:
    """Return the column that was named, or the usual one, or None where neither is meant."""
    if named is None and usual not in frame.columns:
        return None
    return require_column(frame, named or usual, setting=setting, default="interactions")


def _in_order(table: pd.DataFrame) -> pd.DataFrame:
    """Sort by user, in order of first appearance, and time; what is in order already is not copied."""
    users, _ = pd.factorize(table["user_id"])
    times = table["timestamp"].to_numpy()
    falls = (users[1:] < users[:-1]) | ((users[1:] == users[:-1]) & (times[1:] < times[:-1]))
    return table.iloc[np.lexsort((times, users))].reset_index(drop=True) if falls.any() else table


def _ratings(column: pd.Series, name: str) -> np.ndarray:
    """Return the ratings, NaN where there is none."""
    numbers = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    missing = np.isnan(numbers)
    if missing.any():
        wrong = missing & (as_strings(column).str.strip() != "").to_numpy()
        if wrong.any():
            row = int(np.argmax(wrong))
            raise CatalogError(
                f'{name}: data row {row + 1} has "{str(column.iloc[row])[:60]}" as {column.name}, expected a '
                "number. Mend the row, or set catalog.rating to another column."
            )
    return numbers


def _parts(column: pd.Series, name: str, *, must: bool) -> pd.Series | None:
    """Return the part of each event; None where the column holds something else and was not named."""
    parts = as_strings(column).str.strip().str.lower().replace(_OTHER_NAMES)
    wrong = ~parts.isin(PARTS).to_numpy()
    if not wrong.any():
        return parts
    if not must:
        return None
    row = int(np.argmax(wrong))
    raise CatalogError(
        f'{name}: data row {row + 1} has "{str(column.iloc[row])[:60]}" as {column.name}, expected one of '
        f"{', '.join(PARTS)}. Mend the row, or set catalog.split_column to another column."
    )


def _titles(items: pd.DataFrame, title: str | None, texts: list[str]) -> list[str]:
    """Return one line per item to show to people."""
    if title is not None:
        column = require_column(items, title, setting="catalog.title", default="items")
    else:
        named = [name for name in ("title", "name") if name in items.columns]
        if not named:
            return [_one_line(text)[:TITLE_CHARACTERS].rstrip() for text in texts]
        column = items[named[0]]
    return [
        _one_line(cell) or _one_line(text)[:TITLE_CHARACTERS].rstrip()
        for cell, text in zip(as_strings(column), texts, strict=True)
    ]


def _one_line(text: str) -> str:
    """Make any run of white space one blank."""
    return " ".join(text.split())


def _storable(column: pd.Series) -> pd.Series:
    """Keep a typed column; turn cells of mixed type into text, so that every column can be saved."""
    if isinstance(column.dtype, pd.CategoricalDtype) or pd.api.types.is_object_dtype(column):
        return as_strings(column)
    return column.reset_index(drop=True)
