"""What a step of RL costs, counted in tokens that are read, the same on every machine.

A forward pass over a token counts 1, a backward pass 2 (Kaplan et al., arXiv:2001.08361, section 2.1: about 2
and 4 operations per weight). Left out is what both sides of a comparison have, or what is small: padding,
attention to what was read before, the output layer, the evaluations on valid.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

TRAINED = 3
"""A forward and a backward pass."""


@dataclass(frozen=True)
class Groups:
    """Prompts with their completions: how many, and the tokens of all prompts together."""

    count: int
    prompt_tokens: int

    def tokens(self, num_generations: int, num_levels: int) -> int:
        """Return the tokens of one pass over them: each prompt once, and of G completions all codes but the
        last, which is only predicted.
        """
        return self.prompt_tokens + self.count * num_generations * (num_levels - 1)


@dataclass(frozen=True)
class StepCost:
    """What decides the cost of a step.

    Attributes:
        num_generations: G; of continued SFT 1, the target.
        num_levels: L.
        updates: Optimizer steps on the same rollouts.
        extra_passes: Forward passes over the groups trained on, beside the updates: 1 for a reference, 1 for
            log-probabilities of the policy that drew them.
    """

    num_generations: int
    num_levels: int
    updates: int = 1
    extra_passes: int = 0

    def of_rl(self, drawn: Groups, trained: Groups) -> int:
        """Return the tokens of rollouts for all prompts drawn, and of training on those with a signal.

        A beam search reads at most as many tokens as a pass over its G results, and counts as one.
        """
        shape = self.num_generations, self.num_levels
        passes = TRAINED * self.updates + self.extra_passes
        return drawn.tokens(*shape) + passes * trained.tokens(*shape)

    def of_imitation(self, trained: Groups) -> int:
        """Return the tokens of training on the targets of prompts."""
        return TRAINED * self.updates * trained.tokens(1, self.num_levels)


def steps_within(budget: int, costs: Iterable[int]) -> int:
    """Return how many steps of these costs, one after the other, cost no more than a budget; at least 1."""
    steps, spent = 0, 0
    for cost in costs:
        spent += cost
        if spent > budget:
            break
        steps += 1
    return max(1, steps)
