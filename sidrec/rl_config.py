"""What the config section `rl` may hold."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

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
    "per_device_eval_batch_size",
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

    num_generations: int = Field(16, ge=2, description="G rollouts per prompt (ReRe: 16).")
    prompts_per_step: int = Field(64, ge=1, description="Prompts of one optimizer step.")
    steps: int = Field(200, ge=1, description="Optimizer steps.")
    learning_rate: float = Field(
        2e-4, gt=0, description="Peak rate of AdamW; 1e-5 or less for pretrained models."
    )
    beta: float = Field(0.04, ge=0, description="Weight of the KL term to the SFT model.")
    rewards: dict[str, float] = Field(
        default_factory=lambda: {"rule": 1.0, "ranking": 1.0},
        description="Reward name -> weight: rule, ranking, ndcg, prefix, semantic, collaborative, or your "
        "own function as module:function. One of weight 0 is computed and logged only.",
    )
    keep: Literal["better", "rl"] = Field(
        "better",
        description="What rl/ holds in the end: better: RL's model where valid shows a gain, else SFT's; rl: "
        "RL's, whatever valid says.",
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
