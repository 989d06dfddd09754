"""What the config section `rl` may hold."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from sidrec.sections import TRAINER_OF_OURS, Normalization, Section, check_trainer

Sampling = Literal["beam", "sample", "dynamic", "sample_without_replacement", "mixed"]
OffPolicy = Literal["ignore", "importance"]

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

    @model_validator(mode="after")
    def _switches_of_drawing_change_something(self) -> RLConfig:
        if self.sampling == "beam" and self.temperature != 1:
            raise ValueError(
                f"temperature={self.temperature} would change nothing: sampling=beam draws nothing at "
                "random; leave it out, or choose sampling=sample or another"
            )
        if self.off_policy == "ignore":
            return self
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
