"""The model that RL begins from: that of `sft`, or the one that `sft` began from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sidrec.artifacts import CHECKPOINTS, Stage
from sidrec.config import Config
from sidrec.sections import LoRAConfig
from sidrec.stages.model_making import model_inputs, model_of
from sidrec.stages.run import Run, check_semantic_ids, weights_hash
from sidrec.stages.sft_tasks import check_sft, resolve_prompts, titles_for
from sidrec.tasks.task import Task

NAMES = {"sft": "SFT", "base": "the base model"}
"""`rl.start` as it is called in a sentence."""


def start_inputs(config: Config, run: Run) -> dict[str, str]:
    """Return the hashes of what the first weights are made from.

    Raises:
        ArtifactError: If RL begins from `sft`, and that has not been run, or on other semantic IDs.
        ConfigError: If it begins from a base model whose rows need what is not there.
    """
    if config.rl.start == "base":
        return model_inputs(_whole(config), run)
    source = config.output / "sft"
    check_semantic_ids(source, run.semantic_ids)
    return {"weights": weights_hash(source)}


def start_settings(config: Config) -> dict[str, Any]:
    """Return the settings that decide the first weights."""
    if config.rl.start == "sft":
        return {}
    return {
        "model": config.model.model_dump(mode="json"),
        "prompt": config.prompt.model_dump(mode="json"),
        "sft": config.sft.model_dump(mode="json", include={"loss", "sid_init"}),
    }


def start_directory(config: Config, run: Run, stage: Stage, tasks: Sequence[Task]) -> Path:
    """Return the model directory that RL begins from; the base model is written where checkpoints go.

    It has its semantic IDs' rows as `sft` would begin with them, and no adapters: RL trains all weights,
    those that `sft.trainable=lora` merged, too.

    Raises:
        ConfigError: If the base model cannot be made, or is none that sidrec can train.
    """
    if config.rl.start == "sft":
        return config.output / "sft"
    from sidrec.sid_model import SIDModel
    from sidrec.tasks.lengths import most_tokens

    settings = resolve_prompts(config)
    levels = settings.longest_name(run.semantic_ids.codes.shape[1])
    lengths = [most_tokens(task, settings, levels) for task in [*check_sft(config, run.catalog), *tasks]]
    model, text_tokenizer = model_of(_whole(config), run, max_positions=max(lengths))
    titles = titles_for(config, run)
    sid_model = SIDModel.assemble(model, text_tokenizer, run.semantic_ids, settings, titles=titles)
    sid_model.scorer.require_linear_logits()
    sid_model.scorer.require_shared_prompts()
    directory = stage.begin() / CHECKPOINTS / "base"
    directory.mkdir(parents=True, exist_ok=True)
    sid_model.save(directory)
    return directory


def _whole(config: Config) -> Config:
    """Return the config with every weight trained."""
    full = {"trainable": "full", "lora": LoRAConfig(), "load_in_4bit": False, "merge": False}
    return config.model_copy(update={"sft": config.sft.model_copy(update=full)})
