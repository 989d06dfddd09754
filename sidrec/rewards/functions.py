"""Rewards that need nothing but the rollouts."""

from __future__ import annotations

import torch
from torch import Tensor

from sidrec.errors import ConfigError
from sidrec.rewards.groups import discount
from sidrec.rewards.rollouts import Rollouts


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
    discounts = discount(num_generations, hits.device)  # (G,)
    penalty = -discounts / discounts.sum()
    group_has_hit = hits.any(dim=1, keepdim=True)  # (B, 1)
    return torch.where(group_has_hit & ~hits, penalty, torch.zeros_like(penalty))


def ndcg_reward(rollouts: Rollouts) -> Tensor:
    """Give the target 1 / log2(rank + 1) of the place it stands at, and 0 to every other item.

    Summed over a group of distinct items it is the group's NDCG. Alone, and with advantages divided by the
    deviation of their group, it is `rule_reward`: what it adds is how much a hit counts beside other rewards,
    or between groups where advantages are not divided (Dr. GRPO). It is not the `ndcg_rule_reward` of
    MiniOneRec, which is `ranking_reward`.

    Args:
        rollouts: B groups of G rollouts, best beam first. Only `rollouts.hits`, (B, G) bool, is read.

    Returns:
        (B, G) float32 rewards, dimensionless, each in [0, 1].

    Source: the gain of a hit in NDCG (Jarvelin and Kekalainen 2002) with one relevant item.
    """
    hits = rollouts.hits  # (B, G)
    return hits * discount(hits.shape[1], hits.device)
