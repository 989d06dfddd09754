"""Stage `sft`: align a language model with the semantic IDs."""

from __future__ import annotations

import logging
import math
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from sidrec.artifacts import CHECKPOINTS, Stage, write_json
from sidrec.config import Config
from sidrec.processes import on_main, training_device
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
    stage.finish(config.to_yaml())


def stage_of(config: Config, run: Run) -> Stage:
    """Return what this stage is made from and where it lies."""
    settings = {
        name: getattr(config, name).model_dump(mode="json") for name in ("model", "prompt", "sft", "split")
    }
    settings["num_beams"] = config.evaluation.num_beams
    return Stage(config.output / "sft", "sft", settings, run.inputs(), config.seed)


def _train(config: Config, run: Run, stage: Stage) -> dict[str, Any]:
    import torch
    from transformers import EarlyStoppingCallback

    from sidrec.models import make_model
    from sidrec.sid_model import SIDModel
    from sidrec.stages.training import Validation, train
    from sidrec.trainers.callbacks import TrainingReport
    from sidrec.trainers.history import HistoryFile
    from sidrec.trainers.rows import alignment_rows, history_rows
    from sidrec.trainers.sft import SFTTrainer, Supervision, add_dropout

    prompt_settings = resolve_prompts(config)
    levels = run.semantic_ids.codes.shape[1]
    model, text_tokenizer, _ = make_model(
        config.model,
        run.catalog.items["text"].tolist() + run.catalog.items["title"].tolist(),
        run.semantic_ids.codebook_sizes,
        max_positions=1 + (prompt_settings.max_history + 1) * levels + prompt_settings.max_title_tokens,
        seed=config.seed,
    )
    torch.nn.Module.to(model, training_device())
    sid_model = SIDModel.assemble(
        model, text_tokenizer, run.semantic_ids, prompt_settings, memory_mb=config.evaluation.memory_mb
    )
    sid_model.scorer.require_linear_logits()
    rows = [row for history in run.split.train for row in history_rows(sid_model.prompts, history.tolist())]
    history_count = len(rows)
    tasks = ["history"]
    if config.sft.alignment:
        tasks.append("title")
        titles = run.catalog.items["title"].tolist()
        rows += [
            replace(row, task=1)
            for item, title in enumerate(titles)
            for row in alignment_rows(sid_model.prompts, item, title)
        ]
    logger.info(
        "sft: %s parameters, %s history rows, %s title rows, template %s, loss %s",
        f"{model.num_parameters():,}",
        f"{history_count:,}",
        f"{len(rows) - history_count:,}",
        prompt_settings.template,
        prompt_settings.normalization,
    )
    args = _training_arguments(config, len(rows), stage.partial / CHECKPOINTS)
    directory = on_main(stage.begin)  # only now: what the config can get wrong leaves nothing behind
    validation = Validation(sid_model, run.split.valid, config.sft.validation_users, config)
    history = HistoryFile(directory / "history.csv", tasks)
    trainer = SFTTrainer(
        sid_model,
        Supervision(rows, tasks, config.sft.label_smoothing),
        args,
        validate=validation,
        callbacks=[EarlyStoppingCallback(config.sft.patience), TrainingReport("sft"), history],
    )
    handles = add_dropout(model, config.sft.dropout)
    started = time.monotonic()
    train(trainer, directory / CHECKPOINTS, "sft")
    for handle in handles:
        handle.remove()
    model.eval()
    weights = trainer.whole_weights()
    on_main(lambda: sid_model.save(directory, weights))
    on_main(lambda: history.write(trainer.state.log_history))
    return {
        "parameters": model.num_parameters(),
        "rows": {"history": history_count, "title": len(rows) - history_count},
        "steps": trainer.state.global_step,
        "epochs": round(trainer.state.epoch or 0, 3),
        "best_step": trainer.state.best_global_step,
        "valid": trainer.judge(),
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

    from sidrec.stages.training import checkpoints, make_arguments

    section = config.sft
    steps = math.ceil(num_rows / section.batch_size) * section.epochs
    every = max(1, round(steps / section.evaluations))
    ours = {
        "num_train_epochs": section.epochs,
        "per_device_train_batch_size": section.batch_size,
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
