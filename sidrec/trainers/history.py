"""`history.csv`: how a training went, a row per line of its log, made from what checkpoints hold."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

MEASURED = "eval_"  # Trainer's prefix of what an evaluation found


class HistoryFile(TrainerCallback):
    """Write the whole file anew at every evaluation.

    It is `TrainerState.log_history` as a table, and that is part of a checkpoint: a training that goes on
    from one neither loses rows nor has them twice.
    """

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        """Write to `path`; `columns` are names in the log that stand between loss and valid metrics."""
        self._path = path
        self.columns = ["step", "epoch", "loss", *columns, "valid_ndcg@10", "valid_hr@10"]

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Write what there is so far."""
        if state.is_world_process_zero:
            self.write(state.log_history)

    def write(self, log: list[dict[str, float]]) -> None:
        """Write a log's entries in one go: a reader sees old or new."""
        part = self._path.with_name(self._path.name + ".part")
        with part.open("w", newline="", encoding="utf-8") as stream:
            table = csv.DictWriter(stream, self.columns, extrasaction="ignore", lineterminator="\n")
            table.writeheader()
            table.writerows(history_rows(log))
        part.replace(self._path)


def sft_columns(tasks: Iterable[str]) -> list[str]:
    """Name the columns of SFT's history between loss and the valid metrics."""
    return [
        *(f"loss/{task}" for task in tasks),
        *("learning_rate", "grad_norm", "supervised_tokens_per_second", "tokens_per_second", "seconds"),
    ]


def history_rows(log: list[dict[str, float]]) -> list[dict[str, float]]:
    """Put the entries of one step together, those about a loss and those of an evaluation alone."""
    rows: dict[float, dict[str, float]] = {}
    for entry in log:
        named = {name.replace(MEASURED, "valid_", 1): value for name, value in entry.items()}
        if "loss" in named or "valid_ndcg@10" in named:
            rows.setdefault(named["step"], {}).update(named)
    return list(rows.values())
