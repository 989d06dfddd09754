"""Weigh rollouts that were not drawn from the policy, so that a group stands for what the policy would do.

The gradient of the expected reward is a sum over all items, sum_i p_i r_i grad log p_i. Rollouts are a few of
them; which weight each must have depends on how likely it was to be among them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sidrec.rewards.advantages import check_comparable
from sidrec.rewards.groups import dead_groups
from sidrec.rl_config import Scaling


def importance_weights(log_probs: Tensor, log_inclusion: Tensor) -> Tensor:
    """Return p_i / q_i, normalized within each group: (B, G), each row sums to 1.

    Args:
        log_probs: (B, G) log-probabilities of the rollouts under the policy, a distribution over items.
        log_inclusion: (B, G) log q, up to a constant of the group: the probability that the item was to be
            among the group's, or of each draw; 0 for items that were chosen, inf for a rollout that is to
            have no weight.

    Source: Kool, van Hoof and Welling (arXiv:1903.06059), section 4.2, normalized importance weights.
    """
    return (log_probs - log_inclusion).softmax(dim=1)


def weighted_advantages(
    rewards: Tensor, weights: Tensor, scaling: Scaling = "group", eps: float = 1e-4
) -> Tensor:
    """Measure each rollout against the weighted mean of its group, G w_i (r_i - mean) / (std + eps).

    The mean is sum_i w_i r_i, the variance sum_i w_i (r_i - mean)^2 / (1 - sum_i w_i^2): half the mean square
    of the difference of two rollouts. Equal weights give `group_advantages`.

    Args:
        rewards: (B, G) float.
        weights: (B, G), each row sums to 1, as `importance_weights` returns them.
        scaling: As for `group_advantages`; `batch` is not defined.
        eps: As there.

    Returns:
        (B, G) advantages; exactly 0 in a group whose rewards are all equal.

    Raises:
        ConfigError: As `group_advantages`.
        ValueError: As there, or for `batch`.

    Source: Kool, van Hoof and Welling (arXiv:2002.06043), section 3.2, for the baseline.
    """
    check_comparable(rewards)
    if scaling == "batch":
        raise ValueError("Weights are those of a group; what they are in the whole batch is not defined.")
    exact, shares = rewards.double(), weights.double()
    centred = exact - (shares * exact).sum(dim=1, keepdim=True)
    advantages = rewards.shape[1] * shares * centred
    if scaling == "group":
        least = torch.finfo(torch.float64).eps
        spread = (1 - shares.square().sum(dim=1, keepdim=True)).clamp(min=least)
        std = ((shares * centred.square()).sum(dim=1, keepdim=True) / spread).sqrt()
        advantages = advantages / (std + eps)
    return advantages.to(rewards.dtype).masked_fill(dead_groups(rewards)[:, None], 0.0)
