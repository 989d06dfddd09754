"""Stage `rl`: ReRe, from the aligned model of `sft`."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from sidrec.artifacts import CHECKPOINTS, Stage, write_json
from sidrec.catalog import Catalog, Split
from sidrec.config import Config
from sidrec.errors import ConfigError
from sidrec.generations import FIRST
from sidrec.processes import num_processes
from sidrec.stages.rl_decision import decide
from sidrec.stages.rl_prompts import rl_prompts
from sidrec.stages.rl_rewards import check_reward_settings, make_reward, reward_inputs, reward_stages
from sidrec.stages.rl_samples import write_rollouts
from sidrec.stages.run import Run, check_semantic_ids, load_run, weights_hash
from sidrec.stages.sft_tasks import resolve_prompts

if TYPE_CHECKING:
    from sidrec.sid_model import SIDModel
    from sidrec.trainers.drawing import Drawing

logger = logging.getLogger(__name__)
TRLS_LOSSES: Mapping[str, dict[str, Any]] = MappingProxyType(
    {
        "dapo": {"loss_type": "dapo", "epsilon_high": 0.28},  # clip-higher, arXiv:2503.14476, section 4.1
        "dr_grpo": {"loss_type": "dr_grpo"},
        "gspo": {"loss_type": "grpo", "importance_sampling_level": "sequence"},
    }
)
"""What makes TRL's GRPO another objective."""


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
    inputs = run.inputs() | {"weights": weights_hash(source)} | reward_inputs(config, run)
    return Stage(config.output / "rl", "rl", settings, inputs, config.seed)


def stages_of(config: Config, run: Run) -> list[Stage]:
    """Return all that this stage makes, and what it trains for that, in the order in which it is made."""
    return [*reward_stages(config, run.catalog, run.split), stage_of(config, run)]


def check_rl(config: Config, catalog: Catalog, split: Split) -> None:
    """Raise what `rl` would raise about its settings, before anything is trained.

    Raises:
        ConfigError: If a reward cannot be used, G exceeds the catalogue, a step wants more prompts than exist
            or cannot be divided, or the trainer's options cannot be used.
    """
    check_reward_settings(config, catalog)
    normalization = config.rl.logprobs or resolve_prompts(config).normalization
    if config.rl.off_policy == "importance" and normalization != "catalog":
        raise ConfigError(
            "rl.off_policy=importance needs a policy that is a distribution over items, but "
            f"log-probabilities are normalized over the {normalization}. Set rl.logprobs=catalog."
        )
    grpo_arguments(config, len(config.tokenizer.codebook_sizes), config.output / "rl")
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
    from sidrec.metrics import metrics_at_k
    from sidrec.objectives import Objective
    from sidrec.rewards.watch import find_hacking, mean_shares
    from sidrec.sid_model import SIDModel
    from sidrec.stages.rl_figure import draw_history
    from sidrec.stages.training import Validation, train
    from sidrec.trainers.callbacks import TrainingReport
    from sidrec.trainers.history import HistoryFile, history_rows
    from sidrec.trainers.reward_watch import RewardWatch
    from sidrec.trainers.rl import ReReTrainer
    from sidrec.trainers.rl_diagnostics import history_columns

    sid_model = SIDModel.load(source, generation=FIRST, memory_mb=config.evaluation.memory_mb)
    sid_model.scorer.require_linear_logits()
    sid_model.scorer.require_shared_prompts()
    reward = make_reward(config, run, sid_model.model.device)
    directory = stage.begin()  # only now: what can be wrong until here leaves nothing behind
    shuffle_seed = config.seed if config.rl.shuffle_targets else None
    prompts = rl_prompts(run, sid_model.prompts, shuffle_seed=shuffle_seed)
    history = HistoryFile(directory / "history.csv", history_columns(config.rl.rewards))
    judged = Validation(sid_model, run.split.valid, len(run.split.valid), config)
    before = judged.ranks()
    sample = run.split.valid.draw(config.rl.validation_users, config.seed)
    start = float(metrics_at_k(before[sample], ks=(10,))["ndcg@10"].mean())
    trainer = ReReTrainer(
        sid_model,
        prompts,
        grpo_arguments(config, run.semantic_ids.codes.shape[1], directory / CHECKPOINTS),
        drawing=make_drawing(sid_model, config),
        reward=reward,
        validate=Validation(sid_model, run.split.valid, config.rl.validation_users, config),
        callbacks=[TrainingReport("rl"), RewardWatch(config.rl.rewards, start), history],
        objective=Objective(config.rl.objective, config.rl.scaling),
    )
    logger.info(
        "rl: %s prompts, %d per step, %d rollouts each", f"{len(prompts):,}", config.rl.prompts_per_step,
        config.rl.num_generations,
    )  # fmt: skip
    started = time.monotonic()
    train(trainer, directory / CHECKPOINTS, "rl")
    sid_model.model.eval()
    after = judged.ranks()
    decision = decide(before, after, config)
    if decision["kept"] == "sft":
        sid_model = SIDModel.load(source, generation=FIRST, memory_mb=config.evaluation.memory_mb)
    sid_model.save(directory)
    write_rollouts(trainer, run, prompts, directory / "rollouts.parquet")
    history.write(trainer.state.log_history)
    draw_history(history_rows(trainer.state.log_history), directory / "history.png")
    return {
        **decision,
        "prompts": len(prompts),
        "steps": trainer.state.global_step,
        "best_step": trainer.state.best_global_step,
        "reward_shares": mean_shares(trainer.state.log_history),
        "hacking": find_hacking(trainer.state.log_history, config.rl.rewards),
        "seconds": round(time.monotonic() - started, 1),
    }


def prompts_of_a_pass(config: Config) -> int:
    """Return how many prompts a process draws groups for at once: those of a step, divided evenly.

    Raises:
        ConfigError: If they cannot be divided: a group is never torn.
    """
    section = config.rl
    accumulated = section.trainer.get("gradient_accumulation_steps", 1)
    if type(accumulated) is not int or accumulated < 1:
        raise ConfigError(
            f"rl.trainer.gradient_accumulation_steps: expected a whole number from 1, got {accumulated!r}."
        )
    passes = accumulated * num_processes()
    if section.prompts_per_step % passes:
        raise ConfigError(
            f"rl.prompts_per_step: {section.prompts_per_step} prompts, each with its whole group of "
            f"{section.num_generations} rollouts, cannot be divided by {passes} (processes: "
            f"{num_processes()}, rl.trainer.gradient_accumulation_steps: {accumulated}). Make it a multiple "
            f"of {passes}."
        )
    return section.prompts_per_step // passes


def make_drawing(sid_model: SIDModel, config: Config) -> Drawing:
    """Return how the settings of `rl` have rollouts drawn, and the policy that draws them."""
    from sidrec.trainers.drawing import Drawing

    section = config.rl
    return Drawing(
        sid_model.normalized_over(section.logprobs),
        section.num_generations,
        sampling=section.sampling,
        temperature=section.temperature,
        add_target=section.add_target,
        off_policy=section.off_policy,
        seed=config.seed,
    )


def grpo_arguments(config: Config, num_levels: int, directory: Path) -> Any:
    """Return the trainer's `trl.GRPOConfig`; checkpoints go into `directory`.

    Raises:
        ConfigError: If `rl.trainer` names a field that it does not have, or gives it a value it refuses.
    """
    from trl import GRPOConfig

    from sidrec.stages.training import checkpoints, make_arguments

    section = config.rl
    rollouts_of_pass = prompts_of_a_pass(config) * section.num_generations
    # Not in a checkpoint: rollouts to be used again, and what is summed for the log since its last line.
    cycle = section.updates_per_batch
    logged = cycle * max(1, round(section.steps / 20 / cycle))
    every = logged * max(1, round(section.steps / section.evaluations / logged))
    ours = {
        "max_steps": section.steps,
        "per_device_train_batch_size": rollouts_of_pass,
        "per_device_eval_batch_size": rollouts_of_pass,
        "steps_per_generation": 1,
        "gradient_accumulation_steps": 1,
        "num_generations": section.num_generations,
        "max_completion_length": num_levels,
        "learning_rate": section.learning_rate,
        "lr_scheduler_type": "linear",
        "warmup_steps": 0.05,
        "beta": section.beta,
        "num_iterations": cycle,
        **TRLS_LOSSES.get(section.objective, {"loss_type": "grpo"}),
        "use_bias_correction_kl": False,
        "mask_truncated_completions": False,
        "gradient_checkpointing": False,
        **checkpoints(directory, config.seed, every=every),
        "logging_steps": logged,
    }
    return make_arguments(GRPOConfig, ours, section.trainer, "rl.trainer")
