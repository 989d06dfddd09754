"""Train an RQ-VAE in Lightning: `fit_rqvae`.

Lightning takes seconds to import: import this module only where a tokenizer is trained.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.nn import functional
from torch.optim.lr_scheduler import LambdaLR

from tokenizer.neural.alignment import Aligner, Alignment
from tokenizer.neural.autoencoder import Autoencoder
from tokenizer.neural.ema import MovingAverages
from tokenizer.neural.quiet_training import make_trainer, quiet_training
from tokenizer.settings import RQVAESettings

EVALUATE_EVERY = 5
"""Epochs between two looks at all items."""

USE_WEIGHT = 0.1
"""What full codebooks are worth against the share of variance that is lost; see `_Training.evaluate`."""

BLOCK_ROWS = 4096
"""Rows looked at together where all are looked at."""

RECONSTRUCTION: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mse": functional.mse_loss,
    "l1": functional.l1_loss,
    "cosine": lambda made, given: 1 - functional.cosine_similarity(made, given, dim=1).mean(),
}

OnEpoch = Callable[[int, dict[str, float]], None]


@dataclass(frozen=True)
class FitResult:
    """A trained RQ-VAE and how it came about.

    Attributes:
        model: With the weights of the best epoch.
        history: One entry per epoch: `epoch` (from 1), `loss`, `reconstruction_loss`, `codebook_loss`,
            `commitment_loss`, and with an alignment `alignment_loss` and `diversity_loss` (means over the
            steps, standardized units, not weighted); where all items were looked at, also `error` (mean
            squared error over variance), `share_used` (codes in use, mean over the levels) and `score`.
        best_epoch: The epoch with the least score, from 1.
    """

    model: Autoencoder
    history: list[dict[str, float]] = field(repr=False)
    best_epoch: int


def fit_rqvae(
    vectors: np.ndarray,
    settings: RQVAESettings,
    *,
    start: Sequence[np.ndarray] | None = None,
    alignment: Alignment | None = None,
    device: str = "cpu",
    on_epoch: OnEpoch | None = None,
) -> FitResult:
    """Train an RQ-VAE on item embeddings.

    On the CPU it runs in one thread: the model is so small that more threads gain little and, on a busy
    machine, lose a factor of ten; and the same vectors and settings give the same bytes whatever the number
    of cores. The global random states of Python, numpy and torch are neither read nor moved.

    Args:
        vectors: (N, D) finite numbers.
        settings: Of the model and its training.
        start: Codebooks to begin with, per level (K, d), in place of k-means over the latents.
        alignment: Collaborative vectors that the codes are to know, and how strongly (LETTER).
        device: `cpu` or `cuda`.
        on_epoch: Called after each epoch with its number (from 1) and its entry of `FitResult.history`.

    Raises:
        ValueError: If there are no vectors, they are not a finite (N, D) array, those of `alignment` are of
            other items, or the training diverges.
    """
    vectors = np.asarray(vectors)
    if vectors.ndim != 2 or 0 in vectors.shape:
        raise ValueError(
            f"An RQ-VAE is trained on item embeddings of shape (items, dimensions), got {vectors.shape}."
        )
    model = Autoencoder(settings, vectors.shape[1])
    model.standardize_like(vectors)
    model.to(device)
    data = model.standardize(vectors)
    with quiet_training():
        with torch.no_grad():
            if start is None:
                model.quantizer.initialize(_encode(model, data), seed=settings.seed)
            else:
                model.quantizer.start_from(start)
        training = _Training(model, data, alignment, on_epoch)
        if start is not None:
            training.keep_if_best(0, training.evaluate()["score"])
        batches = _ShuffledRows(len(data), settings.batch_size, seed=settings.seed)
        epochs = min(settings.epochs, math.ceil(settings.max_steps / len(batches)))
        trainer = make_trainer(epochs, accelerator="cpu" if device == "cpu" else "gpu")
        trainer.fit(training, train_dataloaders=batches)
    model.load_state_dict(training.best_state)
    return FitResult(model.cpu().eval(), training.history, training.best_epoch)


def _encode(model: Autoencoder, data: Tensor) -> Tensor:
    """Give the latents of all rows; with batch normalization the statistics are those of all rows, too."""
    if model.settings.batch_norm:
        return model.encoder(data)
    return torch.cat([model.encoder(rows) for rows in data.split(BLOCK_ROWS)])


class _ShuffledRows:
    """Batches of row numbers in a new order each epoch. Indexing one tensor is faster than a DataLoader."""

    def __init__(self, num_rows: int, batch_size: int, *, seed: int) -> None:
        self.num_rows = num_rows
        self.batch_size = batch_size
        self.generator = torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        return math.ceil(self.num_rows / self.batch_size)

    def __iter__(self) -> Iterator[Tensor]:
        yield from torch.randperm(self.num_rows, generator=self.generator).split(self.batch_size)


class _Training(LightningModule):
    """Steps, revival of dead codes, and the choice of the best epoch, for one `Autoencoder`."""

    def __init__(
        self, model: Autoencoder, data: Tensor, alignment: Alignment | None, on_epoch: OnEpoch | None
    ) -> None:
        super().__init__()
        self.model = model
        self.data = data
        self.on_epoch = on_epoch
        settings = model.settings
        self.generator = torch.Generator().manual_seed(settings.seed)
        self.history: list[dict[str, float]] = []
        self.best_epoch = 0
        self.best_score = math.inf
        self.best_state: dict[str, Tensor] = {}
        self.idle_epochs = [torch.zeros(len(book), dtype=torch.int64) for book in model.quantizer.codebooks]
        self.losses: list[dict[str, Tensor]] = []
        self.aligner = None
        if alignment is not None:
            self.aligner = Aligner(model, alignment, num_items=len(data), seed=settings.seed)
            self.aligner.to(data.device)
        self.averages = None
        if settings.codebook_update == "ema":
            self.averages = MovingAverages(model.quantizer, decay=settings.ema_decay)
            model.quantizer.requires_grad_(False)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        settings = self.model.settings
        parameters = [parameter for parameter in self.parameters() if parameter.requires_grad]
        layers = {*self.model.encoder.parameters(), *self.model.decoder.parameters()}
        matrices = [each for each in parameters if each in layers and each.ndim == 2]
        others = [each for each in parameters if each not in layers or each.ndim == 1]
        optimizer = torch.optim.AdamW(
            [
                {"params": matrices, "weight_decay": settings.weight_decay},
                {"params": others, "weight_decay": 0.0},
            ],
            lr=settings.learning_rate,
        )
        steps = int(self.trainer.estimated_stepping_batches)
        falls = settings.schedule == "cosine"
        schedule = LambdaLR(
            optimizer, lambda step: 0.5 + 0.5 * math.cos(math.pi * step / steps) if falls else 1.0
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_train_epoch_start(self) -> None:
        self.losses = []
        for idle in self.idle_epochs:
            idle += 1
        if self.aligner is not None:
            self.aligner.cluster(self.current_epoch)

    def training_step(self, rows: Tensor, batch_idx: int) -> Tensor:
        batch, settings = self.data[rows], self.model.settings
        latents = self.model.encoder(batch)
        quantized = self.model.quantizer(latents)
        reconstructed = self.model.decoder(quantized.latents)
        reconstruction_loss = RECONSTRUCTION[settings.reconstruction_loss](reconstructed, batch)
        loss = reconstruction_loss + settings.commitment_weight * quantized.commitment_loss
        if self.averages is None:
            loss = loss + quantized.codebook_loss
        parts = {
            "reconstruction_loss": reconstruction_loss,
            "codebook_loss": quantized.codebook_loss,
            "commitment_loss": quantized.commitment_loss,
        }
        if self.aligner is not None:
            further = self.aligner.losses(quantized, rows)
            loss = loss + sum(self.aligner.weights[name] * each for name, each in further.items())
            parts |= further
        self.losses.append({name: each.detach() for name, each in {"loss": loss, **parts}.items()})
        for level, idle in enumerate(self.idle_epochs):
            idle[quantized.codes[:, level].cpu()] = 0
        if self.averages is not None:
            self.averages.update(latents, quantized.codes)
        return loss

    def on_train_epoch_end(self) -> None:
        epoch = self.current_epoch + 1
        entry: dict[str, float] = {"epoch": epoch}
        for name in self.losses[0]:
            entry[name] = float(torch.stack([losses[name] for losses in self.losses]).mean())
        if not math.isfinite(entry["loss"]):
            raise ValueError(
                f"The RQ-VAE diverged in epoch {epoch} (loss {entry['loss']}). "
                f"Lower tokenizer.learning_rate={self.model.settings.learning_rate}."
            )
        if epoch % EVALUATE_EVERY == 0 or epoch == self.trainer.max_epochs:
            entry.update(self.evaluate())
            if self.aligner is not None:  # what the codes know of people counts as much as in the loss
                entry["score"] += sum(weight * entry[name] for name, weight in self.aligner.weights.items())
            self.keep_if_best(epoch, entry["score"])
        self.revive_dead_codes()
        self.history.append(entry)
        if self.on_epoch is not None:
            self.on_epoch(epoch, entry)

    def keep_if_best(self, epoch: int, score: float) -> None:
        if score < self.best_score:
            self.best_epoch, self.best_score = epoch, score
            self.best_state = {name: value.clone() for name, value in self.model.state_dict().items()}

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Look at all items: score = error / variance - USE_WEIGHT * share of codes in use, less is better.

        The variance of standardized vectors is 1. The weight lets a model with dead codes win only where it
        reconstructs clearly better: 1 point of variance is worth 10 points of codes.
        """
        squared, used = 0.0, [torch.zeros(len(idle), dtype=torch.bool) for idle in self.idle_epochs]
        self.model.eval()
        for batch in self.data.split(BLOCK_ROWS):
            reconstructed, quantized = self.model(batch)
            squared += float((reconstructed - batch).square().sum())
            for level, seen in enumerate(used):
                seen[quantized.codes[:, level].cpu()] = True
        self.model.train()
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
        latents = self.model.eval().encoder(self.data[rows])
        self.model.train()
        self.model.quantizer.revive(latents, dead, generator=self.generator)
        for level, (idle, codes) in enumerate(zip(self.idle_epochs, dead, strict=True)):
            idle[codes] = 0
            if self.averages is not None:
                self.averages.restart(level, codes)
