"""Stage `sft`: align a language model with the semantic IDs."""

from __future__ import annotations

import logging
import math
import shutil
import time
from pathlib import Path
from typing import Any

from sidrec.artifacts import Stage, write_json
from sidrec.config import Config
from sidrec.stages.model_making import (
    compile_if_asked,
    model_inputs,
    model_of,
    save_trained,
    speed_arguments,
)
from sidrec.stages.run import Run, load_run

logger = logging.getLogger(__name__)


def sft(config: Config) -> Path:
    """Train on next items and titles and write a model directory to `sft/`.

    The checkpoint with the best valid NDCG@10 is kept. A killed run goes on from its last checkpoint to the
    same weights.

    Returns:
        The stage's directory; untouched if it already holds this result.

    Raises:
        ArtifactError: If `tokenize` has not been run, or for another catalogue.
        ConfigError: If the model or the trainer's options cannot be used.
    """
    run = load_run(config)
    stage = stage_of(config, run)
    if stage.is_done():
        logger.info("sft: done before, nothing to redo")
        return stage.directory
    metrics = _train(config, run, stage)
    directory = stage.partial
    write_json(directory / "metrics.json", metrics)
    run.catalog.items[["item_id", "title"]].to_parquet(directory / "items.parquet", index=False)
    shutil.rmtree(directory / "checkpoints", ignore_errors=True)
    stage.finish(config.to_yaml())
    return stage.directory


def stage_of(config: Config, run: Run) -> Stage:
    """Return what this stage is made from and where it lies."""
    settings = {
        name: getattr(config, name).model_dump(mode="json") for name in ("model", "prompt", "sft", "split")
    }
    settings["num_beams"] = config.evaluation.num_beams
    inputs = run.inputs() | model_inputs(config, run)
    return Stage(config.output / "sft", "sft", settings, inputs, config.seed)


def _train(config: Config, run: Run, stage: Stage) -> dict[str, Any]:
    import torch
    from transformers import EarlyStoppingCallback

    from sidrec.sid_model import SIDModel, training_device
    from sidrec.stages.training import Validation, train
    from sidrec.trainers.callbacks import TrainingReport
    from sidrec.trainers.rows import alignment_rows, history_rows
    from sidrec.trainers.sft import SFTTrainer, add_dropout

    prompt_settings = resolve_prompts(config)
    levels = run.semantic_ids.codes.shape[1]
    model, text_tokenizer = model_of(
        config,
        run,
        max_positions=1 + (prompt_settings.max_history + 1) * levels + prompt_settings.max_title_tokens,
    )
    torch.nn.Module.to(model, training_device())
    compile_if_asked(model, config.sft)
    sid_model = SIDModel.assemble(
        model, text_tokenizer, run.semantic_ids, prompt_settings, memory_mb=config.evaluation.memory_mb
    )
    sid_model.scorer.require_linear_logits()
    rows = [row for history in run.split.train for row in history_rows(sid_model.prompts, history.tolist())]
    history_count = len(rows)
    if config.sft.alignment:
        titles = run.catalog.items["title"].tolist()
        rows += [
            row for item, title in enumerate(titles) for row in alignment_rows(sid_model.prompts, item, title)
        ]
    trained = sum(each.numel() for each in model.parameters() if each.requires_grad)
    logger.info(
        "sft: %s of %s parameters are trained, %s history rows, %s title rows, template %s, loss %s",
        f"{trained:,}",
        f"{model.num_parameters():,}",
        f"{history_count:,}",
        f"{len(rows) - history_count:,}",
        prompt_settings.template,
        prompt_settings.normalization,
    )
    args = _training_arguments(config, len(rows), stage.partial / "checkpoints")
    directory = stage.begin()  # only now: what the config can get wrong leaves nothing behind
    validation = Validation(sid_model, run.split.valid, config.sft.validation_users, config)
    trainer = SFTTrainer(
        sid_model,
        rows,
        args,
        validate=validation,
        callbacks=[EarlyStoppingCallback(config.sft.patience), TrainingReport("sft")],
    )
    handles = add_dropout(model, config.sft.dropout)
    started = time.monotonic()
    train(trainer, directory / "checkpoints")
    for handle in handles:
        handle.remove()
    model.eval()
    save_trained(sid_model, config, directory)
    return {
        "parameters": model.num_parameters(),
        "trained_parameters": trained,
        "rows": {"history": history_count, "title": len(rows) - history_count},
        "steps": trainer.state.global_step,
        "epochs": round(trainer.state.epoch or 0, 3),
        "best_step": trainer.state.best_global_step,
        "valid": validation(),
        "history": [entry for entry in trainer.state.log_history if "train_runtime" not in entry],
        "seconds": round(time.monotonic() - started, 1),
    }


def resolve_prompts(config: Config) -> Any:
    """Fill in what depends on the model: presets read SIDs only, models of one's own read words."""
    from sidrec.prompts import PromptSettings

    scratch = config.model.path is None
    return PromptSettings(
        template=config.prompt.template or ("compact" if scratch else "instruct"),
        max_history=config.prompt.max_history,
        max_title_tokens=config.prompt.max_title_tokens,
        normalization=config.sft.loss or ("catalog" if scratch else "vocabulary"),
    )


def _training_arguments(config: Config, num_rows: int, directory: Path) -> Any:
    from transformers import TrainingArguments

    from sidrec.sid_model import training_device
    from sidrec.stages.training import checkpoints, make_arguments

    section = config.sft
    steps = math.ceil(num_rows / section.batch_size) * section.epochs
    every = max(1, round(steps / section.evaluations))
    ours = {
        "num_train_epochs": section.epochs,
        "per_device_train_batch_size": section.batch_size,
        **speed_arguments(section, training_device()),
        "learning_rate": section.learning_rate,
        "weight_decay": section.weight_decay,
        "adam_beta2": 0.98,
        "lr_scheduler_type": "cosine",
        "warmup_steps": 0.03,
        **checkpoints(directory, config.seed, every=every),
        "logging_steps": every,
        "restore_callback_states_from_checkpoint": True,
    }
    return make_arguments(TrainingArguments, ours, section.trainer, "sft.trainer")
