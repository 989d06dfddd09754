"""All stages in order, and one table at the end."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from sidrec.artifacts import read_json
from sidrec.baselines.config import BaselineName
from sidrec.catalog import Catalog, read_catalog, split_catalog
from sidrec.config import Config
from sidrec.progress import working
from sidrec.stages import sft as sft_stage
from sidrec.stages import tokenization
from sidrec.stages.baselines import run_baselines
from sidrec.stages.evaluation import MODELS, evaluate
from sidrec.stages.model_making import check_model_settings
from sidrec.stages.plan import describe, plan
from sidrec.stages.rl import check_rl, rl
from sidrec.stages.rl.continued_sft import continued_sft
from sidrec.stages.rl.rewards import reward_stages
from sidrec.stages.run import load_run
from sidrec.stages.sft import sft
from sidrec.stages.sft_tasks import check_sft
from sidrec.stages.tokenization import tokenize

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ResultRow:
    """A model's line of the result table; intervals as (value, low, high), coverage where it is at k."""

    model: str
    hit_rate: tuple[float, float, float]
    ndcg: tuple[float, float, float]
    k: int
    invalid: int
    duplicates: int
    coverage: float | None


def run(config: Config, *, catalog: Catalog | None = None) -> list[ResultRow]:
    """Run every stage that is not done yet and return the result table: baselines, SFT, RL, controls.

    Raises:
        SidrecError: As the stages do; all cheap checks come before the first training.
    """
    if catalog is None:
        with working("reading the catalogue"):
            catalog = read_catalog(config.catalog)
    check_model_settings(config)
    split = split_catalog(catalog, config.split)
    split.require_train()
    check_rl(config, catalog, split)
    check_sft(config, catalog)
    logger.info("%s", describe(plan(config, catalog), config))
    tokenize(config, catalog=catalog)
    run_baselines(config)
    _models(config)
    for name in config.evaluation.controls:
        logger.info("control: %s", name)
        _control(config, name, catalog)
    return results(config.output)


def _models(config: Config) -> None:
    sft(config)
    rl(config)
    evaluate(config)


def _control(config: Config, name: str, catalog: Catalog) -> None:
    """Run the generative stages once more in `controls/<name>`, with one thing in them made meaningless."""
    changes: dict[str, Any] = {"output": config.output / "controls" / name}
    changes["evaluation"] = config.evaluation.model_copy(update={"controls": ()})
    cache = config.embedding.cache or config.output / "cache"
    changes["embedding"] = config.embedding.model_copy(update={"cache": cache})
    if name == "shuffled_targets":
        changes["rl"] = config.rl.model_copy(update={"shuffle_targets": True, "keep": "rl"})
    elif name == "continued_sft":
        changes["rl"] = continued_sft(config)
    else:
        source = config.output if name == "shuffled" else None
        changes["tokenizer"] = config.tokenizer.model_copy(update={"method": name, "source": source})
    control = config.model_copy(update=changes)
    tokenization.stage_of(control, catalog).adopt([config.output / "tokenize"], control.to_yaml())
    tokenize(control, catalog=catalog)
    loaded = load_run(control)
    sft_stage.stage_of(control, loaded).adopt([config.output / "sft"], control.to_yaml())
    for trained in reward_stages(control, loaded.catalog, loaded.split):
        place = trained.directory.relative_to(control.output)
        trained.adopt([config.output / place], control.to_yaml())
    _models(control)


def results(output: Path) -> list[ResultRow]:
    """Read the result table of a run, at a depth that all have; what is not there is left out."""
    found = [
        (label, read_json(directory / "metrics.json")) for label, directory in result_directories(output)
    ]
    k = min((_depth(metrics) for _, metrics in found), default=0)
    return [_row(label, metrics, k) for label, metrics in found]


def closing(output: Path) -> str:
    """Say where the result of a run lies, and what to type next."""
    history = _first_history(output)
    best = next(name for name in reversed(MODELS) if (output / name / "manifest.json").is_file())
    files = [
        (output / "evaluate", "metrics.json and predictions.parquet of each model"),
        (output / "baselines", "the same of each baseline"),
        (output / best, "the model, which Recommender.from_pretrained and transformers load"),
        (output / "tokenize" / "semantic_ids.parquet", "the semantic IDs; health.png beside it shows them"),
    ]
    files = [(path, what) for path, what in files if path.exists()]
    width = max(len(str(path)) for path, _ in files)
    lines = [f"  {path!s:<{width}}  {what}" for path, what in files]
    try_it = f"sidrec recommend {shlex.quote(str(output))} --history {shlex.join(history)}"
    return "\n".join(["files:", *lines, f"next: {try_it}"])


def _first_history(output: Path) -> list[str]:
    """Return the last items, three at most, that the first user of a run had."""
    events = Catalog.load(output / "catalog").interactions
    first = events["user_id"] == events["user_id"].iloc[0]
    return events.loc[first, "item_id"].tolist()[-3:]


def notes(output: Path) -> list[str]:
    """Return what must be said beside the result table of a run: that rewards of its RL were hacked."""
    from sidrec.rewards.watch import describe_hacking

    metrics = output / "rl" / "metrics.json"
    hacking = read_json(metrics).get("hacking") if metrics.is_file() else None  # runs of before have none
    return [f"rl: {describe_hacking(hacking)}"] if hacking and hacking["found"] else []


def result_directories(output: Path) -> Iterator[tuple[str, Path]]:
    """Yield label and directory of every finished evaluation of a run: baselines, models, files, controls."""
    for name in get_args(BaselineName):
        yield from _finished(name, output / "baselines" / name)
    others = sorted(path.name for path in (output / "evaluate").glob("*") if path.name not in MODELS)
    for name in (*MODELS, *others):
        yield from _finished(name, output / "evaluate" / name)
    for control in sorted((output / "controls").glob("*")):
        for name in MODELS:
            yield from _finished(f"{name}, {control.name}", control / "evaluate" / name)


def _finished(label: str, directory: Path) -> Iterator[tuple[str, Path]]:
    if directory.suffix not in (".partial", ".old") and (directory / "manifest.json").is_file():
        yield label, directory


def _depth(metrics: dict[str, Any]) -> int:
    return int(next(name for name in metrics if name.startswith("coverage@")).partition("@")[2])


def _row(label: str, metrics: dict[str, Any], k: int) -> ResultRow:
    def interval(name: str) -> tuple[float, float, float]:
        found = metrics["item_level"][f"{name}@{k}"]
        return found["value"], found["low"], found["high"]

    return ResultRow(
        label,
        interval("hr"),
        interval("ndcg"),
        k,
        metrics["invalid_items"],
        metrics["duplicate_items"],
        metrics.get(f"coverage@{k}"),
    )
