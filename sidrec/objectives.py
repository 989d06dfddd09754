"""What RL minimizes: the groups it learns from, what it makes of rewards, and the losses that TRL lacks.

Pure functions on (B, G) log-probabilities of rollouts, summed over their codes. GRPO, DAPO, Dr. GRPO and GSPO
are TRL's own losses.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sidrec.rewards import (
    Rollouts,
    dead_groups,
    group_advantages,
    leave_one_out_advantages,
    preference_groups,
    weighted_advantages,
)
from sidrec.rl_config import PREFERENCES, ObjectiveName, Scaling


@dataclass(frozen=True)
class ScoredGroups:
    """Log-probabilities of the rollouts of live groups, each summed over the codes of a rollout.

    Attributes:
        policy: (B, G) as the model is now, with gradient.
        behaviour: (B, G) when they were drawn.
        reference: (B, G) under the reference; None: beta is 0.
        advantages: (B, G).
        hits: (B, G) bool: which rollouts are the target.
    """

    policy: Tensor
    behaviour: Tensor
    reference: Tensor | None
    advantages: Tensor
    hits: Tensor


@dataclass(frozen=True)
class SequenceLoss:
    """A loss over whole rollouts.

    Attributes:
        value: (), with gradient.
        clipped: Share of the rollouts whose ratio was clipped, in [0, 1].
    """

    value: Tensor
    clipped: float = 0.0


@dataclass(frozen=True)
class Objective:
    """What a training minimizes.

    Attributes:
        name: As `rl.objective`.
        scaling: What advantages are divided by; only the losses of TRL's read it.
    """

    name: ObjectiveName = "grpo"
    scaling: Scaling = "group"

    @property
    def prefers(self) -> bool:
        """Whether it compares the target with the other items of a group, whatever the rewards."""
        return self.name in PREFERENCES

    @property
    def imitates(self) -> bool:
        """Whether it learns the targets themselves, without rollouts."""
        return self.name == "sft"

    @property
    def is_of_trl(self) -> bool:
        """Whether TRL's `GRPOTrainer` has the loss."""
        return not (self.prefers or self.imitates or self.name == "rloo")

    def live(self, rollouts: Rollouts, rewards: Tensor) -> Tensor:
        """Tell which groups there is something to learn from, (B,) bool, by items or (B, G) rewards."""
        return preference_groups(rollouts) if self.prefers else ~dead_groups(rewards)

    def advantages(self, rewards: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return the (B, G) advantages of (B, G) rewards; 0 for preferences and imitation, which have none.

        Args:
            rewards: Of the rollouts.
            weights: (B, G) importance weights, for the losses of TRL's; None: all rollouts count alike.
        """
        if self.prefers or self.imitates:
            return torch.zeros_like(rewards)
        if self.name == "rloo":
            return leave_one_out_advantages(rewards)
        if weights is not None:
            return weighted_advantages(rewards, weights, self.scaling)
        return group_advantages(rewards, self.scaling)

    def loss(self, groups: ScoredGroups, *, beta: float, epsilon: tuple[float, float]) -> SequenceLoss:
        """Return the mean loss of an objective that is not TRL's; `epsilon` is the clip of `rloo_loss`."""
        reference = groups.reference
        if self.prefers:
            assert reference is not None, "a preference has a beta above 0, and so a reference"
            losses = s_dpo_losses if self.name == "s_dpo" else dpo_losses
            return SequenceLoss(losses(groups.policy - reference, groups.hits, beta).mean())
        advantages = groups.advantages
        if reference is not None:
            advantages = penalized(advantages, groups.behaviour, reference, beta)
        return rloo_loss(groups.policy, groups.behaviour, advantages, epsilon=epsilon)


def s_dpo_losses(log_ratios: Tensor, hits: Tensor, beta: float) -> Tensor:
    """Prefer the target to all wrong items of its group at once: softplus(logsumexp_i(beta (d_i - d_w))).

    A wrong item that was drawn twice counts twice; of several rollouts of the target the first is taken, as
    all have the same log-ratio.

    Args:
        log_ratios: (B, G) d: log-probability under the policy less that under the reference, in nats.
        hits: (B, G) bool: which rollouts are the target.
        beta: DPO's, above 0.

    Returns:
        (B,) losses in nats.

    Raises:
        ValueError: If a group lacks the target or a wrong item.

    Source: S-DPO (Chen et al. 2024, arXiv:2406.09215).
    """
    return nn.functional.softplus(_margins(log_ratios, hits, beta).logsumexp(dim=1))


def dpo_losses(log_ratios: Tensor, hits: Tensor, beta: float) -> Tensor:
    """Prefer the target to each wrong item of its group: the mean of softplus(beta (d_i - d_w)) over them.

    S-DPO's case of one negative, averaged over the same negatives. Arguments, returns and errors as of
    `s_dpo_losses`.

    Source: DPO (arXiv:2305.18290), equation 7.
    """
    losses = nn.functional.softplus(_margins(log_ratios, hits, beta))  # (B, G), 0 for the target
    return losses.sum(dim=1) / (~hits).sum(dim=1)


def _margins(log_ratios: Tensor, hits: Tensor, beta: float) -> Tensor:
    """(B, G) beta (d_i - d_w), -inf for the target itself."""
    if not bool((hits.any(dim=1) & ~hits.all(dim=1)).all()):
        raise ValueError("A preference needs groups that hold the target and a wrong item.")
    winner = log_ratios.gather(1, hits.int().argmax(dim=1, keepdim=True))  # (B, 1)
    return (beta * (log_ratios - winner)).masked_fill(hits, -torch.inf)


def rloo_loss(
    policy: Tensor, behaviour: Tensor, advantages: Tensor, *, epsilon: tuple[float, float]
) -> SequenceLoss:
    """Return PPO's clipped loss with one ratio for a whole rollout: -mean(min(r A, clip(r) A)).

    Args:
        policy: (B, G) log-probabilities of the rollouts now, with gradient.
        behaviour: (B, G) those when they were drawn.
        advantages: (B, G).
        epsilon: How far the ratio may fall and rise before it is clipped.

    Source: `trl.RLOOTrainer`, version 1.16.
    """
    low, high = 1 - epsilon[0], 1 + epsilon[1]
    ratios = (policy - behaviour).exp()
    value = -torch.min(ratios * advantages, ratios.clamp(low, high) * advantages).mean()
    clipped = (ratios < low) & (advantages < 0) | (ratios > high) & (advantages > 0)
    return SequenceLoss(value, float(clipped.float().mean()))


def penalized(advantages: Tensor, behaviour: Tensor, reference: Tensor, beta: float) -> Tensor:
    """Take the KL out of leave-one-out advantages as if each reward had been less beta (log p - log p_ref).

    Args:
        advantages: (B, G) of `leave_one_out_advantages`, which is linear in the rewards.
        behaviour: (B, G) log-probabilities of the rollouts when they were drawn.
        reference: (B, G) those under the reference.
        beta: Weight, in rewards per nat.

    Source: `trl.RLOOTrainer`, version 1.16: KL is part of the reward, by its first-order estimate.
    """
    return advantages - beta * leave_one_out_advantages(behaviour - reference)
