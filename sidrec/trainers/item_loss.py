"""An auxiliary loss on whole items: the state before a SID tells the item at once, not its first code alone.

A search goes code by code all the same, from states that know where they lead; see `sidrec.item_rows`.
"""

from __future__ import annotations

from torch import Tensor, nn

from sidrec.item_rows import item_logits
from sidrec.scoring import SIDScorer


def item_losses(
    scorer: SIDScorer,
    states: Tensor,
    items: Tensor,
    codes: Tensor,
    *,
    own: Tensor | None = None,
    smoothing: float = 0.0,
) -> Tensor:
    """Return the cross entropy of items over the whole catalogue, in nats: (S,).

    Args:
        scorer: Model and trie.
        states: (S, H) hidden states that predict the first code of an item.
        items: (S,) catalogue rows.
        codes: (N, L) SIDs of the catalogue.
        own: (N, H) what items have beside the rows of their codes.
        smoothing: Share of an item's mass that is spread evenly over the catalogue.
    """
    logits = item_logits(scorer, states, codes, own)  # (S, N)
    return nn.functional.cross_entropy(logits, items, reduction="none", label_smoothing=smoothing)
