"""ReRe on TRL's `GRPOTrainer`: constrained beams as rollouts, rewards over integers, one pass per group.

Four private hooks of TRL 1.16 are overridden (the version is pinned): `_get_train_sampler` asks for places in
an order of our own, so that a resumed run has the same prompts; `_generate_and_score_completions` makes a
group's tensors, all with the group as first dimension, so that TRL's shuffling cannot tear groups apart;
`compute_loss` flattens them for TRL's own loss; `_get_per_token_logps_and_entropies` is the shared-prefix
pass.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from torch import Tensor, nn
from transformers.trainer_callback import PrinterCallback, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from sidrec.decoding import pad_prompts
from sidrec.item_sum import sum_items
from sidrec.rewards import RewardParts, Rollouts, group_advantages, group_hit_at_1, group_ndcg
from sidrec.scoring import SIDScorer
from sidrec.shared_prefix import completion_scores
from sidrec.sid_model import SIDModel
from sidrec.trainers.compute import Groups, StepCost
from sidrec.trainers.curriculum import Curriculum, Drawn, first_of
from sidrec.trainers.drawing import Drawing
from sidrec.trainers.imitation import imitation_batch, imitation_loss
from sidrec.trainers.judged import JudgedByRanking, Validate
from sidrec.trainers.prompt_order import PromptOrder, PromptSampler, PromptStream, Rows


class ReReTrainer(JudgedByRanking, GRPOTrainer):
    """Sharpen the ranking of an aligned model; rows carry `prompt_ids`, and `target` as a catalogue row."""

    def __init__(
        self,
        sid_model: SIDModel,
        prompts: Rows,
        args: GRPOConfig,
        *,
        drawing: Drawing,
        reward: Callable[[Rollouts], RewardParts],
        validate: Validate,
        callbacks: list[TrainerCallback],
        order: PromptOrder | None = None,
        curriculum: Curriculum | None = None,
        objective: str = "grpo",
    ) -> None:
        """Prepare training; the reference is a copy of `sid_model` as it is now.

        Args:
            sid_model: What is trained.
            prompts: Rows.
            args: As `grpo_arguments` makes them.
            drawing: How rollouts are drawn.
            reward: Of rollouts.
            validate: Returns the metrics by which the best checkpoint is kept.
            callbacks: For the Trainer.
            order: Of the rows; absent: each once per pass.
            curriculum: Which of them a step takes; absent: all in turn.
            objective: `rl.objective`.
        """
        unread = Dataset.from_dict({"prompt": [""]})  # TRL insists on one of this class; ours is put in below
        super().__init__(
            model=sid_model.model,
            reward_funcs=_unused_reward,
            args=args,
            train_dataset=unread,
            eval_dataset=unread,  # Trainer insists on one; `evaluate` never reads it
            processing_class=sid_model.text_tokenizer,
            callbacks=callbacks,
        )
        self.remove_callback(PrinterCallback)  # TrainingReport says it in a sentence
        self._sid_model = sid_model
        self._validate = validate
        self._group_size: int = args.num_generations or 0
        self._prompts_per_step: int = (args.generation_batch_size or 0) // self._group_size
        self._generate_every: int = (args.steps_per_generation or 1) * args.num_iterations
        self.prompts = prompts
        self._objective = objective
        self._curriculum = curriculum or Curriculum()
        self._batches = args.max_steps * args.gradient_accumulation_steps
        self._stride = self._curriculum.stride(self._prompts_per_step)
        order = order or PromptOrder(np.zeros(len(prompts), dtype=np.int64), [1.0], ["next_item"], args.seed)
        self._stream = PromptStream(prompts, order, -(-self._batches // self._generate_every) * self._stride)
        self.train_dataset = self._stream
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
                reference, token_ids, sid_model.scorer.trie, sid_model.scorer.normalization
            )

    def _get_train_sampler(self, dataset: Any = None) -> PromptSampler:
        return PromptSampler(
            prompts=self._prompts_per_step,
            group_size=self._group_size,
            updates=self._generate_every,
            stride=self._stride,
            batches=self._batches,
        )

    def _save_rng_state(self, output_dir: str) -> None:
        """Save with a checkpoint what the curriculum has to know, too."""
        self._curriculum.save(Path(output_dir))
        super()._save_rng_state(output_dir)

    def _load_rng_state(self, checkpoint: str | None) -> None:
        if checkpoint is not None:
            self._curriculum.load(Path(checkpoint))
        super()._load_rng_state(checkpoint)

    def _draw(self, rows: list[dict[str, Any]]) -> Drawn:
        rollouts = self.drawing.draw(rows)
        return Drawn(rows, rollouts, self.reward(rollouts))

    @property
    def _needs_old(self) -> bool:
        """Whether the policy moves on between two uses of the same rollouts."""
        return self.args.gradient_accumulation_steps % self._generate_every != 0

    def _count(self, drawn: list[dict[str, Any]], trained: list[dict[str, Any]]) -> None:
        """Add what a batch costs to the tokens read; they are part of a checkpoint."""
        cost = StepCost(
            self._group_size,
            self._codes.shape[1],
            updates=self.num_iterations,
            extra_passes=int(self._reference is not None) + int(self._needs_old),
        )
        groups = [Groups(len(rows), sum(len(row["prompt_ids"]) for row in rows)) for rows in (drawn, trained)]
        is_imitation = self._objective == "sft"
        self.state.num_input_tokens_seen += (
            cost.of_imitation(groups[1]) if is_imitation else cost.of_rl(*groups)
        )

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        """Make the groups of a batch: TRL hands every row over G times in a row."""
        groups = inputs[:: self._group_size]
        if any(row["row"] != groups[i // self._group_size]["row"] for i, row in enumerate(inputs)):
            raise RuntimeError("TRL handed over a batch whose groups are torn; is trl==1.16 installed?")
        if self._objective == "sft":
            self._count([], groups)
            return imitation_batch(groups, self._codes, self._sid_model.prompts.pad_id)
        drawn = self._curriculum.draw(groups, self._stream, self._draw, prompts=self._prompts_per_step)
        rollouts, rewards = drawn.rollouts, drawn.rewards
        advantages = group_advantages(rewards.total)
        self._log_groups(rollouts, rewards.parts, rewards.total, drawn.live)
        live = first_of(drawn.live, len(groups))  # (B,)
        kept = [drawn.rows[place] for place in live.nonzero().squeeze(1).tolist()]
        self._count(drawn.rows, kept)
        prompts = [row["prompt_ids"] for row in kept]
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
            "live_share": live.float().sum() / len(groups),
        }
        if not prompts:
            return output
        with torch.no_grad():
            if self._reference is not None:
                output["ref_per_token_logps"] = completion_scores(
                    self._reference, prompt_ids, prompt_mask, codes
                ).log_probs
            if self._needs_old:
                output["old_per_token_logps"] = completion_scores(
                    self._sid_model.scorer, prompt_ids, prompt_mask, codes
                ).log_probs
        return output

    def _log_groups(self, rollouts: Rollouts, parts: dict[str, Tensor], total: Tensor, live: Tensor) -> None:
        """Note what a person watches: rewards, the ranking inside groups, groups that carry no signal."""
        values = {f"reward/{name}": part.mean() for name, part in parts.items()}
        values |= {
            "reward": total.mean(),
            "group_hr@1": group_hit_at_1(rollouts).float().mean(),
            "group_ndcg": group_ndcg(rollouts).mean(),
            "dead_groups": 1 - live.float().mean(),
            "drawn_prompts": torch.tensor(len(live)),
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
        if self._objective == "sft":
            return imitation_loss(self._sid_model.scorer, inputs) / self.current_gradient_accumulation_steps
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
