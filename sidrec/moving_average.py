"""A moving average of weights over the steps of a training, for baselines and language models alike."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


@torch.no_grad()
def move_average(averages: Iterable[Tensor], weights: Iterable[Tensor], decay: float, steps: int) -> None:
    """Let each average be `decay` of what it was and 1 - `decay` of the weights, in place.

    At first less is kept, min(decay, (1 + t) / (10 + t)) after t steps: those weights are soon outgrown.
    """
    kept = min(decay, (1 + steps) / (10 + steps))
    for average, weight in zip(averages, weights, strict=True):
        average.lerp_(weight.to(average.dtype), 1 - kept)
