"""Stage `sft`: align a language model with the semantic IDs."""

from __future__ import annotations

import logging
import math
import shutil
import time
from pathlib import Path
from typing import Any

from sidrec.artifacts import Stage, write_json
from sidrec.catalog import Catalog
from sidrec.config import Config
from sidrec.prompts import PromptBuilder, PromptSettings
from sidrec.stages.run import Run, load_run
from sidrec.tasks.rows import RowSource
from sidrec.tasks.task import Task, check_rows, column_inputs, tasks_of
from sidrec.tasks.values import Values

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
    inputs = run.inputs() | column_inputs(check_sft(config, run.catalog), run.catalog)
    return Stage(config.output / "sft", "sft", settings, inputs, config.seed)


def check_sft(config: Config, catalog: Catalog) -> list[Task]:
    """Return the tasks of a config; raise what is wrong with them, before anything is trained.

    Raises:
        ConfigError: As `tasks_of` and `check_rows`.
        CatalogError: As `tasks_of`.
    """
    style = resolve_prompts(config).template
    tasks = tasks_of(config.sft.tasks, style, catalog)
    check_rows(config.sft.rows, tasks, style)
    return tasks


def _train(config: Config, run: Run, stage: Stage) -> dict[str, Any]:
    import torch
    from transformers import EarlyStoppingCallback

    from sidrec.models import make_model
    from sidrec.sid_model import SIDModel, training_device
    from sidrec.stages.training import Validation, train
    from sidrec.tasks.build import all_rows
    from sidrec.tasks.lengths import most_tokens
    from sidrec.trainers.callbacks import TrainingReport
    from sidrec.trainers.sft import SFTTrainer, add_dropout

    prompt_settings = resolve_prompts(config)
    tasks = check_sft(config, run.catalog)
    levels = run.semantic_ids.codes.shape[1]
    model, text_tokenizer, _ = make_model(
        config.model,
        texts_of(run.catalog),
        run.semantic_ids.codebook_sizes,
        max_positions=max(most_tokens(task, prompt_settings, levels) for task in tasks),
        seed=config.seed,
    )
    torch.nn.Module.to(model, training_device())
    sid_model = SIDModel.assemble(
        model, text_tokenizer, run.semantic_ids, prompt_settings, memory_mb=config.evaluation.memory_mb
    )
    sid_model.scorer.require_linear_logits()
    positions = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    source = row_source(config, run, sid_model.prompts, max_positions=positions)
    truncated: dict[str, int] = {}
    rows = list(all_rows(tasks, source, truncated))
    counts = {task.name: sum(row.task == number for row in rows) for number, task in enumerate(tasks)}
    logger.info(
        "sft: %s parameters; rows: %s; template %s, loss %s",
        f"{model.num_parameters():,}",
        ", ".join(f"{count:,} of {name} ({truncated[name]:,} cut)" for name, count in counts.items()),
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
    sid_model.save(directory)
    return {
        "parameters": model.num_parameters(),
        "rows": counts,
        "truncated": truncated,
        "steps": trainer.state.global_step,
        "epochs": round(trainer.state.epoch or 0, 3),
        "best_step": trainer.state.best_global_step,
        "valid": validation(),
        "history": [entry for entry in trainer.state.log_history if "train_runtime" not in entry],
        "seconds": round(time.monotonic() - started, 1),
    }


def row_source(
    config: Config, run: Run, prompts: PromptBuilder, *, max_positions: int | None = None
) -> RowSource:
    """Return what the rows of a run are made from."""
    values = Values(prompts, run.catalog.items, run.catalog.users)
    return RowSource(prompts, values, run.split.train, rows=config.sft.rows, max_positions=max_positions)


def texts_of(catalog: Catalog) -> list[str]:
    """Return what the text tokenizer of a preset is trained on."""
    texts: list[str] = catalog.items["text"].tolist() + catalog.items["title"].tolist()
    return texts


def resolve_prompts(config: Config) -> PromptSettings:
    """Fill in what depends on the model: presets read SIDs only, models of one's own read words."""
    scratch = config.model.path is None
    return PromptSettings(
        template=config.prompt.template or ("compact" if scratch else "instruct"),
        max_history=config.prompt.max_history,
        max_title_tokens=config.prompt.max_title_tokens,
        max_text_tokens=config.prompt.max_text_tokens,
        normalization=config.sft.loss or ("catalog" if scratch else "vocabulary"),
        last_token=config.prompt.last_token,
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
        "adam_beta2": 0.98,
        "lr_scheduler_type": "cosine",
        "warmup_steps": 0.03,
        **checkpoints(directory, config.seed, every=every),
        "logging_steps": every,
        "restore_callback_states_from_checkpoint": True,
    }
    return make_arguments(TrainingArguments, ours, section.trainer, "sft.trainer")
