"""Rewards that know something of the items: their codes, their vectors, or who would have them next."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from sidrec.rewards.rollouts import Rollouts

ScoreAll = Callable[[Sequence[np.ndarray]], np.ndarray]
"""From B histories, arrays of item indices, to (B, N) finite scores of all items, higher is better."""


def prefix_reward(rollouts: Rollouts, codes: Tensor) -> Tensor:
    """Give the share of leading codes that agree with the target's: partial credit along the SID.

    It sees codes, not items: an item that shares the target's SID gets 1 as the target does.

    Args:
        rollouts: B groups of G rollouts.
        codes: (N, L) integer, the semantic ID of every item.

    Returns:
        (B, G) float32 rewards, dimensionless, each one of 0, 1/L, ..., 1.
    """
    agree = codes[rollouts.items] == codes[rollouts.targets][:, None]  # (B, G, L)
    return agree.long().cumprod(dim=-1).float().mean(dim=-1)


def semantic_reward(rollouts: Rollouts, vectors: Tensor) -> Tensor:
    """Give the cosine of the rollout's vector and the target's.

    Args:
        rollouts: B groups of G rollouts.
        vectors: (N, D) float, finite; an item whose vector is 0 is like nothing, itself included: 0.

    Returns:
        (B, G) float32 rewards, dimensionless, each in [-1, 1].

    Source: MiniOneRec's `semantic_reward`.
    """
    ours, targets = vectors[rollouts.items], vectors[rollouts.targets][:, None]  # (B, G, D), (B, 1, D)
    return functional.cosine_similarity(ours.float(), targets.float(), dim=-1).clamp(-1, 1)


def collaborative_reward(rollouts: Rollouts, score_all: ScoreAll) -> Tensor:
    """Give the place of the item's score between the lowest (0) and the highest (1) of all N items.

    The ends are those of the catalogue for this history, not of the group, so that an item is worth the same
    whatever was drawn beside it, and a mean over groups says whether rollouts become better. Within a group
    it is an affine function of the raw score: alone, and with advantages divided by the deviation of their
    group, it is MiniOneRec's `cf_reward`, which takes the raw score. The target is not read.

    Args:
        rollouts: B groups of G rollouts with histories. Groups without one, and those for which all items
            score alike, get 0.
        score_all: The model that judges.

    Returns:
        (B, G) float32 rewards, dimensionless, each in [0, 1].

    Raises:
        ValueError: If the rollouts carry no histories.
    """
    if rollouts.histories is None:
        raise ValueError("collaborative_reward scores items after a history, but the rollouts carry none.")
    rewards = torch.zeros(rollouts.items.shape, dtype=torch.float32, device=rollouts.items.device)
    told = [row for row, history in enumerate(rollouts.histories) if len(history)]
    if not told:
        return rewards
    scores = score_all([np.asarray(rollouts.histories[row], dtype=np.int64) for row in told])  # (B', N)
    lowest, highest = scores.min(axis=1, keepdims=True), scores.max(axis=1, keepdims=True)  # (B', 1)
    width = np.where(highest > lowest, highest - lowest, 1)
    drawn = np.take_along_axis(scores, rollouts.items[told].cpu().numpy(), axis=1)  # (B', G)
    rewards[told] = torch.as_tensor((drawn - lowest) / width, dtype=torch.float32, device=rewards.device)
    return rewards
