"""The networks of an RQ-VAE: item embeddings -> latents -> codes, and back. Trained in `train.py`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tokenizer.arrays import checked_vectors, read_tensors
from tokenizer.neural.networks import MLP
from tokenizer.neural.quantize import Quantized, ResidualQuantizer
from tokenizer.neural.standardization import Standardization
from tokenizer.settings import RQVAESettings

FORMAT_VERSION = 2
BATCH_ROWS = 4096


class Autoencoder(nn.Module):
    """Encoder, residual quantizer and decoder for item embeddings of one width.

    The weights depend on `settings.seed` alone; torch's global random state is neither read nor moved.

    Args:
        settings: Sizes and seed.
        input_dim: D, the width of the item embeddings.

    Source: TIGER (arXiv:2305.05065), section 3.1.
    """

    def __init__(self, settings: RQVAESettings, input_dim: int) -> None:
        super().__init__()
        self.settings = settings
        self.input_dim = input_dim
        generator = torch.Generator().manual_seed(settings.seed)
        if settings.residual and settings.latent_dim != input_dim:
            raise ValueError(
                f"With tokenizer.residual latents are as wide as the embeddings, {input_dim}; "
                f"tokenizer.latent_dim is {settings.latent_dim}."
            )
        widths = [input_dim, *settings.hidden_dims, settings.latent_dim]
        mlp = partial(MLP, generator=generator, batch_norm=settings.batch_norm, residual=settings.residual)
        self.encoder = mlp(widths)
        self.quantizer = ResidualQuantizer(
            settings.codebook_sizes, settings.latent_dim, generator=generator, gradient=settings.gradient
        )
        self.decoder = mlp(widths[::-1])
        self.standardization = Standardization(settings.standardization, input_dim)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.standardization.mean.device

    def standardize_like(self, vectors: np.ndarray) -> None:
        """Set the standardization from (N, D) vectors."""
        self.standardization.fit(self._checked(vectors))

    def standardize(self, vectors: np.ndarray) -> Tensor:
        """Give (N, D) vectors as the encoder sees them, float32."""
        vectors = self._checked(vectors)
        standardized = torch.empty(vectors.shape, device=self.device)
        for start in range(0, len(vectors), BATCH_ROWS):  # no second copy of a million vectors
            rows = torch.tensor(vectors[start : start + BATCH_ROWS], device=self.device)
            standardized[start : start + BATCH_ROWS] = self.standardization(rows)
        return standardized

    def forward(self, standardized: Tensor) -> tuple[Tensor, Quantized]:
        """Reconstruct (B, D) standardized vectors through the codes."""
        quantized = self.quantizer(self.encoder(standardized))
        return self.decoder(quantized.latents), quantized

    def encode(self, vectors: np.ndarray) -> np.ndarray:
        """Give the (N, L) int64 codes of (N, D) vectors. They may collide: see `collisions.py`."""
        parts = [self.quantizer.encode(latents).cpu().numpy() for latents in self._latent_batches(vectors)]
        return np.concatenate(parts) if parts else np.zeros((0, len(self.settings.codebook_sizes)), np.int64)

    def latents(self, vectors: np.ndarray) -> np.ndarray:
        """Give the (N, d) float32 latents of (N, D) vectors, before quantization."""
        parts = [latents.cpu().numpy() for latents in self._latent_batches(vectors)]
        return np.concatenate(parts) if parts else np.zeros((0, self.settings.latent_dim), np.float32)

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Reconstruct (N, D) float32 vectors from (N, L) codes.

        Raises:
            ValueError: If the codes have another number of levels or lie outside the codebooks.
        """
        sizes = self.settings.codebook_sizes
        codes = np.asarray(codes)
        if codes.ndim != 2 or codes.shape[1] != len(sizes):
            raise ValueError(f"This RQ-VAE has {len(sizes)} levels, got codes of shape {codes.shape}.")
        if len(codes) and ((codes < 0).any() or (codes >= np.array(sizes)).any()):
            raise ValueError(f"A code lies outside the codebook sizes {list(sizes)} of this RQ-VAE.")
        parts = []
        with torch.no_grad():
            for start in range(0, len(codes), BATCH_ROWS):
                batch = torch.from_numpy(codes[start : start + BATCH_ROWS].astype(np.int64))
                standardized = self.decoder(self.quantizer.decode(batch.to(self.device)))
                parts.append(self.standardization.invert(standardized).cpu().numpy())
        return np.concatenate(parts) if parts else np.zeros((0, self.input_dim), np.float32)

    def codebooks(self) -> list[np.ndarray]:
        """Give a copy of the (K, d) float32 codebook of each level."""
        return [codebook.detach().cpu().numpy().copy() for codebook in self.quantizer.codebooks]

    def save(self, path: str | Path, *, made_by: Mapping[str, Any] | None = None) -> None:
        """Write weights, standardization and settings to one safetensors file; `made_by` is JSON that is kept
        in it.
        """
        from safetensors.torch import save_file

        facts = {
            "version": FORMAT_VERSION,
            "input_dim": self.input_dim,
            "settings": asdict(self.settings),
            "made_by": made_by,
        }
        # One metadata key: safetensors writes several in no fixed order, and equal models would differ in
        # bytes.
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.state_dict().items()}
        save_file(tensors, str(path), metadata={"rqvae": json.dumps(facts, sort_keys=True)})

    @classmethod
    def load(cls, path: str | Path) -> Autoencoder:
        """Read what `save` wrote.

        Raises:
            ValueError: If the file is missing, is not such a file, or its weights do not fit its settings.
        """
        metadata, tensors = read_tensors(path, "the RQ-VAE", framework="pt")
        model = cls(*_settings_of(metadata, path))
        try:
            model.load_state_dict(tensors)
        except RuntimeError as error:
            raise ValueError(f"{path}: the weights do not fit the settings beside them ({error}).") from error
        return model.eval()

    @torch.no_grad()
    def _latent_batches(self, vectors: np.ndarray) -> Iterator[Tensor]:
        vectors = self._checked(vectors)
        for start in range(0, len(vectors), BATCH_ROWS):
            yield self.encoder(self.standardize(vectors[start : start + BATCH_ROWS]))

    def _checked(self, vectors: np.ndarray) -> np.ndarray:
        """Give the vectors as float32, or say what is wrong with them."""
        vectors = np.asarray(vectors)
        if vectors.ndim != 2 or vectors.shape[1] != self.input_dim:
            raise ValueError(
                f"This RQ-VAE takes item embeddings of shape (items, {self.input_dim}), got {vectors.shape}."
            )
        return checked_vectors(vectors)


def _settings_of(metadata: dict[str, str], path: str | Path) -> tuple[RQVAESettings, int]:
    """Read the settings and D from the metadata of a saved RQ-VAE."""
    if "rqvae" not in metadata:
        raise ValueError(f"{path} holds weights, but not of an RQ-VAE that tokenize wrote.")
    facts = json.loads(metadata["rqvae"])
    if facts["version"] != FORMAT_VERSION or set(facts["settings"]) != {
        f.name for f in fields(RQVAESettings)
    }:
        raise ValueError(
            f"{path} was written in format {facts['version']}, this version reads {FORMAT_VERSION}: "
            "tokenize again."
        )
    return RQVAESettings(**facts["settings"]), int(facts["input_dim"])
