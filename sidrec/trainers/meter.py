"""Measure a training as it runs: the loss of each task, and how many tokens it gets through in a second."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


class Meter(TrainerCallback):
    """What was trained on since the last line of the log; times are of steps, without evaluations.

    The loss of a task is what is trained on: of a token times the weight of its event, over the tokens.
    Sums stay on the device until they are read, so that a step waits for nothing.
    """

    def __init__(self, tasks: Sequence[str], device: torch.device) -> None:
        self._tasks = list(tasks)
        self._losses = torch.zeros(len(tasks), device=device)
        self._counts = torch.zeros(len(tasks) + 1, dtype=torch.int64, device=device)  # the last: all tokens
        self._begun = self._mark = time.monotonic()
        self._before = self._stepping = 0.0

    def add(self, losses: Tensor, tasks: Tensor, num_tokens: Tensor) -> None:
        """Count (S,) losses of supervised tokens, the (S,) tasks they are of, and tokens in all."""
        self._losses.index_add_(0, tasks, losses.detach().float())
        self._counts[:-1] += torch.bincount(tasks, minlength=len(self._tasks))
        self._counts[-1] += num_tokens

    def read(self, total: Callable[[Tensor], Tensor]) -> dict[str, float]:
        """Return `loss/TASK`, the rates and the seconds since the training began, and start anew.

        Args:
            total: Sums a tensor over the processes.
        """
        figures = self._figures(total(self._losses), total(self._counts))
        figures["seconds"] = round(self._before + time.monotonic() - self._begun, 3)
        self._losses.zero_()
        self._counts.zero_()
        self._stepping = 0.0
        return figures

    def glance(self) -> dict[str, float]:
        """Return losses and rates of this process so far, without starting anew."""
        return self._figures(self._losses, self._counts)

    def _figures(self, losses: Tensor, counts: Tensor) -> dict[str, float]:
        *supervised, tokens = counts.tolist()
        found = {
            f"loss/{task}": loss / count
            for task, loss, count in zip(self._tasks, losses.tolist(), supervised, strict=True)
            if count
        }
        seconds = max(self._stepping, 1e-9)
        found["supervised_tokens_per_second"] = round(sum(supervised) / seconds, 1)
        found["tokens_per_second"] = round(tokens / seconds, 1)
        return found

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Start the clock where an interrupted training had left it."""
        self._before = max((entry.get("seconds", 0.0) for entry in state.log_history), default=0.0)
        self._begun = self._mark = time.monotonic()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Add the step's time; have a checkpoint begin a new line, as sums are not part of it."""
        now = time.monotonic()
        self._stepping += now - self._mark
        self._mark = now
        control.should_log |= control.should_save

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Leave the evaluation's time out."""
        self._mark = time.monotonic()

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Leave the checkpoint's time out."""
        self._mark = time.monotonic()
