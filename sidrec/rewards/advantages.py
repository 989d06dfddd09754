"""Turn rewards into advantages."""

from __future__ import annotations

import torch
from torch import Tensor

from sidrec.errors import ConfigError
from sidrec.rewards.groups import dead_groups


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
