"""Where the double quotes that hold the cells of a text file together do not close.

Arrow reads a quote that is never closed as a cell that goes on to the end of the file, and drops the quotes
of a cell that goes on after them, so both are looked for before. A quote within a cell is a character.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from sidrec.errors import CatalogError

_QUOTE = ord('"')
_BLOCK_BYTES = 16 << 20


def holds_quoted_cells(data: bytes, path: Path, *, separator: str) -> bool:
    """Say whether a quote begins any cell.

    Args:
        data: UTF-8.
        path: Of the file, for messages.
        separator: One character.

    Raises:
        CatalogError: If such a cell does not end with a quote.
    """
    beside = rb"[^\r\n" + re.escape(separator.encode()) + rb"]"
    opening = rb'(?<!%b)"' % beside
    if re.search(opening, data) is None:
        return False
    if _are_plainly_closed(data, separator):
        return True
    closed = rb'%b(?:[^"]++|"")*+"(?!%b)' % (opening, beside)
    within = rb'(?<=%b)"' % beside
    whole = re.match(rb'(?:[^"]++|%b|%b)*+' % (closed, within), data)
    fault = whole.end() if whole else 0
    if fault == len(data):
        return True
    line = data[:fault].count(b"\n") + 1
    shown = data[fault : fault + 60].decode("utf-8", errors="ignore").splitlines()[0]
    raise CatalogError(
        f"{path}: the quotes of a cell that begins in line {line} are not closed: {shown!r}. Close them at "
        "the end of the cell, and double a quote within it; or, if quotes are characters like any other in "
        "this file, set catalog.quoting=false"
    )


def _are_plainly_closed(data: bytes, separator: str) -> bool:
    """Say, without a look at each cell, whether all quotes are as RFC 4180 has them.

    They are where every other one follows an end of a cell or line, or a quote, and the rest precede one.
    """
    characters = np.frombuffer(data, dtype=np.uint8)
    fits = np.zeros(256, dtype=bool)
    fits[[_QUOTE, ord(separator), ord("\n"), ord("\r")]] = True
    count = 0
    for start in range(0, len(data), _BLOCK_BYTES):
        places = np.flatnonzero(characters[start : start + _BLOCK_BYTES] == _QUOTE) + start
        opening, closing = places[count % 2 :: 2], places[1 - count % 2 :: 2]
        before = fits[characters[opening - 1]] | (opening == 0)
        after = fits[characters[np.minimum(closing + 1, len(data) - 1)]]
        if not (before.all() and after.all()):
            return False
        count += len(places)
    return count % 2 == 0
