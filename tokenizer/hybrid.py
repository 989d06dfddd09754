"""Join item embeddings with collaborative vectors, so that any tokenizer makes codes of both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tokenizer.arrays import checked_vectors, mean_and_spread
from tokenizer.model import Model


@dataclass(frozen=True)
class Join:
    """How two kinds of vectors of the same items are put side by side.

    Each is divided so that its mean squared distance from its mean is 1, and multiplied so that of the
    squared distance between two items the share `weight` is collaborative, on average.

    Attributes:
        weight: In [0, 1].
        embedding_scale: What embeddings are multiplied by.
        collaborative_scale: The same for collaborative vectors.
        collaborative_mean: C numbers that stand in for an item nobody has had yet.
    """

    weight: float
    embedding_scale: float
    collaborative_scale: float
    collaborative_mean: tuple[float, ...]

    @classmethod
    def fit(cls, vectors: np.ndarray, collaborative: np.ndarray, *, weight: float = 0.5) -> Join:
        """Measure (N, D) embeddings and (N, C) collaborative vectors.

        Raises:
            ValueError: If one of them is no finite table, they are of different items, or the weight is not
                in [0, 1].
        """
        vectors, collaborative = checked_vectors(vectors), checked_vectors(collaborative)
        if len(vectors) != len(collaborative):
            raise ValueError(
                f"There are {len(collaborative)} collaborative vectors for {len(vectors)} items; give one to "
                "each."
            )
        if not 0 <= weight <= 1:
            raise ValueError(f"The weight of collaborative vectors is a share, 0 to 1, got {weight}.")
        _, spread = mean_and_spread(vectors)
        mean, other = mean_and_spread(collaborative)
        return cls(  # vectors that are all equal are left as they are
            weight,
            float(np.sqrt((1 - weight) / (spread or 1.0))),
            float(np.sqrt(weight / (other or 1.0))),
            tuple(mean.tolist()),
        )

    def __call__(self, vectors: np.ndarray, collaborative: np.ndarray | None = None) -> np.ndarray:
        """Give (N, D + C) float32 vectors; without `collaborative` the mean stands in for it."""
        vectors = checked_vectors(vectors)
        if collaborative is None:
            collaborative = np.tile(np.array(self.collaborative_mean, np.float32), (len(vectors), 1))
        collaborative = checked_vectors(collaborative, len(self.collaborative_mean))
        scales = np.float32(self.embedding_scale), np.float32(self.collaborative_scale)
        return np.concatenate([vectors * scales[0], collaborative * scales[1]], axis=1)


@dataclass(frozen=True)
class HybridModel:
    """A tokenizer of joined vectors, for items whose collaborative vectors are unknown.

    Attributes:
        inner: The model that was fitted to joined vectors.
        join: What they were joined by.
    """

    inner: Model
    join: Join

    def encode(self, vectors: np.ndarray) -> np.ndarray:
        """Give the (N, L) int64 codes of (N, D) embeddings of new items."""
        return self.inner.encode(self.join(vectors))

    def latents(self, vectors: np.ndarray) -> np.ndarray:
        """Give the (N, d) float32 latents of (N, D) embeddings of new items."""
        return self.inner.latents(self.join(vectors))

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Reconstruct (N, D) float32 embeddings from (N, L) codes; the collaborative part is left out."""
        joined = self.inner.decode(codes)
        width = joined.shape[1] - len(self.join.collaborative_mean)
        scale = self.join.embedding_scale
        return joined[:, :width] / np.float32(scale) if scale else np.zeros_like(joined[:, :width])

    def codebooks(self) -> list[np.ndarray]:
        """Give a copy of the (K, d) float32 codebook of each level."""
        return self.inner.codebooks()

    def save(self, path: str | Path, *, made_by: Mapping[str, Any] | None = None) -> None:
        """Write one safetensors file, which `model_file.open_model` opens."""
        self.inner.save(path, made_by={**(made_by or {}), "join": asdict(self.join)})
