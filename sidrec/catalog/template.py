"""Item texts from columns: a template such as "{title}, by {author}", or all text columns joined."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pandas as pd

from sidrec.catalog.columns import as_strings, is_text, source_of
from sidrec.errors import CatalogError, nearest

_PIECES = re.compile(r"\{\{|\}\}|\{([^{}]+)\}|[^{}]+|[{}]")


def render_texts(items: pd.DataFrame, template: str | Sequence[str] | None, *, item_id: str) -> list[str]:
    """Return one text per row of `items`; '' where every column that goes into the text is empty.

    Without a template the text is all text columns but the id, those that are not empty, as sentences. A
    column of numbers is no text column.

    Args:
        items: The table.
        template: Over columns; or the columns to join as sentences; None: all text columns.
        item_id: Column of the id.

    Raises:
        CatalogError: If the template is malformed or names a column that `items` does not have.
    """
    if template is None:
        template = text_columns(items, item_id=item_id)
        if not template:
            raise CatalogError(
                f'{source_of(items, "items")} has no text column beside "{item_id}", expected one at least. '
                f"Columns: {', '.join(map(str, items.columns))}. Add one, or set catalog.text."
            )
    if not isinstance(template, str):
        cells = [_stripped(items[name]) for name in template]
        return [_as_sentences(row) for row in zip(*cells, strict=True)]
    literals, names = parse_template(template)
    for name in names:
        if name not in items.columns:
            raise CatalogError(
                f'catalog.text: "{{{name}}}" names a column that {source_of(items, "items")} does not have.'
                f"{nearest(name, items.columns)} Columns: {', '.join(map(str, items.columns))}."
            )
    cells = [_stripped(items[name]) for name in names]
    return [_fill(literals, row) for row in zip(*cells, strict=True)]


def text_columns(items: pd.DataFrame, *, item_id: str) -> list[str]:
    """Name the columns that hold words, but for the id."""
    return [name for name in items.columns if name != item_id and is_text(items[name])]


def parse_template(template: str, setting: str = "catalog.text") -> tuple[list[str], list[str]]:
    """Split a template into n + 1 literal parts and the n column names between them.

    `{name}` is a column, whatever characters but braces the name has; `{{` and `}}` are braces. `setting` is
    what to call the template in a message.

    Raises:
        CatalogError: If a brace is unmatched or no column is named.
    """
    literals, names = [""], []
    for piece in _PIECES.finditer(template):
        if piece.group(1) is not None:
            names.append(piece.group(1))
            literals.append("")
        elif piece.group() in ("{", "}"):
            raise CatalogError(
                f'{setting}: "{template}" has an unmatched "{piece.group()}" at character '
                f'{piece.start() + 1}. Write columns as {{title}}, and a brace as "{{{{" or "}}}}".'
            )
        else:
            literals[-1] += {"{{": "{", "}}": "}"}.get(piece.group(), piece.group())
    if not names:
        raise CatalogError(
            f'{setting}: "{template}" names no column, so all items would have the same text. '
            'Write columns in braces, e.g. "{title}. {description}".'
        )
    return literals, names


def _stripped(column: pd.Series) -> list[str]:
    """Return the cells as text without surrounding white space."""
    return as_strings(column).str.strip().tolist()


def _fill(literals: Sequence[str], cells: Sequence[str]) -> str:
    """Put the cells of one item between the literal parts."""
    if not any(cells):
        return ""
    filled = literals[0] + "".join(cell + literal for cell, literal in zip(cells, literals[1:], strict=True))
    return filled.strip()


def _as_sentences(cells: Sequence[str]) -> str:
    """Join the cells that are not empty with ". ", or " " where a sentence has its end already."""
    text = ""
    for cell in filter(None, cells):
        text += (" " if text.endswith((".", "!", "?")) else ". ") + cell if text else cell
    return text
