"""How SFT and RL went: their logs, and which model was kept and why."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from sidrec.artifacts import read_json
from sidrec.report.opening import Absent, OpenRun

VALID = "valid_ndcg@10"


@dataclass(frozen=True, eq=False)
class Training:
    """A stage that trained: a row of `history` per logged step, and its metrics.json."""

    history: pd.DataFrame
    metrics: dict[str, Any]

    def series(self, column: str) -> pd.Series | None:
        """Return a column by step without its gaps; None where the log has no value in it."""
        if column not in self.history.columns:
            return None
        found = self.history.set_index("step")[column].dropna()
        return found if len(found) else None


@dataclass(frozen=True, eq=False)
class TrainingFacts:
    """Both stages; `rewards` are the names of the rewards that RL logs."""

    sft: Training | Absent
    rl: Training | Absent
    rewards: list[str]


def gather_training(run: OpenRun) -> TrainingFacts:
    """Read what the stages logged."""
    rl = _training(run.directory, "rl")
    columns = [] if isinstance(rl, Absent) else list(rl.history.columns)
    rewards = [name.removeprefix("reward/") for name in columns if name.startswith("reward/")]
    return TrainingFacts(_training(run.directory, "sft"), rl, rewards)


def _training(run: Path, stage: str) -> Training | Absent:
    directory = run / stage
    if not (directory / "manifest.json").is_file():
        return Absent(f"This run has no finished {stage}. Train it: sidrec {stage} CONFIG.yaml")
    for name in ("history.csv", "metrics.json"):
        if not (directory / name).is_file():
            return Absent(f"{stage}/{name} is not there, so how {stage} went is not known.")
    try:
        history = pd.read_csv(directory / "history.csv")
    except (ValueError, OSError) as error:
        return Absent(f"{stage}/history.csv cannot be read ({error}).")
    if "step" not in history.columns:
        return Absent(f"{stage}/history.csv has no column step, so how {stage} went is not known.")
    return Training(history, read_json(directory / "metrics.json"))
