"""Train sequential models in Lightning: `fit_sasrec`, `fit_sasrec_bce`, `fit_gru4rec`.

Weights are learnt from train events alone; valid targets decide when to stop, and nothing reads test.
Lightning takes seconds to import: import this module only where a model is trained.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from sidrec.baselines.config import GRU4RecConfig, SASRecBCEConfig, SASRecConfig
from sidrec.baselines.gru4rec import GRU4Rec
from sidrec.baselines.sasrec import SASRec
from sidrec.baselines.sequences import WindowBatch, WindowBatches, train_windows
from sidrec.baselines.sequential import (
    Loss,
    Positions,
    SequentialModel,
    sampled_bce_loss,
    softmax_loss,
)
from sidrec.baselines.validation import evaluate
from sidrec.catalog import EvaluationRows, Split
from sidrec.errors import CatalogError, ConfigError
from sidrec.moving_average import move_average
from tokenizer.neural.quiet_training import make_trainer, quiet_training

BETAS = (0.9, 0.98)
WARMUP_STEPS = 100
LARGEST_GRADIENT = 1.0
"""Norm that the gradient of all weights together is clipped to."""

AVERAGE_DECAY = 0.995
"""Of the moving average of the weights over steps, which is what is evaluated and kept: on Scientific it is
worth .0026 of valid NDCG@10 together with the three above."""

OnEpoch = Callable[[int, int], None]


@dataclass(frozen=True)
class Fitted:
    """A trained model and how it came about.

    Attributes:
        model: With the weights of the best epoch, in evaluation mode.
        best_epoch: The one with the best valid NDCG@10, from 1; the first of equals.
        epochs: How many were run.
        valid: `ndcg@10` and `hr@10` of the best epoch, means over all valid users, whole catalogue ranked.
        seconds: Wall time of the training, validation included.
        parameters: Number of trained weights.
    """

    model: SequentialModel
    best_epoch: int
    epochs: int
    valid: dict[str, float]
    seconds: float
    parameters: int


def fit_sasrec(
    split: Split, num_items: int, settings: SASRecConfig, *, seed: int, on_epoch: OnEpoch | None = None
) -> Fitted:
    """Train SASRec with a softmax over all items: the strong one."""
    loss = partial(softmax_loss, label_smoothing=settings.label_smoothing)
    return fit_sequential(SASRec(num_items, settings, seed=seed), loss, split, seed=seed, on_epoch=on_epoch)


def fit_sasrec_bce(
    split: Split, num_items: int, settings: SASRecBCEConfig, *, seed: int, on_epoch: OnEpoch | None = None
) -> Fitted:
    """Train SASRec against one sampled negative per position: the weak one, as papers report it."""
    loss = partial(sampled_bce_loss, generator=torch.Generator().manual_seed(seed))
    return fit_sequential(SASRec(num_items, settings, seed=seed), loss, split, seed=seed, on_epoch=on_epoch)


def fit_gru4rec(
    split: Split, num_items: int, settings: GRU4RecConfig, *, seed: int, on_epoch: OnEpoch | None = None
) -> Fitted:
    """Train GRU4Rec with a softmax over all items."""
    loss = partial(softmax_loss, label_smoothing=settings.label_smoothing)
    return fit_sequential(GRU4Rec(num_items, settings, seed=seed), loss, split, seed=seed, on_epoch=on_epoch)


def fit_sequential(
    model: SequentialModel, loss: Loss, split: Split, *, seed: int, on_epoch: OnEpoch | None = None
) -> Fitted:
    """Train a model, as its settings say, to predict each train event from those before it.

    Stops when `patience` epochs have brought no better NDCG@10 on valid. Runs on the CPU in one thread, so
    that the same split, settings and seed give the same bytes whatever the number of cores. The global random
    states of Python, numpy and torch are neither read nor moved.

    Args:
        model: Changed in place.
        loss: Of a batch's positions, a mean over them.
        split: `train` is learnt from, each target by its weight (`scaled_weights`); `valid` decides when to
            stop, `test` is not read.
        seed: Of batches and dropout.
        on_epoch: Told (epochs done, epochs at most) after each.

    Raises:
        CatalogError: If no user has two train events, or there is no valid user.
        ConfigError: If the training diverges.
    """
    started = time.monotonic()
    settings = model.settings
    windows = train_windows(split.train, max_history=settings.max_history)
    if not windows:
        raise CatalogError(
            "A sequential baseline learns from users with 2 train events or more, and the split has none. "
            "Add events, or leave gru4rec, sasrec and sasrec_bce out of baselines.models."
        )
    if not len(split.valid):
        raise CatalogError(
            "A sequential baseline is trained until valid users no longer gain, and the split has none."
        )
    weights = split.scaled_weights()
    batches = WindowBatches(
        windows,
        settings.batch_size,
        padding=model.padding,
        seed=seed,
        weights=weights and train_windows(weights, max_history=settings.max_history),
    )
    training = _Training(model, loss, split.valid, on_epoch)
    with quiet_training(), torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # dropout knows no other generator
        trainer = make_trainer(settings.epochs, largest_gradient=LARGEST_GRADIENT)
        trainer.fit(training, train_dataloaders=batches)
    model.load_state_dict(training.best_state)
    return Fitted(
        model=model.eval(),
        best_epoch=training.best_epoch,
        epochs=training.epochs,
        valid=training.best_valid,
        seconds=time.monotonic() - started,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
    )


class _Training(LightningModule):
    """Steps, and the choice of the best epoch, for one `SequentialModel`."""

    def __init__(
        self, model: SequentialModel, loss: Loss, valid: EvaluationRows, on_epoch: OnEpoch | None
    ) -> None:
        super().__init__()
        self.model = model
        self.average = copy.deepcopy(model).requires_grad_(False)
        self.loss = loss
        self.valid = valid
        self.on_epoch = on_epoch
        self.epochs = 0
        self.best_epoch = 0
        self.best_valid: dict[str, float] = {}
        self.best_state: dict[str, Tensor] = {}
        self.losses: list[Tensor] = []

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        settings = self.model.settings
        matrices = [parameter for parameter in self.model.parameters() if parameter.ndim == 2]
        others = [parameter for parameter in self.model.parameters() if parameter.ndim == 1]
        optimizer = torch.optim.AdamW(
            [
                {"params": matrices, "weight_decay": settings.weight_decay},
                {"params": others, "weight_decay": 0.0},
            ],
            lr=settings.learning_rate,
            betas=BETAS,
        )
        warm_up = LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / WARMUP_STEPS))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": warm_up, "interval": "step"}}

    def on_train_epoch_start(self) -> None:
        self.losses = []

    def training_step(self, batch: WindowBatch, batch_idx: int) -> Tensor:
        inputs, targets = batch.items[:, :-1], batch.items[:, 1:]  # (B, T) each: what came, what came next
        has_target = targets != self.model.padding
        states = self.model(inputs)[has_target]  # (R, d): no logits are computed at padding
        own_window = inputs[has_target.nonzero()[:, 0]]  # (R, T)
        weights = None if batch.weights is None else batch.weights[:, 1:][has_target]  # (R,)
        positions = Positions(states, targets[has_target], own_window, self.model.item_vectors(), weights)
        loss = self.loss(positions)
        self.losses.append(loss.detach())
        return loss

    def on_train_batch_end(self, outputs: object, batch: WindowBatch, batch_idx: int) -> None:
        move_average(
            self.average.parameters(), self.model.parameters(), AVERAGE_DECAY, steps=self.global_step
        )

    def on_train_epoch_end(self) -> None:
        settings = self.model.settings
        self.epochs = self.current_epoch + 1
        loss = float(torch.stack(self.losses).mean())
        if not math.isfinite(loss) or not all(w.isfinite().all() for w in self.average.parameters()):
            raise ConfigError(
                f"The sequential baseline diverged in epoch {self.epochs} (loss {loss}). "
                f"Lower its learning_rate={settings.learning_rate}."
            )
        valid = evaluate(self.average, self.valid)
        if not self.best_valid or valid["ndcg@10"] > self.best_valid["ndcg@10"]:
            self.best_epoch, self.best_valid = self.epochs, valid
            self.best_state = {name: value.clone() for name, value in self.average.state_dict().items()}
        self.trainer.should_stop = self.epochs - self.best_epoch >= settings.patience
        if self.on_epoch is not None:
            self.on_epoch(self.epochs, settings.epochs)
