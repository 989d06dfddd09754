"""The residual quantizer of an RQ-VAE: codebooks, nearest code, losses, k-means start, revival of dead codes.

Codes have no gradient, so the decoder's is led past them: `straight_through` hands it to the latent as it is;
`rotation` turns and scales it as the latent is turned and scaled into its quantized value, so that it keeps
its angle to both. It works on latents only. The encoder and decoder around it are in `rqvae.py`; when to
start, revive and stop is decided in `train.py`.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from tokenizer.settings import Gradient

KMEANS_ROWS_PER_CODE = 100
"""k-means looks at no more than this many latents per code: more change the centres little and cost much."""

TINY = 1e-6
"""A shorter latent has no direction."""

JITTER = 0.01
"""Noise added where a code vector is copied from a latent, relative to the spread of the latents."""


@dataclass(frozen=True)
class Quantized:
    """What the residual quantizer makes of B latents.

    Attributes:
        latents: (B, d) sums of code vectors. Forward they are the quantized values, backward the identity.
        codes: (B, L) int64.
        codebook_loss: Scalar that pulls code vectors to residuals, summed over levels.
        commitment_loss: Scalar that pulls residuals to code vectors, summed over levels, not yet weighted.
    """

    latents: Tensor
    codes: Tensor
    codebook_loss: Tensor
    commitment_loss: Tensor


def nearest_codes(residuals: Tensor, codebook: Tensor) -> Tensor:
    """Find the code vector with the least squared distance to each residual.

    Args:
        residuals: (B, d).
        codebook: (K, d).

    Returns:
        (B,) int64 codes.
    """
    # |r - c|^2 = |r|^2 - 2 r.c + |c|^2, and |r|^2 is the same for all codes of a row.
    distances = (codebook * codebook).sum(dim=1) - 2 * residuals @ codebook.T  # (B, K)
    return distances.argmin(dim=1)


def straight_through(latents: Tensor, quantized: Tensor) -> Tensor:
    """Give the (B, d) quantized values forward, and their gradient to the latents as it is."""
    return latents + (quantized - latents).detach()


def rotated(latents: Tensor, quantized: Tensor) -> Tensor:
    """Give the (B, d) quantized values as a fixed rotation and scaling of the latents.

    The rotation in the plane of latent e and quantized q is two reflections, R e = e - 2 r (r.e) + 2 q'
    (e'.e) with e', q' of length 1 and r along e' + q'. A latent of length 0 has no angle: it is passed
    straight through.

    Source: Fifty et al., "Restructuring vector quantization with the rotation trick" (arXiv:2410.06424), 4.2.
    """
    fixed = latents.detach()
    lengths = fixed.norm(dim=1, keepdim=True)  # (B, 1)
    targets = quantized.norm(dim=1, keepdim=True)
    latent_unit = fixed / lengths.clamp_min(TINY)
    target_unit = quantized / targets.clamp_min(TINY)
    between = functional.normalize(latent_unit + target_unit, dim=1, eps=TINY)
    reflected = latents - 2 * between * (between * latents).sum(dim=1, keepdim=True)
    turned = reflected + 2 * target_unit * (latent_unit * latents).sum(dim=1, keepdim=True)
    scaled = turned * (targets / lengths.clamp_min(TINY))
    has_angle = (
        (lengths > TINY) & (targets > TINY) & ((latent_unit + target_unit).norm(dim=1, keepdim=True) > TINY)
    )
    return torch.where(has_angle, scaled, straight_through(latents, quantized))


class ResidualQuantizer(nn.Module):
    """Quantize a latent in L steps, each on what the steps before it left over.

    Until `initialize` has run, the code vectors are small random numbers. `initialized` is a buffer, so a
    quantizer that was loaded is not started again.

    Args:
        codebook_sizes: Codes per level; levels may differ.
        latent_dim: d.
        generator: Source of the first random code vectors.
        gradient: How the decoder's gradient passes the codes.

    Source: Lee et al., "Autoregressive Image Generation using Residual Quantization" (arXiv:2203.01941),
    section 3.1.
    """

    initialized: Tensor

    def __init__(
        self,
        codebook_sizes: Sequence[int],
        latent_dim: int,
        *,
        generator: torch.Generator,
        gradient: Gradient = "straight_through",
    ) -> None:
        super().__init__()
        self.gradient = gradient
        self.codebooks = nn.ParameterList(
            nn.Parameter(torch.randn(size, latent_dim, generator=generator) / latent_dim**0.5)
            for size in codebook_sizes
        )
        self.register_buffer("initialized", torch.tensor(False))

    def encode(self, latents: Tensor) -> Tensor:
        """Give the codes of (B, d) latents, as (B, L) int64."""
        codes = []
        for codebook in self.codebooks:
            nearest = nearest_codes(latents, codebook)
            latents = latents - codebook[nearest]
            codes.append(nearest)
        return torch.stack(codes, dim=1)  # (B, L)

    def decode(self, codes: Tensor) -> Tensor:
        """Sum the code vectors of (B, L) codes, as (B, d) latents."""
        vectors = [codebook[codes[:, level]] for level, codebook in enumerate(self.codebooks)]
        return torch.stack(vectors).sum(dim=0)

    def forward(self, latents: Tensor) -> Quantized:
        """Quantize (B, d) latents for training.

        Each level sees the residual of the detached code vectors before it, so a level's losses move only its
        own codebook and the encoder. The losses are means over rows and dimensions, summed over levels.

        Source: TIGER (arXiv:2305.05065), section 3.1, loss L_rqvae.
        """
        residuals = latents
        codes, vectors = [], []
        codebook_loss = latents.new_zeros(())
        commitment_loss = latents.new_zeros(())
        for codebook in self.codebooks:
            nearest = nearest_codes(residuals.detach(), codebook.detach())
            # functional.embedding and not codebook[nearest]: the latter adds gradients in no fixed order on
            # several threads, and the same seed would not give the same bytes.
            vector = functional.embedding(nearest, codebook)  # (B, d)
            codebook_loss = codebook_loss + functional.mse_loss(vector, residuals.detach())
            commitment_loss = commitment_loss + functional.mse_loss(residuals, vector.detach())
            residuals = residuals - vector.detach()
            codes.append(nearest)
            vectors.append(vector.detach())
        pass_on = rotated if self.gradient == "rotation" else straight_through
        quantized = pass_on(latents, torch.stack(vectors).sum(dim=0))
        return Quantized(quantized, torch.stack(codes, dim=1), codebook_loss, commitment_loss)

    @torch.no_grad()
    def initialize(self, latents: Tensor, *, seed: int) -> None:
        """Place the code vectors of each level at k-means centres of its residuals. Does nothing the second
        time.

        Where a level has fewer distinct residuals than codes, every residual gets a code vector and the rest
        are copies with a little noise, so that they can part later.

        Args:
            latents: (N, d) of real items.
            seed: Of the sample, the k-means and the noise.
        """
        if bool(self.initialized):
            return
        rng = np.random.default_rng(seed)
        rows = KMEANS_ROWS_PER_CODE * max(len(codebook) for codebook in self.codebooks)
        residuals = latents.detach().cpu().numpy()
        if len(residuals) > rows:
            residuals = residuals[np.sort(rng.choice(len(residuals), size=rows, replace=False))]
        spread = float(residuals.std()) or 1.0
        for level, codebook in enumerate(self.codebooks):
            centres = _kmeans_centres(residuals, len(codebook), seed=seed + level)
            if len(centres) < len(codebook):
                copies = rng.integers(len(centres), size=len(codebook) - len(centres))
                noise = rng.normal(scale=JITTER * spread, size=(len(copies), residuals.shape[1]))
                centres = np.concatenate([centres, centres[copies] + noise])
            codebook.copy_(torch.from_numpy(centres.astype(np.float32)))
            book = codebook.detach().cpu()
            residuals = residuals - book.numpy()[nearest_codes(torch.from_numpy(residuals), book)]
        self.initialized.fill_(True)

    @torch.no_grad()
    def start_from(self, books: Sequence[np.ndarray]) -> None:
        """Begin with codebooks that were made elsewhere, per level (K, d)."""
        for codebook, book in zip(self.codebooks, books, strict=True):
            codebook.copy_(torch.from_numpy(np.asarray(book, dtype=np.float32)))
        self.initialized.fill_(True)

    @torch.no_grad()
    def revive(self, latents: Tensor, dead: Sequence[Tensor], *, generator: torch.Generator) -> None:
        """Move dead code vectors to residuals that their level represents badly.

        A residual is drawn with a probability proportional to its squared distance to the nearest code
        vector, as in k-means++, and gets a little noise.

        Args:
            latents: (B, d) of real items.
            dead: Per level, (number of dead codes,) int64.
            generator: Source of the draw and the noise.
        """
        residuals = latents
        for codebook, codes in zip(self.codebooks, dead, strict=True):
            left = residuals - codebook[nearest_codes(residuals, codebook)]
            if len(codes):
                errors = left.square().sum(dim=1)  # (B,)
                weights = (errors if float(errors.sum()) > 0 else torch.ones_like(errors)).cpu()
                enough = int((weights > 0).sum()) >= len(codes)
                drawn = torch.multinomial(weights, len(codes), replacement=not enough, generator=generator)
                noise = torch.randn(len(codes), residuals.shape[1], generator=generator).to(residuals.device)
                codebook[codes] = residuals[drawn] + JITTER * residuals.std(correction=0) * noise
                left = residuals - codebook[nearest_codes(residuals, codebook)]
            residuals = left


def _kmeans_centres(rows: np.ndarray, num_codes: int, *, seed: int) -> np.ndarray:
    """Give k-means centres, or the distinct rows themselves when there are no more of them than codes."""
    distinct = np.unique(rows, axis=0)
    if len(distinct) <= num_codes:
        return distinct
    # These two import for seconds, and only training needs them.
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    # On several threads scikit-learn adds up the centres in no fixed order.
    with warnings.catch_warnings(), threadpool_limits(limits=1):
        warnings.simplefilter(
            "ignore", ConvergenceWarning
        )  # nearly equal rows: the doubled centres are revived
        return KMeans(num_codes, n_init=1, max_iter=50, random_state=seed).fit(rows).cluster_centers_
