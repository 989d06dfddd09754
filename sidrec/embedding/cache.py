"""Vectors computed before, by a hash of all that they depend on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from sidrec.embedding.config import EmbeddingConfig
from sidrec.embedding.files import load_array
from sidrec.embedding.sentence_transformer import model_location
from sidrec.errors import ArtifactError, ConfigError


def read_cached(path: Path, num_items: int) -> np.ndarray:
    """Read vectors that `embed` wrote."""
    try:
        vectors = load_array(path, str(path))
    except ConfigError as error:
        raise ArtifactError(f"The cached vectors cannot be read: {error} Or remove the file.") from error
    if len(vectors) != num_items:
        raise ArtifactError(
            f"The cached vectors {path} have {len(vectors)} rows, expected {num_items}. Remove it."
        )
    return vectors


def fingerprint(texts: Sequence[str], config: EmbeddingConfig, *, seed: int) -> str:
    """Hash everything the vectors depend on: method, settings, versions, texts."""
    settings: dict[str, Any] = {"format": 1, "method": config.method}
    if config.method == "tfidf":
        settings |= {"dim": config.dim, "seed": seed, "scikit-learn": metadata.version("scikit-learn")}
    else:
        location = model_location(config)
        settings |= {"model": config.model, "batch_size": config.batch_size, "files": _file_stamps(location)}
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    digest.update(json.dumps(list(texts)).encode())
    return digest.hexdigest()


def _file_stamps(location: str) -> list[tuple[str, int, int]]:
    """List a model directory's files with size and time: a retrained model is not the old one."""
    directory = Path(location)
    files = sorted(path for path in directory.rglob("*") if path.is_file()) if directory.is_dir() else []
    return [
        (str(path.relative_to(directory)), path.stat().st_size, path.stat().st_mtime_ns) for path in files
    ]
