"""What `sidrec run` says before and after: what is there, what is to do, how long, and what to type next."""

import logging
import re
import shutil

import pytest
import toy

from sidrec.artifacts import read_json, write_json
from sidrec.catalog import read_catalog
from sidrec.config import load_config
from sidrec.stages.pipeline import closing
from sidrec.stages.plan import Step, describe, plan


def steps_of(path, *overrides: str) -> dict[str, Step]:
    config = load_config(path, overrides)
    return {step.command: step for step in plan(config, read_catalog(config.catalog))}


def states(steps: dict[str, Step]) -> dict[str, str]:
    return {command: step.state for command, step in steps.items()}


def test_before_the_first_run_all_is_to_do_and_nobody_knows_how_long(tmp_path):
    steps = steps_of(toy.write(tmp_path))
    assert list(steps) == ["tokenize", "baselines", "sft", "rl", "evaluate"]
    assert {step.state for step in steps.values()} == {"to do"}
    assert {step.minutes for step in steps.values()} == {"unknown"}


def test_what_is_done_is_said_to_be(toy_run, tmp_path):
    assert set(states(steps_of(toy.copy(toy_run, tmp_path))).values()) == {"done before"}


def test_a_setting_of_rl_leaves_what_comes_before_it(toy_run, tmp_path):
    found = states(steps_of(toy.copy(toy_run, tmp_path), "rl.steps=8"))
    done = dict.fromkeys(("tokenize", "baselines", "sft"), "done before")
    assert found == done | {"rl": "to do", "evaluate": "to do"}


def test_a_part_that_is_missing_is_counted(toy_run, tmp_path):
    path = toy.copy(toy_run, tmp_path)
    shutil.rmtree(tmp_path / "run" / "baselines" / "sasrec")
    assert states(steps_of(path))["baselines"] == "1 of 3 to do"


def test_an_interrupted_stage_is_said_to_be_one(tmp_path):
    path = toy.write(tmp_path)
    (tmp_path / "run" / "sft.partial").mkdir(parents=True)
    assert states(steps_of(path))["sft"] == "to do, was interrupted"


def took(run, seconds: float) -> None:
    """Write into the manifest of RL that it took so long."""
    manifest = run / "rl" / "manifest.json"
    write_json(manifest, read_json(manifest) | {"wall_seconds": seconds})


def test_time_is_that_of_an_earlier_run_in_proportion_to_the_work(toy_run, tmp_path):
    path = toy.copy(toy_run, tmp_path)
    took(tmp_path / "run", 100)
    step = steps_of(path, "rl.steps=8")["rl"]  # 8 steps for 4
    assert step.seconds == pytest.approx(200)
    assert step.minutes == f"about 4, by {tmp_path / 'run'}"


def test_a_run_beside_says_how_long_it_takes_and_one_of_another_model_does_not(toy_run, tmp_path):
    path = toy.copy(toy_run, tmp_path)
    other = f"output={tmp_path / 'other'}"
    took(tmp_path / "run", 100)
    assert steps_of(path, other)["rl"].seconds == pytest.approx(100)
    assert steps_of(path, other, "model.preset=small")["rl"].seconds is None


@pytest.mark.parametrize("broken", ["manifest.json", "config.yaml"])
def test_an_earlier_run_that_cannot_be_read_says_nothing(toy_run, tmp_path, broken):
    path = toy.copy(toy_run, tmp_path)
    (tmp_path / "run" / "rl" / broken).write_text("{")
    assert steps_of(path, f"output={tmp_path / 'other'}")["rl"].minutes == "unknown"


def test_a_plan_is_a_table_with_the_controls_below_it(tmp_path):
    config = load_config(toy.write(tmp_path), ["output=runs/x", "evaluation.controls=[shuffled]"])
    steps = [Step("tokenize", 1, 1), Step("baselines", 1, 3, seconds=61, source=config.output)]
    assert describe(steps, config).splitlines() == [
        "plan of runs/x:",
        "stage      state         minutes",
        "---------  ------------  ------------------",
        "tokenize   done before",
        "baselines  2 of 3 to do  about 2, by runs/x",  # 61 s are more than a minute
        "then the controls: shuffled",
    ]


def test_run_begins_with_the_plan_and_ends_with_files_and_a_command_that_works(
    toy_run, tmp_path, command, caplog
):
    path = toy.copy(toy_run, tmp_path)
    with caplog.at_level(logging.INFO, "sidrec"):
        assert command("run", path).status == 0
    assert caplog.messages[0].startswith(f"plan of {tmp_path / 'run'}:\n")
    last = caplog.messages[-1]
    assert last == closing(tmp_path / "run")
    for name in ("evaluate", "baselines", "rl", "tokenize/semantic_ids.parquet"):
        assert f"  {tmp_path / 'run' / name} " in last
    next_command = re.search(r"next: sidrec (.*)", last).group(1)
    assert command(*next_command.split()).status == 0
