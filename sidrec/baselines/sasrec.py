"""SASRec: self-attention over the items of a history."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from sidrec.baselines.config import SASRecBCEConfig
from sidrec.baselines.sequential import EMBEDDING_STD, SequentialModel


class SASRec(SequentialModel):
    """Causal self-attention over item vectors; the input and output vectors of an item are the same.

    Blocks are normalized before each part and widen fourfold with GELU, which trains better than the paper's
    own. Positions are counted back from the newest item, as in the paper, whose rows are padded on the left:
    a state depends on no later item, but on how many there are. The weights depend on `seed` alone; torch's
    global random state is neither read nor moved.

    Source: arXiv:1808.09781.
    """

    def __init__(self, num_items: int, settings: SASRecBCEConfig, *, seed: int) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            super().__init__(num_items, settings)
            d = settings.hidden_dim
            self.position_embedding = nn.Embedding(settings.max_history, d)
            self.dropout = nn.Dropout(settings.dropout)
            blocks = [_Block(d, settings.num_heads, settings.dropout) for _ in range(settings.num_layers)]
            self.blocks = nn.Sequential(*blocks)
            self.norm = nn.LayerNorm(d)
            nn.init.normal_(self.position_embedding.weight, std=EMBEDDING_STD)

    def forward(self, items: Tensor) -> Tensor:
        """Read (B, T) right-padded items; return (B, T, d) states.

        Raises:
            ValueError: If T is more than `max_history`: there are no vectors for later positions.
        """
        num_positions = self.position_embedding.num_embeddings
        if items.shape[1] > num_positions:
            raise ValueError(
                f"This SASRec reads histories of up to {num_positions} items, got {items.shape[1]}. "
                "Give the newest ones only, or train with a larger max_history."
            )
        lengths = (items != self.padding).sum(dim=1, keepdim=True)  # (B, 1)
        places = torch.arange(items.shape[1], device=items.device)
        items_after = lengths - 1 - places  # (B, T), negative at padding
        positions = self.position_embedding(items_after.clamp(min=0))  # (B, T, d)
        return self.norm(self.blocks(self.dropout(self.embed(items) + positions)))


class _Block(nn.Module):
    """Causal self-attention and a feed-forward part, each added to its input.

    Rows are padded on the right, so the causal mask alone keeps padding from every state that counts.
    """

    def __init__(self, d: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.dropout_rate = dropout
        self.attention_norm = nn.LayerNorm(d)
        self.queries_keys_values = nn.Linear(d, 3 * d)
        self.attention_out = nn.Linear(d, d)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(d), nn.Linear(d, 4 * d), nn.GELU(), nn.Linear(4 * d, d), nn.Dropout(dropout)
        )
        self.dropout = nn.Dropout(dropout)
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)

    def forward(self, states: Tensor) -> Tensor:
        """Map (B, T, d) to (B, T, d)."""
        B, T, d = states.shape
        stacked = self.queries_keys_values(self.attention_norm(states))
        heads = stacked.view(B, T, 3, self.num_heads, d // self.num_heads).permute(2, 0, 3, 1, 4)
        queries, keys, values = heads  # (B, heads, T, d / heads) each
        attended = functional.scaled_dot_product_attention(
            queries, keys, values, is_causal=True, dropout_p=self.dropout_rate if self.training else 0.0
        )
        joined = attended.transpose(1, 2).reshape(B, T, d)
        states = states + self.dropout(self.attention_out(joined))
        return states + self.feed_forward(states)
