"""How values of a run are put into words on the page."""

from __future__ import annotations

LONGEST = 120
"""Characters of a catalogue's text that are shown; there may be any number of them."""


def cut(text: object, characters: int = LONGEST) -> str:
    """Return a text in one line, its end left out where it is long."""
    line = " ".join(str(text).split())
    return line if len(line) <= characters else f"{line[: characters - 1]}…"


def interval(value: object, sign: str = "") -> str:
    """Write a mean with its interval: (value, low, high), or what has these as keys or attributes."""
    if isinstance(value, dict):
        parts = (value["value"], value["low"], value["high"])
    elif isinstance(value, tuple):
        parts = value
    else:
        parts = (value.value, value.low, value.high)  # type: ignore[attr-defined]
    mean, low, high = (f"{each:{sign}.4f}" for each in parts)
    return f"{mean} [{low}, {high}]"
