"""What SFT and RL have in common: trainer options, validation, and where an interrupted training goes on."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sidrec.artifacts import read_json
from sidrec.catalog import EvaluationRows
from sidrec.config import Config
from sidrec.errors import ArtifactError, ConfigError, nearest
from sidrec.metrics import metrics_at_k, target_ranks
from sidrec.processes import is_main, num_processes, on_main, process_index, shares_cpu, total
from sidrec.progress import progress
from sidrec.sid_model import SIDModel

if TYPE_CHECKING:
    from sidrec.trainers.judged import JudgedByRanking

CHECKPOINT_FILES = ("*.safetensors", "optimizer.*", "scheduler.pt", "rng_state*.pth", "trainer_state.json")
DEEPSPEED_FILES = ("*.safetensors", "global_step*", "rng_state*.pth", "trainer_state.json")


class Validation:
    """Item-level NDCG@10 and HR@10 on a fixed sample of valid users, by constrained decoding."""

    def __init__(self, sid_model: SIDModel, rows: EvaluationRows, num_users: int, config: Config) -> None:
        self._sid_model = sid_model
        self.rows = rows.sample(num_users, config.seed)
        self._num_beams = max(10, config.evaluation.num_beams)

    def ranks(self, *, divided: bool = True) -> np.ndarray:
        """Return the rank of each user's target, (U,), 0 when it was not found; the same in all processes.

        Args:
            divided: Each process ranks a part of the users; else all rank all, and the main one counts.
        """
        ranks = np.zeros(len(self.rows), dtype=np.int64)
        mine = slice(process_index(), None, num_processes()) if divided else slice(None)
        if histories := self.rows.histories[mine]:
            ranking = self._sid_model.rank(histories, num_beams=self._num_beams)
            if divided or is_main():
                ranks[mine] = target_ranks(ranking.items.cpu().numpy(), self.rows.targets[mine])
        return total(ranks)

    def __call__(self, *, divided: bool = True) -> dict[str, float]:
        """Return the means over users."""
        per_user = metrics_at_k(self.ranks(divided=divided), ks=(10,))
        return {name: float(per_user[name].mean()) for name in ("ndcg@10", "hr@10")}

    def loss(self) -> float:
        """Return the mean of -log p(target), in nats per item, with the weights as they are now."""
        from sidrec.trainers.sft import target_losses

        return float(target_losses(self._sid_model, self.rows.histories, self.rows.targets).mean())


def train(trainer: JudgedByRanking, checkpoints: Path, name: str) -> None:
    """Train, or go on from the last checkpoint, and leave the best weights in the model.

    Args:
        trainer: Not trained yet.
        checkpoints: Where it writes its own.
        name: Of the stage, for those who watch.
    """
    from transformers import TrainerState

    from sidrec.trainers.callbacks import StepsDone

    last = on_main(lambda: last_checkpoint(checkpoints, averaged=trainer.weight_average is not None))
    if last is None or not _is_final(last):
        with progress(name, "steps") as bar:
            trainer.add_callback(StepsDone(bar, trainer.glance))
            trainer.train(resume_from_checkpoint=None if last is None else str(last))
        return
    # The Trainer would take one step more before it noticed that there is none left.
    trainer.restore(TrainerState.load_from_json(str(last / "trainer_state.json")))


def _is_final(checkpoint: Path) -> bool:
    """Whether the training was over, by its last step or by early stopping, when this was written."""
    state = read_json(checkpoint / "trainer_state.json")
    control = state["stateful_callbacks"]["TrainerControl"]["args"]
    return state["global_step"] >= state["max_steps"] or control["should_training_stop"]


def last_checkpoint(directory: Path, *, averaged: bool = False) -> Path | None:
    """Return the newest whole checkpoint, and delete those that a kill left half-written or half-deleted.

    `Trainer` writes `trainer_state.json` last, and it deletes in any order.

    Args:
        directory: That holds them.
        averaged: An average of the weights belongs to a whole one.
    """
    from sidrec.trainers.averaging import FILE

    found = sorted(directory.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    for path in reversed(found):
        try:
            read_json(path / "trainer_state.json")
        except ArtifactError:
            whole = False
        else:
            files = DEEPSPEED_FILES if any(path.glob("global_step*")) else CHECKPOINT_FILES
            whole = all(any(path.glob(pattern)) for pattern in (*files, *([FILE] if averaged else ())))
        if whole:
            return path
        shutil.rmtree(path)
    return None


def keep_reports(checkpoints: Path) -> None:
    """Copy what TensorBoard shows of a training out of its checkpoints, which go when the stage is done."""
    reports = checkpoints / "runs"  # where the Trainer's TensorBoardCallback writes
    if reports.is_dir():
        shutil.copytree(reports, checkpoints.with_name("runs"), dirs_exist_ok=True)


def checkpoints(directory: Path, seed: int, *, every: int) -> dict[str, Any]:
    """Return the trainer options that evaluate and save every so many steps, and keep the best."""
    return {
        "output_dir": str(directory),
        "seed": seed,
        "eval_strategy": "steps",
        "eval_steps": every,
        "save_strategy": "steps",
        "save_steps": every,
        "save_total_limit": 1,
        "load_best_model_at_end": True,
        "metric_for_best_model": "ndcg@10",
        "greater_is_better": True,
    }


def make_arguments(cls: type, ours: dict[str, Any], theirs: dict[str, Any], name: str) -> Any:
    """Build a trainer's arguments from ours and, above them, the user's.

    Raises:
        ConfigError: If the user names a field that `cls` does not have, or gives it a value it refuses.
    """
    from transformers.integrations import get_available_reporting_integrations
    from transformers.utils import logging as transformers_logging

    known = [field.name for field in dataclasses.fields(cls)]
    for key in theirs:
        if key not in known:
            raise ConfigError(f"{name}.{key} is not a field of {cls.__name__}.{nearest(key, known)}")
    transformers_logging.disable_progress_bar()
    quiet = {
        "report_to": [],
        "disable_tqdm": True,
        "remove_unused_columns": False,
        "dataloader_pin_memory": False,
        "bf16": False,
    }
    if shares_cpu():
        quiet["use_cpu"] = True
    try:
        arguments = cls(**(quiet | ours | theirs))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{name}: {cls.__name__} refuses these values: {error}") from error
    installed = get_available_reporting_integrations()
    if missing := [each for each in arguments.report_to if each not in installed]:
        raise ConfigError(
            f"{name}.report_to: {missing[0]} is not installed, or nothing that transformers can report to. "
            f"Install it (pip install {missing[0]}), or leave report_to out. "
            f"Installed: {', '.join(installed) or 'none'}."
        )
    return arguments
