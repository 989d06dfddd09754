"""Train an RQ-VAE in Lightning: `fit_rqvae`.

Lightning takes seconds to import: import this module only where a tokenizer is trained.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from lightning.pytorch import LightningModule
from torch import Tensor
from torch.nn import functional

from tokenizer.cpu_training import make_trainer, quiet_training
from tokenizer.rqvae import RQVAE, RQVAESettings

EVALUATE_EVERY = 5
"""Epochs between two looks at all items."""

USE_WEIGHT = 0.1
"""What full codebooks are worth against the share of variance that is lost; see `_Training.evaluate`."""

OnEpoch = Callable[[int, dict[str, float]], None]


@dataclass(frozen=True)
class FitResult:
    """A trained RQ-VAE and how it came about.

    Attributes:
        model: With the weights of the best epoch.
        history: One entry per epoch: `epoch` (from 1), `loss`, `reconstruction_loss`, `codebook_loss`,
            `commitment_loss` (means over the steps, standardized units); where all items were looked at, also
            `error` (mean squared error over variance), `share_used` (codes in use, mean over the levels) and
            `score`.
        best_epoch: The epoch with the least score, from 1.
    """

    model: RQVAE
    history: list[dict[str, float]] = field(repr=False)
    best_epoch: int


def fit_rqvae(vectors: np.ndarray, settings: RQVAESettings, *, on_epoch: OnEpoch | None = None) -> FitResult:
    """Train an RQ-VAE on item embeddings.

    Runs on the CPU in one thread: the model is so small that more threads gain little and, on a busy machine,
    lose a factor of ten; and the same vectors and settings give the same bytes whatever the number of cores.
    The global random states of Python, numpy and torch are neither read nor moved.

    Args:
        vectors: (N, D) finite numbers.
        settings: Of the model and its training.
        on_epoch: Called after each epoch with its number (from 1) and its entry of `FitResult.history`.

    Raises:
        ValueError: If there are no vectors, they are not a finite (N, D) array, or the training diverges.
    """
    vectors = np.asarray(vectors)
    if vectors.ndim != 2 or 0 in vectors.shape:
        raise ValueError(
            f"An RQ-VAE is trained on item embeddings of shape (items, dimensions), got {vectors.shape}."
        )
    model = RQVAE(settings, vectors.shape[1])
    model.standardize_like(vectors)
    data = model.standardize(vectors)
    training = _Training(model, data, on_epoch)
    with quiet_training():
        with torch.no_grad():
            model.quantizer.initialize(model.encoder(data), seed=settings.seed)
        trainer = make_trainer(settings.epochs)
        trainer.fit(
            training, train_dataloaders=_ShuffledSlices(data, settings.batch_size, seed=settings.seed)
        )
    model.load_state_dict(training.best_state)
    return FitResult(model.eval(), training.history, training.best_epoch)


class _ShuffledSlices:
    """Batches of rows in a new order each epoch. Slices of one tensor are faster than a DataLoader."""

    def __init__(self, rows: Tensor, batch_size: int, *, seed: int) -> None:
        self.rows = rows
        self.batch_size = batch_size
        self.generator = torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        return math.ceil(len(self.rows) / self.batch_size)

    def __iter__(self) -> Iterator[Tensor]:
        order = torch.randperm(len(self.rows), generator=self.generator)
        for start in range(0, len(order), self.batch_size):
            yield self.rows[order[start : start + self.batch_size]]


class _Training(LightningModule):
    """Steps, revival of dead codes, and the choice of the best epoch, for one `RQVAE`."""

    def __init__(self, model: RQVAE, data: Tensor, on_epoch: OnEpoch | None) -> None:
        super().__init__()
        self.model = model
        self.data = data
        self.on_epoch = on_epoch
        self.generator = torch.Generator().manual_seed(model.settings.seed)
        self.history: list[dict[str, float]] = []
        self.best_epoch = 0
        self.best_score = math.inf
        self.best_state: dict[str, Tensor] = {}
        self.idle_epochs = [torch.zeros(size, dtype=torch.int64) for size in model.settings.codebook_sizes]
        self.losses: list[Tensor] = []

    def configure_optimizers(self) -> torch.optim.Optimizer:
        settings = self.model.settings
        layers = [*self.model.encoder.parameters(), *self.model.decoder.parameters()]
        matrices = [parameter for parameter in layers if parameter.ndim == 2]
        others = [parameter for parameter in layers if parameter.ndim == 1]
        others += self.model.quantizer.codebooks
        return torch.optim.AdamW(
            [
                {"params": matrices, "weight_decay": settings.weight_decay},
                {"params": others, "weight_decay": 0.0},
            ],
            lr=settings.learning_rate,
        )

    def on_train_epoch_start(self) -> None:
        self.losses = []
        for idle in self.idle_epochs:
            idle += 1

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        reconstructed, quantized = self.model(batch)
        reconstruction_loss = functional.mse_loss(reconstructed, batch)
        weighted = self.model.settings.commitment_weight * quantized.commitment_loss
        loss = reconstruction_loss + quantized.codebook_loss + weighted
        parts = [loss, reconstruction_loss, quantized.codebook_loss, quantized.commitment_loss]
        self.losses.append(torch.stack(parts).detach())
        for level, idle in enumerate(self.idle_epochs):
            idle[quantized.codes[:, level]] = 0
        return loss

    def on_train_epoch_end(self) -> None:
        epoch = self.current_epoch + 1
        names = ("loss", "reconstruction_loss", "codebook_loss", "commitment_loss")
        means = torch.stack(self.losses).mean(dim=0).tolist()
        entry = {"epoch": epoch, **dict(zip(names, means, strict=True))}
        if not math.isfinite(entry["loss"]):
            raise ValueError(
                f"The RQ-VAE diverged in epoch {epoch} (loss {entry['loss']}). "
                f"Lower tokenizer.learning_rate={self.model.settings.learning_rate}."
            )
        if epoch % EVALUATE_EVERY == 0 or epoch == self.model.settings.epochs:
            entry.update(self.evaluate())
            if entry["score"] < self.best_score:
                self.best_epoch, self.best_score = epoch, entry["score"]
                self.best_state = {name: value.clone() for name, value in self.model.state_dict().items()}
        self.revive_dead_codes()
        self.history.append(entry)
        if self.on_epoch is not None:
            self.on_epoch(epoch, entry)

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Look at all items: score = error / variance - USE_WEIGHT * share of codes in use, less is better.

        The variance of standardized vectors is 1. The weight lets a model with dead codes win only where it
        reconstructs clearly better: 1 point of variance is worth 10 points of codes.
        """
        squared, used = 0.0, [torch.zeros(len(idle), dtype=torch.bool) for idle in self.idle_epochs]
        for batch in self.data.split(4096):
            reconstructed, quantized = self.model(batch)
            squared += float((reconstructed - batch).square().sum())
            for level, seen in enumerate(used):
                seen[quantized.codes[:, level]] = True
        error = squared / self.data.numel()
        share_used = sum(float(seen.float().mean()) for seen in used) / len(used)
        return {"error": error, "share_used": share_used, "score": error - USE_WEIGHT * share_used}

    @torch.no_grad()
    def revive_dead_codes(self) -> None:
        dead = [
            torch.nonzero(idle >= self.model.settings.dead_code_epochs)[:, 0] for idle in self.idle_epochs
        ]
        if not any(len(codes) for codes in dead):
            return
        rows = torch.randperm(len(self.data), generator=self.generator)[:8192]
        self.model.quantizer.revive(self.model.encoder(self.data[rows]), dead, generator=self.generator)
        for idle, codes in zip(self.idle_epochs, dead, strict=True):
            idle[codes] = 0
