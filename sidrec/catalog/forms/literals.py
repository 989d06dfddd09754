"""Python's `repr` of lists and dicts, which some files hold in place of JSON: parsed, never run."""

from __future__ import annotations

import ast
import warnings
from pathlib import Path
from typing import Any

from sidrec.errors import CatalogError

_BROKEN = (ValueError, SyntaxError, TypeError, MemoryError, RecursionError)
"""What `ast.literal_eval` raises for a text that is no literal, and for one nested too deep."""


def parse_literal(text: str) -> Any:
    """Parse one literal: numbers, strings, lists, dicts and the like, and nothing that has to be run.

    Raises:
        ValueError: If the text is anything else.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)  # of a backslash: data, not our code
            return ast.literal_eval(text)
    except _BROKEN as error:
        raise ValueError(getattr(error, "msg", "") or str(error) or type(error).__name__) from error


def parse_ids(cell: str, where: str) -> list[str]:
    """Read a list of ids, such as `[3112, 114]`; `where` says which cell of which file it is.

    Raises:
        CatalogError: If the cell is no list of strings and whole numbers.
    """
    try:
        ids = parse_literal(cell.strip())
    except ValueError:
        ids = None
    if not isinstance(ids, list) or not all(
        isinstance(x, str | int) and not isinstance(x, bool) for x in ids
    ):
        raise CatalogError(
            f"{where} is {cell[:60]!r}, expected a list of item ids, such as [3112, 114]. Mend the cell; "
            "what it holds is read, never run."
        )
    return [str(item) for item in ids]


def parse_fields(line: str, path: Path, number: int) -> dict[str, Any]:
    """Read a line that is the `repr` of a dict, as Amazon's old metadata has it.

    Raises:
        CatalogError: If it is not.
    """
    try:
        fields = parse_literal(line.strip())
    except ValueError:
        fields = None
    if not isinstance(fields, dict):
        raise CatalogError(
            f"{path}: line {number} is {line[:60]!r}, expected an object of fields, such as "
            "{'asin': 'B00', 'title': 'Mug'}. Mend or remove the line; what it holds is read, never run."
        )
    return fields
