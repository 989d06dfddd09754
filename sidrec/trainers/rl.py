"""ReRe on TRL's `GRPOTrainer`: constrained beams as rollouts, rewards over integers, one pass per group.

Four private hooks of TRL 1.16 are overridden (the version is pinned): `_get_train_sampler` gives a resumed
run the same prompts; `_generate_and_score_completions` makes a group's tensors, all with the group as first
dimension, so that TRL's shuffling cannot tear groups apart; `compute_loss` flattens them for TRL's own loss;
`_get_per_token_logps_and_entropies` is the shared-prefix pass.
"""

from __future__ import annotations

import time
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
from sidrec.rewards import (
    RewardParts,
    Rollouts,
    dead_groups,
    group_hit_at_1,
    group_ndcg,
    ranked_mean,
    weighted_advantages,
)
from sidrec.scoring import SIDScorer
from sidrec.shared_prefix import completion_scores
from sidrec.sid_model import SIDModel
from sidrec.trainers.drawing import Drawing, drawing_metrics
from sidrec.trainers.judged import JudgedByRanking, Validate


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
    ) -> None:
        """Prepare training; the reference is a copy of `sid_model` as it is now."""
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
        self._sid_model = drawing.sid_model  # the same weights, normalized as `rl.logprobs` says
        self._validate = validate
        self._group_size: int = args.num_generations or 0
        self._prompts = train_dataset
        self._prompts_per_step: int = (args.generation_batch_size or 0) // self._group_size
        self._generate_every: int = (args.steps_per_generation or 1) * args.num_iterations
        self.drawing = drawing
        self.reward = reward
        self._codes = torch.tensor(sid_model.semantic_ids.codes).to(sid_model.model.device)
        self._code_of_token = torch.zeros(len(sid_model.scorer.rows), dtype=torch.int64)
        for ids in sid_model.scorer.token_ids:
            self._code_of_token[ids.cpu()] = torch.arange(len(ids))
        self._code_of_token = self._code_of_token.to(sid_model.model.device)
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
                reference, token_ids, sid_model.scorer.trie, self._sid_model.scorer.normalization
            )

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
        started = time.perf_counter()
        rollouts = self.drawing.draw(groups, self.state.global_step)
        for name, value in drawing_metrics(rollouts, time.perf_counter() - started).items():
            self._metrics["train"][name].append(value)
        rewards = self.reward(rollouts)
        advantages = weighted_advantages(rewards.total, rollouts.weights)
        live = ~dead_groups(rewards.total)  # (B,)
        self._log_groups(rollouts, rewards, live)
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
            "num_items_in_batch": torch.tensor(codes.numel()),
            "live_share": live.float().mean(),
        }
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
        return output

    def _log_groups(self, rollouts: Rollouts, rewards: RewardParts, live: Tensor) -> None:
        """Note what a person watches: rewards, the ranking inside groups, groups that carry no signal."""
        values: dict[str, Tensor | float] = {
            f"reward/{name}": part.mean() for name, part in rewards.parts.items()
        }
        values |= {f"ranked_reward/{name}": ranked_mean(part).mean() for name, part in rewards.parts.items()}
        values |= {f"reward_share/{name}": share for name, share in rewards.shares().items()}
        values |= {
            "reward": rewards.total.mean(),
            "ranked_reward": ranked_mean(rewards.total).mean(),
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
        """Return TRL's loss over the live groups, weighted by their share: dead ones add nothing."""
        codes = inputs["codes"]  # (B', G, L)
        if len(codes) == 0:
            return 0.0 * sum(parameter.sum() for parameter in model.parameters())
        tokens = [
            self._sid_model.scorer.token_ids[level][codes[..., level]] for level in range(codes.shape[-1])
        ]
        completion_ids = torch.stack(tokens, dim=-1).flatten(0, 1)  # (B' * G, L)
        flat = {
            "prompt_ids": inputs["prompt_ids"].repeat_interleave(self._group_size, dim=0),
            "prompt_mask": inputs["prompt_mask"].repeat_interleave(self._group_size, dim=0),
            "completion_ids": completion_ids,
            "completion_mask": torch.ones_like(completion_ids),
            "advantages": inputs["advantages"].flatten(),
            "num_items_in_batch": inputs["num_items_in_batch"],
        }
        for name in ("ref_per_token_logps", "old_per_token_logps"):
            if name in inputs:
                flat[name] = inputs[name].flatten(0, 1)
        return super().compute_loss(model, flat) * inputs["live_share"]

    def _get_per_token_logps_and_entropies(
        self, model: nn.Module, input_ids: Tensor, attention_mask: Tensor, logits_to_keep: int, **_: Any
    ) -> tuple[Tensor, Tensor, None]:
        """Score (B * G, P + L) rows, each prompt once."""
        prompt_width = input_ids.shape[1] - logits_to_keep
        codes = self._code_of_token[input_ids[:, prompt_width:]].unflatten(0, (-1, self._group_size))
        scores = completion_scores(
            self._sid_model.scorer,
            input_ids[:: self._group_size, :prompt_width],
            attention_mask[:: self._group_size, :prompt_width],
            codes,
        )
        return scores.log_probs.flatten(0, 1), scores.entropies.flatten(0, 1), None

    def create_model_card(self, *_: object, **__: object) -> None:
        """Write none into checkpoints: they are deleted."""


def _unused_reward(**_: object) -> list[float | None]:
    """TRL wants a reward function; rewards are computed on integers in `_generate_and_score_completions`."""
    raise RuntimeError("sidrec computes rewards itself; TRL must not ask for them.")
