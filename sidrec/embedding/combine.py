"""Several sources of vectors side by side, each on a scale of its own until it is weighted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from sidrec.errors import ConfigError
from tokenizer.arrays import mean_and_spread

SCALING_NAMES = ("mean", "factor")


@dataclass(frozen=True, eq=False)
class Scaling:
    """How the vectors of a source enter the whole, decided by the first items and kept for later ones.

    Attributes:
        mean: (D,) float64, which is taken off.
        factor: Weight / root mean squared distance from the mean.
    """

    mean: np.ndarray
    factor: float

    @classmethod
    def fit(cls, vectors: np.ndarray, *, weight: float, setting: str) -> Scaling:
        """Give the (N, D) vectors mean 0 and a root mean squared length of `weight`.

        Raises:
            ConfigError: If they do not vary.
        """
        mean, spread = mean_and_spread(vectors)
        if spread == 0:
            raise ConfigError(
                f"{setting} does not vary over the {len(vectors)} items, so it tells nothing of them. "
                "Remove it from embedding.sources."
            )
        return cls(mean, weight / float(np.sqrt(spread)))

    def apply(self, vectors: np.ndarray) -> np.ndarray:
        """Return (n, D) float32."""
        return ((vectors - self.mean) * self.factor).astype(np.float32)

    def to_tensors(self) -> dict[str, np.ndarray]:
        """Return what `from_tensors` takes."""
        return dict(zip(SCALING_NAMES, (self.mean, np.array([self.factor])), strict=True))

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, np.ndarray]) -> Scaling:
        """Return the scaling that `to_tensors` was called on."""
        return cls(tensors["mean"], float(tensors["factor"][0]))
