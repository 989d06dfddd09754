"""Rewards by name, and their weighted sum."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

from sidrec.errors import ConfigError, nearest
from sidrec.rewards.functions import ranking_reward, rule_reward
from sidrec.rewards.rollouts import Rollouts


@dataclass(frozen=True)
class RewardParts:
    """Rewards as they are summed, and the parts they come from.

    Attributes:
        total: (B, G) float32, the weighted sum.
        parts: Name to (B, G) float32 before weighting.
    """

    total: Tensor
    parts: dict[str, Tensor]


REWARDS: Mapping[str, Callable[[Rollouts], Tensor]] = MappingProxyType(
    {"rule": rule_reward, "ranking": ranking_reward}
)


def combine_rewards(rollouts: Rollouts, weights: Mapping[str, float]) -> RewardParts:
    """Sum rewards by their weights.

    Args:
        rollouts: B groups of G rollouts, best beam first.
        weights: Name in `REWARDS` to weight, dimensionless, as `rl.rewards` in a config.

    Raises:
        ConfigError: As `check_rewards`.
    """
    check_rewards(weights)
    parts = {name: REWARDS[name](rollouts) for name in weights}
    total = torch.zeros_like(next(iter(parts.values())))
    for name, weight in weights.items():
        total = total + weight * parts[name]
    return RewardParts(total, parts)


def check_rewards(weights: Mapping[str, float]) -> None:
    """Refuse weights that `combine_rewards` cannot use, before anything is trained.

    Raises:
        ConfigError: If there is no weight, a name is unknown, or a weight is not finite.
    """
    known = ", ".join(REWARDS)
    if not weights:
        raise ConfigError(f"rl.rewards names no reward. Give at least one of: {known}.")
    for name, weight in weights.items():
        if name not in REWARDS:
            raise ConfigError(
                f'rl.rewards: unknown reward "{name}".{nearest(name, REWARDS)} Known rewards: {known}.'
            )
        if not math.isfinite(weight):
            raise ConfigError(f"rl.rewards.{name} must be a finite number, got {weight}.")
