"""A model that reads texts, as the cache and the windows see it; which model it is is left to others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sidrec.embedding.windows import cut
from sidrec.errors import ConfigError

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class TextEncoder:
    """A model with its text tokenizer.

    Attributes:
        encode: Texts, none longer than `max_length` with the prefix -> (n, D) float32.
        text_tokenizer: None for a model that has none of the kind.
        prefix: What `encode` puts before each text.
        max_length: Tokens that the model reads at once; None: any number.
    """

    encode: Callable[[list[str]], np.ndarray]
    text_tokenizer: PreTrainedTokenizerBase | None
    prefix: str
    max_length: int | None

    def vectors_of(self, texts: Sequence[str]) -> np.ndarray:
        """Return (N, D) float32 rows of length 1.

        The vector of a long text is the mean of its windows' vectors, each of length 1, weighted by their
        number of tokens.
        """
        windows = cut(texts, self.text_tokenizer, prefix=self.prefix, max_length=self.max_length)
        weighted = _normalized(self.encode(windows.texts)) * windows.tokens[:, None]
        firsts = np.searchsorted(windows.owners, np.arange(len(texts)))
        return _normalized(np.add.reduceat(weighted, firsts, axis=0)).astype(np.float32)


def _normalized(vectors: np.ndarray) -> np.ndarray:
    """Return rows of length 1 in float64; rows of zeros stay."""
    vectors = vectors.astype(np.float64)
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, norms, out=vectors, where=norms != 0)


def length_limit(
    wanted: int | None, text_tokenizer: PreTrainedTokenizerBase | None, model: nn.Module | None
) -> int | None:
    """Return how many tokens a model shall read at once: what is wanted, else all that it can.

    Raises:
        ConfigError: If more is wanted than the model has positions for, or texts cannot be cut.
    """
    positions = None if model is None else _positions(model)
    if wanted is not None and positions is not None and wanted > positions:
        raise ConfigError(
            f"embedding.max_length={wanted} is more than the {positions} tokens that the model can read. "
            "Lower it, or leave it out."
        )
    own = [positions, getattr(text_tokenizer, "model_max_length", None)]
    known = [int(limit) for limit in own if limit is not None and limit < 1e9]  # 1e30 stands for unknown
    limit = wanted if wanted is not None else min(known, default=None)
    if limit is not None and not getattr(text_tokenizer, "is_fast", False):
        raise ConfigError(
            f"The model reads {limit} tokens at once, and has no fast tokenizer (tokenizer.json) to cut "
            "longer texts with. Save one with it, or use another model."
        )
    return limit


def _positions(model: Any) -> int | None:
    """Return how many positions a model has."""
    from torch import nn

    config = model.config.get_text_config()
    limit: int | None = getattr(config, "max_position_embeddings", None)
    for module in model.modules():
        table = getattr(module, "position_embeddings", None)
        if (
            isinstance(table, nn.Embedding) and table.padding_idx is not None
        ):  # as RoBERTa, which counts from there
            return table.num_embeddings - table.padding_idx - 1
    return limit
