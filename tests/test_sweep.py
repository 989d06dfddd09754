"""A sweep makes once what its runs share, goes on where it was stopped, and outlives a run that fails."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import toy
from conftest import Ended as CommandEnded

import sidrec
from sidrec.artifacts import read_manifest
from sidrec.errors import ConfigError, SidrecError
from sidrec.sweep import Cell, Ended, Failure, compare_groups, plan, run_command, sweep, write_csv

STAGES = {
    "tokenize": sidrec.tokenize,
    "baselines": sidrec.run_baselines,
    "sft": sidrec.sft,
    "rl": sidrec.rl,
    "evaluate": sidrec.evaluate,
}
CHEAP = {
    "sft": {"epochs": 1, "evaluations": 1},
    "rl": {"steps": 1, "evaluations": 1},
    "baselines": {"models": ["popularity", "sasrec"]},
}


class Here:
    """Runs commands in this process, and remembers them."""

    def __init__(self, *, fail: Callable[[str, Cell], bool] = lambda command, cell: False) -> None:
        self.ran: list[tuple[str, str]] = []
        self.fail = fail

    def __call__(self, command: str, cell: Cell, threads: int) -> Ended:
        self.ran.append((command, cell.name))
        if self.fail(command, cell):
            return Ended(2, "this cell was told to fail", 0.0)
        try:
            STAGES[command](cell.config)
        except SidrecError as error:
            return Ended(2, str(error), 0.0)
        return Ended(0, "", 0.0)


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Cell], Here]:
    """Two seeds, and two rates of RL that share everything before it."""
    path = toy.write(tmp_path_factory.mktemp("sweep"), **CHEAP)
    cells = plan(path, [], seeds=[0, 1], grid=["rl.learning_rate=1e-4,1e-3"], output=None)
    runner = Here()
    assert sweep(cells, runner=runner) == []
    return cells, runner


def seconds(cell: Cell, stage: str) -> float:
    """Wall time in a manifest: equal to the last digit only where one was taken over from the other."""
    return read_manifest(cell.config.output / stage)["wall_seconds"]


def file_number(cell: Cell, file: str) -> int:
    return (cell.config.output / file).stat().st_ino


def test_every_seed_meets_every_cell_of_the_grid(tmp_path: Path) -> None:
    path = toy.write(tmp_path)
    cells = plan(path, [], seeds=[0, 7], grid=["rl.beta=0,0.1", "tokenizer.method=rqvae,random"], output=None)
    assert [cell.name for cell in cells] == [
        f"rl.beta={beta}/tokenizer.method={method}/seed={seed}"
        for beta in ("0", "0.1")
        for method in ("rqvae", "random")
        for seed in (0, 7)
    ]
    assert [(cell.config.rl.beta, cell.config.seed) for cell in cells[-2:]] == [(0.1, 0), (0.1, 7)]
    assert cells[0].config.output == tmp_path / "run-sweep" / cells[0].name
    assert {cell.config.embedding.cache for cell in cells} == {tmp_path / "run-sweep" / "cache"}


def test_a_value_in_brackets_holds_its_commas(tmp_path: Path) -> None:
    grid = ["tokenizer.codebook_sizes=[4,4,4],[8,8]"]
    cells = plan(toy.write(tmp_path), [], seeds=[0], grid=grid, output=tmp_path / "there")
    assert [cell.config.tokenizer.codebook_sizes for cell in cells] == [(4, 4, 4), (8, 8)]
    assert cells[1].config.output == tmp_path / "there" / "tokenizer.codebook_sizes=8-8" / "seed=0"


def test_a_config_may_be_whole_only_with_a_choice_of_the_grid(tmp_path: Path) -> None:
    tables = ["a.index.json", "b.index.json"]
    for table in tables:
        (tmp_path / table).write_text("{}", encoding="utf-8")
    grid = ["tokenizer.index=" + ",".join(str(tmp_path / table) for table in tables)]
    cells = plan(toy.write(tmp_path), ["tokenizer.method=import"], seeds=[0], grid=grid, output=None)
    assert [cell.config.tokenizer.index for cell in cells] == [tmp_path / table for table in tables]


def test_without_a_grid_there_is_a_run_per_seed(tmp_path: Path) -> None:
    cells = plan(toy.write(tmp_path), ["rl.steps=1"], seeds=[3], grid=[], output=None)
    assert [(cell.group, cell.name, cell.config.rl.steps) for cell in cells] == [("", "seed=3", 1)]


@pytest.mark.parametrize(
    ("seeds", "grid", "message"),
    [
        ([0, 0], [], r"--seeds needs one or more seeds, all different, got \[0, 0\]"),
        ([], [], r"--seeds needs one or more seeds"),
        ([0], ["rl.beta"], r"--grid: 'rl\.beta' is no choice\. Write section\.key=value,value"),
        ([0], ["rl.beta="], r"--grid: 'rl\.beta=' is no choice"),
        ([0], ["rl.beta=[1"], r"--grid: 'rl\.beta=\[1' is no choice"),
        ([0], ["rl.beta=0,0"], r"--grid: 'rl\.beta=0,0' names a value twice"),
        ([0], ["rl.bta=0,1"], r'rl\.bta is not an option\. Did you mean "beta"\?'),
        ([0], ["rl.beta=0,-1"], r"rl\.beta: expected greater than or equal to 0, got -1"),
    ],
)
def test_a_plan_with_a_fault_is_refused_before_anything_runs(
    seeds: list[int], grid: list[str], message: str, tmp_path: Path
) -> None:
    path = toy.write(tmp_path)
    before = toy.contents(tmp_path)
    with pytest.raises(ConfigError, match=message):
        plan(path, [], seeds=seeds, grid=grid, output=None)
    assert toy.contents(tmp_path) == before


def test_no_jobs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--jobs is 0, expected 1 or more"):
        sweep([], jobs=0)


def test_only_the_stages_asked_for_run_and_in_their_order(tmp_path: Path) -> None:
    cells = plan(toy.write(tmp_path, **CHEAP), [], seeds=[0], grid=[], output=None)
    runner = Here()
    assert sweep(cells, stages=["evaluate", "tokenize", "sft"], runner=runner) == []
    assert [command for command, _ in runner.ran] == ["tokenize", "sft", "evaluate"]
    assert (cells[0].config.output / "evaluate" / "sft" / "manifest.json").is_file()
    assert not (cells[0].config.output / "rl").exists()


def test_tokenizers_that_read_sasrec_share_one(tmp_path: Path) -> None:
    grid = ["tokenizer.method=letter,hybrid,rqkmeans"]
    cells = plan(toy.write(tmp_path, **CHEAP), [], seeds=[0], grid=grid, output=None)
    assert sweep(cells, stages=["tokenize"], runner=Here()) == []
    weights = "sequential/sasrec/model.safetensors"
    letter, hybrid, rqkmeans = cells
    assert file_number(letter, weights) == file_number(hybrid, weights)
    assert not (rqkmeans.config.output / "sequential").exists()


@pytest.mark.parametrize("stages", [["tokenise"], []])
def test_stages_that_there_are_none_of_are_refused(tmp_path: Path, stages: list[str]) -> None:
    cells = plan(toy.write(tmp_path), [], seeds=[0], grid=[], output=None)
    with pytest.raises(ConfigError, match=r"--stages .* expected some of tokenize,baselines,sft,rl,evaluate"):
        sweep(cells, stages=stages, runner=Here())


def test_what_cells_share_is_made_once(swept: tuple[list[Cell], Here]) -> None:
    cells, _ = swept
    slow, fast = cells[0], cells[2]  # of the same seed
    assert (slow.config.seed, fast.config.seed) == (0, 0)
    for file in (
        "tokenize/semantic_ids.parquet",
        "sft/model.safetensors",
        "sequential/sasrec/model.safetensors",
    ):
        assert file_number(slow, file) == file_number(fast, file), file
    assert file_number(slow, "rl/manifest.json") != file_number(fast, "rl/manifest.json")


def test_seeds_do_not_share_what_depends_on_them(swept: tuple[list[Cell], Here]) -> None:
    cells, _ = swept
    for stage in ("tokenize", "sft", "sequential/sasrec"):
        fingerprints = {read_manifest(cell.config.output / stage)["fingerprint"] for cell in cells}
        assert len(fingerprints) == 2, stage


def test_a_cell_is_an_ordinary_run(swept: tuple[list[Cell], Here]) -> None:
    cells, _ = swept
    for cell in cells:
        assert sidrec.load_config(cell.config.output / "config.yaml") == cell.config
        assert sidrec.load_config(cell.config.output / "sft" / "config.yaml") == cell.config
        before = toy.contents(cell.config.output)
        STAGES["sft"](cell.config)
        assert toy.contents(cell.config.output) == before


def test_runs_with_a_tokenizer_of_one_seed_share_their_ids(tmp_path: Path) -> None:
    path = toy.write(tmp_path, tokenizer={"seed": 5})
    cells = plan(path, [], seeds=[0, 1], grid=[], output=None)
    for cell in cells:
        sidrec.tokenize(cell.config)
    runs = [(cell.config.output / "tokenize" / "semantic_ids.parquet").read_bytes() for cell in cells]
    assert runs[0] == runs[1]


def test_done_twice_nothing_is_made_again(swept: tuple[list[Cell], Here]) -> None:
    cells, _ = swept
    before = {cell.name: toy.contents(cell.config.output) for cell in cells}
    assert sweep(cells, runner=Here()) == []
    assert {cell.name: toy.contents(cell.config.output) for cell in cells} == before


def test_a_cell_that_fails_is_reported_and_the_others_finish(tmp_path: Path) -> None:
    path = toy.write(tmp_path, **CHEAP)
    cells = plan(path, [], seeds=[0, 1], grid=[], output=None)
    runner = Here(fail=lambda command, cell: command == "sft" and cell.config.seed == 0)
    failures = sweep(cells, runner=runner)
    assert [(each.cell, each.command, each.reason) for each in failures] == [
        ("seed=0", "sft", "this cell was told to fail")
    ]
    assert ("rl", "seed=0") not in runner.ran
    assert (cells[1].config.output / "evaluate" / "rl" / "metrics.json").is_file()
    again = Here()
    assert sweep(cells, runner=again) == []  # what failed is made up for
    assert (cells[0].config.output / "evaluate" / "rl" / "metrics.json").is_file()


def test_a_follower_whose_leader_failed_is_run_itself(tmp_path: Path) -> None:
    path = toy.write(tmp_path, **CHEAP)
    cells = plan(path, [], seeds=[0], grid=["rl.beta=0,0.1"], output=None)
    runner = Here(fail=lambda command, cell: command == "sft" and cell is cells[0])
    assert [failure.cell for failure in sweep(cells, runner=runner)] == ["rl.beta=0/seed=0"]
    assert (cells[1].config.output / "evaluate" / "rl" / "metrics.json").is_file()


def test_a_process_of_its_own_says_why_it_failed(tmp_path: Path) -> None:
    path = toy.write(tmp_path)
    cell = plan(path, [], seeds=[0], grid=[], output=None)[0]
    cell.config.output.mkdir(parents=True)
    (cell.config.output / "config.yaml").write_text(cell.config.to_yaml())
    ended = run_command("sft", cell, threads=1)
    assert (ended.status, ended.said) == (2, f"{cell.config.output}/tokenize holds no finished stage. "
                                          "Run first: sidrec tokenize")  # fmt: skip
    assert (cell.config.output / "log.txt").read_text().startswith("$ sidrec sft\n")


@pytest.mark.slow
def test_the_command_prints_a_table_and_leaves_a_csv(
    tmp_path: Path, command: Callable[..., CommandEnded]
) -> None:
    path = toy.write(tmp_path, **CHEAP)
    ended = command("sweep", path, "--seeds", "0,1", "--grid", "tokenizer.method=rqvae,random", "--jobs", "2")
    assert ended.status == 0, ended.err
    assert "method=random rl" in ended.out
    table = pd.read_csv(tmp_path / "run-sweep" / "results.csv")
    assert len(table) == 4 * 4  # runs x (popularity, sasrec, sft, rl)
    assert sys.executable  # the runs were processes of this Python


def test_bad_seeds_are_one_sentence(tmp_path: Path, command: Callable[..., CommandEnded]) -> None:
    ended = command("sweep", toy.write(tmp_path), "--seeds", "a,b")
    assert (ended.status, ended.err.count("\n")) == (2, 1)
    assert "--seeds 'a,b': expected whole numbers with commas" in ended.err


def test_the_csv_has_a_row_per_run_and_model(swept: tuple[list[Cell], Here]) -> None:
    cells, _ = swept
    table = pd.read_csv(write_csv(cells))
    assert list(table.columns[:4]) == ["group", "seed", "model", "users"]
    assert len(table) == 4 * 4
    row = table[(table.group == cells[0].group) & (table.seed == 0) & (table.model == "rl")].iloc[0]
    metrics = json.loads((cells[0].config.output / "evaluate" / "rl" / "metrics.json").read_text())
    assert row["ndcg@10"] == pytest.approx(metrics["item_level"]["ndcg@10"]["value"])


def test_groups_are_compared_over_their_seeds_with_sasrec_first(swept: tuple[list[Cell], Here]) -> None:
    cells, _ = swept
    found = compare_groups(cells, [])
    assert found is not None
    groups = ["learning_rate=1e-4", "learning_rate=1e-3"]
    names = [group.label for group in found.groups]
    assert names[:2] == ["sasrec", "popularity"]  # once each: the grid does not touch them
    assert sorted(names[2:]) == sorted(f"{group} {model}" for group in groups for model in ("sft", "rl"))
    assert {len(group.results) for group in found.groups} == {2}


def test_a_failed_run_is_no_part_of_the_comparison(swept: tuple[list[Cell], Here]) -> None:
    cells, _ = swept
    found = compare_groups(cells, [Failure(cells[0].name, "rl", "told to")])
    assert found is not None
    seeds = {group.label: [result.seed for result in group.results] for group in found.groups}
    assert seeds[f"{cells[0].title} rl"] == [1]
    assert seeds[f"{cells[2].title} rl"] == [0, 1]
