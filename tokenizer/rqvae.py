"""RQVAE and RQKMeansPlus: semantic IDs by a residual-quantized VAE, begun at random or at residual k-means.

Importing this takes a second or two (torch); training imports Lightning as well, which takes more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Self

import numpy as np

from tokenizer.estimator import Estimator
from tokenizer.settings import RQVAESettings

if TYPE_CHECKING:
    from tokenizer.neural.train import FitResult

OnEpoch = Callable[[int, dict[str, float]], None]


@dataclass(eq=False)
class RQVAE(Estimator):
    """Encoder, residual quantizer and decoder, trained to give the embeddings back.

    Attributes:
        settings: Of the networks and their training.
        best_epoch_: The epoch whose weights were kept.
        history_: What each epoch gave, as `train.FitResult` has it.

    Source: TIGER (arXiv:2305.05065), section 3.1.
    """

    settings: RQVAESettings = field(default_factory=RQVAESettings)
    best_epoch_: int | None = field(default=None, init=False, repr=False)
    history_: list[dict[str, float]] = field(default_factory=list, init=False, repr=False)

    def fit(self, vectors: np.ndarray, *, device: str = "cpu", on_epoch: OnEpoch | None = None) -> Self:
        """Train on (N, D) finite vectors; see `train.fit_rqvae`."""
        from tokenizer.neural.train import fit_rqvae

        return self._take(fit_rqvae(vectors, self.settings, device=device, on_epoch=on_epoch), vectors)

    def _take(self, fitted: FitResult, vectors: np.ndarray) -> Self:
        self.model_, self.best_epoch_, self.history_ = fitted.model, fitted.best_epoch, fitted.history
        self.codes_ = fitted.model.encode(vectors)
        return self


@dataclass(eq=False)
class RQKMeansPlus(RQVAE):
    """Residual k-means, improved by training: its codebooks are the start of an RQ-VAE.

    Latents are as wide as the embeddings, and encoder and decoder add to their input and begin as the
    identity: before the first step the codes are those of residual k-means, and the best epoch may be that
        one.

    Attributes:
        settings: As for `RQVAE`; `latent_dim` is not read, `residual` is always set, and `standardization` is
            `scale`, as k-means has it.
        iterations: Of k-means, per level.

    Source: GPR (arXiv:2511.10138), RQ-KMeans+.
    """

    iterations: int = 25

    def fit(self, vectors: np.ndarray, *, device: str = "cpu", on_epoch: OnEpoch | None = None) -> Self:
        """Cluster, then train, on (N, D) finite vectors."""
        from tokenizer.arrays import checked_vectors
        from tokenizer.kmeans import fit_rqkmeans
        from tokenizer.neural.train import fit_rqvae

        vectors = checked_vectors(vectors)
        settings = replace(self.settings, residual=True, latent_dim=vectors.shape[1], standardization="scale")
        start = fit_rqkmeans(
            vectors, settings.codebook_sizes, iterations=self.iterations, seed=settings.seed
        ).model.codebooks()
        fitted = fit_rqvae(vectors, settings, start=start, device=device, on_epoch=on_epoch)
        return self._take(fitted, vectors)
