"""All stages in order, and one table at the end."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sidrec.artifacts import read_json
from sidrec.catalog import Catalog, read_catalog, split_catalog
from sidrec.config import Config
from sidrec.stages.baselines import baselines
from sidrec.stages.evaluation import evaluate
from sidrec.stages.rl import check_rl, rl
from sidrec.stages.sft import sft
from sidrec.stages.tokenization import tokenize


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
    """Run every stage that is not done yet and return the result table: popularity, SFT, RL.

    Raises:
        SidrecError: As the stages do; all cheap checks come before the first training.
    """
    catalog = read_catalog(config.catalog) if catalog is None else catalog
    check_rl(config, catalog, split_catalog(catalog, config.split))
    tokenize(config, catalog=catalog)
    baselines(config)
    sft(config)
    rl(config)
    evaluate(config)
    return results(config.output)


def results(output: Path) -> list[ResultRow]:
    """Read the result table of a run, at a depth that all have; what is not there is left out."""
    names = ("baselines/popularity", "evaluate/sft", "evaluate/rl")
    paths = [output / name / "metrics.json" for name in names]
    found = [read_json(path) for path in paths if path.is_file()]
    k = min(_depth(metrics) for metrics in found)
    return [_row(metrics, k) for metrics in found]


def _depth(metrics: dict[str, Any]) -> int:
    return int(next(name for name in metrics if name.startswith("coverage@")).partition("@")[2])


def _row(metrics: dict[str, Any], k: int) -> ResultRow:
    def interval(name: str) -> tuple[float, float, float]:
        found = metrics["item_level"][f"{name}@{k}"]
        return found["value"], found["low"], found["high"]

    return ResultRow(
        metrics["model"],
        interval("hr"),
        interval("ndcg"),
        k,
        metrics["invalid_items"],
        metrics["duplicate_items"],
        metrics.get(f"coverage@{k}"),
    )
