"""What is said of a training: steps on a terminal, one readable line per evaluation."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from sidrec.progress import Bar
from sidrec.trainers.rl.diagnostics import groups_line, policy_line

logger = logging.getLogger(__name__)
LOOK_EVERY = 1.0
"""Seconds between two looks at the losses while steps go by: a look makes a GPU wait."""


class StepsDone(TrainerCallback):
    """Tell a bar of the steps that this process takes, and what `glance` has to say of them."""

    def __init__(self, advance: Bar, glance: Callable[[], str]) -> None:
        self._advance, self._glance = advance, glance
        self._first_step = 0
        self._looked = float("-inf")

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Count from here, so that what was done before an interruption does not look fast."""
        self._first_step = state.global_step

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Move the bar on; look at the losses before a line of the log resets them."""
        steps = state.global_step - self._first_step, state.max_steps - self._first_step
        if time.monotonic() - self._looked < LOOK_EVERY:
            self._advance(*steps)
            return
        self._looked = time.monotonic()
        self._advance(*steps, self._glance())


class TrainingReport(TrainerCallback):
    """Log step, loss, that of each task where there are several, tokens/s, valid NDCG@10, the time left."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._started = time.monotonic()
        self._first_step = 0
        self._logs: dict[str, float] = {}

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Start the clock."""
        self._started, self._first_step = time.monotonic(), state.global_step
        if state.global_step:
            logger.info("%s: going on from step %d", self._name, state.global_step)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        """Remember the losses; say how the groups of RL do."""
        logs = logs or {}
        if "loss" in logs:
            self._logs = dict(logs)
        if "dead_groups" in logs:
            for said in (groups_line(logs), policy_line(logs)):
                logger.info("%s: step %d of %d, %s", self._name, state.global_step, state.max_steps, said)

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        """Write the line."""
        seconds = time.monotonic() - self._started
        done = state.global_step - self._first_step
        left = seconds / max(1, done) * (state.max_steps - state.global_step)
        value = (metrics or {})["eval_ndcg@10"]
        best = state.best_metric is None or value > state.best_metric
        logger.info(
            "%s: step %d of %d, loss %.4f%s, valid NDCG@10 %.4f%s, %.0f s%s, at most %.0f s left",
            self._name,
            state.global_step,
            state.max_steps,
            self._logs.get("loss", float("nan")),
            self._by_task(),
            value,
            " (best)" if best else "",
            seconds,
            self._rate(),
            left,
        )

    def _by_task(self) -> str:
        losses = {name[5:]: value for name, value in self._logs.items() if name.startswith("loss/")}
        if len(losses) < 2:
            return ""
        return f" ({', '.join(f'{task} {value:.4f}' for task, value in losses.items())})"

    def _rate(self) -> str:
        rate = self._logs.get("tokens_per_second")
        return "" if rate is None else f" at {rate:,.0f} tokens/s"
