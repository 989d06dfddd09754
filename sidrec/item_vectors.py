"""What a model has learnt each item to be: the embeddings of the tokens that name it.

A model directory carries no item vectors: those of `tokenize` stay in the run, and items that are added get
none there. Embeddings of SID tokens are in the weights, come from what users had after what as well as from
texts, and serve new items at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

if TYPE_CHECKING:
    from sidrec.sid_model import SIDModel


@torch.no_grad()
def item_vectors(sid_model: SIDModel) -> np.ndarray:
    """Return a vector of length 1 per item, so that products are cosines.

    The embeddings of an item's codes stand behind each other, so that a level weighs as much as its
    embeddings are long. Titles have no levels: theirs are averaged.

    Returns:
        (N, D) float32: D is L times the width of the model, or where titles name the items the width.
    """
    embeddings: Any = sid_model.model.get_input_embeddings()
    table = embeddings.weight  # not by calling it: prompt.last_token=sum changes what that gives
    names = [torch.tensor(tokens, device=table.device) for tokens in sid_model.prompts.item_tokens]
    if sid_model.prompts.settings.identifiers == "sid":
        vectors = nn.functional.embedding(torch.stack(names), table).flatten(1)  # (N, L * H)
    else:
        starts = torch.tensor([0, *(len(name) for name in names[:-1])], device=table.device).cumsum(0)
        vectors = nn.functional.embedding_bag(torch.cat(names), table, starts, mode="mean")  # (N, H)
    return nn.functional.normalize(vectors.float(), dim=1).cpu().numpy()
