"""Dropout while training, in models that have none of their own or another share of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn

if TYPE_CHECKING:
    from torch.utils.hooks import RemovableHandle
    from transformers import PreTrainedModel


def add_dropout(model: PreTrainedModel, probability: float) -> list[RemovableHandle]:
    """Drop embeddings and outputs of attention and MLP while training: small data need it.

    Returns:
        Handles; remove them when training is over.
    """
    if probability == 0:
        return []

    def drop(module: nn.Module, _: object, output: Any) -> Any:
        if not module.training:
            return output
        if isinstance(output, tuple):
            return (nn.functional.dropout(output[0], probability), *output[1:])
        return nn.functional.dropout(output, probability)

    parts = [
        module
        for name, module in model.named_modules()
        if name.rpartition(".")[2] in ("self_attn", "mlp", "item_embedding")
    ]
    return [module.register_forward_hook(drop) for module in [model.get_input_embeddings(), *parts]]
