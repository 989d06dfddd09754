"""Reward the rollouts of a group, and turn rewards into advantages.

Pure functions on tensors. A rollout is seen only as the item it names, an integer carried by the row together
with the target; nothing is looked up by text. How rollouts are drawn and what advantages are used for is left
to the trainer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

from sidrec.errors import ConfigError, nearest


@dataclass(frozen=True)
class Rollouts:
    """B groups of G rollouts, each group drawn for one prompt.

    Attributes:
        items: (B, G) int64 item indices, best beam first.
        targets: (B,) int64 item index that each prompt's user had next.

    Raises:
        ValueError: If the shapes do not fit, there is no rollout, or an entry is no item index.
    """

    items: Tensor
    targets: Tensor

    def __post_init__(self) -> None:
        """Refuse what is not B groups of items with a target each."""
        if self.items.ndim != 2 or self.items.shape[1] == 0 or self.targets.shape != self.items.shape[:1]:
            raise ValueError(
                "Rollouts need (B, G) items and (B,) targets, "
                f"got shapes {tuple(self.items.shape)} and {tuple(self.targets.shape)}."
            )
        for name, indices in (("items", self.items), ("targets", self.targets)):
            if indices.dtype != torch.int64:
                raise ValueError(f"Rollouts need int64 {name}, got {indices.dtype}.")
            if bool((indices < 0).any()):
                raise ValueError(
                    f"Rollouts need {name} that are item indices of at least 0, got {int(indices.min())}."
                )

    @property
    def hits(self) -> Tensor:
        """(B, G) bool: which rollouts are the target item."""
        return self.items == self.targets[:, None]


@dataclass(frozen=True)
class RewardParts:
    """Rewards as they are summed, and the parts they come from.

    Attributes:
        total: (B, G) float32, the weighted sum.
        parts: Name to (B, G) float32 before weighting.
    """

    total: Tensor
    parts: dict[str, Tensor]


def rule_reward(rollouts: Rollouts) -> Tensor:
    """Give 1 to the target item and 0 to every other.

    Args:
        rollouts: B groups of G rollouts. Only `rollouts.hits`, (B, G) bool, is read.

    Returns:
        (B, G) float32 rewards, dimensionless, 0 or 1.

    Source: ReRe (arXiv:2510.12211), rule-based reward.
    """
    return rollouts.hits.float()


def ranking_reward(rollouts: Rollouts) -> Tensor:
    """Penalize wrong items more the higher they were ranked, in groups that contain the target.

    A group without a hit gets zeros, so it carries no gradient. The target itself gets 0: add `rule_reward`
    to reward it.

    Args:
        rollouts: B groups of G rollouts, best beam first. Only `rollouts.hits`, (B, G) bool, is read.

    Returns:
        (B, G) float32 rewards, dimensionless, each in (-1, 0].

    Raises:
        ConfigError: If G is 1: a single rollout has nothing to be ranked against.

    Source: ReRe (arXiv:2510.12211), ranking reward.
    """
    hits = rollouts.hits  # (B, G)
    num_generations = hits.shape[1]
    if num_generations < 2:
        raise ConfigError(
            f"ranking_reward compares rollouts of one prompt, got rl.num_generations={num_generations}. "
            "Set it to 2 or more, or use rule_reward."
        )
    discount = _discount(num_generations, hits.device)  # (G,)
    penalty = -discount / discount.sum()
    group_has_hit = hits.any(dim=1, keepdim=True)  # (B, 1)
    return torch.where(group_has_hit & ~hits, penalty, torch.zeros_like(penalty))


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


def group_advantages(rewards: Tensor, eps: float = 1e-4) -> Tensor:
    """Measure each rollout against its group: (r - mean) / (std + eps).

    The standard deviation is the sample's (divided by G - 1), as TRL 1.16 computes it in `GRPOTrainer` with
    `scale_rewards="group"`. A group whose rewards are all equal gets exactly 0, free of the rounding of its
    mean.

    Args:
        rewards: (B, G) float.
        eps: Added to the standard deviation, in the unit of the rewards.

    Returns:
        (B, G) advantages, dimensionless.

    Raises:
        ConfigError: If G is 1: a single rollout has no group to be measured against.
        ValueError: If a reward is not finite.

    Source: DeepSeekMath (arXiv:2402.03300), section 4.1.2; `trl.trainer.utils.nanstd`.
    """
    if rewards.shape[1] < 2:
        raise ConfigError(
            f"Advantages compare the rollouts of one prompt, got rl.num_generations={rewards.shape[1]}. "
            "Set it to 2 or more."
        )
    if not bool(torch.isfinite(rewards).all()):
        raise ValueError("Advantages need finite rewards, got NaN or infinity.")
    centred = rewards - rewards.mean(dim=1, keepdim=True)
    advantages = centred / (rewards.std(dim=1, keepdim=True) + eps)
    return advantages.masked_fill(dead_groups(rewards)[:, None], 0.0)


def dead_groups(rewards: Tensor) -> Tensor:
    """Tell which groups carry no signal because their (B, G) rewards are all equal: (B,) bool."""
    return (rewards == rewards[:, :1]).all(dim=1)


def group_ndcg(rollouts: Rollouts) -> Tensor:
    """Give NDCG@G of each group as a ranked list: 1 / log2(rank + 1) of the target's first place, else 0.

    Returns:
        (B,) float32 in [0, 1].
    """
    hits = rollouts.hits  # (B, G)
    first = hits.int().argmax(dim=1)  # (B,) 0 also without a hit
    ndcg = _discount(hits.shape[1], hits.device)[first]
    return torch.where(hits.any(dim=1), ndcg, torch.zeros_like(ndcg))


def group_hit_at_1(rollouts: Rollouts) -> Tensor:
    """Tell, as (B,) float32 of 0 or 1, in which groups the best beam is the target."""
    return rollouts.hits[:, 0].float()


def _discount(num_places: int, device: torch.device) -> Tensor:
    """Return 1 / log2(rank + 1) of ranks 1, 2, ...: (num_places,) float32."""
    return 1 / torch.log2(torch.arange(num_places, device=device) + 2.0)
