"""What the config section `rl` may hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from sidrec.sections import TRAINER_OF_OURS, Normalization, Section, check_trainer

Sampling = Literal["beam", "sample", "dynamic", "sample_without_replacement", "mixed"]
OffPolicy = Literal["ignore", "importance"]

ObjectiveName = Literal["grpo", "dapo", "dr_grpo", "gspo", "rloo", "s_dpo", "dpo", "sft"]
Scaling = Literal["group", "batch", "none"]
PREFERENCES = ("s_dpo", "dpo")
# Fields of GRPOConfig that TRL's own losses read: those on the ratio to the policy that drew the rollouts,
# which is 1 until a batch is used again, and the rest.
RATIO = {"epsilon", "epsilon_high", "delta", "off_policy_mask_threshold"}
ENTROPY = {"entropy_coef", "entropy_coef_delta", "entropy_coef_max", "entropy_coef_min", "entropy_target"}
READ_BY_TRL = RATIO | ENTROPY | {"top_entropy_quantile", "use_adaptive_entropy", "use_bias_correction_kl"}

# Fields of GRPOConfig that `rl` has options of its own for, or that would change nothing: sidrec draws and
# rewards the rollouts itself.
ROLLOUTS_OF_OURS = {
    "beta",
    "chat_template_kwargs",
    "generation_batch_size",
    "generation_kwargs",
    "importance_sampling_level",
    "log_completions",
    "loss_type",
    "mask_truncated_completions",
    "max_completion_length",
    "min_p",
    "multi_objective_aggregation",
    "num_generations",
    "num_generations_eval",
    "per_device_eval_batch_size",
    "num_iterations",
    "per_device_train_batch_size",
    "repetition_penalty",
    "reward_weights",
    "scale_rewards",
    "shuffle_dataset",
    "steps_per_generation",
    "sync_ref_model",
    "temperature",
    "top_k",
    "top_p",
    "use_vllm",
}


class RLConfig(Section):
    """ReRe: reinforcement learning on constrained beams."""

    start: Literal["sft", "base"] = Field(
        "sft",
        description="What RL begins from, and what KL is measured to: the model of sft, or the one that sft "
        "began from.",
    )
    tasks: dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]] = Field(
        default_factory=lambda: {"next_item": 1.0},
        description="What is asked: task of SFT that is answered with a SID -> its share of the prompts.",
    )
    prompts: Literal["seen", "held_out", "mixed"] = Field(
        "seen",
        description="Prompts whose targets SFT had a loss on; those that split.rl_share kept from it; or "
        "both half and half.",
    )
    curriculum: Literal["none", "live", "replay"] = Field(
        "none",
        description="none: every prompt drawn is one of the step; live: prompts are drawn until "
        "prompts_per_step of them have rollouts of unequal rewards; replay: so, and some of those that "
        "missed the target come back.",
    )
    max_draws: int = Field(
        4, ge=1, description="With a curriculum, a step draws at most so many times prompts_per_step prompts."
    )
    replay_after: int = Field(8, ge=1, description="Batches of prompts until a missed one comes back.")
    num_generations: int = Field(16, ge=2, description="G rollouts per prompt (ReRe: 16).")
    sampling: Sampling = Field(
        "beam",
        description="How rollouts are drawn: beam: the G best of a beam search; sample: G independent draws; "
        "dynamic: 1.5 G draws, of which the target and the most distinct are kept; "
        "sample_without_replacement: G distinct draws (stochastic beam search); mixed: G / 2 beams, the rest "
        "independent draws.",
    )
    temperature: float = Field(
        1.0, gt=0, allow_inf_nan=False, description="What draws divide log-probabilities by; not for beam."
    )
    add_target: bool = Field(
        False, description="Where the target was not drawn, it takes the place of the least likely rollout."
    )
    off_policy: OffPolicy = Field(
        "ignore",
        description="importance: rollouts count by how likely the policy is to draw them, over how likely "
        "they were to be drawn; ignore: all alike (ReRe).",
    )
    logprobs: Normalization | None = Field(
        None,
        description="What the log-probabilities of policy and reference are normalized over; absent: what "
        "SFT was trained with (sft.loss).",
    )
    prompts_per_step: int = Field(64, ge=1, description="Prompts of one optimizer step.")
    steps: int = Field(200, ge=1, description="Optimizer steps.")
    learning_rate: float = Field(
        2e-4, gt=0, description="Peak rate of AdamW; 1e-5 or less for pretrained models."
    )
    dropout: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="On embeddings and the outputs of attention and MLP in the policy's pass; rollouts and "
        "the reference have none.",
    )
    item_dropout: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Each item of the history that a prompt shows is left out with this probability, anew "
        "each time; rewards see all of it.",
    )
    objective: ObjectiveName = Field(
        "grpo",
        description="What is minimized: grpo, dapo, dr_grpo, gspo (TRL's losses), rloo; or, in the same "
        "groups, the preference of the target to the other items: s_dpo, dpo. sft: the cross entropy of the "
        "targets at the same prompts, without rollouts: the control that RL has to beat.",
    )
    updates_per_batch: int = Field(
        1, ge=1, description="Optimizer steps on the same rollouts (mu in GRPO); steps counts all of them."
    )
    scale_rewards: Scaling | None = Field(
        None,
        description="What advantages are divided by: group: the standard deviation of the group's rewards; "
        "batch: of all; none: by nothing. Absent: none for dr_grpo, else group.",
    )
    beta: float = Field(
        0.04,
        ge=0,
        description="Weight of the KL term to the model that RL begins from; for s_dpo and dpo DPO's beta, "
        "which is 1 if absent.",
    )
    rewards: dict[str, float] = Field(
        default_factory=lambda: {"rule": 1.0, "ranking": 1.0},
        description="Reward name -> weight: rule, ranking, ndcg, prefix, semantic, collaborative, or your "
        "own function as module:function. One of weight 0 is computed and logged only.",
    )
    keep: Literal["better", "rl"] = Field(
        "better",
        description="What rl/ holds in the end: better: RL's model where valid shows a gain, else the one "
        "that it began from; rl: RL's, whatever valid says.",
    )
    shuffle_targets: bool = Field(
        False, description="A control: every prompt is rewarded for the target of another one."
    )
    evaluations: int = Field(5, ge=1, description="How often valid NDCG@10 is measured.")
    validation_users: int = Field(
        2000, ge=1, description="Users of the fixed sample that is evaluated on valid."
    )
    trainer: dict[str, Any] = Field(default_factory=dict, description="trl.GRPOConfig, as they are.")

    @field_validator("trainer")
    @classmethod
    def _trainer_is_free(cls, trainer: dict[str, Any]) -> dict[str, Any]:
        return check_trainer(trainer, TRAINER_OF_OURS | ROLLOUTS_OF_OURS)

    @model_validator(mode="before")
    @classmethod
    def _beta_of_dpo(cls, settings: Any) -> Any:
        """Start preferences from S-DPO's own beta, which has another meaning than a weight of the KL."""
        if isinstance(settings, Mapping) and settings.get("objective") in PREFERENCES:
            return {"beta": 1.0, **settings}
        return settings

    @model_validator(mode="after")
    def _objective_acts(self) -> RLConfig:
        """Refuse what would change nothing with this objective."""
        prefers = self.objective in PREFERENCES
        if prefers and self.beta == 0:
            raise ValueError(
                f"beta=0 leaves nothing of {self.objective}, whose loss is of beta times a log-ratio; set it "
                "above 0, such as 1"
            )
        if (prefers or self.objective == "sft") and self.scale_rewards is not None:
            raise ValueError(
                f"scale_rewards changes nothing with objective={self.objective}, which has no advantages"
            )
        if self.objective == "rloo" and self.scale_rewards not in (None, "none"):
            raise ValueError(
                f"objective=rloo does not scale its advantages; leave scale_rewards={self.scale_rewards} out"
            )
        acting = {"rloo": {"epsilon", "epsilon_high"}, "s_dpo": set(), "dpo": set(), "sft": set()}.get(
            self.objective, READ_BY_TRL
        )
        given = READ_BY_TRL & set(self.trainer)
        if idle := sorted(given - acting):
            raise ValueError(f"trainer: {', '.join(idle)} changes nothing with objective={self.objective}")
        if self.updates_per_batch == 1 and (idle := sorted(given & RATIO)):
            raise ValueError(
                f"trainer: {', '.join(idle)} changes nothing with updates_per_batch=1, where the ratio to "
                "the policy that drew the rollouts is 1"
            )
        if self.beta == 0 and "use_bias_correction_kl" in given:
            raise ValueError("trainer: use_bias_correction_kl changes nothing with beta=0")
        if self.updates_per_batch > 1 and self.dropout > 0:
            raise ValueError(
                f"updates_per_batch={self.updates_per_batch} looks at the ratio to the policy that drew the "
                f"rollouts, which dropout={self.dropout} would fill with noise; set dropout to 0"
            )
        accumulated = self.trainer.get("gradient_accumulation_steps", 1)
        if self.updates_per_batch > 1 and accumulated != 1:
            raise ValueError(
                f"updates_per_batch={self.updates_per_batch} takes several steps on one batch, and "
                f"trainer.gradient_accumulation_steps={accumulated} one step on several; set one of them to 1"
            )
        save_steps = self.trainer.get("save_steps")
        if isinstance(save_steps, int) and save_steps % self.updates_per_batch:
            raise ValueError(
                f"trainer.save_steps={save_steps} would save in the middle of the "
                f"updates_per_batch={self.updates_per_batch} steps on one batch, whose rollouts are in no "
                "checkpoint; make it a multiple"
            )
        return self

    @model_validator(mode="after")
    def _prompts_act(self) -> RLConfig:
        """Refuse settings of prompts that would change nothing, or could not be done."""
        if not any(self.tasks.values()):
            raise ValueError("tasks: no task has a weight above 0; set one, such as rl.tasks.next_item=1")
        if self.objective == "sft" and self.curriculum != "none":
            raise ValueError(
                f"curriculum={self.curriculum} looks at the rewards of rollouts, and objective=sft draws "
                "none; set curriculum=none"
            )
        defaults = type(self).model_fields
        if self.curriculum == "none" and self.max_draws != defaults["max_draws"].default:
            raise ValueError(
                "max_draws changes nothing with curriculum=none; set live or replay, or leave it out"
            )
        if self.curriculum != "replay" and self.replay_after != defaults["replay_after"].default:
            raise ValueError(
                "replay_after changes nothing unless curriculum is replay; set that, or leave it out"
            )
        return self

    @model_validator(mode="after")
    def _switches_of_drawing_change_something(self) -> RLConfig:
        if self.sampling == "beam" and self.temperature != 1:
            raise ValueError(
                f"temperature={self.temperature} would change nothing: sampling=beam draws nothing at "
                "random; leave it out, or choose sampling=sample or another"
            )
        if self.off_policy == "ignore":
            return self
        if self.objective in (*PREFERENCES, "rloo", "sft") or self.scaling == "batch":
            raise ValueError(
                f"off_policy=importance weighs advantages within a group, which objective={self.objective} "
                f"with scale_rewards={self.scaling} does not have; set off_policy=ignore"
            )
        if self.sampling == "dynamic":
            raise ValueError(
                "off_policy=importance needs to know how likely each rollout was to be kept, which nothing "
                "says for sampling=dynamic; choose sampling=sample_without_replacement, or off_policy=ignore"
            )
        if self.sampling == "sample" and self.temperature == 1:
            raise ValueError(
                "off_policy=importance would change nothing: with sampling=sample and temperature=1 the "
                "rollouts are drawn from the policy itself; set off_policy=ignore"
            )
        if self.add_target and self.sampling != "beam":
            raise ValueError(
                f"off_policy=importance does not go with add_target=true and sampling={self.sampling}: a "
                "target that is always there replaces rollouts that were drawn; turn one of them off"
            )
        return self

    @property
    def scaling(self) -> Scaling:
        """What advantages are divided by; Dr. GRPO's paper leaves that out, and RLOO never had it."""
        return self.scale_rewards or ("none" if self.objective in ("dr_grpo", "rloo") else "group")
