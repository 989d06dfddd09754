"""Prompts whose answer is an item, for RL: which there are, and each in tokens when it is read.

They are the prompts of SFT's rows of the same tasks. Of a prompt four integers are held, 160 MB for ten
million; its tokens are put together from parts that are encoded once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from sidrec.catalog.columns import as_strings
from sidrec.tasks.lengths import most_tokens, too_long
from sidrec.tasks.rows import Row, RowSource
from sidrec.tasks.sides import Side
from sidrec.tasks.task import SID, Task
from sidrec.tasks.template import Slot, Template

NO_USER = -1
ONLY_A_SID = Template(("", ""), (SID,))


@dataclass(frozen=True, eq=False)
class Asked:
    """R prompts as numbers.

    Attributes:
        tasks: (R,) int32, the place of the prompt's task in the list of tasks.
        users: (R,) int32, who is asked for; NO_USER where the prompt is about an item alone.
        places: (R,) int32, how many of the user's train items come before the one asked for; 0 without a
            user.
        items: (R,) int32, the catalogue row that the prompt is about: the user's next item, or the item.
    """

    tasks: np.ndarray
    users: np.ndarray
    places: np.ndarray
    items: np.ndarray

    def __len__(self) -> int:
        return len(self.items)

    def take(self, rows: np.ndarray) -> Asked:
        """Return some of the prompts: (R,) bool or row numbers."""
        return Asked(self.tasks[rows], self.users[rows], self.places[rows], self.items[rows])


@dataclass(frozen=True, eq=False)
class AskedFrom:
    """What prompts are listed from.

    Attributes:
        items: The catalogue's table of N items.
        users: Its table of U users, if there is one.
        histories: U arrays of train items, oldest first.
        max_history: Items that a prompt shows at most.
    """

    items: pd.DataFrame
    users: pd.DataFrame | None
    histories: Sequence[np.ndarray]
    max_history: int

    @cached_property
    def events(self) -> np.ndarray:
        """All histories in one, int64."""
        return np.concatenate([np.empty(0, dtype=np.int64), *self.histories])

    @cached_property
    def lengths(self) -> np.ndarray:
        """(U,) int64, of the histories."""
        return np.array([len(history) for history in self.histories], dtype=np.int64)

    @cached_property
    def starts(self) -> np.ndarray:
        """(U,) int64, where each history begins in `events`."""
        return np.cumsum(self.lengths) - self.lengths


def asked(tasks: Sequence[Task], source: AskedFrom) -> Asked:
    """List the prompts of tasks, one task after the other: per user and next item, or per item.

    As in SFT, a prompt that shows the history needs an item in it, and one that would show an empty text is
    left out.

    Args:
        tasks: Answered with a SID.
        source: What they are listed from.
    """
    parts = [_asked_by(task, number, source) for number, task in enumerate(tasks)]
    columns = zip(*((part.tasks, part.users, part.places, part.items) for part in parts), strict=True)
    return Asked(*(np.concatenate(column) for column in columns))


def _asked_by(task: Task, number: int, source: AskedFrom) -> Asked:
    if task.is_per_target:
        first = int(any(slot.of == "history" for slot in task.slots))
        counts = np.maximum(source.lengths - first, 0)
        users = np.repeat(np.arange(len(counts)), counts)
        places = np.arange(len(users)) - np.repeat(np.cumsum(counts) - counts, counts) + first
        items = source.events[source.starts[users] + places]
    else:
        items = np.arange(len(source.items))
        users, places = np.full(len(items), NO_USER), np.zeros(len(items), dtype=np.int64)
    columns = (np.full(len(items), number), users, places, items)
    rows = Asked(*(column.astype(np.int32) for column in columns))
    for slot in task.prompt.slots:
        if slot.column is not None:
            rows = rows.take(_has_text(slot, rows, source))
    return rows


def _has_text(slot: Slot, rows: Asked, source: AskedFrom) -> np.ndarray:
    """Tell, as (R,) bool, in which prompts a slot has a text."""
    table = source.users if slot.of == "user" else source.items
    assert table is not None  # `tasks_of` asked for it
    is_text = (as_strings(table[slot.column]).str.strip() != "").to_numpy()
    if slot.of == "user":
        return is_text[rows.users]
    if slot.of == "item":
        return is_text[rows.items]
    before = np.concatenate([[0], np.cumsum(is_text[source.events])])  # texts among so many first events
    ends = source.starts[rows.users] + rows.places
    return before[ends] > before[ends - np.minimum(rows.places, source.max_history)]


class PromptRows:
    """R rows for RL; a row is a dict that is made when it is read.

    It has `prompt_ids`, `history` (the user's items so far as catalogue rows, [] where the prompt is about an
    item), `target` (a catalogue row), `task` (its name) and `row` (its number).
    """

    def __init__(
        self, rows: Asked, targets: np.ndarray, tasks: Sequence[Task], source: RowSource, num_levels: int
    ) -> None:
        """Take the rows and (R,) targets, catalogue rows, which are `rows.items` unless they were dealt anew.

        Raises:
            ConfigError: If a prompt and its answer have more tokens than the model has positions.
        """
        self.rows, self.targets = rows, targets
        self.task_names = [task.name for task in tasks]
        self._source = source
        prompts = source.prompts
        self._sides = [Side(prompts.prompt(task.prompt), source, is_supervised=False) for task in tasks]
        limit = source.max_positions
        for number, task in enumerate(tasks):
            if limit is None or most_tokens(task, prompts.settings, num_levels) <= limit:
                continue
            for row in np.flatnonzero(rows.tasks == number).tolist():
                if (tokens := len(self.prompt_ids(row)) + num_levels) > limit:
                    raise too_long(task, tokens, limit, prompts.settings, section="rl")

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: int) -> dict[str, Any]:
        return {
            "prompt_ids": self.prompt_ids(row),
            "history": self._history(row),
            "target": int(self.targets[row]),
            "task": self.task_names[self.rows.tasks[row]],
            "row": row,
        }

    def prompt_ids(self, row: int, shown: list[int] | None = None) -> list[int]:
        """Return the tokens of a prompt; `shown` is its history, absent: what `shown` returns."""
        shown = self.shown(row) if shown is None else shown
        side = self._sides[self.rows.tasks[row]]
        side.enter(int(self.rows.users[row]), shown)
        written = Row([], [], [])
        side.write(written, int(self.rows.items[row]), len(shown))
        return written.input_ids

    def shown(self, row: int) -> list[int]:
        """Return the items of the history that a prompt has room for, oldest first, as catalogue rows."""
        return self._history(row, newest=self._source.prompts.settings.max_history)

    def _history(self, row: int, newest: int | None = None) -> list[int]:
        user, place = int(self.rows.users[row]), int(self.rows.places[row])
        if user == NO_USER:
            return []
        start = 0 if newest is None else max(0, place - newest)
        history: list[int] = self._source.histories[user][start:place].tolist()
        return history
