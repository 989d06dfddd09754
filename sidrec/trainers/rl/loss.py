"""What a step of RL minimizes: groups are scored in one shared-prefix pass, for TRL's losses and for ours.

Two private hooks of TRL 1.16: `compute_loss`, whose groups are flattened for TRL's own losses, and
`_get_per_token_logps_and_entropies`, which hands over the pass that `compute_loss` made. How groups are drawn
and rewarded is left to `ReReTrainer`.
"""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

from torch import Tensor, nn
from trl import GRPOTrainer

from sidrec.metrics import PADDING
from sidrec.objectives import Objective, ScoredGroups
from sidrec.shared_prefix import CompletionScores, completion_scores
from sidrec.sid_model import SIDModel
from sidrec.trainers.forward import through_forward
from sidrec.trainers.rl.diagnostics import Drift, Figures, Stopwatch, Watch, policy_figures
from sidrec.trainers.rl.imitation import imitation_loss

GIVEN = ("ref_per_token_logps", "old_per_token_logps")
"""Log-probabilities of a batch that were computed when it was drawn, in TRL's words."""
OF_TRLS_LOSS = ("kl", "entropy", *(f"clip_ratio/{name}" for name in ("low_mean", "low_min", "high_mean")))
OF_TRLS_LOSS += ("clip_ratio/high_max", "clip_ratio/region_mean")
"""What TRL notes of its own losses; ours are of every objective."""


class GroupLoss(GRPOTrainer):
    """A `GRPOTrainer` of groups: (B', G, ...) tensors of the groups that carry a signal."""

    objective: Objective
    _sid_model: SIDModel
    _figures: Figures
    _stopwatch: Stopwatch
    _watch: Watch
    _drift: Drift | None
    _held: tuple[Tensor, Tensor] | None = None  # what TRL's loss is about to ask for

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Return the objective over the live groups, weighted by their share: dead ones add nothing.

        It is computed where what wraps the model, if several processes train, calls its forward.
        """
        module = self.accelerator.unwrap_model(model)
        return through_forward(model, module, lambda: self._loss_of(module, inputs))

    def _loss_of(self, model: nn.Module, inputs: dict[str, Any]) -> Tensor | float:
        if self.objective.imitates:
            loss = imitation_loss(self._sid_model.scorer, inputs) / self.current_gradient_accumulation_steps
            self._stopwatch.lap("policy")
            return loss
        codes = inputs["codes"]  # (B', G, L)
        if len(codes) == 0:
            return 0.0 * sum(parameter.sum() for parameter in model.parameters())
        mask = codes != PADDING
        scores = self._policy_scores(inputs["prompt_ids"], inputs["prompt_mask"], codes)
        policy = scores.log_probs.masked_fill(~mask, 0.0)  # it is -inf after the last code of a rollout
        given = {name: inputs[name].masked_fill(~mask, 0.0) for name in GIVEN if name in inputs}
        reference = given.get("ref_per_token_logps")
        if self.objective.is_of_trl:
            self._held = policy.flatten(0, 1), scores.entropies.flatten(0, 1)
            loss, clipped = self._loss_of_trl(model, inputs, mask, given)
        else:
            loss, clipped = self._sequence_loss(inputs, policy, given)
        if inputs["live_share"] > 0:
            self._figures.note(policy_figures(scores, reference, mask, clipped))
        self._stopwatch.lap("policy")
        return loss * inputs["live_share"]

    def _policy_scores(self, prompt_ids: Tensor, prompt_mask: Tensor, codes: Tensor) -> CompletionScores:
        """Score (B', G, L) codes, each prompt once, with gradients."""
        return completion_scores(self._sid_model.scorer, prompt_ids, prompt_mask, codes)

    def _loss_of_trl(
        self, model: nn.Module, inputs: dict[str, Any], mask: Tensor, given: dict[str, Tensor]
    ) -> tuple[Tensor, float]:
        """Return TRL's loss, over rollouts and not groups, and the share of ratios that it clipped."""
        ids = inputs["codes"].flatten(0, 1)  # (B' * G, L): TRL only hands them over, to what is held
        flat = {
            "prompt_ids": ids[:, :0],
            "prompt_mask": ids[:, :0],
            "completion_ids": ids,
            "completion_mask": mask.flatten(0, 1).long(),
            "advantages": inputs["advantages"].flatten(),
            "num_items_in_batch": inputs["num_items_in_batch"],
            **{name: values.flatten(0, 1) for name, values in given.items()},
        }
        with patch.object(
            self.accelerator, "gather", lambda figures: figures
        ):  # as many as there are rollouts
            loss = super().compute_loss(model, flat)
        noted = self._metrics["train" if model.training else "eval"]
        values = {name: noted.pop(name)[-1] for name in OF_TRLS_LOSS if name in noted}
        return loss, values["clip_ratio/region_mean"]

    def _sequence_loss(
        self, inputs: dict[str, Any], log_probs: Tensor, given: dict[str, Tensor]
    ) -> tuple[Tensor, float]:
        """Return a loss of ours on (B', G, L) log-probabilities, and the share of ratios that it clipped."""
        policy = log_probs.sum(-1)
        sums = {name: values.sum(-1) for name, values in given.items()}  # (B', G)
        groups = ScoredGroups(
            policy,
            behaviour=sums.get("old_per_token_logps", policy.detach()),
            reference=sums.get("ref_per_token_logps"),
            advantages=inputs["advantages"],
            hits=inputs["hits"],
        )
        epsilon = (self.epsilon_low, self.epsilon_high)
        loss = self.objective.loss(groups, beta=self.beta, epsilon=epsilon)
        return loss.value / self.current_gradient_accumulation_steps, loss.clipped

    def _get_per_token_logps_and_entropies(self, *_: object, **__: object) -> tuple[Tensor, Tensor, None]:
        """Hand over what `compute_loss` has scored: (B' * G, L) each."""
        assert self._held is not None, "TRL asked for log-probabilities that nobody has computed"
        (log_probs, entropies), self._held = self._held, None
        return log_probs, entropies, None

    def training_step(self, *args: Any, **named: Any) -> Tensor:
        """Take the time of a step's phases."""
        self._stopwatch.start()
        loss = super().training_step(*args, **named)
        self._stopwatch.lap("backward")
        self._figures.note(self._stopwatch.read())
        return loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add to a line about the loss what was noted of the policy, and how far it has gone."""
        if "loss" in logs:
            logs |= self._figures.read()
            if self._drift is not None:
                logs["drift"] = self._drift.measure()
                self._watch.drift(logs["drift"])
        super().log(logs, start_time)
