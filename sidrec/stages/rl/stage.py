"""Stage `rl`: ReRe, from the aligned model of `sft`, or from the one before it."""

from __future__ import annotations

import logging
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sidrec.artifacts import CHECKPOINTS, Stage, write_json
from sidrec.catalog import Catalog, Split
from sidrec.catalog.reservation import reserved_users
from sidrec.config import Config
from sidrec.errors import ConfigError
from sidrec.generations import FIRST
from sidrec.processes import on_main
from sidrec.progress import working
from sidrec.stages.model_card import write_card
from sidrec.stages.rl.arguments import grpo_arguments
from sidrec.stages.rl.continued_sft import affordable_steps
from sidrec.stages.rl.decision import decide
from sidrec.stages.rl.prompts import check_prompts, rl_prompts, rl_tasks, task_settings
from sidrec.stages.rl.rewards import check_reward_settings, make_reward, reward_inputs, reward_stages
from sidrec.stages.rl.samples import write_rollouts
from sidrec.stages.rl.start import start_directory, start_inputs, start_settings
from sidrec.stages.run import Run, load_run
from sidrec.stages.sft_tasks import resolve_prompts
from sidrec.tasks.task import column_inputs

if TYPE_CHECKING:
    from sidrec.sid_model import SIDModel
    from sidrec.trainers.rl.drawing import Drawing

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
    if on_main(stage.is_done):
        logger.info("rl: done before, nothing to redo")
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
    """Return what this stage is made from and where it lies.

    Raises:
        ArtifactError: If `sft` has not been run, or on other semantic IDs.
        ConfigError: If a task of `rl.tasks` cannot be used.
    """
    tasks = rl_tasks(config, run.catalog)
    settings = {
        "rl": config.rl.model_dump(mode="json"),
        "tasks": task_settings(tasks),
        "evaluation": config.evaluation.model_dump(
            mode="json", include={"num_beams", "bootstrap_samples", "rerank"}
        ),
        **start_settings(config),
    }
    inputs = run.training_inputs() | column_inputs(tasks, run.catalog)
    inputs |= start_inputs(config, run) | reward_inputs(config, run)
    return Stage(config.output / "rl", "rl", settings, inputs, config.seed)


def stages_of(config: Config, run: Run) -> list[Stage]:
    """Return all that this stage makes, and what it trains for that, in the order in which it is made."""
    return [*reward_stages(config, run.catalog, run.split), stage_of(config, run)]


def check_rl(config: Config, catalog: Catalog, split: Split) -> None:
    """Raise what `rl` would raise about its settings, before anything is trained.

    Raises:
        ConfigError: If a reward cannot be used, G exceeds the catalogue, the prompts are as `check_prompts`
            has it or cannot be divided, or the trainer's options cannot be used.
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
    reserved = reserved_users(split.train, config.split.rl_share, config.seed)
    check_prompts(config, catalog, split, reserved)
    if config.rl.objective == "sft" and "continued_sft" in config.evaluation.controls:
        raise ConfigError(
            "evaluation.controls: continued_sft is a control of RL, and rl.objective=sft is the same. Leave "
            "one of them out."
        )


def _train(config: Config, run: Run, stage: Stage) -> dict[str, Any]:
    from sidrec.metrics import metrics_at_k
    from sidrec.objectives import Objective
    from sidrec.rewards.watch import find_hacking, mean_shares
    from sidrec.sid_model import SIDModel
    from sidrec.stages.rl.figure import draw_history
    from sidrec.stages.training import Validation, train
    from sidrec.trainers.callbacks import TrainingReport
    from sidrec.trainers.dropout import add_dropout
    from sidrec.trainers.history import HistoryFile, history_rows
    from sidrec.trainers.rl.curriculum import Curriculum
    from sidrec.trainers.rl.diagnostics import history_columns
    from sidrec.trainers.rl.reward_watch import RewardWatch
    from sidrec.trainers.rl.trainer import ReReTrainer

    section = config.rl
    source = on_main(lambda: start_directory(config, run, stage, rl_tasks(config, run.catalog)))
    sid_model = _policy(source, config)
    positions = getattr(sid_model.model.config.get_text_config(), "max_position_embeddings", None)
    prompts = rl_prompts(config, run, sid_model.prompts, max_positions=positions)
    reward = make_reward(config, run, sid_model.model.device)
    directory = on_main(stage.begin)  # only now: what can be wrong until here leaves nothing behind
    history = HistoryFile(directory / "history.csv", history_columns(section.rewards))
    as_evaluated = sid_model.reranking(config.evaluation.rerank)  # what is judged is what will be shown
    judged = Validation(as_evaluated, run.split.valid, len(run.split.valid), config)
    with working("rl: ranking the valid users before RL"):
        before = judged.ranks()
    sample = run.split.valid.draw(section.validation_users, config.seed)
    start = float(metrics_at_k(before[sample], ks=(10,))["ndcg@10"].mean())
    num_levels = sid_model.prompts.codes.shape[1]
    args = grpo_arguments(config, num_levels, directory / CHECKPOINTS)
    trainer = ReReTrainer(
        sid_model,
        prompts.rows,
        args,
        drawing=make_drawing(sid_model, config),
        reward=reward,
        validate=Validation(as_evaluated, run.split.valid, section.validation_users, config),
        callbacks=[TrainingReport("rl"), RewardWatch(section.rewards, start), history],
        order=prompts.order,
        change=prompts.change,
        curriculum=Curriculum(section.curriculum, section.max_draws, section.replay_after),
        objective=Objective(section.objective, section.scaling),
    )
    logger.info(
        "rl: %s prompts, %d per step, %d rollouts each", f"{len(prompts.rows):,}", section.prompts_per_step,
        section.num_generations if section.objective != "sft" else 0,
    )  # fmt: skip
    handles = add_dropout(sid_model.model, section.dropout)
    started = time.monotonic()
    train(trainer, directory / CHECKPOINTS, "rl")
    for handle in handles:
        handle.remove()
    sid_model.model.eval()
    with working("rl: ranking the valid users after RL"):
        after = judged.ranks()
    decision = decide(before, after, config, judged.rows.recurring_users)
    log = trainer.state.log_history

    def write() -> None:
        write_rollouts(trainer, run, prompts.rows, directory / "rollouts.parquet")
        kept = sid_model if decision["kept"] == "rl" else SIDModel.load(source, generation=FIRST)
        kept.save(directory)
        history.write(log)
        draw_history(history_rows(log), directory / "history.png")

    on_main(write)
    tokens = trainer.state.num_input_tokens_seen
    return {
        **decision,
        "prompts": prompts.facts(),
        "tokens": tokens,
        "continued_sft_steps": affordable_steps(tokens, prompts, args, num_levels),
        "steps": trainer.state.global_step,
        "best_step": trainer.state.best_global_step,
        "reward_shares": mean_shares(log),
        "hacking": find_hacking(log, section.rewards),
        "seconds": round(time.monotonic() - started, 1),
    }


def _policy(source: Path, config: Config) -> SIDModel:
    """Load the model that RL begins from.

    Raises:
        ConfigError: If its logits or its prompts are such that it cannot be trained on rollouts.
    """
    from sidrec.sid_model import SIDModel

    sid_model = SIDModel.load(source, generation=FIRST, memory_mb=config.evaluation.memory_mb)
    sid_model.scorer.require_linear_logits()
    sid_model.scorer.require_shared_prompts()
    return sid_model


def make_drawing(sid_model: SIDModel, config: Config) -> Drawing:
    """Return how the settings of `rl` have rollouts drawn, and the policy that draws them."""
    from sidrec.trainers.rl.drawing import Drawing

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
