"""RQVAESettings: how an RQ-VAE is built and trained. What the options do is in the files that read them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Standardizing = Literal["scale", "dimension", "whiten", "none"]
Gradient = Literal["straight_through", "rotation"]
CodebookUpdate = Literal["loss", "ema"]
ReconstructionLoss = Literal["mse", "l1", "cosine"]
Schedule = Literal["constant", "cosine"]

CHOICES = {
    "standardization": get_args(Standardizing),
    "gradient": get_args(Gradient),
    "codebook_update": get_args(CodebookUpdate),
    "reconstruction_loss": get_args(ReconstructionLoss),
    "schedule": get_args(Schedule),
}


@dataclass(frozen=True)
class RQVAESettings:
    """How an RQ-VAE is built and trained.

    Attributes:
        codebook_sizes: Codes per level; one entry per level.
        latent_dim: d, the width of latents and code vectors.
        hidden_dims: Widths between the embedding and the latent; the decoder mirrors them.
        batch_norm: Normalize the hidden layers over the batch.
        residual: Encoder and decoder add to their input and begin as the identity; `latent_dim` is then the
            width of the embeddings (RQ-KMeans+).
        standardization: Of the embeddings, see `standardization.py`.
        gradient: How the decoder's gradient passes the codes, see `quantize.py`.
        codebook_update: `loss`: the codebook loss moves code vectors; `ema`: they follow the moving average
            of the residuals they were nearest to, see `ema.py`.
        ema_decay: Of that average, per step.
        reconstruction_loss: `mse`, `l1`, or `cosine`, 1 - the cosine of embedding and reconstruction.
        epochs: Passes over all items, at most.
        max_steps: No further pass begins after so many steps: a million items need fewer passes than a
            thousand.
        batch_size: Items per step.
        learning_rate: Of AdamW; the peak where there is a schedule.
        schedule: `constant`, or `cosine`: half a wave from the learning rate to 0 over all steps.
        weight_decay: Of AdamW, on the encoder's and decoder's matrices only.
        commitment_weight: Weight of the commitment loss against the codebook loss; .25 as in VQ-VAE
            (arXiv:1711.00937).
        dead_code_epochs: A code that no item had for this many epochs is moved to where it is needed.
        seed: Of weights, batches, k-means and revival.
    """

    codebook_sizes: tuple[int, ...] = (256, 256, 256)
    latent_dim: int = 32
    hidden_dims: tuple[int, ...] = (256, 128)
    batch_norm: bool = False
    residual: bool = False
    standardization: Standardizing = "scale"
    gradient: Gradient = "straight_through"
    codebook_update: CodebookUpdate = "loss"
    ema_decay: float = 0.99
    reconstruction_loss: ReconstructionLoss = "mse"
    epochs: int = 200
    max_steps: int = 10_000
    batch_size: int = 1024
    learning_rate: float = 1e-3
    schedule: Schedule = "constant"
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
        for name in ("latent_dim", "epochs", "max_steps", "batch_size", "dead_code_epochs"):
            if getattr(self, name) < 1:
                raise ValueError(f"tokenizer.{name} must be 1 or more, got {getattr(self, name)}.")
        for name in ("weight_decay", "commitment_weight", "seed"):
            if getattr(self, name) < 0:
                raise ValueError(f"tokenizer.{name} must be 0 or more, got {getattr(self, name)}.")
        if not self.learning_rate > 0:
            raise ValueError(f"tokenizer.learning_rate must be above 0, got {self.learning_rate}.")
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"tokenizer.ema_decay must be in [0, 1), got {self.ema_decay}.")
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(
                    f'tokenizer.{name} is "{getattr(self, name)}", expected one of {", ".join(choices)}.'
                )
