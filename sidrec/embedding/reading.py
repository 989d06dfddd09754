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
    location = location_of(options)
    vectors = VectorCache(cache / fingerprint(location, options))
    keys = keys_of(items["text"])  # (N,)
    chunks = chunks_to_read(items["text"], keys, vectors, options)
    done, new = 0, sum(map(len, chunks))
    if chunks:
        encoder = load_encoder(location, options)
        for rows in chunks:
            found = encoder.vectors_of(items["text"].iloc[rows].tolist())
            require_usable(found, items["item_id"].iloc[rows], setting)
            vectors.add(keys[rows], found)
            done += len(rows)
            if progress is not None:
                progress(done, new)
        vectors.refresh()
    for block in row_blocks(len(keys)):
        yield vectors.take(keys[block])


def chunks_to_read(
    texts: pd.Series, keys: np.ndarray, vectors: VectorCache, options: VectorOptions
) -> list[np.ndarray]:
    """Return the rows of the texts that the cache lacks, each distinct text once, as they are read together.

    Texts of like length share a chunk. Whoever reads the same chunks gets the same bytes.

    Args:
        texts: N texts.
        keys: (N,) their hashes.
        vectors: The cache.
        options: Of one of the methods with a model.
    """
    _, firsts = np.unique(keys, return_index=True)
    new = np.sort(firsts[~vectors.has(keys[firsts])])
    step = options.batch_size * BATCHES_PER_CHUNK
    chunks = []
    for rows in row_blocks(len(new)):
        block = new[rows]
        longest_first = np.argsort([-len(text) for text in texts.iloc[block]], kind="stable")
        chunks += [block[longest_first[start : start + step]] for start in range(0, len(block), step)]
    return chunks


def location_of(options: VectorOptions) -> str:
    """Return the directory or hub name of the model that the method means."""
    return minilm_directory() if options.method == "minilm" else str(options.model)


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
