"""The encoder and the decoder of an RQ-VAE: linear layers with ReLU between them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn


class MLP(nn.Module):
    """Linear layers with ReLU between them, initialized like torch's own, but from `generator`.

    Args:
        widths: Of the input, the hidden layers and the output.
        batch_norm: Normalize before each ReLU.
        residual: Add the output to the input, of equal width; the last layer begins at 0, so that the whole
            begins as the identity.
    """

    def __init__(
        self,
        widths: Sequence[int],
        *,
        generator: torch.Generator,
        batch_norm: bool = False,
        residual: bool = False,
    ) -> None:
        super().__init__()
        self.residual = residual
        layers: list[nn.Module] = []
        for place, (fan_in, fan_out) in enumerate(pairwise(widths)):
            linear = nn.utils.skip_init(nn.Linear, fan_in, fan_out)
            bound = 1 / fan_in**0.5
            nn.init.uniform_(linear.weight, -bound, bound, generator=generator)
            nn.init.uniform_(linear.bias, -bound, bound, generator=generator)
            layers.append(linear)
            if place < len(widths) - 2:
                layers += [nn.BatchNorm1d(fan_out), nn.ReLU()] if batch_norm else [nn.ReLU()]
        if residual:
            nn.init.zeros_(layers[-1].weight)  # type: ignore[arg-type]
            nn.init.zeros_(layers[-1].bias)  # type: ignore[arg-type]
        self.layers = nn.Sequential(*layers)

    def forward(self, rows: Tensor) -> Tensor:
        """Map (B, first width) to (B, last width)."""
        mapped = self.layers(rows)
        return rows + mapped if self.residual else mapped
