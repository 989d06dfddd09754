"""GRU4Rec: a recurrent network over the items of a history."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sidrec.baselines.config import GRU4RecConfig
from sidrec.baselines.sequential import SequentialModel


class GRU4Rec(SequentialModel):
    """Gated recurrent units over item vectors; the input and output vectors of an item are the same.

    The weights depend on `seed` alone; torch's global random state is neither read nor moved.

    Source: arXiv:1511.06939, with the softmax over all items in place of its sampled ranking losses.
    """

    def __init__(self, num_items: int, settings: GRU4RecConfig, *, seed: int) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            super().__init__(num_items, settings)
            d = settings.hidden_dim
            between_layers = settings.dropout if settings.num_layers > 1 else 0.0
            self.gru = nn.GRU(d, d, settings.num_layers, batch_first=True, dropout=between_layers)
            self.norm = nn.LayerNorm(d)
            self.dropout = nn.Dropout(settings.dropout)

    def forward(self, items: Tensor) -> Tensor:
        """Read (B, T) right-padded items; return (B, T, d) states."""
        states, _ = self.gru(self.dropout(self.embed(items)))
        return self.norm(self.dropout(states))
