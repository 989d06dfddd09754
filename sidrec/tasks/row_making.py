"""From tasks to rows: one per item, per user and target, or per user."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping, Sequence

from sidrec.tasks.lengths import too_long
from sidrec.tasks.rows import IGNORED, NO_ITEM, Row, RowSource
from sidrec.tasks.sides import Side
from sidrec.tasks.task import Task


def all_rows(tasks: Sequence[Task], source: RowSource, truncated: MutableMapping[str, int]) -> Iterator[Row]:
    """Yield the rows of all tasks, one task after the other.

    Args:
        tasks: As `tasks_of` returns them.
        source: What rows are made from.
        truncated: Gets, for each task, the number of its rows in which something was cut.

    Raises:
        ConfigError: If a row has more tokens than the model has positions.
    """
    for number, task in enumerate(tasks):
        truncated[task.name] = 0
        for row in task_rows(task, number, source):
            truncated[task.name] += row.is_cut
            yield row


def task_rows(task: Task, number: int, source: RowSource) -> Iterator[Row]:
    """Yield the rows of a task: one per item, per user and target, or per user.

    A row per user (`next_item` with the compact template, unless `rows` is `prefix`) has a loss at every
    item. A history longer than the model sees is cut into windows whose older half is context only: every
    target is supervised once, with at least that half before it, while a row of its own would show it all
    that `max_history` allows. Where no window cuts, both give every target the same loss.

    A row that would have nothing to say, an empty text where a text is asked for or answered, is left out.

    Args:
        task: As `tasks_of` returns it.
        number: Its place in the list of tasks.
        source: What rows are made from.

    Raises:
        ConfigError: If a row has more tokens than the model has positions.
    """
    is_chain = task.is_chain(source.prompts.settings.template)
    if is_chain and source.rows != "prefix":
        rows = _user_rows(task, number, source)
    else:
        rows = _single_rows(task, number, source, shortest=0 if is_chain else 1)
    for row in rows:
        if source.max_positions is not None and len(row.input_ids) > source.max_positions:
            raise too_long(task, len(row.input_ids), source.max_positions, source.prompts.settings)
        yield row


def _user_rows(task: Task, number: int, source: RowSource) -> Iterator[Row]:
    prompts = source.prompts
    head = prompts.prompt(task.prompt).words[0]
    names = prompts.item_tokens
    window = prompts.settings.max_history + 1
    for user, history in enumerate(source.histories):
        items: list[int] = history.tolist()
        weights = source.weights_of(user)
        supervised = 0
        while supervised < len(items):
            context = 0 if supervised == 0 else max(1, window // 2)
            start = supervised - context
            shown = items[start : start + window]
            unlearnt = len(head) + sum(len(names[item]) for item in shown[:context])
            levels = [level for item in shown[context:] for level in range(len(names[item]))]
            yield Row(
                [*head, *(token for item in shown for token in names[item])],
                [IGNORED] * unlearnt + levels,
                [NO_ITEM] * len(head) + [item for item in shown for _ in names[item]],
                number,
                is_cut=start > 0,
                weights=weights
                and [1.0] * len(head)
                + [weights[start + place] for place, item in enumerate(shown) for _ in names[item]],
            )
            supervised = start + window


def _single_rows(task: Task, number: int, source: RowSource, *, shortest: int) -> Iterator[Row]:
    """Yield a row per item, or per user and target that `shortest` items or more of the history precede."""
    prompts = source.prompts
    asked = Side(prompts.prompt(task.prompt), source, is_supervised=False)
    answered = Side(prompts.completion(task.completion), source, is_supervised=True)
    if not task.is_per_target:
        weight = None if source.weights is None else 1.0
        for item in range(source.values.num_items):
            yield from _row(asked, answered, item, 0, number, weight)
        return
    shows_history = any(slot.of == "history" for slot in task.slots)
    for user, history in enumerate(source.histories):
        items: list[int] = history.tolist()
        weights = source.weights_of(user)
        asked.enter(user, items)
        answered.enter(user, items)
        for place in range(shortest if shows_history else 0, len(items)):
            weight = None if weights is None else weights[place]
            yield from _row(asked, answered, items[place], place, number, weight)


def _row(
    asked: Side, answered: Side, item: int, place: int, number: int, weight: float | None
) -> Iterator[Row]:
    """Yield the row about an item, unless there is nothing to ask or to answer."""
    row = Row([], [], [])
    parts = [side.write(row, item, place) for side in (asked, answered)]
    if None not in parts:
        weights = None if weight is None else [weight] * len(row.input_ids)
        yield Row(row.input_ids, row.kinds, row.items, number, is_cut=any(parts), weights=weights)
