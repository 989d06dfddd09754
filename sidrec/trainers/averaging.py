"""A moving average of the trained weights over steps: steadier than any, judged and kept in their place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from sidrec.moving_average import move_average

FILE = "weight_average.pt"
"""In a checkpoint, beside the weights that training goes on from."""


class WeightAverage(TrainerCallback):
    """Move the average by `move_average` after every step of the optimizer."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        """Begin with the weights of `model` that are trained, in float32."""
        self._decay = decay
        self._weights = {name: each for name, each in model.named_parameters() if each.requires_grad}
        self._average = {name: each.detach().float().clone() for name, each in self._weights.items()}

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Take the weights in."""
        move_average(self._average.values(), self._weights.values(), self._decay, steps=state.global_step)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Let the model have the average, and its own weights again afterwards."""
        own = {name: each.detach().clone() for name, each in self._weights.items()}
        self.take_over()
        try:
            yield
        finally:
            self._give(own)

    def take_over(self) -> None:
        """Leave the average in the model."""
        self._give(self._average)

    def save(self, checkpoint: Path) -> None:
        """Write it beside a checkpoint's weights."""
        torch.save(self._average, checkpoint / FILE)

    def load(self, checkpoint: Path) -> None:
        """Read what `save` wrote for the same model."""
        for name, average in torch.load(checkpoint / FILE, weights_only=True).items():
            self._average[name].copy_(average)

    @torch.no_grad()
    def _give(self, weights: dict[str, torch.Tensor]) -> None:
        for name, weight in weights.items():
            self._weights[name].copy_(weight)
