"""Rows of tasks over tables given as literals, for tests."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from sidrec.catalog import Catalog
from sidrec.prompts import PromptBuilder
from sidrec.sections import SFTConfig
from sidrec.tasks.row_making import task_rows
from sidrec.tasks.rows import Row, RowSource
from sidrec.tasks.task import Task, tasks_of
from sidrec.tasks.values import Values


def catalog_of(
    columns: dict[str, Sequence[object]], users: dict[str, Sequence[object]] | None = None
) -> Catalog:
    """A catalogue of items with these columns, and of users who each had the first item."""
    num_items = len(next(iter(columns.values())))
    items = pd.DataFrame({"item_id": [f"i{n}" for n in range(num_items)], **columns})
    num_users = 1 if users is None else len(next(iter(users.values())))
    user_ids = [f"u{n}" for n in range(num_users)]
    about = None if users is None else pd.DataFrame({"user_id": user_ids, **users})
    events = pd.DataFrame({"user_id": user_ids, "item_id": "i0"})
    return Catalog(items, events, users=about, title="title")


def task(name: str, catalog: Catalog, style: str, **own: str) -> Task:
    """One task, built in or with a prompt and a completion of its own."""
    table = SFTConfig.model_validate({"tasks": {name: own}}).tasks
    return tasks_of(table, style, catalog)[0]


def rows_of(
    name: str,
    prompts: PromptBuilder,
    catalog: Catalog,
    histories: Iterable[Sequence[int]] = (),
    *,
    own: dict[str, str] | None = None,
    **source: Any,
) -> list[Row]:
    """All rows of one task."""
    values = Values(prompts, catalog.items, catalog.users)
    trains = [np.array(history, dtype=np.int64) for history in histories]
    made_from = RowSource(prompts, values, trains, **source)
    style = prompts.settings.template
    return list(task_rows(task(name, catalog, style, **(own or {})), 0, made_from))


def history_rows(prompts: PromptBuilder, history: Sequence[int], **source: Any) -> list[Row]:
    """A user's rows of `next_item`."""
    catalog = catalog_of({"title": [f"item {n}" for n in range(len(prompts.codes))]})
    return rows_of("next_item", prompts, catalog, [history], **source)


def alignment_rows(prompts: PromptBuilder, item: int, title: str) -> list[Row]:
    """The two rows that tie an item's title and its SID together: title to SID, SID to title."""
    titles = [title if n == item else "another" for n in range(len(prompts.codes))]
    catalog = catalog_of({"title": titles})
    return [rows_of(name, prompts, catalog)[item] for name in ("title_to_item", "item_to_title")]
