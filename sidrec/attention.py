"""What reading one prompt for many continuations needs: masks by position, and a cache that appends.

Continuations stand in the sequence dimension, so a mask must say who sees whom. Windows of sliding attention
count positions, not places in the row: those differ as soon as continuations stand side by side.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers.cache_utils import Cache, DynamicLayer

if TYPE_CHECKING:
    from transformers import PreTrainedModel

FULL, SLIDING = "full_attention", "sliding_attention"


@dataclass(frozen=True)
class AttentionKind:
    """How the layers of a model attend.

    Attributes:
        layers: The distinct types of its layers.
        window: Positions that a sliding layer sees, the token itself counted; None without such layers.
    """

    layers: tuple[str, ...]
    window: int | None

    @classmethod
    def of(cls, model: PreTrainedModel) -> AttentionKind:
        """Read it from the model's config."""
        config = model.config.get_text_config()
        window = getattr(config, "sliding_window", None)
        layers = getattr(config, "layer_types", None) or [FULL if window is None else SLIDING]
        return cls(tuple(sorted(set(layers))), window if SLIDING in layers else None)

    def masks(
        self, visible: Tensor, query_positions: Tensor, key_positions: Tensor, dtype: torch.dtype
    ) -> Tensor | dict[str, Tensor]:
        """Return what the model takes as `attention_mask`: one 4-D mask, or one per type of layer.

        Args:
            visible: (B, Q, T) bool: which keys a query sees where nothing slides; every query sees one.
            query_positions: (B, Q) int64.
            key_positions: (B, T) int64.
            dtype: Of the model.
        """
        masks = {}
        for layer in self.layers:
            seen = visible
            if layer == SLIDING and self.window is not None:
                near = query_positions.unsqueeze(-1) - key_positions.unsqueeze(1) < self.window
                seen = visible & near
            masks[layer] = additive_mask(seen.unsqueeze(1), dtype)  # (B, 1, Q, T)
        return masks if len(masks) > 1 else masks[self.layers[0]]


@contextmanager
def evaluating(model: PreTrainedModel) -> Iterator[None]:
    """Put a model into evaluation mode for a while, and back into the mode it was in."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


def additive_mask(visible: Tensor, dtype: torch.dtype) -> Tensor:
    """Return a 4-D attention mask: 0 where `visible`, else the least number of `dtype`."""
    return torch.zeros(visible.shape, dtype=dtype, device=visible.device).masked_fill(
        ~visible, torch.finfo(dtype).min
    )


class AppendCache(Cache):
    """Keys and values of one sequence per row, which grows at the end and can be cut there.

    Room is made ahead, so that what was read before is not copied when beams are appended. Layers with a
    window keep all keys: the masks do the windowing.
    """

    def __init__(self, capacity: int, prefix: AppendCache | None = None, rows: int = 1) -> None:
        """Make room for `capacity` tokens; begin with those of a `prefix` of one row, in all `rows`."""
        super().__init__(layer_class_to_replicate=partial(AppendLayer, capacity=capacity))  # type: ignore[arg-type]
        for layer in [] if prefix is None else prefix.append_layers():
            begun = AppendLayer(capacity=capacity)
            begun.update(layer.keys.expand(rows, -1, -1, -1), layer.values.expand(rows, -1, -1, -1))
            self.layers.append(begun)

    def append_layers(self) -> list[AppendLayer]:
        """Return the layers, which are all of this kind."""
        return [layer for layer in self.layers if isinstance(layer, AppendLayer)]

    def rewind(self, length: int) -> None:
        """Forget all but the first `length` tokens."""
        for layer in self.append_layers():
            layer.crop(length - layer.get_seq_length())


class AppendLayer(DynamicLayer):
    """One layer's (B, heads, T, d) keys and values, in buffers with room for more."""

    _layer_type = None
    keys: Tensor
    values: Tensor

    def __init__(self, capacity: int, **_: object) -> None:
        """Make room for `capacity` tokens."""
        super().__init__()
        self._capacity = capacity
        self._buffers: tuple[Tensor, Tensor] | None = None

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Append (B, heads, T, d) keys and values and return all."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        before = self.get_seq_length()
        after = before + key_states.shape[-2]
        if self._buffers is None or after > self._buffers[0].shape[-2]:
            self._grow(key_states, value_states, max(self._capacity, after))
        assert self._buffers is not None
        for buffer, states in zip(self._buffers, (key_states, value_states), strict=True):
            buffer[:, :, before:after] = states
        self.keys, self.values = (buffer[:, :, :after] for buffer in self._buffers)
        return self.keys, self.values

    def _grow(self, key_states: Tensor, value_states: Tensor, capacity: int) -> None:
        old = (self.keys, self.values)
        self._buffers = tuple(  # type: ignore[assignment]
            states.new_empty((*states.shape[:2], capacity, states.shape[-1]))
            for states in (key_states, value_states)
        )
        length = self.get_seq_length()
        if length:
            for buffer, states in zip(self._buffers, old, strict=True):  # type: ignore[arg-type]
                buffer[:, :, :length] = states


@contextmanager
def last_token_only(model: PreTrainedModel) -> Iterator[None]:
    """Let the last MLP of a model see the last token alone, where nothing else of its output is used.

    After the keys and values of the last layer, nothing of a prompt is needed but the state of its last
    token; the layer's MLP, most of its work, is per token. The states of the other tokens are wrong then.
    Holds for the calling thread alone. A model whose last MLP is not found is left as it is.
    """
    caller = threading.get_ident()

    def cut(_: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        if threading.get_ident() != caller:
            return inputs
        return (inputs[0][:, -1:], *inputs[1:])

    found = [module for name, module in model.named_modules() if name.rpartition(".")[2] == "mlp"]
    handle = found[-1].register_forward_pre_hook(cut) if found else None
    try:
        yield
    finally:
        if handle is not None:
            handle.remove()


@torch.no_grad()
def last_token_suffices(model: PreTrainedModel, token: int) -> bool:
    """Find out whether `last_token_only` leaves the last token's state as it is."""
    ids = torch.tensor([[token, abs(token - 1), token]], device=model.device)
    with evaluating(model):
        whole = model.base_model(input_ids=ids, use_cache=False).last_hidden_state[:, -1]
        try:
            with last_token_only(model):
                cut = model.base_model(input_ids=ids, use_cache=False).last_hidden_state[:, -1]
        except (AttributeError, IndexError, RuntimeError, TypeError, ValueError):
            return False
    return torch.allclose(whole, cut, atol=1e-3 if whole.dtype == torch.float32 else 5e-2, equal_nan=True)


@torch.no_grad()
def sharing_problem(model: PreTrainedModel, kind: AttentionKind, token: int) -> str | None:
    """Say why continuations of one prompt cannot stand side by side in its row; None if they can.

    Types of layers and kernels that are known not to do it are named; all others have to show on a prompt of
    three tokens that a continuation beside another is read as it is alone.

    Args:
        model: A causal LM.
        kind: How it attends.
        token: Any token id.
    """
    other = sorted(set(kind.layers) - {FULL, SLIDING})
    if other:
        return f"has layers of type {', '.join(other)}"
    implementation = getattr(model.config.get_text_config(), "_attn_implementation", "sdpa")
    if implementation not in ("sdpa", "eager"):
        return f"attends by {implementation!r}, which takes no 4-D mask"
    try:
        with evaluating(model):
            beside, alone = _beside(model, kind, token), _alone(model, token)
    except (
        AttributeError,
        IndexError,
        KeyError,
        NotImplementedError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:
        return f"does not take explicit masks, positions and caches ({type(error).__name__}: {error})"
    tolerance = 1e-3 if beside.dtype == torch.float32 else 5e-2
    scale = alone.abs().max().clamp(min=1.0)
    if torch.allclose(beside / scale, alone / scale, atol=tolerance, equal_nan=True):
        return None
    return "reads a continuation beside others differently"


def _alone(model: PreTrainedModel, token: int) -> Tensor:
    """The last hidden state of [a, b, a, b], read in one go."""
    other = abs(token - 1)
    ids = torch.tensor([[token, other, token, other]], device=model.device)
    return model.base_model(input_ids=ids, use_cache=False).last_hidden_state[0, -1]


def _beside(model: PreTrainedModel, kind: AttentionKind, token: int) -> Tensor:
    """The same by the prompt [a, b, a] and then its continuations a and b, side by side."""
    other = abs(token - 1)
    ids = torch.tensor([[token, other, token, token, other]], device=model.device)
    places = torch.tensor([[0, 1, 2, 3, 3]], device=model.device)
    visible = torch.ones((1, 5, 5), dtype=torch.bool, device=model.device).tril()
    visible[0, 4, 3] = False
    cache = AppendCache(capacity=5)
    hidden = None
    for start, stop in ((0, 3), (3, 5)):
        masks = kind.masks(
            visible[:, start:stop, :stop], places[:, start:stop], places[:, :stop], model.dtype
        )
        hidden = model.base_model(
            input_ids=ids[:, start:stop],
            attention_mask=masks,
            position_ids=places[:, start:stop],
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state
    assert hidden is not None
    return hidden[0, -1]
