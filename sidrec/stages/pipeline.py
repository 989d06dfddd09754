"""All stages in order, and one table at the end."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sidrec.artifacts import read_json
from sidrec.catalog import Catalog
from sidrec.config import Config
from sidrec.stages.baselines import baselines
from sidrec.stages.evaluation import evaluate
from sidrec.stages.rl import rl
from sidrec.stages.sft import sft
from sidrec.stages.tokenization import tokenize

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ResultRow:
    """A model's line of the result table; intervals as (value, low, high)."""

    model: str
    hit_rate: tuple[float, float, float]
    ndcg: tuple[float, float, float]
    k: int
    invalid: int
    duplicates: int
    coverage: float


def run(config: Config, *, catalog: Catalog | None = None) -> list[ResultRow]:
    """Run every stage that is not done yet and return the result table: popularity, SFT, RL.

    Raises:
        SidrecError: As the stages do; all cheap checks come before the first training.
    """
    tokenize(config, catalog=catalog)
    baselines(config)
    sft(config)
    rl(config)
    evaluate(config)
    return results(config.output)


def results(output: Path) -> list[ResultRow]:
    """Read the result table of a run from its files; what was not evaluated is left out."""
    paths = [output / "baselines" / "popularity", output / "evaluate" / "sft", output / "evaluate" / "rl"]
    return [_row(read_json(path / "metrics.json")) for path in paths if (path / "metrics.json").is_file()]


def _row(metrics: dict[str, Any]) -> ResultRow:
    k = int(next(name for name in metrics if name.startswith("coverage@")).partition("@")[2])

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
        metrics[f"coverage@{k}"],
    )
