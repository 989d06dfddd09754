"""Judge a training by a ranking on valid users, in place of the loss that `Trainer` would measure.

Two more things that `Trainer` leaves to others: it saves adapters that stand in a model, but loads none
(private hooks of transformers 5), and it leaves autocast to `model.forward`, which our losses do not call.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from transformers import Trainer

from sidrec.adapters import has_adapters, restore_adapters

Validate = Callable[[], dict[str, float]]


class JudgedByRanking(Trainer):
    """A `Trainer` whose evaluation is `self._validate`; it stands first among the bases."""

    _validate: Validate

    def evaluate(self, *_: object, metric_key_prefix: str = "eval", **__: object) -> dict[str, float]:
        """Rank the items of the valid sample and report its metrics."""
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in self._validate().items()}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def autocast_smart_context_manager(
        self, cache_enabled: bool | None = True
    ) -> AbstractContextManager[None]:
        """Compute losses in bfloat16 where the arguments say so."""
        return self.accelerator.autocast()

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        if has_adapters(self.model):
            restore_adapters(self.model, Path(resume_from_checkpoint))
        else:
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _load_best_model(self) -> None:
        if has_adapters(self.model):
            assert self.state.best_model_checkpoint is not None
            restore_adapters(self.model, Path(self.state.best_model_checkpoint))
        else:
            super()._load_best_model()
