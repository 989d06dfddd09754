"""Pieces of web pages as the text that people saw on them."""

from __future__ import annotations

import html
import re

_CODE = re.compile(r"<(script|style)\b.*?(</\1\s*>|$)", re.IGNORECASE | re.DOTALL)
_ALTERNATIVE = re.compile(r"<img\b[^<>]*\balt=(?:\"([^\"<>]*)\"|'([^'<>]*)')[^<>]*>", re.IGNORECASE)
_TAG = re.compile(r"<!--.*?-->|</?[a-z][^<>]*>", re.IGNORECASE | re.DOTALL)
_PAGE_CODE = re.compile(
    r"<(?:script|style)\b|\bgetTime\b|\bfunction\b[\w ]*\([\w, ]*\)\s*\{|[.#][a-z][\w-]*\s*\{[^{}]*:",
    re.IGNORECASE,
)


def plain_text(text: str) -> str:
    """Return a text without tags, scripts and styles, entities resolved, all white space single blanks.

    An image gives its alternative text. A `<` that opens no tag ("size < 5") stays.
    """
    if "&" in text:
        text = html.unescape(text)
    if "<" in text:
        text = _ALTERNATIVE.sub(r" \1\2 ", _CODE.sub(" ", text))
        text = _TAG.sub(" ", text)
    return " ".join(text.split())


def is_page_code(text: str) -> bool:
    """Say whether a text is a piece of a page's script or style sheet, which nobody was to read."""
    return _PAGE_CODE.search(text) is not None
