"""What unit the times of a catalogue are in, told by their size, and dates from them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

_PLAUSIBLE = (datetime(1980, 1, 1, tzinfo=UTC).timestamp(), datetime(2100, 1, 1, tzinfo=UTC).timestamp())
_UNITS = {"seconds": 1, "milliseconds": 1_000, "microseconds": 1_000_000, "nanoseconds": 1_000_000_000}


@dataclass(frozen=True)
class TimeUnit:
    """A unit of time since 1970-01-01 UTC: its name, and how many of it make a second."""

    name: str
    per_second: int

    def date(self, time: float) -> datetime:
        """Return the UTC date of a time."""
        return datetime.fromtimestamp(float(time) / self.per_second, tz=UTC)

    def time(self, date: datetime) -> float:
        """Return the time of a date; one without a zone is UTC."""
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() * self.per_second


def unit_of(times: np.ndarray) -> TimeUnit | None:
    """Return the unit in which all of (E,) times lie between 1980 and 2100; None if there is none.

    The ranges of the units do not overlap, so at most one fits.
    """
    low, high = float(np.min(times)), float(np.max(times))
    for name, per_second in _UNITS.items():
        if low >= _PLAUSIBLE[0] * per_second and high < _PLAUSIBLE[1] * per_second:
            return TimeUnit(name, per_second)
    return None
