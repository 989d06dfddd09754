"""Model: what every fitted tokenizer can do."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np


class Model(Protocol):
    """What turns item embeddings into codes and back: `Autoencoder` with networks, `VectorQuantizer`
    without.
    """

    def encode(self, vectors: np.ndarray) -> np.ndarray:
        """Give the (N, L) int64 codes of (N, D) vectors."""

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Reconstruct (N, D) float32 vectors from (N, L) codes."""

    def latents(self, vectors: np.ndarray) -> np.ndarray:
        """Give the (N, d) float32 latents of (N, D) vectors."""

    def codebooks(self) -> list[np.ndarray]:
        """Give the (K, d) float32 codebook of each level."""

    def save(self, path: str | Path, *, made_by: Mapping[str, Any] | None = None) -> None:
        """Write one safetensors file; `made_by` is JSON about its maker and is kept in it."""
