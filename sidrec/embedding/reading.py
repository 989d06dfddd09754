"""Item texts read by a model: each distinct text once, those of like length together, by way of the cache."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sidrec.embedding.blocks import row_blocks
from sidrec.embedding.cache import VectorCache, keys_of
from sidrec.embedding.checks import require_usable
from sidrec.embedding.config import VectorOptions
from sidrec.embedding.encoder import TextEncoder
from sidrec.embedding.sentence_transformer import load_sentence_transformer, minilm_directory
from sidrec.embedding.transformer import load_transformer
from sidrec.progress import Advance

BATCHES_PER_CHUNK = 8
"""Batches between two writes to the cache, which are what a kill can lose."""


def read_texts(
    items: pd.DataFrame, options: VectorOptions, *, cache: Path, setting: str, progress: Advance | None
) -> Iterator[np.ndarray]:
    """Yield the vectors of the items' texts in blocks, (rows, D) float32 of length 1.

    The model is loaded only if a text is not in the cache.

    Args:
        items: N rows with `item_id` and `text`.
        options: Of one of the methods with a model.
        cache: Directory of the caches of all models.
        setting: What named the model, for messages.
        progress: Called with (texts read, texts to read).

    Raises:
        ConfigError: If the model cannot be loaded, or gives vectors that are not finite or zero.
        ArtifactError: If a file of the cache is broken.
    """
    location = minilm_directory() if options.method == "minilm" else str(options.model)
    vectors = VectorCache(cache / fingerprint(location, options))
    keys = keys_of(items["text"])  # (N,)
    _, firsts = np.unique(keys, return_index=True)
    new = np.sort(firsts[~vectors.has(keys[firsts])])
    done = 0
    if len(new):
        encoder = load_encoder(location, options)
        step = options.batch_size * BATCHES_PER_CHUNK
        for rows in row_blocks(len(new)):
            block = items.iloc[new[rows]]
            for chunk in _chunks_by_length(block["text"], step):
                found = encoder.vectors_of(block["text"].iloc[chunk].tolist())
                require_usable(found, block["item_id"].iloc[chunk], setting)
                vectors.add(keys[new[rows]][chunk], found)
                done += len(chunk)
                if progress is not None:
                    progress(done, len(new))
        vectors.refresh()
    for rows in row_blocks(len(keys)):
        yield vectors.take(keys[rows])


def _chunks_by_length(texts: pd.Series, size: int) -> Iterator[np.ndarray]:
    """Yield the places of the texts, the longest first, `size` at a time."""
    order = np.argsort([-len(text) for text in texts], kind="stable")
    for start in range(0, len(order), size):
        yield order[start : start + size]


def load_encoder(location: str, options: VectorOptions) -> TextEncoder:
    """Load the model that the method means."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()  # of loading weights: ours is of reading texts
    if options.method == "transformer":
        return load_transformer(location, options)
    return load_sentence_transformer(location, options)


def fingerprint(location: str, options: VectorOptions) -> str:
    """Hash what a text's vector depends on beside the text, to rounding: not the batch it was read in."""
    settings: dict[str, Any] = {
        "format": 2,
        "method": options.method,
        "model": options.model,
        "files": _file_stamps(Path(location)),
        "pooling": options.pooling or "mean",
        "prefix": options.prefix,
        "max_length": options.max_length,
    }
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:32]


def _file_stamps(directory: Path) -> list[tuple[str, int, int]]:
    """List a model directory's files with size and time: a retrained model is not the old one."""
    files = sorted(path for path in directory.rglob("*") if path.is_file()) if directory.is_dir() else []
    return [
        (str(path.relative_to(directory)), path.stat().st_size, path.stat().st_mtime_ns) for path in files
    ]
