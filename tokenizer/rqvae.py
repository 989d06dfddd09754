"""RQVAE: item embeddings -> latents -> codes, and back. A pure module; it is trained in `train.py`.

Vectors are centred and divided by one number before the encoder, and put back after the decoder. One number
and not one per dimension: the embedding's dimensions keep their relative weight, so faint ones are not blown
up to be reconstructed as if they mattered.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from tokenizer.arrays import checked_vectors, read_tensors
from tokenizer.quantize import Quantized, ResidualQuantizer

FORMAT_VERSION = 1
BATCH_ROWS = 4096


@dataclass(frozen=True)
class RQVAESettings:
    """How an RQ-VAE is built and trained.

    Attributes:
        codebook_sizes: Codes per level; one entry per level.
        latent_dim: d, the width of latents and code vectors.
        hidden_dims: Widths between the embedding and the latent; the decoder mirrors them.
        epochs: Passes over all items.
        batch_size: Items per step.
        learning_rate: Of AdamW, constant.
        weight_decay: Of AdamW, on the encoder's and decoder's matrices only.
        commitment_weight: Weight of the commitment loss against the codebook loss; .25 as in VQ-VAE
            (arXiv:1711.00937).
        dead_code_epochs: A code that no item had for this many epochs is moved to where it is needed.
        seed: Of weights, batches, k-means and revival.
    """

    codebook_sizes: tuple[int, ...] = (256, 256, 256)
    latent_dim: int = 32
    hidden_dims: tuple[int, ...] = (256, 128)
    epochs: int = 200
    batch_size: int = 1024
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    commitment_weight: float = 0.25
    dead_code_epochs: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "codebook_sizes", tuple(int(size) for size in self.codebook_sizes))
        object.__setattr__(self, "hidden_dims", tuple(int(width) for width in self.hidden_dims))
        if not self.codebook_sizes or min(self.codebook_sizes) < 1:
            raise ValueError(
                "tokenizer.codebook_sizes needs one size of 1 or more per level, "
                f"got {list(self.codebook_sizes)}."
            )
        if self.hidden_dims and min(self.hidden_dims) < 1:
            raise ValueError(
                f"tokenizer.hidden_dims needs widths of 1 or more, got {list(self.hidden_dims)}."
            )
        for name in ("latent_dim", "epochs", "batch_size", "dead_code_epochs"):
            if getattr(self, name) < 1:
                raise ValueError(f"tokenizer.{name} must be 1 or more, got {getattr(self, name)}.")
        for name in ("weight_decay", "commitment_weight", "seed"):
            if getattr(self, name) < 0:
                raise ValueError(f"tokenizer.{name} must be 0 or more, got {getattr(self, name)}.")
        if not self.learning_rate > 0:
            raise ValueError(f"tokenizer.learning_rate must be above 0, got {self.learning_rate}.")


class RQVAE(nn.Module):
    """Encoder, residual quantizer and decoder for item embeddings of one width.

    The weights depend on `settings.seed` alone; torch's global random state is neither read nor moved.

    Args:
        settings: Sizes and seed.
        input_dim: D, the width of the item embeddings.

    Source: TIGER (arXiv:2305.05065), section 3.1.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, settings: RQVAESettings, input_dim: int) -> None:
        super().__init__()
        self.settings = settings
        self.input_dim = input_dim
        generator = torch.Generator().manual_seed(settings.seed)
        widths = [input_dim, *settings.hidden_dims, settings.latent_dim]
        self.encoder = _mlp(widths, generator)
        self.quantizer = ResidualQuantizer(settings.codebook_sizes, settings.latent_dim, generator=generator)
        self.decoder = _mlp(widths[::-1], generator)
        self.register_buffer("mean", torch.zeros(input_dim))
        self.register_buffer("scale", torch.ones(()))

    def standardize_like(self, vectors: np.ndarray) -> None:
        """Set the buffers so that (N, D) `vectors` get mean 0, and variance 1 on average over D."""
        vectors = self._checked(vectors)
        mean = vectors.mean(axis=0, dtype=np.float64)
        scale = float(np.sqrt(np.square(vectors - mean).mean()))
        self.mean.copy_(torch.from_numpy(mean))
        self.scale.fill_(scale or 1.0)  # all vectors equal: nothing to scale

    def standardize(self, vectors: np.ndarray) -> Tensor:
        """Give (N, D) vectors as the encoder sees them, float32."""
        return (torch.tensor(self._checked(vectors), device=self.mean.device) - self.mean) / self.scale

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
                batch = torch.from_numpy(codes[start : start + BATCH_ROWS].astype(np.int64)).to(
                    self.mean.device
                )
                standardized = self.decoder(self.quantizer.decode(batch))
                parts.append((standardized * self.scale + self.mean).cpu().numpy())
        return np.concatenate(parts) if parts else np.zeros((0, self.input_dim), np.float32)

    def codebooks(self) -> list[np.ndarray]:
        """Give a copy of the (K, d) float32 codebook of each level."""
        return [codebook.detach().cpu().numpy().copy() for codebook in self.quantizer.codebooks]

    def save(self, path: str | Path) -> None:
        """Write weights, standardization and settings to one safetensors file."""
        from safetensors.torch import save_file

        facts = {"version": FORMAT_VERSION, "input_dim": self.input_dim, "settings": asdict(self.settings)}
        # One metadata key: safetensors writes several in no fixed order, and equal models would differ in
        # bytes.
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.state_dict().items()}
        save_file(tensors, str(path), metadata={"rqvae": json.dumps(facts, sort_keys=True)})

    @classmethod
    def load(cls, path: str | Path) -> RQVAE:
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


def _mlp(widths: Sequence[int], generator: torch.Generator) -> nn.Sequential:
    """Stack linear layers with ReLU between them, initialized like torch's own, but from `generator`."""
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(widths):
        linear = nn.utils.skip_init(nn.Linear, fan_in, fan_out)
        bound = 1 / fan_in**0.5
        nn.init.uniform_(linear.weight, -bound, bound, generator=generator)
        nn.init.uniform_(linear.bias, -bound, bound, generator=generator)
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


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
