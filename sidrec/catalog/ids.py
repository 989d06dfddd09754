"""Ids of items and users, which are text as it is: what is no id is refused, and named in messages."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as arrow

from sidrec.catalog.columns import positions
from sidrec.errors import CatalogError, nearest


def require_ids(ids: pd.Series, *, column: str, name: str, among: pd.Series | None = None) -> None:
    """Raise for ids that are empty, hold control characters, or differ only by white space around them.

    Millions of events have far fewer ids, so that only the distinct ones are looked at.

    Args:
        ids: They, as strings.
        column: What they are called, for messages.
        name: What the table is called.
        among: Those of another table, which they must be told apart from as well.
    """
    cells = pa.array(ids, type=pa.large_string())
    distinct = cells.unique()
    empty = distinct.filter(arrow.equal(arrow.utf8_trim_whitespace(distinct), ""))
    if len(empty):
        rows = arrow.is_in(cells, value_set=empty).to_numpy(zero_copy_only=False)
        raise CatalogError(
            f"{name}: data row {int(np.argmax(rows)) + 1} has an empty {column}, expected an id "
            f"({int(rows.sum())} such rows). Fill it in or remove the row."
        )
    controlled = distinct.filter(arrow.match_substring_regex(distinct, r"\p{Cc}"))
    if len(controlled):
        row = arrow.index(cells, controlled[0]).as_py() + 1
        raise CatalogError(
            f"{name}: data row {row} has the {column} {controlled[0].as_py()!r} with a control character, "
            f"expected text that can be seen ({len(controlled)} such ids). Remove the character."
        )
    if among is not None:
        others = pa.array(among, type=pa.large_string()).unique()
        distinct = pa.concat_arrays([others, distinct]).unique()
    _require_apart(distinct, column=column, name=name)


def require_once(ids: pd.Series, *, column: str, name: str, what: str, or_set: str = "") -> None:
    """Raise for an id that two rows have; `or_set` is said of a setting that allows it."""
    repeated = ids[ids.duplicated()]
    if len(repeated):
        first = repeated.iloc[0]
        rows = np.flatnonzero(ids == first)[:2] + 1
        raise CatalogError(
            f'{name}: the {column} "{first}" is in data rows {rows[0]} and {rows[1]}, expected each {what} '
            f"once ({len(repeated)} rows too many). Remove the duplicates{or_set}."
        )


def require_known(items: pd.Series, item_ids: pd.Series, *, name: str, items_name: str) -> None:
    """Raise for events whose item is not in the table of items."""
    unknown = items[positions(items, item_ids) < 0]
    if len(unknown):
        raise CatalogError(
            f"{name}: {len(unknown)} of {len(items)} events (the first in data row {unknown.index[0] + 1}) "
            f"have items that {items_name} does not have: {name_unknown(unknown, pd.Index(item_ids))} "
            "Add the items, remove the events, or set catalog.filters.unknown_items=drop."
        )


def name_unknown(unknown: Iterable[str], item_index: pd.Index) -> str:
    """List the first three unknown ids, the first with its nearest known one."""
    distinct = list(dict.fromkeys(unknown))
    names = ", ".join(f'"{item}"' for item in distinct[:3]) + (", ..." if len(distinct) > 3 else "")
    return f"{names}.{_same_number(distinct[0], item_index) or nearest(distinct[0], item_index)}"


def _same_number(item: str, item_index: pd.Index) -> str:
    """Name the known id that is the same whole number spelled otherwise, as "1.0" or "007", or ''."""
    number = _whole_number(item)
    known = next((other for other in item_index if number and _whole_number(other) == number), None)
    if known is None:
        return ""
    return f' Did you mean "{known}"? One file was written with numbers in place of ids; write both as text.'


def _whole_number(item: str) -> str:
    """Return the digits of "1", "1.0" and "001" alike; '' for what is no whole number."""
    digits = item.removesuffix(".0")
    return (digits.lstrip("0") or "0") if digits.isdecimal() else ""


def _require_apart(distinct: pa.Array, *, column: str, name: str) -> None:
    """Raise for two ids that are the same but for white space around them: one is a typing error."""
    trimmed = arrow.utf8_trim_whitespace(distinct)
    if not arrow.any(arrow.not_equal(trimmed, distinct)).as_py():
        return
    ids, bare = distinct.to_pandas(), trimmed.to_pandas()
    again = bare[bare.duplicated()]
    if len(again):
        first, second = ids[bare == again.iloc[0]].iloc[:2]
        raise CatalogError(
            f"{name}: the {column}s {first!r} and {second!r} differ only by white space around them, "
            "expected ids that can be told apart. Remove the white space wherever it is."
        )
