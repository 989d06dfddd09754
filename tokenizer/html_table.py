"""Tables as HTML, for notebooks: every text in them is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape


def html_table(header: Sequence[str], rows: Sequence[Sequence[str]], *, caption: str = "") -> str:
    """Return a table whose texts stand there as they are, markup in them too.

    Args:
        header: Names of the columns; none: no head.
        rows: Each as wide as the header.
        caption: What stands above.
    """
    above = f"<caption>{escape(caption)}</caption>" if caption else ""
    head = f"<thead>{_row('th', header)}</thead>" if header else ""
    body = "\n".join(_row("td", row) for row in rows)
    return f"<table>{above}{head}<tbody>\n{body}\n</tbody></table>"


def _row(tag: str, cells: Sequence[str]) -> str:
    """Left-aligned: notebooks align cells to the right."""
    inside = "".join(f'<{tag} style="text-align: left">{escape(cell)}</{tag}>' for cell in cells)
    return f"<tr>{inside}</tr>"
