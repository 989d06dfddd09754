"""A stage that was stopped: the same command finishes with the files of an undisturbed run."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import toy
from conftest import Ended
from killed import entering
from transformers import TrainerCallback

import sidrec
from sidrec.config import Config, load_config
from sidrec.stages.training import last_checkpoint
from sidrec.trainers.callbacks import TrainingReport

KILLED = Path(__file__).with_name("killed.py")
# SFT: 28 steps, 7 per epoch, a checkpoint after 9, 18, 27 and 28. RL: 6 steps, 4 per epoch, after 2, 4 and 6.
# SFT learns so slowly that there is something left for RL, whose weights would not be kept otherwise.
SETTINGS = {
    "sft": {"epochs": 4, "evaluations": 3, "dropout": 0.2, "learning_rate": 3e-4},
    "rl": {
        "steps": 6,
        "evaluations": 3,
        "prompts_per_step": 45,
        "num_generations": 8,
        "learning_rate": 1e-3,
        "dropout": 0.1,
        "item_dropout": 0.1,
    },
}
# NDCG@10 falls soon, so that early stopping ends the training.
HASTY = {"sft": {"epochs": 8, "evaluations": 11, "patience": 1, "learning_rate": 0.05}}
TIMES = ("seconds", "peak_memory_mb")
# What may be trained; more settings of `sft` each.
TRAINED: dict[str, dict] = {"full": {}, "averaged": {"weight_average": 0.9}}
# Where a training may be stopped: as it enters a function for the nth time; a checkpoint is four `torch.save`
MOMENTS = {
    "in the first step": ("torch.optim.AdamW.step", 1),
    "in a step": ("torch.optim.AdamW.step", 13),
    "in an evaluation": ("sidrec.stages.training.Validation.ranks", 2),
    "in a checkpoint, before the optimizer": ("torch.save", 6),
    "in a checkpoint, before it says that it is whole": ("transformers.TrainerState.save_to_json", 2),
    "before an old checkpoint is deleted": ("transformers.trainer.rotate_checkpoints", 3),
    "after the last checkpoint": ("transformers.Trainer._load_best_model", 1),
    "before the model is written": ("sidrec.sid_model.SIDModel.save", 1),
    "before the stage is finished": ("sidrec.artifacts.Stage.finish", 1),
}


def results_of(directory: Path) -> dict[str, Any]:
    """The result files of a stage; of its metrics what does not depend on the machine."""
    files: dict[str, Any] = dict(toy.contents(directory))
    metrics = json.loads(files["metrics.json"])
    for name in TIMES:
        metrics.pop(name, None)
    files["metrics.json"] = metrics
    if "history.csv" in files:
        files["history.csv"] = toy.history(files["history.csv"])
    return {name: files[name] for name in files if name not in ("manifest.json", "config.yaml")}


def undisturbed(folder: Path, settings: dict) -> Config:
    config = load_config(toy.write(folder, **settings))
    for stage in (sidrec.tokenize, sidrec.sft, sidrec.rl):
        stage(config)
    return config


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return undisturbed(tmp_path_factory.mktemp("whole"), SETTINGS).output


@pytest.fixture(scope="session")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = load_config(toy.write(tmp_path_factory.mktemp("hasty"), **HASTY))
    sidrec.tokenize(config)
    sidrec.sft(config)
    return config.output


def trained(config: Config, *, is_stopped: bool) -> dict[str, Any]:
    """Train SFT, at once or stopped at its first checkpoint and begun again; return what it leaves."""
    if is_stopped:
        with stopped_after(1):
            sidrec.sft(config)
    sidrec.sft(config)
    return results_of(config.output / "sft")


@contextmanager
def stopped_after(checkpoint: int) -> Iterator[None]:
    """Let a training end with an exception once so many checkpoints have been written."""
    saved = []

    def on_save(self: TrainerCallback, *_: object, **__: object) -> None:
        saved.append(1)
        if len(saved) == checkpoint:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainingReport, "on_save", on_save)
        with pytest.raises(KeyboardInterrupt):
            yield


@dataclass(frozen=True)
class Aligned:
    """An SFT that nothing disturbed, and the settings that it had."""

    output: Path
    settings: dict[str, dict]

    def begun_anew(self, folder: Path) -> Path:
        """Copy what came before SFT; return the path of a config for the rest."""
        toy.copy(self.output, folder, without=("sft", "rl"))
        return toy.write(folder, **self.settings)


@pytest.fixture(scope="session", params=list(TRAINED))
def aligned(request: pytest.FixtureRequest, whole: Path, tmp_path_factory: pytest.TempPathFactory) -> Aligned:
    if not TRAINED[request.param]:
        return Aligned(whole, SETTINGS)
    settings = SETTINGS | {"sft": SETTINGS["sft"] | TRAINED[request.param]}
    found = Aligned(whole, settings)
    config = load_config(found.begun_anew(tmp_path_factory.mktemp(request.param)))
    sidrec.sft(config)
    return Aligned(config.output, settings)


class Stopped(BaseException):
    """Goes through everything, as a kill does."""


def stop() -> None:
    raise Stopped


@pytest.mark.parametrize("moment", MOMENTS)
def test_sft_stopped_anywhere_goes_on_to_the_same_files(
    moment: str, aligned: Aligned, tmp_path: Path
) -> None:
    config = load_config(aligned.begun_anew(tmp_path))
    with entering(*MOMENTS[moment], stop), pytest.raises(Stopped):
        sidrec.sft(config)
    sidrec.sft(config)
    assert results_of(config.output / "sft") == results_of(aligned.output / "sft")


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
def test_sft_killed_anywhere_goes_on_to_the_same_files(
    moment: str, aligned: Aligned, tmp_path: Path, command: Callable[..., Ended]
) -> None:
    config = aligned.begun_anew(tmp_path)
    where, times = MOMENTS[moment]
    ended = subprocess.run([sys.executable, KILLED, where, str(times), "sft", config], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert not (tmp_path / "run" / "sft").exists()
    assert command("sft", config).status == 0
    assert results_of(tmp_path / "run" / "sft") == results_of(aligned.output / "sft")


def test_sft_stopped_twice_has_every_row_of_its_history_once(aligned: Aligned, tmp_path: Path) -> None:
    config = load_config(aligned.begun_anew(tmp_path))
    for times in (11, 4):  # after the checkpoint of step 9, then after that of step 9 again
        with entering("torch.optim.AdamW.step", times, stop), pytest.raises(Stopped):
            sidrec.sft(config)
    sidrec.sft(config)
    rows = results_of(config.output / "sft")["history.csv"]
    assert [row["step"] for row in rows] == ["9", "18", "27", "28"]
    assert rows == results_of(aligned.output / "sft")["history.csv"]


@pytest.mark.parametrize("checkpoint", [2, 3])
def test_rl_stopped_at_a_checkpoint_goes_on_to_the_same_files(
    checkpoint: int, whole: Path, tmp_path: Path
) -> None:
    toy.copy(whole, tmp_path, without=("rl",))
    config = load_config(toy.write(tmp_path, **SETTINGS))
    with stopped_after(checkpoint):
        sidrec.rl(config)
    sidrec.rl(config)
    assert results_of(config.output / "rl") == results_of(whole / "rl")
    assert results_of(whole / "rl")["metrics.json"]["kept"] == "rl"


def test_sft_stopped_when_early_stopping_had_ended_it_takes_no_further_step(
    hasty: Path, tmp_path: Path
) -> None:
    steps = json.loads((hasty / "sft" / "metrics.json").read_text())["steps"]
    assert steps < 8 * 7  # it ended early
    toy.copy(hasty, tmp_path, without=("sft",))
    config = load_config(toy.write(tmp_path, **HASTY))
    with stopped_after(steps // 5):  # 56 steps, 11 evaluations: a checkpoint every 5
        sidrec.sft(config)
    sidrec.sft(config)
    assert results_of(config.output / "sft") == results_of(hasty / "sft")


def checkpoint(directory: Path, step: int, *, without: str = "") -> Path:
    path = directory / f"checkpoint-{step}"
    path.mkdir(parents=True)
    for name in ("model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json"):
        if name != without:
            (path / name).write_text("{}")
    return path


def test_the_last_checkpoint_is_that_of_the_highest_step(tmp_path: Path) -> None:
    checkpoint(tmp_path, 9)
    latest = checkpoint(tmp_path, 10)
    assert last_checkpoint(tmp_path) == latest


@pytest.mark.parametrize(
    "missing", ["model.safetensors", "optimizer.pt", "rng_state.pth", "trainer_state.json"]
)
def test_a_checkpoint_without_one_of_its_files_is_deleted(missing: str, tmp_path: Path) -> None:
    """Half-written ones lack `trainer_state.json`; half-deleted ones lack anything."""
    whole = checkpoint(tmp_path, 9)
    torn = checkpoint(tmp_path, 10, without=missing)
    assert last_checkpoint(tmp_path) == whole
    assert not torn.exists()


def test_a_checkpoint_of_averaged_weights_is_whole_with_the_average_alone(tmp_path: Path) -> None:
    whole = checkpoint(tmp_path, 9)
    (whole / "weight_average.pt").write_text("{}")
    torn = checkpoint(tmp_path, 10)
    assert last_checkpoint(tmp_path, averaged=True) == whole
    assert not torn.exists()


def test_a_checkpoint_whose_state_was_cut_off_is_deleted(tmp_path: Path) -> None:
    torn = checkpoint(tmp_path, 10)
    (torn / "trainer_state.json").write_text('{"global_')
    assert last_checkpoint(tmp_path) is None
    assert not torn.exists()


def start(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "sidrec", *map(str, arguments)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def signal_when(process: subprocess.Popen[str], output: Path, pattern: str, number: int) -> str:
    """Send a signal as soon as a file that fits the pattern is there; return what was said on stderr."""
    deadline = time.monotonic() + 120
    while not any(output.glob(pattern)):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline, f"{pattern} did not appear"
        time.sleep(0.0005)
    process.send_signal(number)
    return process.communicate(timeout=60)[1]


KILLED_AT = {
    "tokenize": ["cache", "tokenize.partial", "tokenize.partial/embeddings.npy"],
    "sft": [  # in the middle of a file, if it can be had
        "sft.partial",
        "sft.partial/checkpoints/checkpoint-18/optimizer.pt",
        "sft.partial/model.safetensors",
    ],
    "rl": [
        "rl.partial",
        "rl.partial/checkpoints/checkpoint-2/model.safetensors",
        "rl.partial/checkpoints/checkpoint-4/trainer_state.json",
        "rl.partial/checkpoints/checkpoint-6/trainer_state.json",
        "rl.partial/model.safetensors",
    ],
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "pattern"), [(stage, pattern) for stage, patterns in KILLED_AT.items() for pattern in patterns]
)
def test_kill_9_and_the_same_command_give_the_files_of_an_undisturbed_run(
    stage: str, pattern: str, whole: Path, tmp_path: Path, command: Callable[..., Ended]
) -> None:
    made_by_it_or_later = {"tokenize": ("*",), "sft": ("sft", "rl"), "rl": ("rl",)}[stage]
    toy.copy(whole, tmp_path, without=made_by_it_or_later)
    config = toy.write(tmp_path, **SETTINGS)
    process = start(stage, config)
    signal_when(process, tmp_path / "run", pattern, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "run" / stage).exists()
    assert command(stage, config).status == 0
    assert results_of(tmp_path / "run" / stage) == results_of(whole / stage)
    assert not (tmp_path / "run" / f"{stage}.partial").exists()


@pytest.mark.slow
def test_an_interrupt_ends_in_one_sentence_and_status_130(whole: Path, tmp_path: Path) -> None:
    toy.copy(whole, tmp_path, without=("sft", "rl"))
    process = start("sft", toy.write(tmp_path, **SETTINGS))
    said = signal_when(process, tmp_path / "run", "sft.partial/checkpoints/checkpoint-9", signal.SIGINT)
    assert process.returncode == 130
    assert said.endswith("\nsidrec: interrupted. The same command goes on from the last checkpoint.\n")
    assert "Traceback" not in said
