"""Columns of items and users as tokens, every cell encoded once, however many tasks and rows show it."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from sidrec.catalog.columns import as_strings
from sidrec.prompts import Gap, PromptBuilder


@dataclass(frozen=True)
class Column:
    """A column in tokens, cell by cell: `tokens` as a row shows them, `cut` whether there were more."""

    tokens: list[list[int]]
    cut: list[bool]


class Values:
    """The columns of a catalogue's tables; one is encoded when it is first asked for."""

    def __init__(self, prompts: PromptBuilder, items: pd.DataFrame, users: pd.DataFrame | None) -> None:
        """Take the tables; the prompts' settings say where a text is cut."""
        self.num_items = len(items)
        self._prompts = prompts
        self._items, self._users = items, users
        self._encoded: dict[tuple[bool, str, bool], Column] = {}

    def column(self, gap: Gap) -> Column:
        """Return the cells that may stand in this gap, those of the users or of the items.

        An empty cell has no tokens.
        """
        assert gap.slot.column is not None
        key = (gap.slot.of == "user", gap.slot.column, gap.is_spaced)
        if key not in self._encoded:
            self._encoded[key] = self._encode(gap)
        return self._encoded[key]

    def _encode(self, gap: Gap) -> Column:
        table = self._users if gap.slot.of == "user" else self._items
        assert table is not None  # `tasks_of` asked for it
        settings = self._prompts.settings
        limit = settings.max_title_tokens if gap.slot.is_title else settings.max_text_tokens
        cells = as_strings(table[gap.slot.column]).str.strip().tolist()
        whole = self._prompts.encode_texts(cells, is_spaced=gap.is_spaced)
        return Column([tokens[:limit] for tokens in whole], [len(tokens) > limit for tokens in whole])
