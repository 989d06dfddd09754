"""Two processes, joined by gloo on the CPU, are one training and write one result."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import toy
from conftest import Ended
from safetensors.torch import load_file

from sidrec import processes
from sidrec.cli import main
from sidrec.config import load_config
from sidrec.stages.training import Validation

TESTS = Path(__file__).parent
# 108 rows in batches of 15, whose shares are of 8 and 7, and one of 3: 32 steps, a checkpoint every 11.
SETTINGS = {
    "sft": {
        "batch_size": 15,
        "epochs": 4,
        "evaluations": 3,
        "dropout": 0.0,  # each process draws its own
        "learning_rate": 3e-4,
        "label_smoothing": 0.1,
    }
}


def start(*arguments: object) -> subprocess.Popen[str]:
    """Launch two processes in a group of their own."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return subprocess.Popen(
        [*launcher, *map(str, arguments)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def kill(group: subprocess.Popen[str]) -> None:
    """Kill the launcher and what it has launched, which is in sessions of its own."""
    children = Path(f"/proc/{group.pid}/task/{group.pid}/children").read_text().split()
    for number in [group.pid, *map(int, children)]:
        os.kill(number, signal.SIGKILL)
    group.wait()


def launch(*arguments: object) -> Ended:
    group = start(*arguments)
    try:
        out, err = group.communicate(timeout=120)
    except subprocess.TimeoutExpired:
        kill(group)
        raise
    return Ended(group.returncode, out, err)


def history(run: Path) -> list[dict[str, str]]:
    return toy.history((run / "sft" / "history.csv").read_bytes())


@pytest.fixture(scope="module")
def alone(toy_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process makes of the settings."""
    import sidrec

    folder = tmp_path_factory.mktemp("alone")
    toy.copy(toy_run, folder, without=("sft", "rl", "evaluate", "baselines"))
    config = load_config(toy.write(folder, **SETTINGS))
    sidrec.sft(config)
    return config.output


def begun(alone: Path, folder: Path, **settings: dict) -> Path:
    toy.copy(alone, folder, without=("sft",))
    return toy.write(folder, **(SETTINGS | settings))


@pytest.fixture(scope="module")
def together(alone: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Ended]:
    """What two make of them, and what they said."""
    folder = tmp_path_factory.mktemp("together")
    ended = launch("-m", "sidrec", "sft", begun(alone, folder))
    assert ended.status == 0, ended.err
    return folder / "run", ended


@pytest.mark.slow
def test_two_processes_have_the_losses_and_the_metrics_of_one(alone, together):
    ours, theirs = history(together[0]), history(alone)
    assert [row["step"] for row in ours] == [row["step"] for row in theirs]
    assert len(theirs) == 3
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.keys() == other.keys()
        for name in mine:
            assert (mine[name] == "") == (other[name] == "")
            if mine[name]:
                assert float(mine[name]) == pytest.approx(float(other[name]), abs=1e-5, rel=1e-5), name


@pytest.mark.slow
def test_two_processes_write_one_result_with_the_weights_of_one(alone, together):
    run = together[0]
    assert sorted(path.name for path in (run / "sft").iterdir()) == sorted(
        path.name for path in (alone / "sft").iterdir()
    )
    assert not (run / "sft.partial").exists()
    ours, theirs = (load_file(path / "sft" / "model.safetensors") for path in (run, alone))
    for name, expected in theirs.items():
        assert float((ours[name] - expected).abs().max()) < 1e-4, name
    found, expected = (json.loads((path / "sft" / "metrics.json").read_text()) for path in (run, alone))
    assert {**found, "seconds": 0} == {**expected, "seconds": 0}


@pytest.mark.slow
def test_only_the_main_process_speaks(together):
    said = together[1].err.splitlines()
    assert len([line for line in said if line.startswith("sft: step 11 of 32")]) == 1
    assert len([line for line in said if "parameters, template" in line]) == 1


@pytest.mark.slow
def test_two_processes_that_stop_early_stop_together(alone, tmp_path):
    hasty = SETTINGS["sft"] | {"epochs": 8, "evaluations": 11, "patience": 1, "learning_rate": 0.05}
    ended = launch("-m", "sidrec", "sft", begun(alone, tmp_path, sft=hasty))
    assert ended.status == 0, ended.err
    metrics = json.loads((tmp_path / "run" / "sft" / "metrics.json").read_text())
    assert metrics["steps"] < 8 * 8
    rows = {int(row["step"]): row for row in history(tmp_path / "run")}
    assert metrics["best_step"] == max(rows, key=lambda step: (float(rows[step]["valid_ndcg@10"]), -step))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "setting", "sentence"),
    [
        ("sft", "sft.loss=none", "sft.loss: expected 'vocabulary', 'level' or 'catalog', got 'none'."),
        ("sft", "sft.trainer={report_to: no_such_tracker}", "sidrec: sft.trainer.report_to: no_such_tracker"),
        ("rl", "rl.prompts_per_step=5", "cannot be divided by 2 (processes: 2,"),
        ("evaluate", "seed=0", "sidrec: `sidrec evaluate` works in one process, but 2 were launched"),
    ],
)
def test_what_two_processes_cannot_do_is_said_once_and_ends_both(command, setting, sentence, alone, tmp_path):
    ended = launch("-m", "sidrec", command, begun(alone, tmp_path), setting)
    assert ended.status != 0
    assert ended.err.count(sentence) == 1
    assert "exitcode  : 2 " in ended.err  # what torchrun says of the process that ended first
    assert not (tmp_path / "run" / "sft.partial").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "pattern",
    ["checkpoint-11/rng_state_*.pth", "checkpoint-22/optimizer.pt", "checkpoint-22/trainer_state.json"],
)
def test_two_processes_that_were_killed_go_on_to_the_same_weights(pattern, together, tmp_path):
    config = begun(together[0], tmp_path)
    group = start("-m", "sidrec", "sft", config)
    deadline = time.monotonic() + 120
    while not any((tmp_path / "run").glob(f"sft.partial/checkpoints/{pattern}")):
        assert group.poll() is None, "they ended before they could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.0005)
    kill(group)
    assert launch("-m", "sidrec", "sft", config).status == 0
    ours, theirs = (
        (run / "sft" / "model.safetensors").read_bytes() for run in (tmp_path / "run", together[0])
    )
    assert ours == theirs
    assert history(tmp_path / "run") == history(together[0])


# Two prompts a step, so that each process has one; most groups are dead, and now and then all of one process.
RL = {
    "steps": 12,
    "prompts_per_step": 2,
    "num_generations": 4,
    "learning_rate": 1e-3,
    "evaluations": 1,
    "keep": "rl",
    "tasks": {"next_item": 0.5, "title_to_item": 0.5},
}
# Times, and what is a mean of the means of unequal groups.
UNEQUAL = ("seconds", "reward_share", "kl", "entropy", "outside_trie", "clip_share", "loss")


def rl_history(run: Path) -> list[dict[str, str]]:
    rows = toy.history((run / "rl" / "history.csv").read_bytes())
    return [{name: row[name] for name in row if not name.startswith(UNEQUAL)} for row in rows]


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"objective": "dapo", "sampling": "sample"},
        {"scale_rewards": "batch", "sampling": "mixed"},
        {"objective": "s_dpo", "beta": 0.5},
        {"objective": "rloo", "rewards": {"rule": 1.0, "collaborative": 1.0}},
        {"objective": "sft"},
        {"updates_per_batch": 2, "start": "base"},
    ],
    ids=str,
)
def test_rl_in_two_processes_has_the_groups_and_the_weights_of_one(settings, alone, tmp_path):
    import sidrec

    configs = []
    for name in ("one", "two"):
        toy.copy(alone, tmp_path / name, without=("rl",))
        configs.append(toy.write(tmp_path / name, **(SETTINGS | {"rl": RL | settings})))
    one = load_config(configs[0])
    sidrec.rl(one)
    ended = launch("-m", "sidrec", "rl", configs[1])
    assert ended.status == 0, ended.err
    runs = [tmp_path / name / "run" for name in ("one", "two")]
    before = load_file(alone / "sft" / "model.safetensors")
    theirs, ours = (load_file(run / "rl" / "model.safetensors") for run in runs)
    assert max(float((theirs[name] - before[name]).abs().max()) for name in before) > 1e-3
    for name, expected in theirs.items():
        assert float((ours[name] - expected).abs().max()) < 1e-4, name
    for mine, other in zip(*map(rl_history, reversed(runs)), strict=True):
        for name, value in other.items():
            assert (mine[name] == "") == (value == "")
            if value:
                assert float(mine[name]) == pytest.approx(float(value), abs=1e-4, rel=1e-3), name
    metrics = [json.loads((run / "rl" / "metrics.json").read_text()) for run in runs]
    for name in ("tokens", "continued_sft_steps", "steps", "kept", "ndcg@10", "prompts"):
        assert metrics[0][name] == metrics[1][name], name
    assert ended.err.count("rl: valid NDCG@10") == 1


@pytest.mark.slow
def test_rl_in_two_processes_draws_until_groups_are_live_and_goes_on_after_a_kill(alone, tmp_path):
    """Each process draws from its own part of the order; one result, and the same bytes after a kill."""
    settings = RL | {"curriculum": "replay", "replay_after": 1, "prompts_per_step": 8, "evaluations": 3}
    for name in ("whole", "killed"):
        toy.copy(alone, tmp_path / name, without=("rl",))
        toy.write(tmp_path / name, **(SETTINGS | {"rl": settings}))
    assert launch("-m", "sidrec", "rl", tmp_path / "whole" / "config.yaml").status == 0
    run = tmp_path / "killed" / "run"
    group = start("-m", "sidrec", "rl", tmp_path / "killed" / "config.yaml")
    deadline = time.monotonic() + 120
    while not any(run.glob("rl.partial/checkpoints/checkpoint-8/optimizer.pt")):
        assert group.poll() is None, "they ended before they could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.0005)
    kill(group)
    assert launch("-m", "sidrec", "rl", tmp_path / "killed" / "config.yaml").status == 0
    assert rl_history(run) == rl_history(tmp_path / "whole" / "run")
    ours, theirs = (tmp_path / name / "run" / "rl" / "model.safetensors" for name in ("killed", "whole"))
    assert ours.read_bytes() == theirs.read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ddp", "fsdp1", "fsdp2"])
def test_the_loss_runs_through_the_forward_of_what_wraps_the_model(kind):
    ended = launch(TESTS / "wrapped.py", kind)
    assert ended.status == 0, ended.err
    report = json.loads(ended.out)
    assert report["together"] < 1e-6
    assert report["alone"] > 1e-3  # negative control: nothing else made the shares agree
    assert report["same_ranking"]


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the main one of two processes, which is all there is of them."""
    for name, value in {"LOCAL_RANK": "0", "RANK": "0", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("command", ["tokenize", "evaluate", "baselines", "run"])
def test_all_commands_but_sft_and_rl_refuse_several_processes(command, two, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(sys, "argv", ["sidrec", command, str(toy.write(tmp_path))])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    assert capsys.readouterr().err == (
        f"sidrec: `sidrec {command}` works in one process, but 2 were launched: of all commands only sft "
        f"and rl train in several. Run it by itself: sidrec {command} ...\n"
    )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("environment", [{}, {"WORLD_SIZE": "2"}, {"LOCAL_RANK": "0", "WORLD_SIZE": "1"}])
def test_one_process_is_the_main_one(environment, monkeypatch):
    for name in ("LOCAL_RANK", "RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert (processes.num_processes(), processes.process_index(), processes.is_main()) == (1, 0, True)
    assert processes.on_main(lambda: 7) == 7


@pytest.mark.parametrize("world", [1, 2, 3, 8])
def test_the_shares_of_the_users_add_up_to_all(world, alone, monkeypatch):
    """5 users: as many processes as fit, and more than there are users."""
    from sidrec.sid_model import SIDModel
    from sidrec.stages.run import load_run

    config = load_config(alone.parent / "config.yaml")
    run = load_run(config)
    validation = Validation(SIDModel.load(alone / "sft"), run.split.valid, 5, config)
    whole = validation.ranks()
    monkeypatch.setattr("sidrec.stages.training.total", lambda ranks: ranks)
    shares = []
    for rank in range(world):
        monkeypatch.setattr("sidrec.stages.training.num_processes", lambda: world)
        monkeypatch.setattr("sidrec.stages.training.process_index", lambda rank=rank: rank)
        shares.append(validation.ranks())
    assert sum(shares).tolist() == whole.tolist()
    assert all(((share > 0).sum() <= -(-5 // world)) for share in shares)
