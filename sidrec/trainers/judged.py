"""Judge a training by a ranking on valid users, in place of the loss that `Trainer` would measure.

Two more things that `Trainer` leaves to others: it saves adapters that stand in a model, but loads none
(private hooks of transformers 5), and it leaves autocast to `model.forward`, which our losses do not call.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Protocol

from accelerate import load_checkpoint_in_model
from transformers import Trainer, TrainerState

from sidrec.adapters import has_adapters, restore_adapters
from sidrec.trainers.averaging import WeightAverage
from sidrec.trainers.forward import through_forward


class Validate(Protocol):
    """Rank valid users and return metrics, the same ones in every process."""

    def __call__(self, *, divided: bool = True) -> dict[str, float]:
        """Divide the users among the processes, or have every process rank all of them."""


class JudgedByRanking(Trainer):
    """A `Trainer` whose evaluation is `self._validate`; it stands first among the bases."""

    _validate: Validate
    weight_average: WeightAverage | None = None
    """What is judged and kept in place of the weights themselves; also one of the callbacks."""

    @property
    def is_to_divide(self) -> bool:
        """Whether training will divide the weights among the processes."""
        plugin = getattr(self.accelerator.state, "deepspeed_plugin", None)
        return self.is_fsdp_enabled or (plugin is not None and plugin.zero_stage == 3)

    @property
    def divides_weights(self) -> bool:
        """Whether no process holds the whole model: then all have to compute the same at the same time."""
        return self.is_to_divide and bool(self.accelerator._models)  # prepared, as `train` does

    def restore(self, state: TrainerState) -> None:
        """Take over a training that was over already: its state and its best weights."""
        self.state = state
        if self.is_to_divide and not has_adapters(self.model):  # but nothing has been divided
            load_checkpoint_in_model(self.model, state.best_model_checkpoint)
        else:
            self._load_best_model()

    def judge(self) -> dict[str, float]:
        """Rank the items of the valid sample with the weights as they are now, or their average."""
        if not self.divides_weights:
            with nullcontext() if self.weight_average is None else self.weight_average.in_place():
                return self._validate()
        module = self.accelerator.unwrap_model(self.model_wrapped)
        return through_forward(self.model_wrapped, module, lambda: self._validate(divided=False))

    def whole_weights(self) -> dict[str, Any] | None:
        """Gather the weights in the main process, if they are divided; else None: the model has them."""
        if not self.divides_weights:
            return None
        weights = self.accelerator.get_state_dict(self.model_wrapped)
        tied = self.accelerator.unwrap_model(self.model_wrapped).all_tied_weights_keys
        return {name: weight for name, weight in weights.items() if name not in tied}

    def evaluate(self, *_: object, metric_key_prefix: str = "eval", **__: object) -> dict[str, float]:
        """Rank the items of the valid sample and report its metrics."""
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in self.judge().items()}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def glance(self) -> str:
        """Return what a person who watches the steps go by wants to see; '' for nothing."""
        return ""

    def _save_rng_state(self, output_dir: str) -> None:
        """Wait for the others: `trainer_state.json`, written next, says that the checkpoint is whole."""
        super()._save_rng_state(output_dir)
        self.accelerator.wait_for_everyone()

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
        best = Path(self.state.best_model_checkpoint or "")
        if has_adapters(self.model):
            restore_adapters(self.model, best)
        else:
            super()._load_best_model()
        if self.weight_average is not None:
            self.weight_average.load(best)
            self.weight_average.take_over()

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        super()._save_optimizer_and_scheduler(output_dir)
        if self.weight_average is not None and self.args.should_save:
            self.weight_average.save(Path(output_dir))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if self.weight_average is not None and checkpoint is not None:
            self.weight_average.load(Path(checkpoint))
