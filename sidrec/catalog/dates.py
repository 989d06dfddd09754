"""Dates as people write them: the usual forms, which of them a column is in, and reading it.

Which cell is wrong, and what to do about it, is said by `columns`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import pandas as pd

from sidrec.errors import CatalogError


@dataclass(frozen=True)
class DateForm:
    """A way to write dates: as people call it, and as `pandas.to_datetime` does (strptime, or ISO8601)."""

    name: str
    format: str


ISO = DateForm("an ISO date", "ISO8601")
"""What pandas takes for one: the year first, 2024-05-31 and 2024/5/31 18:30 alike, perhaps with a zone."""

_CLOCKS = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p")
_FORMATS = {
    "day.month.year": ("%d.%m.%Y", "%d.%m.%y"),
    "day/month/year": ("%d/%m/%Y", "%d/%m/%y"),
    "month/day/year": ("%m/%d/%Y", "%m/%d/%y"),
    "year/month/day": ("%Y/%m/%d", "%y/%m/%d"),
    "day-month-year": ("%d-%m-%Y", "%d-%m-%y"),
    "month-day-year": ("%m-%d-%Y", "%m-%d-%y"),
    "year-month-day": ("%Y-%m-%d", "%y-%m-%d"),
}
USUAL = tuple(
    DateForm(name, date + clock) for name, dates in _FORMATS.items() for date in dates for clock in _CLOCKS
)
"""Beside ISO. With dots the day is always first; elsewhere the cells have to tell."""

_HEAD = 1_000
_NOW = ("now", "today")


class AmbiguousDatesError(CatalogError):
    """All cells of a column fit several forms, in which they are different dates.

    Attributes:
        column: Its name.
        cell: The first that is different dates.
        formats: Which they fit, in strptime's notation.
    """

    def __init__(self, column: str, cell: str, formats: list[str], *, source: str) -> None:
        told = " or ".join(f'"{each}"' for each in formats)
        super().__init__(
            f'{source}: "{cell}" as {column} can be {told}, and so can all cells of the column, expected one '
            "form of dates. Say which it is: set catalog.time_format to it."
        )
        self.column, self.cell, self.formats = column, cell, formats


def read_dates(cells: pd.Series, time_format: str) -> pd.Series:
    """Return the cells as dates, UTC unless they say otherwise; NaT where one is not written so."""
    dates = pd.to_datetime(cells, format=time_format, utc=True, errors="coerce")
    return dates.mask(cells.isin(_NOW))  # which pandas takes for the time at which it reads them


def farthest(cells: pd.Series) -> tuple[dict[DateForm, pd.Series], int]:
    """Return the dates in the forms that fit the most of the first cells, and how many cells that are.

    Forms are chosen by the signs of the first cell, then by the first cells; what is left is tried on all.
    """
    signs = _signs(cells.iloc[0])
    forms = [ISO, *(form for form in USUAL if _signs(form.format) == signs)]
    for size in (_HEAD, len(cells)):
        read = {form: read_dates(cells.head(size), form.format) for form in forms}
        reached = {form: _leading(dates) for form, dates in read.items()}
        most = max(reached.values())
        # A form that also fits where ISO does reads the same dates.
        forms = [ISO] if reached.get(ISO) == most else [form for form in forms if reached[form] == most]
        if most == 0:
            break
    return {form: read[form] for form in forms}, most


def the_one_form(read: dict[DateForm, pd.Series], column: pd.Series, *, source: str) -> DateForm:
    """Return the form of a column that all of `read` fit.

    Raises:
        AmbiguousDatesError: If they are not the same dates in all of them.
    """
    first, *others = read
    for other in others:
        differ = (read[first] != read[other]).to_numpy()
        if differ.any():
            cell = str(column.iloc[int(np.argmax(differ))])
            formats = [form.format for form in read]
            raise AmbiguousDatesError(str(column.name), cell, formats, source=source)
    return first


def _signs(text: str) -> str:
    """Return what stands between the numbers and words of a date or of a format, blanks as one."""
    return re.sub(r"[%\w]|\s(?=\s)", "", text)


def _leading(dates: pd.Series) -> int:
    """Return how many of the first dates could be read."""
    absent = dates.isna().to_numpy()
    return int(np.argmax(absent)) if absent.any() else len(absent)
