"""Columns of a table as what they stand for: ids and texts as strings, times and weights as numbers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as arrow

from sidrec.catalog.dates import ISO, farthest, read_dates, the_one_form
from sidrec.catalog.time_format import fault_of
from sidrec.errors import CatalogError, nearest

_A_TIME = (
    "a number or an ISO date (2024-05-31 or 2024-05-31T18:30:00) or one such as 31.05.2024 18:30, in one "
    "form for the whole column; catalog.time_format describes any other"
)
_ANOTHER_TIME = "catalog.timestamp to another column"


@dataclass(frozen=True, eq=False)
class Times:
    """The times of a column.

    Attributes:
        values: (E,) int64 where all are whole, else float64.
        form: What dates they were read from, such as "day.month.year"; None for numbers and ISO dates.
    """

    values: np.ndarray
    form: str | None = None


def source_of(frame: pd.DataFrame, default: str) -> str:
    """Return what to call a table in a message: its file's name, when it was read from one."""
    return str(frame.attrs.get("source", default))


def require_column(frame: pd.DataFrame, column: str, *, setting: str, default: str) -> pd.Series:
    """Return a column, or raise with the names that are there."""
    if column not in frame.columns:
        columns = [str(name) for name in frame.columns]
        raise CatalogError(
            f'{source_of(frame, default)} has no column "{column}" ({setting}).{nearest(column, columns)} '
            f"Columns: {', '.join(columns)}. {_one_column(frame)}Set {setting} to one of them."
        )
    return frame[column]


def as_strings(column: pd.Series) -> pd.Series:
    """Return the cells as strings: '' if missing, parts of a list joined by ", ", else what `str` gives."""
    if pd.api.types.infer_dtype(column, skipna=False) == "string" and not column.hasnans:
        return column.reset_index(drop=True).astype(str)
    missing = column.map(_is_missing).to_numpy(dtype=bool)
    cells = ["" if absent else _cell(value) for value, absent in zip(column, missing, strict=True)]
    return pd.Series(cells, dtype=str)


def positions(ids: pd.Series, among: pd.Series) -> np.ndarray:
    """Return (E,) int64: the row of `among` where each of E ids is first, -1 for one that is not there.

    Arrow's search: millions of strings take a second, a pandas index several.
    """
    found = arrow.index_in(pa.array(ids, type=pa.large_string()), pa.array(among, type=pa.large_string()))
    return found.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)


def is_text(column: pd.Series) -> bool:
    """Say whether a column holds words: cells that are not all numbers, times or empty."""
    kinds = pd.api.types
    if kinds.is_numeric_dtype(column) or kinds.is_bool_dtype(column) or kinds.is_datetime64_any_dtype(column):
        return False
    strings = as_strings(column)
    strings = strings[strings.str.strip() != ""]
    return bool(pd.to_numeric(strings, errors="coerce").isna().any())


def parse_timestamps(column: pd.Series, *, source: str, time_format: str | None = None) -> Times:
    """Return times; dates become seconds since 1970-01-01 UTC.

    A column holds numbers (of any unit: only their order matters) or dates in one form; the first cell
    decides which. With a `time_format`, in strptime's notation, all of them are dates that are written so.

    Raises:
        CatalogError: If a cell is neither, is empty, or is not finite, or the format cannot be one.
        AmbiguousDatesError: If all cells are dates in two forms, and not the same dates.
    """
    if time_format is not None:
        return Times(_formatted(column, source, time_format), time_format)
    if pd.api.types.is_datetime64_any_dtype(column):
        dates = pd.to_datetime(column.reset_index(drop=True), utc=True)
        bad = dates.isna().to_numpy()
        _raise_for_first(bad, column, source, expected=_A_TIME, or_set=_ANOTHER_TIME)
        return Times(_seconds(dates))
    if _is_numeric(column):
        numbers = column.reset_index(drop=True)
    else:
        strings = as_strings(column)
        if pd.to_numeric(strings.head(1), errors="coerce").isna().iloc[0]:
            return _usual_dates(strings, column, source)
        numbers = pd.to_numeric(strings, errors="coerce")
    floats = numbers.to_numpy(dtype=np.float64, na_value=np.nan)
    _raise_for_first(~np.isfinite(floats), column, source, expected=_A_TIME, or_set=_ANOTHER_TIME)
    if pd.api.types.is_integer_dtype(numbers) and numbers.max() <= np.iinfo(np.int64).max:
        return Times(numbers.to_numpy(dtype=np.int64))
    return Times(floats)


def parse_weights(column: pd.Series, *, source: str) -> np.ndarray:
    """Return weights as float64.

    Raises:
        CatalogError: If a cell is no positive finite number, or their sum is too large for one.
    """
    numbers = pd.to_numeric(column if _is_numeric(column) else as_strings(column), errors="coerce")
    weights = numbers.to_numpy(dtype=np.float64, na_value=np.nan)
    bad = ~((weights > 0) & np.isfinite(weights))
    _raise_for_first(
        bad,
        column,
        source,
        expected="a positive number, not infinite",
        or_set="catalog.weight to another column",
    )
    with np.errstate(over="ignore"):
        total = weights.sum()
    if not np.isfinite(total):
        raise CatalogError(
            f"{source}: the weights of {column.name}, up to {weights.max():g}, add up to more than a float64 "
            "holds, expected a finite sum. Divide all of them by the same number: their proportions count."
        )
    return weights


def _one_column(frame: pd.DataFrame) -> str:
    """Say what it may be that a text file seems to have a single column."""
    is_delimited = str(frame.attrs.get("form", "")).startswith(("CSV", "TSV"))
    if not is_delimited or len(frame.columns) > 1:
        return ""
    return "If that is several, set catalog.separator to the character between them. "


def _usual_dates(strings: pd.Series, column: pd.Series, source: str) -> Times:
    """Return dates that are all written in one of the usual forms."""
    read, most = farthest(strings)
    expected = _A_TIME
    if 0 < most < len(strings):
        names = " or ".join(dict.fromkeys(form.name for form in read))
        expected = (
            f'a date written like the first, "{_shown(column.iloc[0])}" ({names}), in one form for the whole '
            "column; catalog.time_format describes any other"
        )
    if most < len(strings):
        _raise_for_first(
            np.arange(len(strings)) == most, column, source, expected=expected, or_set=_ANOTHER_TIME
        )
    form = the_one_form(read, column, source=source)
    return Times(_seconds(read[form]), None if form is ISO else form.name)


def _formatted(column: pd.Series, source: str, time_format: str) -> np.ndarray:
    """Return dates that are all written as `catalog.time_format` says."""
    if (fault := fault_of(time_format)) is not None:
        raise CatalogError(f'catalog.time_format: {fault}, got "{time_format}".')
    if pd.api.types.is_datetime64_any_dtype(column):
        raise CatalogError(
            f"{source}: {column.name} holds dates that need no reading, so catalog.time_format="
            f'"{time_format}" would change nothing. Leave it out.'
        )
    dates = read_dates(as_strings(column), time_format)
    expected = f'a date written as catalog.time_format="{time_format}" says'
    or_set = "catalog.time_format to how the column is written"
    _raise_for_first(dates.isna().to_numpy(), column, source, expected=expected, or_set=or_set)
    return _seconds(dates)


def _seconds(dates: pd.Series) -> np.ndarray:
    """Return UTC dates, of which none is missing, as seconds."""
    microseconds = dates.dt.as_unit("us").astype(np.int64).to_numpy()
    if not (microseconds % 1_000_000).any():
        return microseconds // 1_000_000
    return microseconds / 1e6


def _is_numeric(column: pd.Series) -> bool:
    """Say whether the cells are numbers already: neither text nor truth values nor dates."""
    return pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)


def _raise_for_first(bad: np.ndarray, column: pd.Series, source: str, *, expected: str, or_set: str) -> None:
    """Name the first bad cell of a column."""
    if bad.any():
        row = int(np.argmax(bad))
        raise CatalogError(
            f'{source}: data row {row + 1} has "{_shown(column.iloc[row])}" as {column.name}, expected '
            f"{expected}. Mend the row, or set {or_set}."
        )


def _shown(value: Any) -> str:
    """Return a cell as a message shows it."""
    return "" if _is_missing(value) else str(value)[:60]


def _is_missing(value: Any) -> bool:
    """Say whether a cell is None, NaN or NaT (a list is not)."""
    return value is None or bool(np.ndim(value) == 0 and pd.isna(value))


def _cell(value: Any) -> str:
    """Return one cell as text."""
    if isinstance(value, str):
        return value
    if isinstance(value, list | tuple | np.ndarray):
        return ", ".join(_cell(part) for part in value if not _is_missing(part))
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False, default=str)
    return value.decode("utf-8", errors="replace") if isinstance(value, bytes) else str(value)
