"""What the config section `rl` may hold."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from sidrec.sections import TRAINER_OF_OURS, Section, check_trainer

# Fields of GRPOConfig that `rl` has options of its own for, or that would change nothing: sidrec draws and
# rewards the rollouts itself.
ROLLOUTS_OF_OURS = {
    "chat_template_kwargs",
    "generation_batch_size",
    "generation_kwargs",
    "log_completions",
    "mask_truncated_completions",
    "max_completion_length",
    "min_p",
    "multi_objective_aggregation",
    "num_generations",
    "num_generations_eval",
    "per_device_train_batch_size",
    "repetition_penalty",
    "reward_weights",
    "scale_rewards",
    "shuffle_dataset",
    "steps_per_generation",
    "temperature",
    "top_k",
    "top_p",
    "use_vllm",
}


class RLConfig(Section):
    """ReRe: reinforcement learning on constrained beams."""

    objective: Literal["grpo", "sft"] = Field(
        "grpo",
        description="What is minimized. sft: the cross entropy of the targets at the same prompts, without "
        "rollouts: the control that RL has to beat.",
    )
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
    prompts_per_step: int = Field(64, ge=1, description="Prompts of one optimizer step.")
    steps: int = Field(200, ge=1, description="Optimizer steps.")
    learning_rate: float = Field(
        2e-4, gt=0, description="Peak rate of AdamW; 1e-5 or less for pretrained models."
    )
    beta: float = Field(0.04, ge=0, description="Weight of the KL term to the model that RL begins from.")
    rewards: dict[str, float] = Field(
        default_factory=lambda: {"rule": 1.0, "ranking": 1.0}, description="Reward name -> weight."
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

    @model_validator(mode="after")
    def _options_act(self) -> RLConfig:
        """Refuse what would change nothing, or could not be done."""
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
