"""Stage `evaluate`: full ranking of the catalogue for every test user, item-level."""

from __future__ import annotations

import logging
import math
import time
from pathlib import Path
from typing import Any

from sidrec.artifacts import Stage, read_json, read_manifest, sha256_of_file
from sidrec.catalog.predictions import read_predictions
from sidrec.config import Config
from sidrec.errors import ArtifactError, ConfigError
from sidrec.generations import FIRST
from sidrec.metrics import INVALID, PADDING
from sidrec.progress import progress
from sidrec.stages.measurement import Predictions, write_evaluation
from sidrec.stages.model_card import renew_card
from sidrec.stages.run import Run, check_semantic_ids, load_run, weights_hash

logger = logging.getLogger(__name__)
MODELS = ("sft", "rl")


def evaluate(config: Config) -> list[Path]:
    """Evaluate every model directory of the run on its test users and write `evaluate/<model>/`.

    With `predictions` set, that file is measured instead, on the same users, as `evaluate/<its name>/`.

    Raises:
        ArtifactError: If the run holds no model, one of other semantic IDs, or an RL model of another SFT.
        CatalogError: If the predictions do not fit the catalogue or the split.
    """
    run = load_run(config)
    if config.predictions is not None:
        return [_evaluate_file(config, run, config.predictions)]
    present = [name for name in MODELS if (config.output / name / "manifest.json").is_file()]
    if not present:
        raise ArtifactError(f"{config.output} holds no model to evaluate. Run first: sidrec sft")
    return [_evaluate(config, run, name) for name in present]


def stage_of(config: Config, run: Run, name: str) -> Stage:
    """Return what the evaluation of a model is made from and where it lies; the model must be there."""
    settings = {"evaluation": config.evaluation.model_dump(mode="json", exclude={"controls", "memory_mb"})}
    inputs = run.inputs() | {"weights": weights_hash(config.output / name)}
    return Stage(config.output / "evaluate" / name, "evaluate", settings, inputs, config.seed)


def _evaluate(config: Config, run: Run, name: str) -> Path:
    directory = config.output / name
    check_semantic_ids(directory, run.semantic_ids)
    _check_source(config.output, name)
    stage = stage_of(config, run, name)
    if stage.is_done():
        logger.info("evaluate %s: done before, nothing to redo", name)
        return stage.directory
    from sidrec.sid_model import SIDModel

    sid_model = SIDModel.load(directory, generation=FIRST, memory_mb=config.evaluation.memory_mb)
    sid_model = sid_model.reranking(config.evaluation.rerank)
    partial = stage.begin()
    started = time.monotonic()
    with progress(f"evaluate {name}", "users") as advance:
        ranking = sid_model.rank(
            run.split.test.histories,
            num_beams=config.evaluation.num_beams,
            on_batch=advance,
            ranking=config.evaluation.ranking,
            exclude_history=config.evaluation.exclude_history,
        )
    predictions = Predictions(
        name,
        config.evaluation.ranking,
        ranking.items.cpu().numpy(),
        ranking.scores.cpu().numpy(),
        time.monotonic() - started,
        facts={"parameters": sid_model.num_parameters, **_training(config.output, name)},
    )
    metrics = write_evaluation(partial, predictions, run.split.test, run, config)
    renew_card(directory, run, metrics)
    stage.finish(config.to_yaml())
    return stage.directory


def _check_source(output: Path, name: str) -> None:
    """Refuse an RL model that was made from another SFT model than the run holds now."""
    if name != "rl" or not (output / "sft" / "manifest.json").is_file():
        return
    expected, held = _source_of_rl(output), weights_hash(output / "sft")
    if expected is not None and expected != held:
        raise ArtifactError(
            f"{output / 'rl'} was made from another model (sha256 {expected[:8]}) than {output / 'sft'} "
            f"holds now ({held[:8]}). Rerun: sidrec rl"
        )


def _source_of_rl(output: Path) -> str | None:
    """Return the hash of the SFT weights that RL began from, if it did so."""
    weights: str | None = read_manifest(output / "rl")["inputs"].get("weights")
    return weights


def _training(output: Path, name: str) -> dict[str, Any]:
    """Say what the model cost: CPU seconds of all stages up to it, without the embeddings of a cache."""
    present = training_stages(output, name)
    seconds = [read_manifest(directory).get("cpu_seconds", math.nan) for directory in present]
    total = sum(seconds)  # runs of older versions do not say
    return {"training_cpu_seconds": None if math.isnan(total) else round(total, 2)}


def training_stages(output: Path, name: str) -> list[Path]:
    """Return the directories of the finished stages that a model of a run was trained in."""
    stages = ["tokenize", "sft"] if name == "sft" or _source_of_rl(output) is not None else ["tokenize"]
    if name == "rl":
        inputs = read_manifest(output / "rl")["inputs"]
        stages += ["rl", "sequential/sasrec"] if "collaborative" in inputs else ["rl"]  # that reward's judge
    return [output / stage for stage in stages if (output / stage / "manifest.json").is_file()]


def _evaluate_file(config: Config, run: Run, path: Path) -> Path:
    name = path.name.split(".")[0]
    if name in MODELS:
        raise ConfigError(
            f"predictions: {path} would be measured as {name}, a model of ours. Rename the file."
        )
    _check_sibling(path, run)
    lists = read_predictions(
        path, run.split.test, run.catalog.items["item_id"].tolist(), no_item=INVALID, end=PADDING
    )
    settings = {"evaluation": config.evaluation.model_dump(include={"bootstrap_samples"})}
    inputs = run.inputs() | {"predictions": sha256_of_file(path)}
    stage = Stage(config.output / "evaluate" / name, "evaluate", settings, inputs, config.seed)
    if stage.is_done():
        logger.info("evaluate %s: done before, nothing to redo", name)
        return stage.directory
    facts = {"users_without_predictions": lists.users_without}
    predictions = Predictions(name, "file", lists.items, lists.scores, 0.0, facts, lists.item_ids)
    metrics = write_evaluation(stage.begin(), predictions, run.split.test, run, config)
    logger.info(
        "evaluate %s: %s lists of up to %d items; %s entries are no item of the catalogue; %s users without",
        name, f"{len(run.split.test) - lists.users_without:,}", metrics["depth"],
        f"{metrics['invalid_items']:,}", f"{lists.users_without:,}",
    )  # fmt: skip
    stage.finish(config.to_yaml())
    return stage.directory


def _check_sibling(path: Path, run: Run) -> None:
    """Refuse predictions that a metrics.json beside them says are of another split."""
    beside = path.parent / "metrics.json"
    if not beside.is_file():
        return
    found = read_json(beside).get("split_sha256", run.split.sha256)
    if found != run.split.sha256:
        raise ArtifactError(
            f"{path} was made on another split (sha256 {found[:8]}, in {beside}) than {run.output} has "
            f"({run.split.sha256[:8]}). Evaluate it in a run of its own catalogue."
        )
