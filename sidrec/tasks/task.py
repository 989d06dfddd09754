"""The table of tasks of a run: which, in which words, with which weights, checked against the catalogue."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from sidrec.catalog import Catalog
from sidrec.catalog.columns import as_strings
from sidrec.errors import ConfigError, nearest
from sidrec.sections import TaskConfig
from sidrec.tasks.template import Slot, Template, read_template
from sidrec.tasks.wordings import BUILT_IN, Style, Wording

HASHED_WITH_THE_CATALOG = ("item_id", "title", "text")
SID = Slot("item", None)


@dataclass(frozen=True)
class Task:
    """A prompt and what the model is to answer to it; `weight` is above 0, of what `sft.weighting` says."""

    name: str
    weight: float
    prompt: Template
    completion: Template

    @property
    def slots(self) -> tuple[Slot, ...]:
        """All slots, those of the prompt first."""
        return (*self.prompt.slots, *self.completion.slots)

    @property
    def is_per_target(self) -> bool:
        """Whether there is a row per user and next item, as against one per item."""
        return any(slot.of != "item" for slot in self.slots)

    def is_chain(self, style: Style) -> bool:
        """Whether the prompt after a longer history begins with the one after a shorter, answered.

        Then all prompts of a user stand in one row.
        """
        return (
            style == "compact"
            and self.prompt.slots == (Slot("history", None),)
            and self.prompt.words[-1] == ""
            and self.completion == Template(("", ""), (SID,))
        )


def tasks_of(table: Mapping[str, TaskConfig], style: Style, catalog: Catalog) -> list[Task]:
    """Return the tasks whose weight is above 0, in the order of the table.

    Args:
        table: `sft.tasks`: the name of a built-in task, or any name with a prompt and a completion.
        style: In which the built-in ones are worded.
        catalog: Has the columns that templates name.

    Raises:
        ConfigError: If a task is unknown or incomplete, names a column that is not there, shows what it asks
            for, or none has a weight.
        CatalogError: If a template cannot be read.
    """
    tasks = [_task(name, config, style, catalog) for name, config in table.items()]
    weighed = [task for task in tasks if task.weight > 0]
    if not weighed:
        raise ConfigError(
            f"sft.tasks: {'all weights are 0' if table else 'the table is empty'}, so there is nothing to "
            "train on. Give a task a weight, such as sft.tasks.next_item=1."
        )
    return weighed


def check_rows(rows: Literal["user", "prefix"] | None, tasks: Sequence[Task], style: Style) -> None:
    """Refuse `sft.rows=user`, when asked for, where no task can have a row per user.

    Raises:
        ConfigError: With what to set instead.
    """
    if rows == "user" and not any(task.is_chain(style) for task in tasks):
        raise ConfigError(
            f"sft.rows=user puts a whole history into one row, which next_item with prompt.template=compact "
            f"allows, but not {', '.join(task.name for task in tasks)} with prompt.template={style}. "
            "Set sft.rows=prefix, or leave it out."
        )


def column_inputs(tasks: Sequence[Task], catalog: Catalog) -> dict[str, str]:
    """Return the hash of the item columns that tasks read and the catalogue's hash leaves out, if any."""
    columns = {slot.column for task in tasks for slot in task.slots if slot.of != "user" and slot.column}
    names = sorted(columns - set(HASHED_WITH_THE_CATALOG))
    if not names:
        return {}
    cells = {name: as_strings(catalog.items[name]).tolist() for name in names}
    return {"columns": hashlib.sha256(json.dumps(cells).encode()).hexdigest()}


def _task(name: str, config: TaskConfig, style: Style, catalog: Catalog) -> Task:
    wording = _wording(name, config, style)
    place = f"sft.tasks.{name}"
    prompt = read_template(wording.prompt, f"{place}.prompt")
    completion = read_template(wording.completion, f"{place}.completion")
    for part, template in (("prompt", prompt), ("completion", completion)):
        for slot in template.slots:
            _require_column(slot, f"{place}.{part}", catalog)
    for slot in completion.slots:
        if slot.of == "history":
            raise ConfigError(
                f'{place}.completion: "{{{slot.name}}}" is of the past; a completion is what the '
                "model is to answer: {sid}, a column of the item such as {title}, or one of the user."
            )
        if slot in prompt.slots:
            raise ConfigError(
                f'{place}: "{{{slot.name}}}" stands in the prompt and in the completion, so that there is '
                "nothing to learn. Take it out of the prompt."
            )
    return Task(name, config.weight, prompt, completion)


def _wording(name: str, config: TaskConfig, style: Style) -> Wording:
    """Return the user's words, and the built-in ones where he has none."""
    own = Wording(config.prompt or "", config.completion or "")
    if name not in BUILT_IN:
        if not own.prompt and not own.completion:
            raise ConfigError(
                f'sft.tasks: there is no task "{name}".{nearest(name, BUILT_IN)} Known: '
                f"{', '.join(BUILT_IN)}. A task of your own needs a prompt and a completion."
            )
        missing = "completion" if own.prompt else "prompt"
        if not own.prompt or not own.completion:
            raise ConfigError(
                f"sft.tasks.{name} has no {missing}, and a task of your own needs both. "
                f"Set sft.tasks.{name}.{missing}, e.g. to {'{title}' if own.prompt else '{history}'}."
            )
        return own
    if name == "next_item" and (own.prompt or own.completion):
        raise ConfigError(
            "sft.tasks.next_item: its words are those that recommendations are asked for with, and cannot be "
            "changed. Give your task another name."
        )
    built_in = BUILT_IN[name][style]
    return Wording(own.prompt or built_in.prompt, own.completion or built_in.completion)


def _require_column(slot: Slot, setting: str, catalog: Catalog) -> None:
    if slot.column is None:
        return
    table: pd.DataFrame | None = catalog.users if slot.of == "user" else catalog.items
    if table is None:
        raise ConfigError(
            f'{setting}: "{{{slot.name}}}" is a column of the users, and the catalogue has no table of '
            "users. Set catalog.users to a file with a row per user, and rerun: sidrec tokenize"
        )
    if slot.column not in table.columns:
        whose = "users" if slot.of == "user" else "items"
        columns = [str(column) for column in table.columns]
        raise ConfigError(
            f'{setting}: "{{{slot.name}}}" names a column that the {whose} do not have.'
            f"{nearest(slot.column, columns)} Columns: {', '.join(columns)}. Set {setting} to a text over "
            "these."
        )
