"""ReRe on TRL's `GRPOTrainer`: constrained beams as rollouts, rewards over integers, one pass per group.

Four private hooks of TRL 1.16 are overridden (the version is pinned): `_get_train_sampler` asks for places in
an order of our own, so that a resumed run has the same prompts; `_generate_and_score_completions` makes a
group's tensors, all with the group as first dimension, so that TRL's shuffling cannot tear groups apart; the
other two are in `loss`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from torch import Tensor
from transformers.trainer_callback import PrinterCallback, TrainerCallback
from trl import GRPOConfig

from sidrec.decoding import pad_prompts
from sidrec.errors import ConfigError
from sidrec.item_sum import sum_items
from sidrec.metrics import PADDING
from sidrec.objectives import Objective
from sidrec.processes import joined, num_processes
from sidrec.rewards import (
    RewardParts,
    Rollouts,
    group_hit_at_1,
    group_ndcg,
    ranked_mean,
)
from sidrec.scoring import SIDScorer
from sidrec.shared_prefix import completion_scores
from sidrec.sid_model import SIDModel
from sidrec.trainers.judged import JudgedByRanking, Validate
from sidrec.trainers.rl.compute import Groups, StepCost
from sidrec.trainers.rl.curriculum import Curriculum, Drawn, first_of
from sidrec.trainers.rl.diagnostics import (
    Drift,
    Figures,
    LinesEndAtCheckpoints,
    Stopwatch,
    Watch,
    probes,
)
from sidrec.trainers.rl.drawing import Drawing, drawing_metrics
from sidrec.trainers.rl.imitation import imitation_batch
from sidrec.trainers.rl.loss import GroupLoss
from sidrec.trainers.rl.prompt_order import PromptOrder, PromptSampler, PromptStream, Rows


class ReReTrainer(JudgedByRanking, GroupLoss):
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
        change: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
        curriculum: Curriculum | None = None,
        objective: Objective | None = None,
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
            change: As `PromptStream` takes it.
            curriculum: Which of them a step takes; absent: all in turn.
            objective: What is minimized; absent: GRPO.

        Raises:
            ConfigError: If the weights are to be divided among processes.
        """
        unread = Dataset.from_dict({"prompt": [""]})  # TRL insists on one of this class; ours is put in below
        super().__init__(
            model=sid_model.model,
            reward_funcs=_unused_reward,
            args=args,
            train_dataset=unread,
            eval_dataset=unread,  # Trainer insists on one; `evaluate` never reads it
            processing_class=sid_model.text_tokenizer,
            callbacks=[LinesEndAtCheckpoints(), *callbacks],
        )
        self.remove_callback(PrinterCallback)  # TrainingReport says it in a sentence
        if self.is_to_divide:
            raise ConfigError(
                "sidrec rl draws rollouts with whole weights in every process, which FSDP and ZeRO-3 divide. "
                "Launch it with torchrun, or with configs/accelerate/ddp.yaml or deepspeed_zero2.yaml."
            )
        self._sid_model = drawing.sid_model  # the same weights, normalized as `rl.logprobs` says
        self._validate = validate
        self._group_size: int = args.num_generations or 0
        self._prompts_per_step: int = (args.generation_batch_size or 0) // self._group_size
        self._generate_every: int = (args.steps_per_generation or 1) * args.num_iterations
        self.prompts = prompts
        self.objective: Objective = objective or Objective()
        self._curriculum = curriculum or Curriculum()
        self._batches = args.max_steps * args.gradient_accumulation_steps
        self._stride = self._curriculum.stride(self._prompts_per_step)
        order = order or PromptOrder(np.zeros(len(prompts), dtype=np.int64), [1.0], ["next_item"], args.seed)
        length = -(-self._batches // self._generate_every) * self._stride
        self._stream = PromptStream(prompts, order, length, change)
        self.train_dataset = self._stream
        self.drawing = drawing
        self.reward = reward
        self._codes = torch.tensor(sid_model.prompts.codes).to(sid_model.model.device)
        self._reference = self._reference_of(sid_model)
        self._figures, self._watch = Figures(), Watch()
        self._stopwatch = Stopwatch(sid_model.model.device)
        self._drift: Drift | None = None
        if args.beta == 0 and not self.objective.imitates:
            rows = [prompts[place]["prompt_ids"] for place in probes(len(prompts))]
            self._drift = Drift(sid_model, rows, self._group_size)

    def _reference_of(self, sid_model: SIDModel) -> SIDScorer | None:
        """Make TRL's reference model the policy as it is now; None where there is none."""
        if self.ref_model is None:
            return None
        reference = self.accelerator.unwrap_model(self.ref_model)
        # TRL read what the config names: for merged adapters that is their base, without their weights.
        reference.resize_token_embeddings(len(sid_model.scorer.rows), mean_resizing=False)
        reference.load_state_dict(sid_model.model.state_dict())
        if sid_model.prompts.settings.last_token == "sum":
            sum_items(reference, [ids.tolist() for ids in sid_model.scorer.token_ids])
        return self._sid_model.scorer.of(reference, self._sid_model.scorer.normalization)

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
        rollouts = self.drawing.draw(rows, self.state.global_step)
        self._stopwatch.lap("rollout")
        rewards = self.reward(rollouts)
        self._stopwatch.lap("reward")
        return Drawn(rows, rollouts, rewards, self.objective.live(rollouts, rewards.total))

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
        mine = cost.of_imitation(groups[1]) if self.objective.imitates else cost.of_rl(*groups)
        self.state.num_input_tokens_seen += int(self._sum(torch.tensor(mine)))

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        """Make the groups of a batch: TRL hands every row over G times in a row."""
        groups = inputs[:: self._group_size]
        if any(row["row"] != groups[i // self._group_size]["row"] for i, row in enumerate(inputs)):
            raise RuntimeError("TRL handed over a batch whose groups are torn; is trl==1.16 installed?")
        if self.objective.imitates:
            self._count([], groups)
            return imitation_batch(groups, self._codes, self._sid_model.prompts.pad_id)
        drawn = self._curriculum.draw(groups, self._stream, self._draw, prompts=self._prompts_per_step)
        rollouts, rewards = drawn.rollouts, drawn.rewards
        advantages = self._advantages(rollouts, rewards)
        self._log_groups(rollouts, rewards, drawn.live)
        live = first_of(drawn.live, len(groups))  # (B,)
        live_share = live.float().sum() / len(groups)
        kept = [drawn.rows[place] for place in live.nonzero().squeeze(1).tolist()]
        self._count(drawn.rows, kept)
        hits = rollouts.hits
        if not kept and num_processes() > 1:  # the others may have some, and wait: one is scored for nothing
            kept, live[0] = drawn.rows[:1], True
            hits = torch.zeros_like(hits)
            hits[:, 0] = True  # preferences insist on a target
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
            "hits": hits[live],
            "num_items_in_batch": self._tokens_of_all((codes != PADDING).sum(), live_share),
            "live_share": live_share,
        }
        self._stopwatch.lap("reward")
        if prompts:
            output |= self._known_log_probs(prompt_ids, prompt_mask, codes)
            self._stopwatch.lap("reference")
        return output

    def _advantages(self, rollouts: Rollouts, rewards: RewardParts) -> Tensor:
        """(B, G); where they are measured against the whole batch, that is the batch of all processes."""
        if self.objective.scaling != "batch":
            return self.objective.advantages(rewards.total, rollouts.weights)
        totals, mine = joined(rewards.total)
        weights = None if rollouts.weights is None else joined(rollouts.weights)[0]
        return self.objective.advantages(totals, weights)[mine]

    def _tokens_of_all(self, tokens: Tensor, live_share: Tensor) -> Tensor:
        """Return by how many tokens DAPO is to divide, so that `live_share` makes it right afterwards.

        TRL multiplies the sum over the tokens of a process by the number of processes, whose mean is taken,
        and divides it by the tokens of all. We multiply by the live share here, where that of all belongs.
        """
        if num_processes() == 1:
            return tokens
        share_of_all = self._sum(live_share) / num_processes()
        lived = tokens * (live_share > 0)
        return self._sum(lived) * live_share / share_of_all.clamp(min=torch.finfo(torch.float32).tiny)

    def _sum(self, values: Tensor) -> Tensor:
        """Return the sum over the processes."""
        return self.accelerator.reduce(values.to(self.accelerator.device), reduction="sum")

    @torch.no_grad()
    def _known_log_probs(self, prompt_ids: Tensor, prompt_mask: Tensor, codes: Tensor) -> dict[str, Tensor]:
        """(B', G, L) log-probabilities that the loss compares with, by their names in TRL."""
        scorers = {"ref_per_token_logps": self._reference}
        if self._needs_old:
            scorers["old_per_token_logps"] = self._sid_model.scorer
        return {
            name: completion_scores(scorer, prompt_ids, prompt_mask, codes).log_probs
            for name, scorer in scorers.items()
            if scorer is not None
        }

    def _log_groups(self, rollouts: Rollouts, rewards: RewardParts, live: Tensor) -> None:
        """Note what a person watches: rewards, the ranking inside groups, groups that carry no signal."""
        values: dict[str, Tensor | float] = {
            f"reward/{name}": part.mean() for name, part in rewards.parts.items()
        }
        values |= {f"ranked_reward/{name}": ranked_mean(part).mean() for name, part in rewards.parts.items()}
        values |= drawing_metrics(rollouts)
        values |= {
            "reward": rewards.total.mean(),
            "ranked_reward": ranked_mean(rewards.total).mean(),
            "group_hr@1": group_hit_at_1(rollouts).float().mean(),
            "group_ndcg": group_ndcg(rollouts).mean(),
            "dead_groups": 1 - live.float().mean(),
            "hits": rollouts.hits.float().mean(),
        }
        of_all, drawn = self._means(values, weight=len(live))
        self._watch.groups(of_all["dead_groups"], of_all.pop("hits"))
        of_all["drawn_prompts"] = drawn
        shares = rewards.shares()  # none where no group is live
        named = {f"reward_share/{name}": shares.get(name, 0.0) for name in rewards.weights}
        of_all |= self._means(named, weight=int(live.sum()))[0]
        for name, value in of_all.items():
            self._metrics["train"][name].append(value)

    def _means(self, values: Mapping[str, Tensor | float], weight: int) -> tuple[dict[str, float], float]:
        """Return the means of all processes, whose values count `weight` times each, none of none, and the
        sum of the weights.
        """
        mine = torch.tensor([*map(float, values.values()), 1.0], dtype=torch.float64)
        *sums, total = self._sum(mine * weight).tolist()
        means = {name: each / total for name, each in zip(values, sums, strict=True)} if total else {}
        return means, total

    def create_model_card(self, *_: object, **__: object) -> None:
        """Write none into checkpoints: they are deleted."""


def _unused_reward(**_: object) -> list[float | None]:
    """TRL wants a reward function; rewards are computed on integers in `_generate_and_score_completions`."""
    raise RuntimeError("sidrec computes rewards itself; TRL must not ask for them.")
