"""Rewards by name, their weighted sum, and how much each has to say in it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import torch
from torch import Tensor

from sidrec.errors import ConfigError, nearest
from sidrec.rewards.functions import ndcg_reward, ranking_reward, rule_reward
from sidrec.rewards.groups import dead_groups
from sidrec.rewards.rollouts import Rollouts

Reward = Callable[[Rollouts], Tensor]


@dataclass(frozen=True)
class RewardParts:
    """Rewards as they are summed, and the parts they come from.

    Attributes:
        total: (B, G) float32, the weighted sum.
        parts: Name to (B, G) float32 before weighting.
        weights: Name to weight.
    """

    total: Tensor
    parts: dict[str, Tensor]
    weights: Mapping[str, float] = field(default_factory=dict)

    def shares(self) -> dict[str, float]:
        """Say what part each reward has in who is better than whom: shares that sum to 1.

        A reward's spread is its weight times its standard deviation within a group, averaged over the groups
        that carry a signal; its share is its part of the sum of all spreads. Where no group carries one there
        are no shares.
        """
        live = ~dead_groups(self.total)
        if not bool(live.any()):
            return {}
        spreads = {
            name: abs(weight) * float(self.parts[name][live].std(dim=1).sum())
            for name, weight in self.weights.items()
            if weight
        }
        whole = sum(spreads.values())
        return {name: spread / whole for name, spread in spreads.items()} if whole > 0 else {}


REWARDS: Mapping[str, Reward] = MappingProxyType(
    {"rule": rule_reward, "ranking": ranking_reward, "ndcg": ndcg_reward}
)
"""Those that need nothing but the rollouts."""
OF_ITEMS = ("prefix", "semantic", "collaborative")
"""Those that need something of the run too; who has it gives their functions to `combine_rewards`."""


def combine_rewards(
    rollouts: Rollouts, weights: Mapping[str, float], functions: Mapping[str, Reward] = REWARDS
) -> RewardParts:
    """Sum rewards by their weights.

    Args:
        rollouts: B groups of G rollouts, best beam first.
        weights: Name to weight, dimensionless, as `rl.rewards` in a config. One of 0 is computed only.
        functions: A function for each of these names.

    Raises:
        ConfigError: As `check_rewards`.
    """
    check_rewards(weights)
    parts = {name: functions[name](rollouts) for name in weights}
    total = torch.zeros_like(next(iter(parts.values())))
    for name, weight in weights.items():
        total = total + weight * parts[name]
    return RewardParts(total, parts, weights)


def check_rewards(weights: Mapping[str, float]) -> None:
    """Refuse weights that `combine_rewards` cannot use, before anything is trained.

    A name with a colon is a user's own function, which `load_reward` looks for.

    Raises:
        ConfigError: If there is no weight, a name is unknown, or the weights are not finite or all 0.
    """
    known = (*REWARDS, *OF_ITEMS)
    listed = f"{', '.join(known)}, or your own as module:function"
    if not weights:
        raise ConfigError(f"rl.rewards names no reward. Give at least one of: {listed}.")
    for name, weight in weights.items():
        if name not in known and ":" not in name:
            raise ConfigError(
                f'rl.rewards: unknown reward "{name}".{nearest(name, known)} Known rewards: {listed}.'
            )
        if not math.isfinite(weight):
            raise ConfigError(f"rl.rewards.{name} must be a finite number, got {weight}.")
    if not any(weights.values()):
        raise ConfigError("rl.rewards: all weights are 0, so that no rollout is better than another.")
