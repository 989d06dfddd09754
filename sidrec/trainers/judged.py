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
