"""Any Hugging Face text encoder, or the trunk of a causal LM, with its hidden states pooled."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sidrec.embedding.config import VectorOptions
from sidrec.embedding.encoder import TextEncoder, length_limit
from sidrec.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase


def load_transformer(location: str, options: VectorOptions) -> TextEncoder:
    """Load a model from a directory or the Hugging Face hub, in float32, on the GPU if there is one.

    Raises:
        ConfigError: If there is no whole model with safetensors weights, or no text tokenizer.
    """
    import torch

    model, text_tokenizer = _load(location)
    max_length = length_limit(options.max_length, text_tokenizer, model)
    model = model.to("cuda" if torch.cuda.is_available() else "cpu").eval()
    prefix, pooling = options.prefix or "", options.pooling or "mean"

    @torch.inference_mode()
    def encode(texts: list[str]) -> np.ndarray:
        rows = text_tokenizer([prefix + text for text in texts], verbose=False)["input_ids"]
        order = sorted(range(len(rows)), key=lambda row: -len(rows[row]))
        pooled = []
        for start in range(0, len(order), options.batch_size):
            token_ids, mask = pad_right([rows[row] for row in order[start : start + options.batch_size]])
            hidden = model(
                input_ids=token_ids.to(model.device), attention_mask=mask.to(model.device, torch.int64)
            ).last_hidden_state  # (B, T, D)
            pooled.append(pool(hidden, mask.to(model.device), pooling).float().cpu())
        vectors = torch.empty(len(rows), pooled[0].shape[1])
        vectors[order] = torch.cat(pooled)
        return vectors.numpy()

    return TextEncoder(encode, text_tokenizer, prefix, max_length)


def pad_right(rows: list[list[int]]) -> tuple[Tensor, Tensor]:
    """Return (B, T) int64 token ids and the bool mask of those that are no padding.

    Always on the right, whatever side a text tokenizer prefers: there it moves no position, and no token of
    a causal model sees it. Which id stands there does not matter.
    """
    import torch

    lengths = torch.tensor([len(row) for row in rows])
    token_ids = torch.zeros(len(rows), int(lengths.max()), dtype=torch.int64)
    mask = torch.arange(token_ids.shape[1]) < lengths[:, None]
    token_ids[mask] = torch.tensor([token_id for row in rows for token_id in row])
    return token_ids, mask


def pool(hidden: Tensor, mask: Tensor, pooling: str) -> Tensor:
    """Return (B, D) vectors of (B, T, D) hidden states.

    Args:
        hidden: Of the last layer.
        mask: (B, T) bool, True for tokens, which are on the left and at least one.
        pooling: mean, last or cls.
    """
    import torch

    if pooling == "cls":
        return hidden[:, 0]
    lengths = mask.sum(dim=1)  # (B,)
    if pooling == "last":
        return hidden[torch.arange(len(hidden), device=hidden.device), lengths - 1]
    return hidden.masked_fill(~mask[:, :, None], 0).sum(dim=1) / lengths[:, None]


def _load(location: str) -> tuple[Any, PreTrainedTokenizerBase]:
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModel, AutoTokenizer

    hint = "Name a directory that holds one, or a model of the Hugging Face hub."
    if Path(location).is_dir() and not (Path(location) / "config.json").is_file():
        raise ConfigError(f"embedding.model={location} holds no config.json, so it is no model. {hint}")
    try:
        model, report = AutoModel.from_pretrained(
            location,
            dtype=torch.float32,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
        text_tokenizer = AutoTokenizer.from_pretrained(location, trust_remote_code=False)
    except (OSError, ValueError, SafetensorError) as error:
        raise ConfigError(
            f"embedding.model={location} cannot be loaded as a model with safetensors weights and its text "
            f"tokenizer ({str(error).splitlines()[0]}). {hint}"
        ) from error
    # A pooling layer comes after the hidden states; anything else that is missing would be random.
    missing = [name for name in report["missing_keys"] if "pooler" not in name]
    if missing:
        raise ConfigError(
            f"embedding.model={location} lacks {len(missing)} of the model's weights ({missing[0]}, ...), "
            "which would be random. Save the whole model there."
        )
    # Where the files are missing, transformers makes an empty tokenizer of some classes, silently.
    if set(text_tokenizer.get_vocab()) <= set(text_tokenizer.all_special_tokens):
        raise ConfigError(
            f"embedding.model={location} holds no text tokenizer that can encode text. Save the model's own "
            "there."
        )
    model.config.use_cache = False
    return (model.get_encoder() if model.config.is_encoder_decoder else model), text_tokenizer
