"""Tell whole items at once, from the state before a semantic ID: an output layer over the catalogue.

The row of an item is the sum of the output rows of its codes and, if it was trained with one, a part of its
own: by it the model tells items apart that have most of their codes in common.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from sidrec.decoding import Ranking
from sidrec.metrics import PADDING
from sidrec.scoring import LOGITS, SIDScorer

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NAME = "item_rows"
"""Of the items' own parts, as long as a model is trained with them."""


def item_rows(scorer: SIDScorer, codes: Tensor, own: Tensor | None = None) -> Tensor:
    """Return the output row of each item, (N, H).

    Args:
        scorer: Whose output layer tells codes.
        codes: (N, L) SIDs of the catalogue, PADDING after the last code.
        own: (N, H) parts of the items' own.
    """
    total = torch.zeros((), device=codes.device) if own is None else own
    for level, ids in enumerate(scorer.token_ids):
        of_level = codes[:, level]
        known = of_level.clamp(min=0)
        rows = scorer.rows(known if scorer.codes_are_tokens else ids[known])  # (N, H)
        total = total + rows.masked_fill((of_level == PADDING).unsqueeze(1), 0)
    return total


def item_logits(scorer: SIDScorer, states: Tensor, codes: Tensor, own: Tensor | None = None) -> Tensor:
    """Return the float32 logits of all items after (..., H) states that predict a first code, (..., N)."""
    return nn.functional.linear(states, item_rows(scorer, codes, own)).float()


@torch.no_grad()
def reranked(rows: Tensor, states: Tensor, ranking: Ranking, weight: float) -> Ranking:
    """Put each list into the order of log p(SID) + weight * log p(item), which are its scores then.

    Args:
        rows: (N, H) of `item_rows`.
        states: (B, H) that predict a first code.
        ranking: Of the B prompts.
        weight: 0 leaves the order as it is.
    """
    found = []
    size = max(1, LOGITS // len(rows))
    for part, items in zip(states.split(size), ranking.items.split(size), strict=True):
        log_probs = nn.functional.linear(part, rows).float().log_softmax(-1)  # (b, N)
        found.append(log_probs.gather(1, items.clamp(min=0)))
    scores = ranking.scores + weight * torch.cat(found)  # -inf stays where a list has ended
    order = scores.argsort(dim=1, descending=True, stable=True)
    index = order.unsqueeze(-1).expand_as(ranking.codes)
    return replace(
        ranking,
        items=ranking.items.gather(1, order),
        codes=ranking.codes.gather(1, index),
        scores=scores.gather(1, order),
    )


def add_own_rows(model: PreTrainedModel, num_items: int) -> nn.Embedding:
    """Give items parts of their own, zeros at first, that are trained and checkpointed with the model."""
    weight: Tensor = model.get_input_embeddings().weight  # type: ignore[assignment]
    own = nn.Embedding(num_items, weight.shape[1], device=weight.device, dtype=weight.dtype)
    nn.init.zeros_(own.weight)
    model.add_module(NAME, own)
    return own


def take_own_rows(model: PreTrainedModel) -> Tensor:
    """Take them out again, (N, H): a model directory holds them beside the model."""
    own: nn.Embedding = model.get_submodule(NAME)  # type: ignore[assignment]
    delattr(model, NAME)
    return own.weight.detach()
