"""The controls: one thing in a run is made meaningless, and everything else is as it was."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import toy
from conftest import Ended

import sidrec
from sidrec.config import Config, load_config
from sidrec.stages.pipeline import result_directories
from tokenizer.semantic_ids import SemanticIDs

CHEAP = {
    "sft": {"epochs": 1, "evaluations": 1},
    "rl": {"steps": 1, "evaluations": 1},
    "baselines": {"models": ["popularity"]},
}


@pytest.fixture(scope="module")
def controlled(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """A run with all three controls."""
    path = toy.write(tmp_path_factory.mktemp("controls"), **CHEAP)
    config = load_config(path, ["evaluation.controls=[shuffled,random,shuffled_targets]"])
    sidrec.run(config)
    return config


def ids(directory: Path) -> SemanticIDs:
    return SemanticIDs.load(directory / "tokenize" / "semantic_ids.parquet")


def test_shuffled_ids_are_the_runs_own_dealt_to_other_items(controlled: Config) -> None:
    ours, dealt = ids(controlled.output), ids(controlled.output / "controls" / "shuffled")
    assert dealt.item_ids == ours.item_ids
    assert Counter(map(tuple, dealt.codes.tolist())) == Counter(map(tuple, ours.codes.tolist()))
    assert (dealt.codes != ours.codes).any(axis=1).all()


def test_random_ids_are_unique_and_of_the_same_sizes(controlled: Config) -> None:
    ours, drawn = ids(controlled.output), ids(controlled.output / "controls" / "random")
    assert drawn.codebook_sizes == ours.codebook_sizes
    assert drawn.collision_rate == 0
    assert Counter(map(tuple, drawn.codes.tolist())) != Counter(map(tuple, ours.codes.tolist()))


def test_shuffled_targets_start_from_the_same_sft_and_keep_what_rl_made(controlled: Config) -> None:
    control = controlled.output / "controls" / "shuffled_targets"
    ours = controlled.output / "sft" / "model.safetensors"
    assert (control / "sft" / "model.safetensors").stat().st_ino == ours.stat().st_ino  # not trained again
    assert json.loads((control / "rl" / "metrics.json").read_text())["kept"] == "rl"
    assert load_config(control / "rl" / "config.yaml").rl.shuffle_targets


def test_every_control_is_a_line_of_the_table(controlled: Config) -> None:
    labels = [label for label, _ in result_directories(controlled.output)]
    assert labels == [
        "popularity",
        "sft",
        "rl",
        *(
            f"{model}, {name}"
            for name in ("random", "shuffled", "shuffled_targets")
            for model in ("sft", "rl")
        ),
    ]


def test_controls_are_not_run_again(controlled: Config) -> None:
    before = toy.contents(controlled.output)
    sidrec.run(controlled)
    assert toy.contents(controlled.output) == before


def test_a_source_is_dealt_anew(toy_run: Path, tmp_path: Path) -> None:
    settings = ["tokenizer.method=shuffled", f"tokenizer.source={toy_run}"]
    config = load_config(toy.write(tmp_path), settings)
    sidrec.tokenize(config)
    assert (ids(config.output).codes != ids(toy_run).codes).any(axis=1).all()
    metrics = json.loads((config.output / "tokenize" / "metrics.json").read_text())
    assert (metrics["method"], metrics["explained"], metrics["collision_rate_after"]) == ("shuffled", None, 0)


def test_without_a_source_the_ids_that_rqvae_gives_here_are_dealt(toy_run: Path, tmp_path: Path) -> None:
    config = load_config(toy.write(tmp_path), ["tokenizer.method=shuffled"])
    sidrec.tokenize(config)
    dealt, ours = ids(config.output), ids(toy_run)
    assert Counter(map(tuple, dealt.codes.tolist())) == Counter(map(tuple, ours.codes.tolist()))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["tokenizer.method=suffled"], "tokenizer.method: expected 'rqvae', "),
        (
            ["tokenizer.source=runs/a"],
            "tokenizer.source is read by tokenizer.method=shuffled only, not by rqvae",
        ),
        (
            ["tokenizer.method=shuffled", "tokenizer.source=absent"],
            "absent/tokenize/semantic_ids.parquet: there is no such file",
        ),
    ],
)
def test_a_control_that_cannot_be_made_is_refused(
    settings: list[str], message: str, tmp_path: Path, command: Callable[..., Ended]
) -> None:
    path = toy.write(tmp_path)
    before = toy.contents(tmp_path)
    ended = command("tokenize", path, *settings)
    assert (ended.status, ended.err.count("\n")) == (2, 1), ended.err
    assert message in ended.err
    assert toy.contents(tmp_path) == before


def test_a_source_of_other_items_is_refused(
    toy_run: Path, tmp_path: Path, command: Callable[..., Ended]
) -> None:
    path = toy.write(tmp_path)
    text = (tmp_path / "items.csv").read_text().replace("i23", "x23")
    (tmp_path / "items.csv").write_text(text)
    events = (tmp_path / "interactions.csv").read_text().replace("i23", "x23")
    (tmp_path / "interactions.csv").write_text(events)
    ended = command("tokenize", path, "tokenizer.method=shuffled", f"tokenizer.source={toy_run}")
    assert (ended.status, f"tokenizer.source: {toy_run} has semantic IDs of 24 other items" in ended.err) == (
        2,
        True,
    )
