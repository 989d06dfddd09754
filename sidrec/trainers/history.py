"""`history.csv`: how a training went, a row per line of its log, made from what checkpoints hold."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

MEASURED = "eval_"  # Trainer's prefix of what an evaluation found


class HistoryFile(TrainerCallback):
    """Write the whole file anew at every evaluation.

    It is `TrainerState.log_history` as a table, and that is part of a checkpoint: a training that goes on
    from one neither loses rows nor has them twice.
    """

    def __init__(self, path: Path, tasks: Sequence[str]) -> None:
        self._path = path
        self.columns = [
            *("step", "epoch", "loss"),
            *(f"loss/{task}" for task in tasks),
            *("learning_rate", "grad_norm", "supervised_tokens_per_second", "tokens_per_second", "seconds"),
            *("valid_ndcg@10", "valid_hr@10"),
        ]

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Write what there is so far."""
        if state.is_world_process_zero:
            self.write(state.log_history)

    def write(self, log: list[dict[str, float]]) -> None:
        """Write a log's entries, those of one step as one row, in one go: a reader sees old or new."""
        rows: dict[float, dict[str, float]] = {}
        for entry in log:
            named = {name.replace(MEASURED, "valid_", 1): value for name, value in entry.items()}
            if "loss" in named or "valid_ndcg@10" in named:
                rows.setdefault(named["step"], {}).update(named)
        part = self._path.with_name(self._path.name + ".part")
        with part.open("w", newline="", encoding="utf-8") as stream:
            table = csv.DictWriter(stream, self.columns, extrasaction="ignore", lineterminator="\n")
            table.writeheader()
            table.writerows(rows.values())
        part.replace(self._path)
