"""An auxiliary loss on whole items: the state before a SID tells the item at once, not its first code alone.

What it teaches is dropped at inference: a search goes code by code, from states that know where they lead.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sidrec.metrics import PADDING
from sidrec.scoring import SIDScorer


def item_rows(scorer: SIDScorer, codes: Tensor) -> Tensor:
    """Return a row of an output layer over items, (N, H): the sum of the output rows of an item's codes.

    Args:
        scorer: Whose output layer it is.
        codes: (N, L) SIDs of the catalogue, PADDING after the last code.
    """
    total = torch.zeros((), device=codes.device)
    for level, ids in enumerate(scorer.token_ids):
        of_level = codes[:, level]
        known = of_level.clamp(min=0)
        rows = scorer.rows(known if scorer.codes_are_tokens else ids[known])  # (N, H)
        total = total + rows.masked_fill((of_level == PADDING).unsqueeze(1), 0)
    return total


def item_losses(
    scorer: SIDScorer, states: Tensor, items: Tensor, codes: Tensor, *, smoothing: float = 0.0
) -> Tensor:
    """Return the cross entropy of items over the whole catalogue, in nats: (S,).

    Args:
        scorer: Model and trie.
        states: (S, H) hidden states that predict the first code of an item.
        items: (S,) catalogue rows.
        codes: (N, L) SIDs of the catalogue.
        smoothing: Share of an item's mass that is spread evenly over the catalogue.
    """
    logits = nn.functional.linear(states, item_rows(scorer, codes)).float()  # (S, N)
    return nn.functional.cross_entropy(logits, items, reduction="none", label_smoothing=smoothing)
