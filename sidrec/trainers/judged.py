"""Judge a training by a ranking on valid users, in place of the loss that `Trainer` would measure."""

from __future__ import annotations

from collections.abc import Callable

from transformers import Trainer

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

    def glance(self) -> str:
        """Return what a person who watches the steps go by wants to see; '' for nothing."""
        return ""

    def _save_rng_state(self, output_dir: str) -> None:
        """Wait for the others: `trainer_state.json`, written next, says that the checkpoint is whole."""
        super()._save_rng_state(output_dir)
        self.accelerator.wait_for_everyone()
