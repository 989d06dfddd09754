"""Aligned columns of plain text, for the command line and for logs."""

from __future__ import annotations

from collections.abc import Sequence


def in_one_line(text: str, characters: int) -> str:
    """Return a text with single blanks, cut to so many characters, the last three of them dots if it was."""
    line = " ".join(text.split())
    return line if len(line) <= characters else f"{line[: characters - 3]}..."


def table_lines(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table: readable on a terminal, and the same in a file."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in [header, ["-" * width for width in widths], *rows]
    ]
