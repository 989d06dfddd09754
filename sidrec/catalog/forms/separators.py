"""Which character separates the cells of a text file, told by its first rows."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from sidrec.errors import CatalogError

SEPARATORS = {",": "','", ";": "';'", "\t": "tab", "|": "'|'"}
"""What is looked for, and how it is shown."""

_SAMPLE_BYTES = 1 << 16
_SAMPLE_ROWS = 20


def show_separator(separator: str) -> str:
    """Return how people see a separator."""
    return SEPARATORS.get(separator, repr(separator))


def detect_separator(data: bytes, path: Path, *, usual: str, quoted: bool) -> str:
    """Return the one character that divides the first rows of a file into as many cells as its header.

    The usual one is it wherever it divides them so, unless another gives more columns. Where none does, it
    is the only one that divides the header, so that the reader of the table can name the row that is wrong.

    Args:
        data: UTF-8.
        path: Of the file, for messages.
        usual: What its name says.
        quoted: Whether double quotes hold a cell together.

    Raises:
        CatalogError: If it could be several.
    """
    sample = data[:_SAMPLE_BYTES].decode("utf-8", errors="ignore")
    is_whole = len(data) <= _SAMPLE_BYTES
    widths = {each: _widths(sample, each, quoted=quoted, is_whole=is_whole) for each in SEPARATORS}
    columns = {separator: found[0] for separator, found in widths.items() if found[0] > 1}
    fitting = [separator for separator in columns if len(set(widths[separator])) == 1]
    if usual in fitting:
        likely = [usual, *(each for each in fitting if columns[each] > columns[usual])]
    elif not fitting and usual in columns:
        likely = [usual]
    else:
        likely = fitting or list(columns) or [usual]
    if len(likely) == 1:
        return likely[0]
    told = " or ".join(f"{show_separator(each)} ({columns[each]} columns)" for each in likely)
    raise CatalogError(
        f"{path}: its cells could be separated by {told}, expected one that fits. "
        "Set catalog.separator to the one that is meant."
    )


def _widths(sample: str, separator: str, *, quoted: bool, is_whole: bool) -> list[int]:
    """Return the number of cells of the header and of each of the first rows, one at least."""
    lines = io.StringIO(sample, newline="")
    widths: list[int] = []
    for cells in csv.reader(
        lines, delimiter=separator, quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
    ):
        if cells:
            widths.append(len(cells))
        if len(widths) > _SAMPLE_ROWS:
            return widths
    if not widths:  # blank lines alone, so far
        return [1]
    # The last row of a part of a file may be a part of a row.
    return widths if is_whole or len(widths) < 2 else widths[:-1]
