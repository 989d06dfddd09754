"""The prompts of RL: of which tasks, with which targets, and in which order."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sidrec.catalog import Catalog, Split
from sidrec.config import Config
from sidrec.errors import ConfigError, nearest
from sidrec.prompts import PromptBuilder
from sidrec.sections import TaskConfig
from sidrec.stages.run import Run
from sidrec.stages.sft_tasks import resolve_prompts
from sidrec.tasks.asked import NO_USER, ONLY_A_SID, Asked, AskedFrom, PromptRows, asked
from sidrec.tasks.rows import RowSource
from sidrec.tasks.task import Task, tasks_of
from sidrec.tasks.values import Values
from sidrec.tasks.wordings import BUILT_IN, Style

if TYPE_CHECKING:
    from sidrec.trainers.rl.prompt_order import PromptOrder
    from sidrec.trainers.rl.thinned_prompts import ThinnedPrompts


@dataclass(frozen=True, eq=False)
class RLPrompts:
    """Prompts, the order in which they are drawn, and what makes others of them then; None: nothing does."""

    rows: PromptRows
    order: PromptOrder
    change: ThinnedPrompts | None = None

    def facts(self) -> dict[str, int]:
        """Return what `metrics.json` says: task -> prompts that there are."""
        counts = np.bincount(self.rows.rows.tasks, minlength=len(self.rows.task_names))
        return dict(zip(self.rows.task_names, counts.tolist(), strict=True))


def rl_tasks(config: Config, catalog: Catalog, style: Style | None = None) -> list[Task]:
    """Return the tasks of `rl.tasks`, in the words that SFT has for them.

    Args:
        config: A task's own words are those of `sft.tasks`, where it has some there.
        catalog: Has the columns that they name.
        style: Of the prompts; absent: as the config says.

    Raises:
        ConfigError: If a task is unknown, or answered with anything but a SID.
        CatalogError: If a template cannot be read.
    """
    known = list(dict.fromkeys([*config.sft.tasks, *BUILT_IN]))
    for name in config.rl.tasks:
        if name not in known:
            raise ConfigError(
                f'rl.tasks: there is no task "{name}".{nearest(name, known)} Known: {", ".join(known)}. A '
                "task of your own gets its words in sft.tasks, where its weight may be 0."
            )
    table = {
        name: config.sft.tasks.get(name, TaskConfig()).model_copy(update={"weight": weight})
        for name, weight in config.rl.tasks.items()
    }
    tasks = tasks_of(table, style or resolve_prompts(config).template, catalog)
    for task in tasks:
        if task.completion != ONLY_A_SID:
            raise ConfigError(
                f"rl.tasks.{task.name} is not answered with a semantic ID alone, and rollouts are semantic "
                "IDs. Take it out, or take a task whose completion is {sid}."
            )
    return tasks


def task_settings(tasks: list[Task]) -> list[Any]:
    """Return what of tasks decides a result, as JSON."""
    return [asdict(task) for task in tasks]


def check_prompts(config: Config, catalog: Catalog, split: Split, reserved: np.ndarray) -> None:
    """Raise what is wrong with the prompts, before anything is trained.

    Args:
        config: Says which.
        catalog: The catalogue.
        split: Of its events.
        reserved: As `Run.reserved`.

    Raises:
        ConfigError: If a task cannot be used or has no prompt, nothing is held out for `rl.prompts`, or a
            step wants more prompts than exist.
    """
    tasks = rl_tasks(config, catalog)
    if config.rl.item_dropout and not any(slot.of == "history" for task in tasks for slot in task.slots):
        raise ConfigError(
            "rl.item_dropout would change nothing: no task of rl.tasks shows a history. Leave it out."
        )
    chosen = _choose(config, catalog, split, reserved, tasks, config.prompt.max_history)
    _order(config, chosen, tasks)
    if config.rl.prompts_per_step > len(chosen.rows):
        raise ConfigError(
            f"rl.prompts_per_step: {config.rl.prompts_per_step} prompts of a step were asked for, but items "
            f"and train histories give {len(chosen.rows)} for rl.tasks with rl.prompts={config.rl.prompts}. "
            "Lower it, or add events."
        )


def rl_prompts(
    config: Config, run: Run, prompts: PromptBuilder, *, max_positions: int | None = None
) -> RLPrompts:
    """Return the prompts of a run, each with its target as an integer.

    With `rl.shuffle_targets` the targets of each task are dealt anew over its prompts: the control whose
    rewards mean nothing.

    Raises:
        ConfigError: If a prompt is too long for the model, or as `check_prompts`.
    """
    from sidrec.trainers.rl.thinned_prompts import ThinnedPrompts

    tasks = rl_tasks(config, run.catalog, prompts.settings.template)
    chosen = _choose(config, run.catalog, run.split, run.reserved, tasks, prompts.settings.max_history)
    values = Values(prompts, run.catalog.items, run.catalog.users)
    source = RowSource(prompts, values, run.split.train, max_positions=max_positions)
    targets = _dealt_anew(chosen.rows, config.seed) if config.rl.shuffle_targets else chosen.rows.items
    rows = PromptRows(chosen.rows, targets, tasks, source, prompts.codes.shape[1])
    dropout = config.rl.item_dropout
    change = ThinnedPrompts(rows, dropout, config.seed) if dropout else None
    return RLPrompts(rows, _order(config, chosen, tasks), change)


@dataclass(frozen=True, eq=False)
class _Chosen:
    """Prompts by `rl.prompts`, and which of them, (R,) bool, have a target that SFT does not see."""

    rows: Asked
    is_held: np.ndarray


def _choose(
    config: Config,
    catalog: Catalog,
    split: Split,
    reserved: np.ndarray,
    tasks: list[Task],
    max_history: int,
) -> _Chosen:
    """Take the prompts that `rl.prompts` names; those about an item alone are always among them."""
    which = config.rl.prompts
    if which != "seen" and not reserved.any():
        raise ConfigError(
            f"rl.prompts={which} asks for targets that SFT does not see, and split.rl_share=0 keeps none "
            "from it. Set split.rl_share, such as 0.2, or rl.prompts=seen."
        )
    source = AskedFrom(catalog.items, catalog.users, split.train, max_history)
    rows = asked(tasks, source)
    is_held = np.zeros(len(rows), dtype=bool)
    if len(reserved):
        is_last = rows.places == source.lengths[rows.users] - 1
        is_held = (rows.users != NO_USER) & reserved[rows.users] & is_last
    if which == "mixed":
        return _Chosen(rows, is_held)
    kept = (is_held | (rows.users == NO_USER)) if which == "held_out" else ~is_held
    return _Chosen(rows.take(kept), is_held[kept])


def _order(config: Config, chosen: _Chosen, tasks: list[Task]) -> PromptOrder:
    """Give each task its weight; with `rl.prompts=mixed` half of it goes to targets that SFT sees not."""
    from sidrec.trainers.rl.prompt_order import PromptOrder

    kinds = chosen.rows.tasks
    weights, names = [task.weight for task in tasks], [task.name for task in tasks]
    if config.rl.prompts == "mixed":
        for number, task in enumerate(tasks):
            if task.is_per_target:
                kinds = np.where(chosen.is_held & (chosen.rows.tasks == number), len(weights), kinds)
                weights[number] = task.weight / 2
                weights.append(task.weight / 2)
                names.append(task.name)
    return PromptOrder(kinds, weights, names, config.seed)


def _dealt_anew(rows: Asked, seed: int) -> np.ndarray:
    """Deal the items of each task over its prompts: (R,) targets."""
    targets = rows.items.copy()
    for task in np.unique(rows.tasks):
        here = np.flatnonzero(rows.tasks == task)
        rng = np.random.default_rng([seed, int(task) + 1])  # a 0 in the end would change nothing
        targets[here] = rows.items[rng.permutation(here)]
    return targets
