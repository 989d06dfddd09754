"""Stage `baselines`: the same split, the same metrics, the same files."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import numpy as np

from sidrec.artifacts import Stage, read_json, read_manifest, sha256_of_file
from sidrec.baselines.config import (
    BaselineName,
    ItemKNNConfig,
    RecentPopularityConfig,
    Searched,
    TextKNNConfig,
)
from sidrec.baselines.neighbours import item_knn, text_knn
from sidrec.baselines.popularity import popularity, recent_popularity, repeat_history
from sidrec.baselines.ranking import ScoreItems, mean_metrics, rank_by_scores
from sidrec.config import Config
from sidrec.progress import progress
from sidrec.stages.measurement import Predictions, write_evaluation
from sidrec.stages.run import Run, load_run
from sidrec.stages.sequential import SEQUENTIAL, best_of, fit_stage, report, train_sequential

logger = logging.getLogger(__name__)


def run_baselines(config: Config) -> list[Path]:
    """Evaluate `baselines.models` on the test users and write `baselines/<name>/`.

    What is trained is kept in `sequential/<name>/` and trained once, however it is evaluated.

    Raises:
        ArtifactError: If `tokenize` has not been run.
        CatalogError: If there is no train event.
    """
    run = load_run(config)
    run.split.require_train()
    return [_baseline(config, run, name) for name in config.baselines.models]


def stages_of(config: Config, run: Run) -> list[Stage]:
    """Return what is trained here: the part of the stage that takes long."""
    return [
        fit_stage(config, run.catalog, run.split, name)
        for name in config.baselines.models
        if name in SEQUENTIAL
    ]


def stage_of(config: Config, run: Run, name: BaselineName) -> Stage:
    """Return what the evaluation of a baseline is made from and where it lies."""
    inputs = run.inputs()
    if name == "text_knn":
        inputs["vectors"] = sha256_of_file(run.output / "tokenize" / "embeddings.npy")
    settings = {
        "evaluation": config.evaluation.model_dump(
            include={"num_beams", "bootstrap_samples", "exclude_history"}
        ),
        "split": {"method": config.split.method},
        "baseline": _section(config, name),
    }
    return Stage(config.output / "baselines" / name, "baselines", settings, inputs, config.seed)


def _baseline(config: Config, run: Run, name: BaselineName) -> Path:
    if name in SEQUENTIAL:
        train_sequential(config, run.catalog, run.split, name)
    stage = stage_of(config, run, name)
    if stage.is_done():
        logger.info("baselines: %s: done before, nothing to redo", name)
        return stage.directory
    score_items, facts = _load_trained(config, name) if name in SEQUENTIAL else _count(config, run, name)
    directory = stage.begin()
    started = time.monotonic()
    with progress(f"rank {name}", "users") as advance:
        items, scores = rank_by_scores(
            score_items,
            run.split.test.histories,
            k=config.evaluation.num_beams,
            exclude_history=config.evaluation.exclude_history,
            on_batch=advance,
        )
    predictions = Predictions(name, "full", items, scores, time.monotonic() - started, facts)
    write_evaluation(directory, predictions, run.split.test, run, config)
    stage.finish(config.to_yaml())
    return stage.directory


def _section(config: Config, name: BaselineName) -> dict[str, Any] | None:
    """Return the settings of a baseline; None for one that has none."""
    section = getattr(config.baselines, name, None)
    return None if section is None else section.model_dump(mode="json")


def _load_trained(config: Config, name: BaselineName) -> tuple[ScoreItems, dict[str, Any]]:
    from sidrec.baselines.sequential import score_with
    from sidrec.baselines.weights import load_sequential

    directory = config.output / "sequential" / name
    model = load_sequential(directory)
    facts: dict[str, Any] = read_json(directory / "metrics.json")
    facts["training_cpu_seconds"] = read_manifest(directory)["cpu_seconds"]
    return score_with(model, model.settings.max_history), facts


def _count(config: Config, run: Run, name: BaselineName) -> tuple[ScoreItems, dict[str, Any]]:
    """Make every combination that `search` asks for, keep the one that is best on valid, and say which."""
    before = time.process_time()
    section: Searched = getattr(config.baselines, name, Searched())
    trials: list[dict[str, Any]] = []
    for settings in section.combinations():
        made = _make(run, name, settings)
        trials.append({"settings": settings.values(), "valid": mean_metrics(made, run.split.valid)})
        if best_of(trials) == len(trials) - 1:
            score_items = made
    best = best_of(trials)
    report(name, trials, best)
    seconds = round(time.process_time() - before, 2)
    facts = {"parameters": 0, "training_cpu_seconds": seconds, **trials[best], "trials": trials}
    return score_items, facts


def _make(run: Run, name: BaselineName, settings: Searched) -> ScoreItems:
    split, num_items = run.split, run.catalog.num_items
    match settings:
        case RecentPopularityConfig():
            return recent_popularity(split, num_items=num_items, window=settings.window)
        case ItemKNNConfig():
            neighbours, decay = settings.neighbours, settings.decay
            return item_knn(split, num_items=num_items, neighbours=neighbours, decay=decay)
        case TextKNNConfig():
            assert run.vectors is not None  # `load_run` has read them
            return text_knn(np.asarray(run.vectors), decay=settings.decay)
    if name == "repeat_history":
        return repeat_history(num_items=num_items)
    return popularity(split, num_items=num_items)
