"""Letter: an RQ-VAE whose codes also know who had an item, and use their codebooks evenly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from tokenizer.rqvae import RQVAE, OnEpoch


@dataclass(eq=False)
class Letter(RQVAE):
    """RQ-VAE with LETTER's two further losses; see `alignment.py`.

    Attributes:
        settings: As for `RQVAE`. LETTER has latents as wide as the collaborative vectors; otherwise a linear
            map between the two is trained along.
        alignment_weight: Of the pull towards collaborative vectors (LETTER: .02).
        diversity_weight: Of the loss that keeps code vectors apart (LETTER: 1e-4).
        clusters: Groups of code vectors per level (LETTER: 10).
    """

    alignment_weight: float = 0.02
    diversity_weight: float = 1e-4
    clusters: int = 10

    def fit(  # type: ignore[override]  # without collaborative vectors it would be no LETTER
        self,
        vectors: np.ndarray,
        collaborative: np.ndarray,
        *,
        device: str = "cpu",
        on_epoch: OnEpoch | None = None,
    ) -> Self:
        """Train on (N, D) finite vectors and the (N, C) collaborative vectors of the same items."""
        from tokenizer.neural.alignment import Alignment
        from tokenizer.neural.train import fit_rqvae

        alignment = Alignment(collaborative, self.alignment_weight, self.diversity_weight, self.clusters)
        fitted = fit_rqvae(vectors, self.settings, alignment=alignment, device=device, on_epoch=on_epoch)
        return self._take(fitted, vectors)
