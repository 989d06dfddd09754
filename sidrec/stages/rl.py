"""Stage `rl`: ReRe, from the aligned model of `sft`, or from the one before it."""

from __future__ import annotations

import logging
import time
from functools import partial
from pathlib import Path
from typing import Any

from sidrec.artifacts import CHECKPOINTS, Stage, write_json
from sidrec.catalog import Catalog, Split
from sidrec.catalog.reservation import reserved_users
from sidrec.config import Config
from sidrec.errors import ConfigError
from sidrec.generations import FIRST
from sidrec.stages.continued_sft import affordable_steps
from sidrec.stages.rl_decision import decide
from sidrec.stages.rl_prompts import check_prompts, rl_prompts, rl_tasks, task_settings
from sidrec.stages.rl_samples import write_rollouts
from sidrec.stages.rl_start import start_directory, start_inputs, start_settings
from sidrec.stages.run import Run, load_run
from sidrec.tasks.task import column_inputs

logger = logging.getLogger(__name__)


def rl(config: Config) -> Path:
    """Train on constrained beams and write the better of RL and what it began from to `rl/`.

    RL is better if the paired interval of its gain in NDCG@10 over all valid users lies above 0;
    `metrics.json` says which was kept, with the difference. `rl.keep=rl` keeps RL's model all the same.

    Returns:
        The stage's directory; untouched if it already holds this result.

    Raises:
        ArtifactError: If `sft` has not been run, or on other semantic IDs.
        ConfigError: If a reward is unknown, G exceeds the catalogue, or the trainer's options cannot be used.
    """
    run = load_run(config)
    check_rl(config, run.catalog, run.split)
    stage = stage_of(config, run)
    if stage.is_done():
        logger.info("rl: done before, nothing to redo")
        return stage.directory
    from sidrec.stages.training import keep_reports

    metrics = _train(config, run, stage)
    directory = stage.partial
    write_json(directory / "metrics.json", metrics)
    run.catalog.items[["item_id", "title"]].to_parquet(directory / "items.parquet", index=False)
    keep_reports(directory / CHECKPOINTS)
    stage.finish(config.to_yaml())
    return stage.directory


def stage_of(config: Config, run: Run) -> Stage:
    """Return what this stage is made from and where it lies.

    Raises:
        ArtifactError: If `sft` has not been run, or on other semantic IDs.
        ConfigError: If a task of `rl.tasks` cannot be used.
    """
    tasks = rl_tasks(config, run.catalog)
    settings = {
        "rl": config.rl.model_dump(mode="json"),
        "tasks": task_settings(tasks),
        "evaluation": config.evaluation.model_dump(include={"num_beams", "bootstrap_samples"}),
        **start_settings(config),
    }
    inputs = run.training_inputs() | column_inputs(tasks, run.catalog) | start_inputs(config, run)
    return Stage(config.output / "rl", "rl", settings, inputs, config.seed)


def check_rl(config: Config, catalog: Catalog, split: Split) -> None:
    """Raise what `rl` would raise about its settings, before anything is trained.

    Raises:
        ConfigError: If a reward is unknown, G exceeds the catalogue, the prompts are as `check_prompts` has
            it, or the trainer's options cannot be used.
    """
    from sidrec.rewards import check_rewards

    check_rewards(config.rl.rewards)
    grpo_arguments(config, len(config.tokenizer.codebook_sizes), config.output / "rl")
    if config.rl.num_generations > catalog.num_items:
        raise ConfigError(
            f"rl.num_generations: {config.rl.num_generations} distinct rollouts of a prompt were asked for, "
            f"but the catalogue has {catalog.num_items} items. Lower it."
        )
    reserved = reserved_users(split.train, config.split.rl_share, config.seed)
    check_prompts(config, catalog, split, reserved)
    if config.rl.objective == "sft" and "continued_sft" in config.evaluation.controls:
        raise ConfigError(
            "evaluation.controls: continued_sft is a control of RL, and rl.objective=sft is the same. Leave "
            "one of them out."
        )


def _train(config: Config, run: Run, stage: Stage) -> dict[str, Any]:
    from sidrec.rewards import combine_rewards
    from sidrec.sid_model import SIDModel
    from sidrec.stages.training import Validation, train
    from sidrec.trainers.callbacks import TrainingReport
    from sidrec.trainers.curriculum import Curriculum
    from sidrec.trainers.drawing import Drawing
    from sidrec.trainers.rl import ReReTrainer

    source = start_directory(config, run, stage, rl_tasks(config, run.catalog))
    sid_model = SIDModel.load(source, generation=FIRST, memory_mb=config.evaluation.memory_mb)
    sid_model.scorer.require_linear_logits()
    sid_model.scorer.require_shared_prompts()
    positions = getattr(sid_model.model.config.get_text_config(), "max_position_embeddings", None)
    prompts = rl_prompts(config, run, sid_model.prompts, max_positions=positions)
    directory = stage.begin()  # only now: what can be wrong until here leaves nothing behind
    judged = Validation(sid_model, run.split.valid, len(run.split.valid), config)
    before = judged.ranks()
    num_levels = run.semantic_ids.codes.shape[1]
    args = grpo_arguments(config, num_levels, directory / CHECKPOINTS)
    trainer = ReReTrainer(
        sid_model,
        prompts.rows,
        args,
        drawing=Drawing(sid_model, config.rl.num_generations),
        reward=partial(combine_rewards, weights=config.rl.rewards),
        validate=Validation(sid_model, run.split.valid, config.rl.validation_users, config),
        callbacks=[TrainingReport("rl")],
        order=prompts.order,
        curriculum=Curriculum(config.rl.curriculum, config.rl.max_draws, config.rl.replay_after),
        objective=config.rl.objective,
    )
    logger.info(
        "rl: %s prompts, %d per step, %d rollouts each", f"{len(prompts.rows):,}", config.rl.prompts_per_step,
        config.rl.num_generations if config.rl.objective != "sft" else 0,
    )  # fmt: skip
    started = time.monotonic()
    train(trainer, directory / CHECKPOINTS, "rl")
    sid_model.model.eval()
    after = judged.ranks()
    decision = decide(before, after, config)
    if decision["kept"] != "rl":
        sid_model = SIDModel.load(source, generation=FIRST, memory_mb=config.evaluation.memory_mb)
    sid_model.save(directory)
    write_rollouts(trainer, run, prompts.rows, directory / "rollouts.parquet")
    tokens = trainer.state.num_input_tokens_seen
    return {
        **decision,
        "prompts": prompts.facts(),
        "tokens": tokens,
        "continued_sft_steps": affordable_steps(tokens, prompts, args, num_levels),
        "steps": trainer.state.global_step,
        "best_step": trainer.state.best_global_step,
        "history": [entry for entry in trainer.state.log_history if "train_runtime" not in entry],
        "seconds": round(time.monotonic() - started, 1),
    }


def grpo_arguments(config: Config, num_levels: int, directory: Path) -> Any:
    """Return the trainer's `trl.GRPOConfig`; checkpoints go into `directory`.

    Raises:
        ConfigError: If `rl.trainer` names a field that it does not have, or gives it a value it refuses.
    """
    from trl import GRPOConfig

    from sidrec.stages.training import checkpoints, make_arguments

    section = config.rl
    # Not in a checkpoint: rollouts to be used again, and what is summed for the log since its last line.
    iterations = section.trainer.get("num_iterations", 1)
    cycle = iterations if isinstance(iterations, int) and iterations > 0 else 1
    logged = cycle * max(1, round(section.steps / 20 / cycle))
    every = logged * max(1, round(section.steps / section.evaluations / logged))
    ours = {
        "max_steps": section.steps,
        "per_device_train_batch_size": section.prompts_per_step * section.num_generations,
        "per_device_eval_batch_size": section.prompts_per_step * section.num_generations,
        "steps_per_generation": 1,
        "gradient_accumulation_steps": 1,
        "num_generations": section.num_generations,
        "max_completion_length": num_levels,
        "learning_rate": section.learning_rate,
        "lr_scheduler_type": "linear",
        "warmup_steps": 0.05,
        "beta": section.beta if section.objective != "sft" else 0.0,  # that one has no reference
        "loss_type": "grpo",
        "use_bias_correction_kl": False,
        "mask_truncated_completions": False,
        "gradient_checkpointing": False,
        **checkpoints(directory, config.seed, every=every),
        "logging_steps": logged,
    }
    return make_arguments(GRPOConfig, ours, section.trainer, "rl.trainer")
