"""What is in a run, and what in it does not fit together."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import toy
from conftest import Ended

import sidrec
from sidrec.config import load_config
from sidrec.errors import ArtifactError
from sidrec.inspection import StageState, inspect

STAGES = [
    "tokenize",
    "sequential/sasrec",
    "baselines/item_knn",
    "baselines/popularity",
    "baselines/sasrec",
    "sft",
    "rl",
    "evaluate/sft",
    "evaluate/rl",
]


def state_of(output: Path, stage: str) -> StageState:
    return next(state for state in inspect(output) if state.stage == stage)


def test_a_whole_run_has_every_stage_and_no_problem(toy_run: Path) -> None:
    states = inspect(toy_run)
    assert [state.stage for state in states] == STAGES
    assert {state.state for state in states} == {"done"}
    assert [problem for state in states for problem in state.problems] == []


def test_a_stage_names_the_hashes_it_was_made_from(toy_run: Path) -> None:
    assert set(state_of(toy_run, "tokenize").inputs) == {"catalog"}
    assert set(state_of(toy_run, "sft").inputs) == {"catalog", "split", "semantic_ids"}
    for stage in ("rl", "evaluate/sft", "evaluate/rl"):
        assert set(state_of(toy_run, stage).inputs) == {"catalog", "split", "semantic_ids", "weights"}


def test_a_stage_that_was_not_run_is_missing(toy_run: Path, tmp_path: Path) -> None:
    toy.copy(toy_run, tmp_path, without=("rl",))
    missing = {state.stage for state in inspect(tmp_path / "run") if state.state == "missing"}
    assert missing == {"rl", "evaluate/rl"}


def test_an_interrupted_stage_is_shown_as_such(toy_run: Path, tmp_path: Path) -> None:
    toy.copy(toy_run, tmp_path, without=("evaluate",))
    (tmp_path / "run" / "rl").rename(tmp_path / "run" / "rl.partial")
    assert state_of(tmp_path / "run", "rl").state == "interrupted"


@pytest.mark.parametrize(
    "name",
    ["tokenize/index.json", "sft/model.safetensors", "rl/rollouts.parquet", "evaluate/sft/metrics.json"],
)
def test_a_changed_file_is_named(name: str, toy_run: Path, tmp_path: Path) -> None:
    toy.copy(toy_run, tmp_path)
    path = tmp_path / "run" / name
    path.write_bytes(path.read_bytes() + b" ")
    problems = state_of(tmp_path / "run", str(Path(name).parent)).problems
    assert re.search(
        rf"{name} has changed since it was written \(sha256 \w{{8}}, manifest \w{{8}}\)", problems[0]
    )


def test_a_missing_file_is_named(toy_run: Path, tmp_path: Path) -> None:
    toy.copy(toy_run, tmp_path)
    (tmp_path / "run" / "sft" / "prompts.json").unlink()
    assert state_of(tmp_path / "run", "sft").problems == [f"{tmp_path}/run/sft/prompts.json is missing."]


def test_replaced_semantic_ids_are_named_with_both_hashes_and_the_command(
    toy_run: Path, tmp_path: Path
) -> None:
    config = load_config(toy.copy(toy_run, tmp_path), ["seed=1"])
    trained_on = state_of(config.output, "sft").inputs["semantic_ids"]
    sidrec.tokenize(config)
    problems = {state.stage: state.problems for state in inspect(config.output)}
    assert problems["tokenize"] == []
    for stage, command in (("sft", "sft"), ("rl", "rl"), ("evaluate/rl", "evaluate")):
        found = re.fullmatch(
            rf"{config.output}/{stage} was made from other semantic_ids \(sha256 (\w{{8}})\) than the run "
            rf"holds now \((\w{{8}})\)\. Rerun: sidrec {command}",
            problems[stage][0],
        )
        assert found is not None
        assert found[1] == trained_on[:8] != found[2]


def test_a_model_trained_again_is_named_by_those_made_from_it(
    toy_run: Path, young_run: Path, tmp_path: Path
) -> None:
    toy.copy(toy_run, tmp_path, without=("sft",))
    shutil.copytree(young_run / "sft", tmp_path / "run" / "sft")
    problems = {state.stage: state.problems for state in inspect(tmp_path / "run")}
    assert re.search(r"run/rl was made from other weights .* Rerun: sidrec rl", problems["rl"][0])


def test_a_directory_without_a_stage_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"is no run directory: it holds no stage\. Run first: sidrec"):
        inspect(tmp_path)


def test_the_command_prints_a_line_per_stage(toy_run: Path, command: Callable[..., Ended]) -> None:
    ended = command("inspect", toy_run)
    sha = json.loads((toy_run / "rl" / "manifest.json").read_text())["inputs"]["semantic_ids"]
    lines = ended.out.partition("\n\n")[0].splitlines()
    assert (ended.status, ended.err) == (0, "")
    assert [line.split()[:2] for line in lines[2:]] == [[stage, "done"] for stage in STAGES]
    assert f"semantic_ids {sha[:8]}" in lines[8]


def test_the_command_refuses_what_does_not_fit_together(
    toy_run: Path, tmp_path: Path, command: Callable[..., Ended]
) -> None:
    toy.copy(toy_run, tmp_path)
    (tmp_path / "run" / "sft" / "prompts.json").unlink()
    ended = command("inspect", tmp_path / "run")
    assert ended.status == 2
    assert ended.err == f"sidrec: {tmp_path}/run/sft/prompts.json is missing.\n"
    assert len(ended.out.partition("\n\n")[0].splitlines()) == 2 + len(STAGES)
