"""What the sections of a config may hold; catalogue, vectors, tokenizer, baselines stand alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from sidrec.tasks.wordings import Style

Normalization = Literal["vocabulary", "level", "catalog"]
TRAINER_OF_OURS = {
    "output_dir",
    "seed",
    "data_seed",
    "eval_strategy",
    "save_strategy",
    "metric_for_best_model",
}
# Fields of TrainingArguments that `sft` has options of its own for, or that would change nothing: sidrec
# plans the batches of all epochs itself.
BATCHES_OF_OURS = {
    "auto_find_batch_size",
    "dataloader_drop_last",
    "max_steps",
    "num_train_epochs",
    "per_device_train_batch_size",
    "train_sampling_strategy",
}
SPEED_OF_OURS = {"bf16", "gradient_checkpointing", "gradient_checkpointing_kwargs", "torch_compile"}


class Section(BaseModel):
    """A part of the config; unknown keys are errors, and nothing changes once it is read."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class ModelConfig(Section):
    """The language model: a preset trained from scratch, or a model of your own."""

    preset: Literal["tiny", "small", "base"] = Field(
        "tiny", description="Qwen3 shape of about 1M, 6M or 30M parameters."
    )
    hidden_size: int | None = Field(None, ge=2, description="Width of a preset, in place of its own.")
    num_layers: int | None = Field(None, ge=1, description="Layers of a preset, in place of its own.")
    num_heads: int | None = Field(
        None, ge=1, description="Attention heads of a preset, in place of its own; each of an even width."
    )
    intermediate_size: int | None = Field(
        None,
        ge=1,
        description="Width of a preset's MLPs; absent: its own, or 3 * hidden_size if that is set.",
    )
    path: str | None = Field(None, description="Directory or hub name of a causal LM; replaces the preset.")
    identifiers: Literal["sid", "title"] = Field(
        "sid",
        description="What the model calls an item: its semantic ID, or the tokens of its title. Titles that "
        "are equal, or are once cut at prompt.max_title_tokens, name several items at once.",
    )
    head: Literal["lm", "depth"] = Field(
        "lm",
        description="lm: the model reads and tells every code of an item as a token. depth: an item of a "
        "history is one position, the sum of its codes, and a small head tells the codes of the next one: "
        "prompts L times shorter, beams almost free; needs sft.loss=catalog or level.",
    )
    item_embedding: bool = Field(
        False,
        description="With head=depth: an item of a history is read as the sum of its codes and a vector of "
        "its own, trained from zero, which stands in its output row of sft.item_loss as well.",
    )
    skip_connection: bool = Field(
        False,
        description="For head=lm: add the state before an item, which tells its first code, to the states "
        "that tell its later ones, before the output layer. A model trained with it is read by sidrec only, "
        "not by `generate`.",
    )
    text_vocabulary_size: int = Field(
        1000, ge=259, description="BPE tokens a preset learns from the item texts."
    )

    @model_validator(mode="after")
    def _shapes_are_of_presets(self) -> ModelConfig:
        shape = ("hidden_size", "num_layers", "num_heads", "intermediate_size")
        given = [name for name in shape if getattr(self, name) is not None]
        if self.path is not None and given:
            raise ValueError(
                f"{', '.join(given)} would change nothing: the model of path has a shape of its own"
            )
        return self


class PromptConfig(Section):
    """How histories and titles are put to the model."""

    template: Style | None = Field(
        None,
        description="compact: SIDs only (default of presets); instruct: words (default with model.path).",
    )
    max_history: int = Field(20, ge=1, description="Newest items of a history that the model sees.")
    max_title_tokens: int = Field(24, ge=1, description="Tokens of a title that the model sees or writes.")
    last_token: Literal["code", "sum"] = Field(
        "code",
        description="What the last token of an item in a history is read as: its code, or the sum of all "
        "codes of the item, so that it says which item it was. A model trained with sum is read by sidrec "
        "only, not by `generate`.",
    )
    history: Literal["codes", "merged"] = Field(
        "codes",
        description="What an item before the target is: codes: L positions, one for each code; merged: one "
        "position, the sum of the embeddings of its codes, so that prompts are L times shorter, while the "
        "codes of the target are told one by one as before. A model trained with merged is read by sidrec "
        "only, not by `generate`.",
    )
    max_text_tokens: int = Field(
        128, ge=1, description="Tokens of any other column of items or users that the model sees or writes."
    )


class TaskConfig(Section):
    """A task of SFT; one that is built in may be given as its weight alone."""

    weight: float = Field(
        1.0,
        ge=0,
        allow_inf_nan=False,
        description="How much of the training it is, see sft.weighting; 0: off.",
    )
    prompt: str | None = Field(
        None,
        description="What is asked, with {sid} and {COLUMN} of the item, {history}, {history.COLUMN} and "
        "{user.COLUMN}; absent: the built-in words of the task with this name.",
    )
    completion: str | None = Field(None, description="What is answered, likewise without a history.")


DEFAULT_TASKS = {"next_item": 0.8, "title_to_item": 0.05, "item_to_title": 0.15}
"""On the demo catalogue every row once gives .79, .04 and .18 of the supervised tokens, on Amazon Industrial
and Scientific .53, .05 and .42: most of the training is to be on what people ask for."""


class LoRAConfig(Section):
    """Low-rank adapters (arXiv:2106.09685) beside the frozen linear layers."""

    rank: int = Field(16, ge=1, description="Rank of an adapter.")
    alpha: float = Field(32, gt=0, description="An adapter's output is scaled by alpha / rank.")
    dropout: float = Field(0.0, ge=0, lt=1, description="On the inputs of the adapters.")
    target_modules: Literal["all-linear"] | tuple[str, ...] = Field(
        "all-linear", description="Names of the layers that get one, such as [q_proj, v_proj]."
    )


class SFTConfig(Section):
    """Supervised alignment of the language model with semantic IDs."""

    loss: Normalization | None = Field(
        None,
        description="What SID positions are normalized over; default catalog for presets and for "
        "model.head=depth, else vocabulary.",
    )
    tasks: dict[str, TaskConfig] = Field(
        default_factory=lambda: {name: TaskConfig(weight=weight) for name, weight in DEFAULT_TASKS.items()},
        description="What is trained: name -> weight, or a task of your own: name -> {weight, prompt, "
        "completion}. Built in: next_item, item_to_title, title_to_item, description_to_item, "
        "history_to_title, titles_to_item, titles_to_title, preference_to_item.",
    )
    weighting: Literal["tokens", "rows"] = Field(
        "tokens",
        description="What the weights of tasks are: tokens: shares of the supervised tokens; rows: how often "
        "each row of a task is seen in an epoch.",
    )
    rows: Literal["user", "prefix"] | None = Field(
        None,
        description="user: a history is one row with a loss at every item; prefix: a row for each target. "
        "Absent: user for next_item with the compact template, which alone allows it, else prefix.",
    )
    epochs: float = Field(30, gt=0, description="Most passes over the rows; early stopping may end before.")
    batch_size: int | None = Field(
        None, ge=1, description="Rows of a batch, all processes together; default 128 without the next one."
    )
    tokens_per_batch: int | None = Field(
        None,
        ge=1,
        description="In place of batch_size: most tokens of a batch, all processes together, its rows padded "
        "to the longest.",
    )
    item_dropout: float = Field(
        0, ge=0, lt=1, description="Probability that an item is left out of a row, anew each time it is seen."
    )
    learning_rate: float = Field(
        2e-3, gt=0, description="Peak rate of AdamW; 3e-4 or less for pretrained models."
    )
    weight_decay: float = Field(0.01, ge=0, description="Of AdamW.")
    dropout: float = Field(0.2, ge=0, lt=1, description="On embeddings and the outputs of attention and MLP.")
    label_smoothing: float = Field(
        0,
        ge=0,
        lt=1,
        description="Share of a target's mass spread evenly over what its position is normalized over.",
    )
    item_loss: float = Field(
        0,
        ge=0,
        description="Weight of an auxiliary cross entropy over all items where a SID begins, such as 0.5; an "
        "item's output row is the sum of its codes'. The search goes code by code as before, unless "
        "evaluation.rerank asks it.",
    )
    item_embedding: bool = Field(
        False,
        description="For item_loss: add to an item's output row a part of its own, trained from zero.",
    )
    weight_average: float = Field(
        0,
        ge=0,
        lt=1,
        description="Decay of a moving average of the weights over steps, which is judged and kept in their "
        "place, such as 0.995; 0: the weights themselves.",
    )
    patience: int = Field(5, ge=1, description="Evaluations without a better NDCG@10 before training stops.")
    evaluations: int = Field(15, ge=1, description="How often valid NDCG@10 is measured during all epochs.")
    validation_users: int = Field(
        1000, ge=1, description="Users of the fixed sample that is evaluated on valid."
    )
    trainable: Literal["full", "lora", "sid_only"] = Field(
        "full",
        description="full: every weight; lora: adapters and the rows of SID tokens; sid_only: those rows "
        "alone. The last two need model.path.",
    )
    lora: LoRAConfig = Field(default_factory=LoRAConfig)
    merge: bool = Field(
        False,
        description="Write whole merged weights, not adapters and SID rows that need their base.",
    )
    load_in_4bit: bool = Field(
        False, description="Keep the frozen layers in 4 bits (QLoRA); only with trainable=lora, on a GPU."
    )
    sid_init: Literal["mean", "text", "codebook"] = Field(
        "mean",
        description="Where rows of SID tokens begin. mean: near the mean of text rows (in a preset: random, "
        "as all weights); text: the mean row of all titles below a code; codebook: its code vector, turned.",
    )
    bf16: bool = Field(False, description="bfloat16 autocast in training; faster or slower, as the CPU is.")
    gradient_checkpointing: bool = Field(
        False, description="Recompute activations in the backward pass: less memory, more time."
    )
    compile: bool = Field(False, description="torch.compile for training passes; left out on a CPU.")
    trainer: dict[str, Any] = Field(
        default_factory=dict, description="transformers.TrainingArguments, as they are."
    )

    @field_validator("tasks", mode="before")
    @classmethod
    def _number_is_weight(cls, tasks: Any) -> Any:
        if not isinstance(tasks, Mapping):
            return tasks
        return {
            name: task if isinstance(task, Mapping | TaskConfig) else {"weight": task}
            for name, task in tasks.items()
        }

    @property
    def rows_per_batch(self) -> int:
        """Rows of a batch where there is no budget of tokens."""
        return self.batch_size or 128

    @field_validator("trainer")
    @classmethod
    def _trainer_is_free(cls, trainer: dict[str, Any]) -> dict[str, Any]:
        return check_trainer(trainer, TRAINER_OF_OURS | BATCHES_OF_OURS | SPEED_OF_OURS)

    @model_validator(mode="after")
    def _one_batch_size(self) -> SFTConfig:
        if self.batch_size is not None and self.tokens_per_batch is not None:
            raise ValueError(
                f"batch_size={self.batch_size} and tokens_per_batch={self.tokens_per_batch} both say how "
                "large a batch is; set one of them to null"
            )
        return self

    @model_validator(mode="after")
    def _options_act(self) -> SFTConfig:
        """Refuse what would change nothing."""
        if self.trainable != "lora" and self.lora != LoRAConfig():
            raise ValueError("lora changes nothing unless trainable is lora; set that, or leave lora out")
        if self.trainable != "lora" and self.load_in_4bit:
            raise ValueError("load_in_4bit is for trainable=lora; 4-bit weights cannot be trained themselves")
        if self.item_embedding and (self.item_loss == 0 or self.trainable != "full"):
            raise ValueError(
                "item_embedding is a part of item_loss, which is 0 here, or is trained with trainable=full "
                "alone; set these, or leave item_embedding out"
            )
        if self.trainable == "full" and self.merge:
            raise ValueError("merge is for trainable=lora or sid_only; trainable=full writes whole weights")
        return self


class EvaluationConfig(Section):
    """Full-ranking evaluation."""

    num_beams: int = Field(
        20, ge=1, description="Beams of the constrained search; metrics reach to this depth."
    )
    memory_mb: int | None = Field(
        None,
        ge=1,
        description="MiB that the prompts decoded at once may take beside the weights; absent: 64 on a CPU, "
        "half of what is free on a GPU.",
    )
    bootstrap_samples: int = Field(1000, ge=1, description="Resamples of the users behind every interval.")
    ranking: Literal["beam", "exact"] = Field(
        "beam",
        description="How a generative model ranks: beam: constrained beam search; exact: the proven best, "
        "dearer, to see what the beam loses.",
    )
    rerank: float = Field(
        0,
        ge=0,
        allow_inf_nan=False,
        description="Order the lists of a beam search by log p(SID) + rerank * log p(item), where "
        "sft.item_loss has taught the model the latter; choose it on valid, such as 0.5; 0: none.",
    )
    exclude_history: bool = Field(
        False, description="Leave items of a user's history out of the lists, of every model alike."
    )
    controls: tuple[Literal["shuffled", "random", "shuffled_targets", "continued_sft"], ...] = Field(
        (),
        description="What `sidrec run` also trains, under controls/: shuffled or random semantic IDs in "
        "place of ours, RL with shuffled targets, SFT on RL's prompts for what RL cost.",
    )

    @model_validator(mode="after")
    def _beams_are_reranked(self) -> EvaluationConfig:
        if self.rerank and self.ranking == "exact":
            raise ValueError("rerank orders what a beam search found; set ranking=beam, or leave rerank out")
        return self


def check_trainer(trainer: dict[str, Any], ours: set[str]) -> dict[str, Any]:
    """Return the fields of a trainer's arguments; raise ValueError for one that is `ours` to set."""
    taken = sorted(ours & set(trainer))
    if taken:
        raise ValueError(f"{', '.join(taken)} is set by sidrec; use the options of the section instead")
    return trainer
