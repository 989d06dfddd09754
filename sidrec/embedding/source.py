"""One source of vectors: what is fitted to the first items, and the vectors of those and of later ones."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np
import pandas as pd

from sidrec.embedding.blocks import row_blocks
from sidrec.embedding.checks import require_usable
from sidrec.embedding.config import EmbeddingConfig, VectorOptions
from sidrec.embedding.files import read_vectors
from sidrec.embedding.fitted import Tensors, read_fitted, write_fitted
from sidrec.embedding.reading import read_texts
from sidrec.embedding.tfidf import TFIDF_NAMES, TfidfEmbedder
from sidrec.progress import Advance


@dataclass(frozen=True)
class Source:
    """Where vectors come from.

    Attributes:
        options: The section `embedding`, or one of its sources.
        setting: What the user wrote of it, for messages.
    """

    options: VectorOptions
    setting: str

    @property
    def fitted_names(self) -> tuple[str, ...]:
        """Names of what `fit` returns."""
        return TFIDF_NAMES if self.options.method == "tfidf" else ()

    def fit(self, items: pd.DataFrame, *, cache: Path, seed: int) -> Tensors:
        """Return what must be kept for later items; nothing of it, but with `tfidf`."""
        if self.options.method != "tfidf":
            return {}
        path = cache / f"tfidf-{_corpus_hash(items['text'], dim=self.options.dim, seed=seed)}.safetensors"
        if path.exists():
            return read_fitted(path, remedy="Remove the file.")
        fitted = TfidfEmbedder.fit(items["text"], dim=self.options.dim, seed=seed).to_tensors()
        cache.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f"{path.stem}.{os.getpid()}.tmp")
        write_fitted(unfinished, fitted)
        unfinished.replace(path)
        return fitted

    def blocks(
        self, items: pd.DataFrame, fitted: Tensors, *, cache: Path, progress: Advance | None
    ) -> Iterator[np.ndarray]:
        """Return the vectors of N items in blocks, (rows, D) float32 each."""
        options = self.options
        if options.method == "tfidf":
            embedder = TfidfEmbedder.from_tensors(fitted)
            return (embedder.transform(items["text"].iloc[rows]) for rows in row_blocks(len(items)))
        if options.path is not None:
            column = options.item_id or "item_id"
            return read_vectors(options.path, items["item_id"], column=column, setting=self.setting)
        return read_texts(items, options, cache=cache, setting=self.setting, progress=progress)

    def check(self, vectors: np.ndarray, items: pd.DataFrame) -> None:
        """Refuse rows that nothing can be told from; TF-IDF's zeros say that a text has no word.

        Raises:
            ConfigError: With the items' ids.
        """
        require_usable(vectors, items["item_id"], self.setting, zeros=self.options.method == "tfidf")


def sources_of(config: EmbeddingConfig) -> list[Source]:
    """Return the sources of a config: one, unless it lists several."""
    if config.sources:
        return [
            Source(options, f"embedding.sources[{number}].{_told(options)}")
            for number, options in enumerate(config.sources)
        ]
    return [Source(config, f"embedding.{_told(config)}")]


def _told(options: VectorOptions) -> str:
    """Return the option that says most of where vectors come from."""
    for name in ("path", "model"):
        if getattr(options, name) is not None:
            return f"{name}={getattr(options, name)}"
    return f"method={options.method}"


def _corpus_hash(texts: pd.Series, *, dim: int, seed: int) -> str:
    """Hash everything that is fitted to: settings, version, and all texts in order."""
    settings = {"format": 2, "dim": dim, "seed": seed, "scikit-learn": metadata.version("scikit-learn")}
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for text in texts:
        encoded = text.encode()
        digest.update(len(encoded).to_bytes(8, "little") + encoded)
    return digest.hexdigest()
