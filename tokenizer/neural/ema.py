"""Codebooks that follow a moving average instead of a gradient.

A code vector is the average of the residuals that were nearest to it, older ones counting less. It needs no
learning rate and moves with the encoder; dead codes are still revived as without it.

Source: van den Oord et al., "Neural discrete representation learning" (arXiv:1711.00937), appendix A.1.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tokenizer.neural.quantize import ResidualQuantizer

SMOOTHING = 1e-5
"""Added to every count, so that a code without any residual is not divided by 0."""


class MovingAverages:
    """Counts and sums of the residuals of every code.

    Args:
        quantizer: Its codebooks are written to; they begin as averages of one residual each.
        decay: Share of the old average that a step keeps.
    """

    def __init__(self, quantizer: ResidualQuantizer, *, decay: float) -> None:
        self.quantizer = quantizer
        self.decay = decay
        self.counts = [book.new_ones(len(book)) for book in quantizer.codebooks]
        self.sums = [book.detach().clone() for book in quantizer.codebooks]

    @torch.no_grad()
    def update(self, latents: Tensor, codes: Tensor) -> None:
        """Take (B, d) latents and the (B, L) codes they got into the averages, and move the code vectors."""
        residuals = latents.detach()
        for level, book in enumerate(self.quantizer.codebooks):
            own = codes[:, level]
            left = residuals - book[own]
            counts = torch.zeros_like(self.counts[level]).index_add_(0, own, torch.ones_like(residuals[:, 0]))
            sums = torch.zeros_like(book).index_add_(0, own, residuals)
            self.counts[level].lerp_(counts, 1 - self.decay)
            self.sums[level].lerp_(sums, 1 - self.decay)
            total = self.counts[level].sum()
            smoothed = (self.counts[level] + SMOOTHING) / (total + SMOOTHING * len(book)) * total
            book.copy_(self.sums[level] / smoothed.unsqueeze(1))
            residuals = left

    @torch.no_grad()
    def restart(self, level: int, codes: Tensor) -> None:
        """Let the averages of revived codes begin anew at their code vectors."""
        self.counts[level][codes] = 1
        self.sums[level][codes] = self.quantizer.codebooks[level][codes]
