"""How good a group is as a ranked list, and whether it carries a signal."""

from __future__ import annotations

import torch
from torch import Tensor

from sidrec.rewards.rollouts import Rollouts


def dead_groups(rewards: Tensor) -> Tensor:
    """Tell which groups carry no signal because their (B, G) rewards are all equal: (B,) bool."""
    return (rewards == rewards[:, :1]).all(dim=1)


def preference_groups(rollouts: Rollouts) -> Tensor:
    """Tell which groups hold both the target and another item, so that one can be preferred: (B,) bool."""
    hits = rollouts.hits
    return hits.any(dim=1) & ~hits.all(dim=1)


def group_ndcg(rollouts: Rollouts) -> Tensor:
    """Give NDCG@G of each group as a ranked list: 1 / log2(rank + 1) of the target's first place, else 0.

    Returns:
        (B,) float32 in [0, 1].
    """
    hits = rollouts.hits  # (B, G)
    first = hits.int().argmax(dim=1)  # (B,) 0 also without a hit
    ndcg = discount(hits.shape[1], hits.device)[first]
    return torch.where(hits.any(dim=1), ndcg, torch.zeros_like(ndcg))


def group_hit_at_1(rollouts: Rollouts) -> Tensor:
    """Tell, as (B,) float32 of 0 or 1, in which groups the best beam is the target."""
    return rollouts.hits[:, 0].float()


def ranked_mean(rewards: Tensor) -> Tensor:
    """Average the (B, G) rewards of each group with weights 1 / log2(rank + 1): (B,).

    The plain mean over G distinct beams hardly moves when the same items change places. This one does: it
    rises when what is rewarded goes up in the list.
    """
    weights = discount(rewards.shape[1], rewards.device)
    return rewards @ (weights / weights.sum())


def discount(num_places: int, device: torch.device) -> Tensor:
    """Return 1 / log2(rank + 1) of ranks 1, 2, ...: (num_places,) float32."""
    return 1 / torch.log2(torch.arange(num_places, device=device) + 2.0)
