"""One readable line per evaluation, in place of the dictionaries that `Trainer` prints."""

from __future__ import annotations

import logging
import time
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

logger = logging.getLogger(__name__)


class TrainingReport(TrainerCallback):
    """Log step, loss, valid NDCG@10 and the time left."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._started = time.monotonic()
        self._first_step = 0
        self._loss = float("nan")

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
        """Remember the loss; say how the groups of RL do."""
        logs = logs or {}
        self._loss = logs.get("loss", self._loss)
        if "dead_groups" in logs:
            parts = ", ".join(
                f"{key[7:]} {value:+.4f}" for key, value in logs.items() if key.startswith("reward/")
            )
            logger.info(
                "%s: step %d of %d, reward %+.4f (%s), groups: HR@1 %.3f, NDCG %.3f, dead %.0f%%; KL %.5f",
                self._name,
                state.global_step,
                state.max_steps,
                logs["reward"],
                parts,
                logs["group_hr@1"],
                logs["group_ndcg"],
                100 * logs["dead_groups"],
                max(0.0, logs.get("kl") or 0.0),  # below 0 by rounding only
            )

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
            "%s: step %d of %d, loss %.4f, valid NDCG@10 %.4f%s, %.0f s, at most %.0f s left",
            self._name,
            state.global_step,
            state.max_steps,
            self._loss,
            value,
            " (best)" if best else "",
            seconds,
            left,
        )
