"""Stage `rl`: ReRe, from the aligned model of `sft`."""

from __future__ import annotations

import logging
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sidrec.artifacts import CHECKPOINTS, Stage, write_json
from sidrec.catalog import Catalog, Split
from sidrec.config import Config
from sidrec.errors import ConfigError
from sidrec.generations import FIRST
from sidrec.metrics import metrics_at_k, paired_difference
from sidrec.stages.run import Run, check_semantic_ids, load_run, weights_hash

logger = logging.getLogger(__name__)
SHOWN_GROUPS = 50


def rl(config: Config) -> Path:
    """Train on constrained beams and write the better of SFT and RL to `rl/`.

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
    source = config.output / "sft"
    if stage.is_done():
        logger.info("rl: done before, nothing to redo")
        return stage.directory
    from sidrec.stages.training import keep_reports

    metrics = _train(config, run, source, stage)
    directory = stage.partial
    write_json(directory / "metrics.json", metrics)
    shutil.copy(source / "items.parquet", directory / "items.parquet")
    keep_reports(directory / CHECKPOINTS)
    stage.finish(config.to_yaml())
    return stage.directory


def stage_of(config: Config, run: Run) -> Stage:
    """Return what this stage is made from and where it lies.

    Raises:
        ArtifactError: If `sft` has not been run, or on other semantic IDs.
    """
    source = config.output / "sft"
    check_semantic_ids(source, run.semantic_ids)
    settings = {
        "rl": config.rl.model_dump(mode="json"),
        "evaluation": config.evaluation.model_dump(include={"num_beams", "bootstrap_samples"}),
    }
    inputs = run.inputs() | {"weights": weights_hash(source)}
    return Stage(config.output / "rl", "rl", settings, inputs, config.seed)


def check_rl(config: Config, catalog: Catalog, split: Split) -> None:
    """Raise what `rl` would raise about its settings, before anything is trained.

    Raises:
        ConfigError: If a reward is unknown, G exceeds the catalogue, a step wants more prompts than exist,
            or the trainer's options cannot be used.
    """
    from sidrec.rewards import check_rewards

    check_rewards(config.rl.rewards)
    _grpo_arguments(config, len(config.tokenizer.codebook_sizes), config.output / "rl")
    if config.rl.num_generations > catalog.num_items:
        raise ConfigError(
            f"rl.num_generations: {config.rl.num_generations} distinct rollouts of a prompt were asked for, "
            f"but the catalogue has {catalog.num_items} items. Lower it."
        )
    num_prompts = sum(max(0, len(history) - 1) for history in split.train)
    if config.rl.prompts_per_step > num_prompts:
        raise ConfigError(
            f"rl.prompts_per_step: {config.rl.prompts_per_step} prompts of a step were asked for, but train "
            f"histories give {num_prompts} (an event after another one each). Lower it, or add events."
        )


def _train(config: Config, run: Run, source: Path, stage: Stage) -> dict[str, Any]:
    from sidrec.sid_model import SIDModel
    from sidrec.stages.training import Validation, train
    from sidrec.trainers.callbacks import TrainingReport
    from sidrec.trainers.rl import ReReTrainer

    sid_model = SIDModel.load(source, generation=FIRST, memory_mb=config.evaluation.memory_mb)
    sid_model.scorer.require_linear_logits()
    sid_model.scorer.require_shared_prompts()
    directory = stage.begin()  # only now: what can be wrong until here leaves nothing behind
    prompts = _prompts(run, shuffle_seed=config.seed if config.rl.shuffle_targets else None)
    judged = Validation(sid_model, run.split.valid, len(run.split.valid), config)
    before = judged.ranks()
    trainer = ReReTrainer(
        sid_model,
        prompts,
        _grpo_arguments(config, run.semantic_ids.codes.shape[1], directory / CHECKPOINTS),
        reward_weights=config.rl.rewards,
        validate=Validation(sid_model, run.split.valid, config.rl.validation_users, config),
        callbacks=[TrainingReport("rl")],
    )
    logger.info(
        "rl: %s prompts, %d per step, %d rollouts each", f"{len(prompts):,}", config.rl.prompts_per_step,
        config.rl.num_generations,
    )  # fmt: skip
    started = time.monotonic()
    train(trainer, directory / CHECKPOINTS, "rl")
    sid_model.model.eval()
    after = judged.ranks()
    decision = _decide(before, after, config)
    if decision["kept"] == "sft":
        sid_model = SIDModel.load(source, generation=FIRST, memory_mb=config.evaluation.memory_mb)
    sid_model.save(directory)
    _write_rollouts(trainer, run, prompts, directory / "rollouts.parquet")
    return {
        **decision,
        "prompts": len(prompts),
        "steps": trainer.state.global_step,
        "best_step": trainer.state.best_global_step,
        "history": [entry for entry in trainer.state.log_history if "train_runtime" not in entry],
        "seconds": round(time.monotonic() - started, 1),
    }


def _prompts(run: Run, *, shuffle_seed: int | None = None) -> Any:
    """Every train event with a history before it; its target travels with the row as an integer.

    With a `shuffle_seed` the targets are dealt anew over all rows: the control whose rewards mean nothing.
    """
    from datasets import Dataset

    rows = [
        {"prompt": "", "history": history[:place].tolist(), "target": int(history[place])}
        for history in run.split.train
        for place in range(1, len(history))
    ]
    if shuffle_seed is not None:
        targets = [row["target"] for row in rows]
        for row, other in zip(rows, np.random.default_rng(shuffle_seed).permutation(len(rows)), strict=True):
            row["target"] = targets[other]
    for number, row in enumerate(rows):
        row["row"] = number
    return Dataset.from_list(rows)


def _decide(before: np.ndarray, after: np.ndarray, config: Config) -> dict[str, Any]:
    """Compare SFT and RL over the same valid users; RL is kept if the interval of its gain lies above 0.

    A gain that the interval does not show is as likely as not the luck of having picked the best checkpoint.
    """
    values = [metrics_at_k(ranks, ks=(10,)) for ranks in (before, after)]
    result: dict[str, Any] = {"valid_users": len(before)}
    for name in ("ndcg@10", "hr@10"):
        sft_values, rl_values = values[0][name], values[1][name]
        gain = paired_difference(
            rl_values, sft_values, seed=config.seed, samples=config.evaluation.bootstrap_samples
        )
        result[name] = {
            "sft": float(sft_values.mean()),
            "rl": float(rl_values.mean()),
            "difference": {"value": gain.value, "low": gain.low, "high": gain.high},
        }
    is_better = result["ndcg@10"]["difference"]["low"] > 0
    result["kept"] = "rl" if is_better or config.rl.keep == "rl" else "sft"
    gain_ = result["ndcg@10"]
    logger.info(
        "rl: valid NDCG@10 %.4f after SFT, %.4f after RL, difference %+.4f [%+.4f, %+.4f]: kept %s",
        gain_["sft"], gain_["rl"], gain_["difference"]["value"], gain_["difference"]["low"],
        gain_["difference"]["high"], result["kept"],
    )  # fmt: skip
    return result


def _grpo_arguments(config: Config, num_levels: int, directory: Path) -> Any:
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
        "beta": section.beta,
        "loss_type": "grpo",
        "use_bias_correction_kl": False,
        "mask_truncated_completions": False,
        "gradient_checkpointing": False,
        **checkpoints(directory, config.seed, every=every),
        "logging_steps": logged,
    }
    return make_arguments(GRPOConfig, ours, section.trainer, "rl.trainer")


def _write_rollouts(trainer: Any, run: Run, prompts: Any, path: Path) -> None:
    """Write a seeded sample of groups that a person can read, as the trained policy ranks them."""
    from sidrec.rewards import combine_rewards, group_advantages

    chosen = np.random.default_rng(trainer.args.seed).permutation(len(prompts))[:SHOWN_GROUPS].tolist()
    rows = [prompts[place] for place in sorted(chosen)]
    rollouts = trainer.rollouts([row["history"] for row in rows], [row["target"] for row in rows])
    rewards = combine_rewards(rollouts, trainer.reward_weights_by_name)
    advantages = group_advantages(rewards.total)
    titles = run.catalog.items["title"].tolist()
    item_ids = run.catalog.items["item_id"].tolist()
    table = [
        {
            "group": group,
            "history": " | ".join(titles[item] for item in row["history"]),
            "target": titles[row["target"]],
            "rank": place + 1,
            "item_id": item_ids[item],
            "title": titles[item],
            "is_target": item == row["target"],
            **{f"reward_{name}": float(part[group, place]) for name, part in rewards.parts.items()},
            "reward": float(rewards.total[group, place]),
            "advantage": float(advantages[group, place]),
        }
        for group, row in enumerate(rows)
        for place, item in enumerate(rollouts.items[group].tolist())
    ]
    pd.DataFrame(table).to_parquet(path, index=False)
