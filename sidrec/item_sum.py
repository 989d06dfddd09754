"""Let the last token of an item be read as the sum of the item's codes: it says which item it was.

A code alone says little, and the model would have to put an item together from its tokens by attention. The
last code of an item is only ever read in a history, whole: a search and a rollout predict it and end there.
So the sum is taken where tokens become vectors, for every pass alike, cached or not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from torch.utils.hooks import RemovableHandle
    from transformers import PreTrainedModel


def sum_items(model: PreTrainedModel, token_ids: list[list[int]]) -> RemovableHandle:
    """Make the model read an item's last token as the sum of the embeddings of all its tokens.

    Args:
        model: Any causal LM; its weights stay as they are.
        token_ids: Level by level, the token id of every code.

    Returns:
        A handle that undoes it.
    """
    embeddings: nn.Module = model.get_input_embeddings()
    last = torch.tensor(token_ids[-1])
    earlier = len(token_ids) - 1

    def add_earlier(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Any:
        ends = torch.isin(inputs[0], last.to(inputs[0].device)).unsqueeze(-1)  # (..., T, 1)
        total = output
        for step in range(1, earlier + 1):
            total = total + nn.functional.pad(output, (0, 0, step, 0))[..., : output.shape[-2], :]
        return torch.where(ends, total, output)

    return embeddings.register_forward_hook(add_earlier)
