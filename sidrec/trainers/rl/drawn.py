"""Rollouts as they were drawn, and which of them make a group: pure functions on tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from sidrec.decoding import Ranking
from sidrec.decoding.sampling import Sample


@dataclass(frozen=True)
class Drawn:
    """Items of B prompts.

    Attributes:
        items: (B, n) int64.
        scores: (B, n) float64 log-probabilities of their codes under the policy.
        log_inclusion: (B, n) float64: as `importance_weights` takes them.
    """

    items: Tensor
    scores: Tensor
    log_inclusion: Tensor

    @classmethod
    def found(cls, ranking: Ranking) -> Drawn:
        """Items of a beam search: they were chosen, nothing was left to chance."""
        return cls(
            ranking.items, ranking.scores.double(), torch.zeros_like(ranking.scores, dtype=torch.float64)
        )

    @classmethod
    def sampled(cls, sample: Sample) -> Drawn:
        """Independent draws."""
        return cls(sample.items, sample.scores, sample.log_probs)

    def pick(self, index: Tensor) -> Drawn:
        """Return those at (B, m) places."""
        return Drawn(*(getattr(self, field.name).gather(1, index) for field in fields(self)))

    def pick_rows(self, rows: Tensor) -> Drawn:
        """Return the draws of some prompts, (m,)."""
        return Drawn(*(getattr(self, field.name)[rows] for field in fields(self)))

    def best_first(self) -> Drawn:
        """Order each row by the policy's log-probability; equal ones as they are."""
        return self.pick(self.scores.argsort(dim=1, descending=True, stable=True))


def joined(parts: Sequence[Drawn], dim: int) -> Drawn:
    """Put draws behind each other, of more prompts (0) or of the same (1)."""
    return Drawn(*(torch.cat([getattr(part, field.name) for part in parts], dim) for field in fields(Drawn)))


def is_repeated(items: Tensor) -> Tensor:
    """Tell, as (B, n) bool, which items stand in their row before."""
    same = items.unsqueeze(2) == items.unsqueeze(1)  # (B, n, n)
    return same.tril(diagonal=-1).any(dim=2)


def most_distinct(drawn: Drawn, targets: Tensor, num_generations: int) -> Drawn:
    """Keep the target if it was drawn, then distinct items, the most likely first, then repeated ones.

    Args:
        drawn: (B, n), n at least G.
        targets: (B,) items.
        num_generations: G.

    Source: ReRe (arXiv:2510.12211), dynamic sampling.
    """
    drawn = drawn.best_first()
    repeated = is_repeated(drawn.items)
    rank = torch.where(drawn.items == targets.unsqueeze(1), 0, 1)
    rank = torch.where(repeated, 2, rank)
    return drawn.pick(rank.argsort(dim=1, stable=True)[:, :num_generations]).best_first()


def beams_and_samples(beams: Drawn, samples: Drawn) -> Drawn:
    """Put the (B, h) beams of a search and (B, m) independent draws into one group.

    For importance weights an item of the search stands for itself, and each draw for one m-th of all other
    items; a draw that is a beam's item, which stands for itself already, has no weight.
    """
    is_beam = (samples.items.unsqueeze(2) == beams.items.unsqueeze(1)).any(dim=2)  # (B, m)
    share = torch.tensor(float(samples.items.shape[1]), dtype=torch.float64).log()
    weighed = (samples.log_inclusion + share.to(is_beam.device)).masked_fill(is_beam, torch.inf)
    return joined([beams, Drawn(samples.items, samples.scores, weighed)], dim=1).best_first()


def with_target(drawn: Drawn, targets: Tensor, scores: Tensor) -> Drawn:
    """Replace the last rollout by the target in rows that lack it, best first again.

    Args:
        drawn: (B, G), best first.
        targets: (B,) items.
        scores: (B,) their log-probabilities under the policy.
    """
    missing = ~(drawn.items == targets.unsqueeze(1)).any(dim=1)  # (B,)
    last = torch.arange(drawn.items.shape[1], device=targets.device) == drawn.items.shape[1] - 1
    put = missing.unsqueeze(1) & last  # (B, G)
    return Drawn(
        torch.where(put, targets.unsqueeze(1), drawn.items),
        torch.where(put, scores.unsqueeze(1), drawn.scores),
        drawn.log_inclusion.masked_fill(put, 0.0),
    ).best_first()
