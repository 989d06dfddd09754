"""Stage `sft`: align a language model with the semantic IDs."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sidrec.artifacts import CHECKPOINTS, Stage, write_json
from sidrec.config import Config
from sidrec.errors import ConfigError
from sidrec.processes import on_main, training_device
from sidrec.progress import working
from sidrec.stages.model_card import write_card
from sidrec.stages.model_making import (
    compile_if_asked,
    model_inputs,
    model_of,
    save_trained,
    speed_arguments,
)
from sidrec.stages.run import Run, load_run
from sidrec.stages.sft_tasks import check_sft, resolve_prompts, titles_for
from sidrec.tasks.task import Task, column_inputs

if TYPE_CHECKING:
    from sidrec.sid_model import SIDModel

logger = logging.getLogger(__name__)


def sft(config: Config) -> Path:
    """Train on the tasks of `sft.tasks` and write a model directory to `sft/`.

    The checkpoint with the best valid NDCG@10 is kept. A killed run goes on from its last checkpoint to the
    same weights.

    Returns:
        The stage's directory; untouched if it already holds this result.

    Raises:
        ArtifactError: If `tokenize` has not been run, or for another catalogue.
        ConfigError: If a task, the model or the trainer's options cannot be used.
    """
    run = load_run(config)
    stage = stage_of(config, run)
    if on_main(stage.is_done):
        logger.info("sft: done before, nothing to redo")
        return stage.directory
    metrics = _train(config, run, stage)
    on_main(partial(_finish, config, run, stage, metrics))
    return stage.directory


def _finish(config: Config, run: Run, stage: Stage, metrics: dict[str, Any]) -> None:
    from sidrec.stages.training import keep_reports

    directory = stage.partial
    write_json(directory / "metrics.json", metrics)
    run.catalog.items[["item_id", "title"]].to_parquet(directory / "items.parquet", index=False)
    keep_reports(directory / CHECKPOINTS)
    write_card(directory, config, run, metrics)
    stage.finish(config.to_yaml())


def stage_of(config: Config, run: Run) -> Stage:
    """Return what this stage is made from and where it lies."""
    settings = {
        name: getattr(config, name).model_dump(mode="json") for name in ("model", "prompt", "sft", "split")
    }
    settings["num_beams"] = config.evaluation.num_beams
    inputs = run.training_inputs() | column_inputs(check_sft(config, run.catalog), run.catalog)
    inputs |= model_inputs(config, run)
    return Stage(config.output / "sft", "sft", settings, inputs, config.seed)


def _train(config: Config, run: Run, stage: Stage) -> dict[str, Any]:
    from transformers import EarlyStoppingCallback

    from sidrec.item_embedding import item_embedding_of
    from sidrec.item_rows import NAME, add_own_rows, take_own_rows
    from sidrec.stages.sft_data import training_data
    from sidrec.stages.training import Validation, train
    from sidrec.trainers.averaging import WeightAverage
    from sidrec.trainers.callbacks import TrainingReport
    from sidrec.trainers.dropout import add_dropout
    from sidrec.trainers.history import HistoryFile, sft_columns
    from sidrec.trainers.sft import SFTTrainer, Supervision

    run.split.require_train()
    tasks = check_sft(config, run.catalog)
    names = [task.name for task in tasks]
    with working("sft: making the model"):
        sid_model = _sid_model(config, run, tasks)
    model = sid_model.model
    own_rows = (
        add_own_rows(model, len(run.catalog.items)) if config.sft.item_embedding else item_embedding_of(model)
    )
    trained = sum(each.numel() for each in model.parameters() if each.requires_grad)
    whole = model.num_parameters()
    settings = sid_model.prompts.settings
    part = "" if trained == whole else f", {trained:,} of them trained"
    logger.info(
        "sft: %s parameters%s, template %s, loss %s",
        *(f"{whole:,}", part, settings.template, settings.normalization),
    )
    with working("sft: making the rows"):
        data = training_data(config, run, sid_model, tasks)
    args = _training_arguments(config, data.batches_per_epoch, stage.partial / CHECKPOINTS)
    directory = on_main(stage.begin)  # only now: what the config can get wrong leaves nothing behind
    validation = Validation(sid_model, run.split.valid, config.sft.validation_users, config)
    history = HistoryFile(directory / "history.csv", sft_columns(names))
    trainer = SFTTrainer(
        sid_model,
        Supervision(data.batches, names, config.sft.label_smoothing, config.sft.item_loss, own_rows),
        args,
        validate=validation,
        callbacks=[EarlyStoppingCallback(config.sft.patience), TrainingReport("sft"), history],
        weight_average=WeightAverage(model, decay) if (decay := config.sft.weight_average) else None,
    )
    handles = add_dropout(model, config.sft.dropout)
    started = time.monotonic()
    train(trainer, directory / CHECKPOINTS, "sft")
    for handle in handles:
        handle.remove()
    model.eval()
    weights = trainer.whole_weights()
    valid = trainer.judge()
    if config.sft.item_embedding:
        sid_model = replace(sid_model, own_rows=take_own_rows(model))
        weights = weights and {name: weight for name, weight in weights.items() if not name.startswith(NAME)}
    on_main(lambda: save_trained(sid_model, config, directory, weights))
    on_main(lambda: history.write(trainer.state.log_history))
    return {
        "parameters": whole,
        "trained_parameters": trained,
        "tasks": data.facts(),
        "steps": trainer.state.global_step,
        "epochs": round(trainer.state.epoch or 0, 3),
        "best_step": trainer.state.best_global_step,
        "valid": valid,
        "valid_loss": None if trainer.divides_weights else validation.loss(),
        "seconds": round(time.monotonic() - started, 1),
    }


def _sid_model(config: Config, run: Run, tasks: Sequence[Task]) -> SIDModel:
    """Return the model to be trained, where it is to be trained."""
    import torch

    from sidrec.sid_model import SIDModel
    from sidrec.tasks.lengths import most_tokens

    settings = resolve_prompts(config)
    levels = settings.longest_name(run.semantic_ids.codes.shape[1])
    model, text_tokenizer = model_of(
        config, run, max_positions=max(most_tokens(task, settings, levels) for task in tasks)
    )
    torch.nn.Module.to(model, training_device())
    compile_if_asked(model, config.sft)
    memory_mb = config.evaluation.memory_mb
    sid_model = SIDModel.assemble(
        model,
        text_tokenizer,
        run.semantic_ids,
        settings,
        titles=titles_for(config, run),
        memory_mb=memory_mb,
    )
    sid_model.scorer.require_linear_logits()
    return sid_model


def _training_arguments(config: Config, batches_per_epoch: int, directory: Path) -> Any:
    from transformers import TrainingArguments

    from sidrec.stages.training import checkpoints, make_arguments

    section = config.sft
    accumulated = section.trainer.get("gradient_accumulation_steps", 1)
    if not isinstance(accumulated, int) or accumulated < 1:
        raise ConfigError(
            f"sft.trainer.gradient_accumulation_steps: expected a whole number from 1, got {accumulated!r}."
        )
    steps_per_epoch = math.ceil(batches_per_epoch / accumulated)
    every = max(1, round(steps_per_epoch * section.epochs / section.evaluations))
    ours = {
        "num_train_epochs": section.epochs,
        **speed_arguments(section, training_device()),
        "learning_rate": section.learning_rate,
        "weight_decay": section.weight_decay,
        "ddp_find_unused_parameters": False,  # every trainable weight is part of every loss
        "adam_beta2": 0.98,
        "lr_scheduler_type": "cosine",
        "warmup_steps": 0.03,
        **checkpoints(directory, config.seed, every=every),
        "logging_steps": every,
        "restore_callback_states_from_checkpoint": True,
    }
    return make_arguments(TrainingArguments, ours, section.trainer, "sft.trainer")
