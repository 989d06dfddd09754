"""Rows of an output layer or of embeddings as they are now, also where peft keeps the trained ones apart."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class OutputRows:
    """The effective rows of an output layer; gradients flow into whatever is trained of them.

    peft freezes the weight and keeps the rows that it trains in a parameter of their own: `head.weight[ids]`
    is either the frozen rows or a copy of the whole layer, made for a few of them.

    Attributes:
        layer: The layer itself, linear or of embeddings, without peft around it.
    """

    def __init__(self, head: nn.Module) -> None:
        """Take the output layer or the input embeddings of a model, with or without trained tokens."""
        adapter = getattr(head, "token_adapter", None)
        layer: Any = head if adapter is None else adapter.get_base_layer()
        self.layer: nn.Linear | nn.Embedding = layer
        self._adapter = adapter
        if adapter is not None:
            [self._name] = adapter.active_adapters
            trained = torch.tensor(adapter.token_indices[self._name])
            places = torch.full((self.layer.weight.shape[0],), -1)
            places[trained] = torch.arange(len(trained))
            self._places = places.to(self.layer.weight.device)

    def __len__(self) -> int:
        return int(self.layer.weight.shape[0])

    def __call__(self, token_ids: Tensor) -> Tensor:
        """Return the rows of (n,) tokens, (n, H)."""
        frozen = self.layer.weight[token_ids]
        if self._adapter is None:
            return frozen
        places = self._places[token_ids]  # (n,): -1 = not trained
        trained = self._adapter.trainable_tokens_delta[self._name][places.clamp(min=0)]
        return torch.where((places >= 0).unsqueeze(-1), trained, frozen)

    def bias(self, token_ids: Tensor) -> Tensor | None:
        """Return the biases of (n,) tokens, if the layer has any."""
        bias: Tensor | None = getattr(self.layer, "bias", None)
        return None if bias is None else bias[token_ids]
