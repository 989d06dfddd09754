"""Item texts to vectors: TF-IDF with truncated SVD, a sentence-transformers model, or a file of own vectors.

Which texts an item has is the catalogue's business; what becomes of the vectors is the tokenizer's.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sidrec.embedding.cache import fingerprint, read_cached
from sidrec.embedding.checks import require_usable_rows
from sidrec.embedding.config import EmbeddingConfig
from sidrec.embedding.files import read_vectors
from sidrec.embedding.sentence_transformer import Progress, model_location, sentence_vectors
from sidrec.embedding.tfidf import tfidf_vectors


def embed(
    texts: Sequence[str],
    config: EmbeddingConfig,
    *,
    cache: Path | None,
    seed: int,
    progress: Progress | None = None,
) -> np.ndarray:
    """Return one vector per text; same texts, settings and seed, same bytes; equal texts, equal vectors.

    Rows are L2-normalised, except those of a file, which stay as they are. With `tfidf`, D is at most the
    number of texts and of words, and a text without a word is a row of zeros.

    Args:
        texts: N item texts, in the order of the items table.
        config: The method and its settings.
        cache: Directory of vectors computed before, by hash of settings and texts; None computes anew.
        seed: Of the randomised SVD.
        progress: Called with (texts done, texts in all) while a model runs.

    Returns:
        (N, D) float32, finite.

    Raises:
        ConfigError: If the model or the file cannot be read, or has not one usable row per item.
        CatalogError: If no text has a word.
        ArtifactError: If the cached vectors are broken.
    """
    if config.path is not None:
        return read_vectors(config.path, len(texts))
    if cache is None:
        return _compute(texts, config, seed=seed, progress=progress)
    path = Path(cache) / f"{fingerprint(texts, config, seed=seed)}.npy"
    if path.exists():
        return read_cached(path, len(texts))
    vectors = _compute(texts, config, seed=seed, progress=progress)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.stem}.{os.getpid()}.tmp")
    with unfinished.open("wb") as file:
        np.save(file, vectors, allow_pickle=False)
    unfinished.replace(path)
    return vectors


def _compute(
    texts: Sequence[str], config: EmbeddingConfig, *, seed: int, progress: Progress | None
) -> np.ndarray:
    """Compute the vectors by `config.method`."""
    if config.method == "tfidf":
        return tfidf_vectors(texts, dim=config.dim, seed=seed)
    vectors = sentence_vectors(texts, model_location(config), batch_size=config.batch_size, progress=progress)
    require_usable_rows(vectors, f"embedding.model={config.model or config.method}")
    return vectors
