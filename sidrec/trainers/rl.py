"""ReRe on TRL's `GRPOTrainer`: constrained beams as rollouts, rewards over integers, one pass per group.

Four private hooks of TRL 1.16 are overridden (the version is pinned): `_get_train_sampler` gives a resumed
run the same prompts; `_generate_and_score_completions` makes a group's tensors, all with the group as first
dimension, so that TRL's shuffling cannot tear groups apart; `compute_loss` scores them in one shared-prefix
pass and flattens them for TRL's own losses; `_get_per_token_logps_and_entropies` hands that pass over.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor, nn
from transformers.trainer_callback import PrinterCallback, TrainerCallback
from trl import GRPOConfig, GRPOTrainer
from trl.trainer.utils import RepeatSampler

from sidrec.decoding import pad_prompts
from sidrec.item_sum import sum_items
from sidrec.metrics import PADDING
from sidrec.objectives import Objective, ScoredGroups
from sidrec.rewards import (
    RewardParts,
    Rollouts,
    group_hit_at_1,
    group_ndcg,
)
from sidrec.scoring import SIDScorer
from sidrec.shared_prefix import CompletionScores, completion_scores
from sidrec.sid_model import SIDModel
from sidrec.trainers.drawing import Drawing
from sidrec.trainers.judged import JudgedByRanking, Validate
from sidrec.trainers.rl_diagnostics import Drift, Figures, Stopwatch, Watch, policy_figures, probes

GIVEN = ("ref_per_token_logps", "old_per_token_logps")
"""Log-probabilities of a batch that were computed when it was drawn, in TRL's words."""
OF_TRLS_LOSS = ("kl", "entropy", *(f"clip_ratio/{name}" for name in ("low_mean", "low_min", "high_mean")))
OF_TRLS_LOSS += ("clip_ratio/high_max", "clip_ratio/region_mean")
"""What TRL notes of its own losses; ours are of every objective."""


class EpochSampler(RepeatSampler):
    """TRL's sampler with an order from (seed, epoch) alone, so that a resumed run has the same."""

    def set_epoch(self, epoch: int) -> None:
        """Take the order of an epoch; the Trainer calls this."""
        self.generator.manual_seed((self.seed or 0) + 1_000_003 * epoch)


class ReReTrainer(JudgedByRanking, GRPOTrainer):
    """Sharpen the ranking of an aligned model; rows carry `prompt_ids`, and `target` as a catalogue row."""

    def __init__(
        self,
        sid_model: SIDModel,
        train_dataset: Dataset,
        args: GRPOConfig,
        *,
        drawing: Drawing,
        reward: Callable[[Rollouts], RewardParts],
        validate: Validate,
        callbacks: list[TrainerCallback],
        objective: Objective | None = None,
    ) -> None:
        """Prepare training; the reference is a copy of `sid_model` as it is now, GRPO the objective."""
        super().__init__(
            model=sid_model.model,
            reward_funcs=_unused_reward,
            args=args,
            train_dataset=train_dataset,
            eval_dataset=train_dataset,  # Trainer insists on one; `evaluate` below never reads it
            processing_class=sid_model.text_tokenizer,
            callbacks=callbacks,
        )
        self.remove_callback(PrinterCallback)  # TrainingReport says it in a sentence
        self._sid_model = sid_model
        self._validate = validate
        self._group_size: int = args.num_generations or 0
        self._prompts = train_dataset
        self._prompts_per_step: int = (args.generation_batch_size or 0) // self._group_size
        self._generate_every: int = (args.steps_per_generation or 1) * args.num_iterations
        self.drawing = drawing
        self.reward = reward
        self.objective: Objective = objective or Objective()
        self._codes = torch.tensor(sid_model.semantic_ids.codes).to(sid_model.model.device)
        self._reference: SIDScorer | None = None
        if self.ref_model is not None:
            token_ids = [ids.tolist() for ids in sid_model.scorer.token_ids]
            reference = self.accelerator.unwrap_model(self.ref_model)
            # TRL read what the config names: for merged adapters that is their base, without their weights.
            reference.resize_token_embeddings(len(sid_model.scorer.rows), mean_resizing=False)
            reference.load_state_dict(sid_model.model.state_dict())
            if sid_model.prompts.settings.last_token == "sum":
                sum_items(reference, token_ids)
            self._reference = SIDScorer(
                reference, token_ids, sid_model.scorer.trie, sid_model.scorer.normalization
            )
        self._figures, self._watch = Figures(), Watch()
        self._stopwatch = Stopwatch(sid_model.model.device)
        self._held: tuple[Tensor, Tensor] | None = None  # what TRL's loss is about to ask for
        self._drift: Drift | None = None
        if args.beta == 0:
            rows = [train_dataset[place]["prompt_ids"] for place in probes(len(train_dataset))]
            self._drift = Drift(sid_model, rows, self._group_size)

    def _get_train_sampler(self, dataset: Any = None) -> EpochSampler:
        return EpochSampler(
            self._prompts,
            mini_repeat_count=self._group_size,
            batch_size=self._prompts_per_step,
            repeat_count=self._generate_every,
            shuffle=True,
            seed=self.args.seed,
        )

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        """Make the groups of a batch: TRL hands every row over G times in a row."""
        groups = inputs[:: self._group_size]
        if any(row["row"] != groups[i // self._group_size]["row"] for i, row in enumerate(inputs)):
            raise RuntimeError("TRL handed over a batch whose groups are torn; is trl==1.16 installed?")
        rollouts = self.drawing.draw(groups)
        self._stopwatch.lap("rollout")
        rewards = self.reward(rollouts)
        advantages = self.objective.advantages(rewards.total)
        live = self.objective.live(rollouts, rewards.total)  # (B,)
        self._watch.groups(live, rollouts.hits)
        self._log_groups(rollouts, rewards.parts, rewards.total, live)
        kept = live.nonzero().squeeze(1).tolist()
        prompts = [groups[place]["prompt_ids"] for place in kept]
        prompt_ids, prompt_mask = (
            pad_prompts(prompts, self._sid_model.prompts.pad_id, live.device)
            if prompts
            else (torch.zeros((0, 1), dtype=torch.int64, device=live.device),) * 2
        )
        codes = self._codes[rollouts.items[live]]  # (B', G, L)
        output: dict[str, Any] = {
            "prompt_ids": prompt_ids,
            "prompt_mask": prompt_mask,
            "codes": codes,
            "advantages": advantages[live],
            "hits": rollouts.hits[live],
            "num_items_in_batch": (codes != PADDING).sum(),
            "live_share": live.float().mean(),
        }
        self._stopwatch.lap("reward")
        if not prompts:
            return output
        with torch.no_grad():
            if self._reference is not None:
                output["ref_per_token_logps"] = completion_scores(
                    self._reference, prompt_ids, prompt_mask, codes
                ).log_probs
            if self.args.gradient_accumulation_steps % self._generate_every != 0:
                output["old_per_token_logps"] = completion_scores(
                    self._sid_model.scorer, prompt_ids, prompt_mask, codes
                ).log_probs
        self._stopwatch.lap("reference")
        return output

    def _log_groups(self, rollouts: Rollouts, parts: dict[str, Tensor], total: Tensor, live: Tensor) -> None:
        """Note what a person watches: rewards, the ranking inside groups, groups that carry no signal."""
        values = {f"reward/{name}": part.mean() for name, part in parts.items()}
        values |= {
            "reward": total.mean(),
            "group_hr@1": group_hit_at_1(rollouts).float().mean(),
            "group_ndcg": group_ndcg(rollouts).mean(),
            "dead_groups": 1 - live.float().mean(),
        }
        for name, value in values.items():
            self._metrics["train"][name].append(float(value))

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Return the objective over the live groups, weighted by their share: dead ones add nothing."""
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

    def create_model_card(self, *_: object, **__: object) -> None:
        """Write none into checkpoints: they are deleted."""


def _unused_reward(**_: object) -> list[float | None]:
    """TRL wants a reward function; rewards are computed on integers in `_generate_and_score_completions`."""
    raise RuntimeError("sidrec computes rewards itself; TRL must not ask for them.")
