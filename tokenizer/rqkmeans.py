"""RQKMeans and OPQ: semantic IDs without networks, in seconds. How codebooks are made is in `kmeans.py`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np

from tokenizer.estimator import Estimator

OnLevel = Callable[[int], None]


@dataclass(eq=False)
class RQKMeans(Estimator):
    """Residual k-means: clusters of the vectors, then of what the centres leave over, level by level.

    Attributes:
        codebook_sizes: K of each level.
        balanced: Let all codes of a level have the same number of items, give or take one. `codes_` are so;
            `encode` comes near it by prices alone.
        iterations: Of k-means, per level.
        seed: Of the sample and the first centres.
    """

    codebook_sizes: tuple[int, ...] = (256, 256, 256)
    balanced: bool = False
    iterations: int = 25
    seed: int = 0

    def fit(self, vectors: np.ndarray, *, on_level: OnLevel | None = None) -> Self:
        """Cluster (N, D) finite vectors; `on_level` is told the number of levels done after each."""
        from tokenizer.kmeans import fit_rqkmeans

        fitted = fit_rqkmeans(
            vectors,
            self.codebook_sizes,
            balanced=self.balanced,
            iterations=self.iterations,
            seed=self.seed,
            on_level=on_level,
        )
        self.model_, self.codes_ = fitted.model, fitted.codes
        return self


@dataclass(eq=False)
class OPQ(Estimator):
    """Optimized product quantization: the vectors turned and cut in parts, each clustered by itself.

    Attributes:
        codebook_sizes: K of each part; their order means nothing.
        iterations: Of k-means, per part.
        seed: Of the sample and the first centres.
    """

    codebook_sizes: tuple[int, ...] = (256, 256, 256)
    iterations: int = 25
    seed: int = 0

    def fit(self, vectors: np.ndarray) -> Self:
        """Rotate and cluster (N, D) finite vectors, D at least the number of parts."""
        from tokenizer.kmeans import fit_opq

        fitted = fit_opq(vectors, self.codebook_sizes, iterations=self.iterations, seed=self.seed)
        self.model_, self.codes_ = fitted.model, fitted.codes
        return self
