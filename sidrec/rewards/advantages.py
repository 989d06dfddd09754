"""Turn rewards into advantages."""

from __future__ import annotations

import torch
from torch import Tensor

from sidrec.errors import ConfigError
from sidrec.rewards.groups import dead_groups
from sidrec.rl_config import Scaling


def group_advantages(rewards: Tensor, scaling: Scaling = "group", eps: float = 1e-4) -> Tensor:
    """Measure each rollout against its group: (r - mean) / (std + eps).

    The standard deviation is the sample's (divided by one less than there are rewards), as TRL 1.16 computes
    it in `GRPOTrainer`. A group whose rewards are all equal gets exactly 0, free of the rounding of its mean.

    Args:
        rewards: (B, G) float.
        scaling: What the standard deviation is of: `group`; `batch`: all rewards, those of dead groups too,
            so that a group weighs as much as its rewards differ; `none`: nothing is divided.
        eps: Added to the standard deviation, in the unit of the rewards.

    Returns:
        (B, G) advantages, dimensionless; with `none` in the unit of the rewards.

    Raises:
        ConfigError: If G is 1: a single rollout has no group to be measured against.
        ValueError: If a reward is not finite.

    Source: DeepSeekMath (arXiv:2402.03300), section 4.1.2; `none`: Dr. GRPO (arXiv:2503.20783);
    `trl.trainer.utils.nanstd`.
    """
    check_comparable(rewards)
    advantages = rewards - rewards.mean(dim=1, keepdim=True)
    if scaling == "group":
        advantages = advantages / (rewards.std(dim=1, keepdim=True) + eps)
    elif scaling == "batch":
        advantages = advantages / (rewards.std() + eps)
    return advantages.masked_fill(dead_groups(rewards)[:, None], 0.0)


def leave_one_out_advantages(rewards: Tensor) -> Tensor:
    """Measure each rollout against the mean of the others of its group: r_i - sum_{j != i} r_j / (G - 1).

    Args:
        rewards: (B, G) float.

    Returns:
        (B, G) advantages in the unit of the rewards; exactly 0 where all rewards of a group are equal.

    Raises:
        ConfigError: If G is 1: there are no others.
        ValueError: If a reward is not finite.

    Source: RLOO (Ahmadian et al. 2024, arXiv:2402.14740).
    """
    check_comparable(rewards)
    others = (rewards.sum(dim=1, keepdim=True) - rewards) / (rewards.shape[1] - 1)
    return (rewards - others).masked_fill(dead_groups(rewards)[:, None], 0.0)


def check_comparable(rewards: Tensor) -> None:
    """Refuse rewards that have nothing to be compared with, or are no numbers.

    Raises:
        ConfigError: If G is 1.
        ValueError: If a reward is not finite.
    """
    if rewards.shape[1] < 2:
        raise ConfigError(
            f"Advantages compare the rollouts of one prompt, got rl.num_generations={rewards.shape[1]}. "
            "Set it to 2 or more."
        )
    if not bool(torch.isfinite(rewards).all()):
        raise ValueError("Advantages need finite rewards, got NaN or infinity.")
