"""Standardization: embeddings as an encoder sees them, and back.

`scale`, the default, subtracts the mean and divides by one number: dimensions keep their relative weight, so
faint ones are not blown up to be reconstructed as if they mattered. `dimension` divides each by its own
spread. `whiten` turns to the principal axes first, so that all directions weigh the same. `none` does
nothing.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from tokenizer.arrays import blocks, mean_and_spread
from tokenizer.settings import Standardizing

FAINT = 1e-6
"""A direction with less of the largest variance than this is not blown up further."""


class Standardization(nn.Module):
    """Buffers that `fit` fills from embeddings of one width.

    Args:
        kind: As the module describes.
        input_dim: D.
    """

    mean: Tensor
    scale: Tensor
    axes: Tensor | None

    def __init__(self, kind: Standardizing, input_dim: int) -> None:
        super().__init__()
        self.kind = kind
        self.register_buffer("mean", torch.zeros(input_dim))
        self.register_buffer("scale", torch.ones(input_dim if kind in ("dimension", "whiten") else ()))
        self.register_buffer("axes", torch.eye(input_dim) if kind == "whiten" else None)  # (D, D), columns

    def fit(self, vectors: np.ndarray) -> None:
        """Set the buffers so that (N, D) `vectors` get mean 0, and variance 1 on average over D."""
        if self.kind == "none":
            return
        mean, spread = mean_and_spread(vectors)
        self.mean.copy_(torch.from_numpy(mean))
        if self.kind == "scale":
            self.scale.fill_((spread / len(mean)) ** 0.5 or 1.0)  # all vectors equal: nothing to scale
            return
        products = np.zeros((len(mean), len(mean)))
        for rows in blocks(len(vectors), 8 * len(mean)):
            centred = vectors[rows] - mean
            products += centred.T @ centred
        covariance = products / len(vectors)
        if self.axes is None:
            variances = np.diag(covariance)
        else:
            variances, axes = np.linalg.eigh(covariance)
            self.axes.copy_(torch.from_numpy(axes))
        floor = FAINT * float(variances.max()) or 1.0
        self.scale.copy_(torch.from_numpy(np.sqrt(np.maximum(variances, floor))))

    def forward(self, vectors: Tensor) -> Tensor:
        """Give (B, D) embeddings as the encoder sees them."""
        centred = vectors - self.mean
        return (centred if self.axes is None else centred @ self.axes) / self.scale

    def invert(self, standardized: Tensor) -> Tensor:
        """Give (B, D) embeddings back."""
        scaled = standardized * self.scale
        return (scaled if self.axes is None else scaled @ self.axes.T) + self.mean
