"""What mkdocs asks while it builds the site: what the code itself says, put in place of marks in the pages.

A page has a line such as `<!-- generated: settings -->`; nothing that is written here is kept in a file, so
that it cannot be older than the code.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from docs_errors import errors_page
from docs_settings import settings_page

import sidrec

MARK = re.compile(r"^<!-- generated: (\w+) -->$", re.MULTILINE)
PIPE = re.compile(r"(?<=\w)\\\|(?=[^`\n]*`)")
"""In code in a table GitHub wants a backslash before a pipe, which Python-Markdown would show."""


def api_page() -> str:
    """Ask mkdocstrings for every public name, in the order of the chain."""
    return "\n\n".join(f"::: {module}.{name}" for name, module in sidrec._PUBLIC.items())


PAGES: dict[str, Callable[[], str]] = {"api": api_page, "errors": errors_page, "settings": settings_page}


def fill(markdown: str) -> str:
    """Replace every mark of a page by what it names."""
    return MARK.sub(lambda mark: PAGES[mark[1]](), markdown)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Fill a page before mkdocs reads it."""
    return PIPE.sub("|", fill(markdown))
