"""Templates of prompts and completions: words, and between them what each row has of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sidrec.catalog.template import parse_template


@dataclass(frozen=True)
class Slot:
    """A place in a template that each row fills with something of its own.

    Attributes:
        of: The item that the row is about (for a row about a user: the next item), the items of the history,
            or the user.
        column: What of them; None: the semantic ID.
    """

    of: Literal["item", "history", "user"]
    column: str | None

    @property
    def name(self) -> str:
        """As it is written between braces."""
        if self.of == "item":
            return self.column or "sid"
        return "history" if self.column is None else f"{self.of}.{self.column}"

    @property
    def is_title(self) -> bool:
        """Whether an item's title stands here, which has a limit of its own."""
        return self.column == "title" and self.of != "user"


@dataclass(frozen=True)
class Template:
    """n + 1 texts, and the n slots between them."""

    words: tuple[str, ...]
    slots: tuple[Slot, ...]


def read_template(text: str, setting: str) -> Template:
    """Read `{sid}`, `{COLUMN}`, `{history}`, `{history.COLUMN}` and `{user.COLUMN}` between words.

    A column that is called `sid` or `history`, or begins with `history.` or `user.`, cannot be named.

    Args:
        text: The template; `{{` and `}}` are braces.
        setting: What to call it in a message.

    Raises:
        CatalogError: If a brace is unmatched or there is no slot.
    """
    words, names = parse_template(text, setting)
    return Template(tuple(words), tuple(_slot(name) for name in names))


def _slot(name: str) -> Slot:
    if name == "sid":
        return Slot("item", None)
    if name == "history":
        return Slot("history", None)
    if name.startswith("history."):
        return Slot("history", name.removeprefix("history."))
    if name.startswith("user."):
        return Slot("user", name.removeprefix("user."))
    return Slot("item", name)
