"""`sidrec inspect CONFIG`: rows of every task as the model will see them."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import toy
from conftest import Ended

from sidrec.printing import print_rows
from sidrec.stages.preview import ShownRow

Command = Callable[..., Ended]


@pytest.fixture(scope="module")
def tokenized(toy_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A config whose run is tokenized and nothing else; tests must not change it."""
    others = ("sft", "rl", "evaluate", "baselines", "sequential")
    return toy.copy(toy_run, tmp_path_factory.mktemp("tokenized"), without=others)


def test_two_rows_of_each_task_are_printed_with_what_is_supervised(tokenized: Path, command: Command) -> None:
    ended = command("inspect", tokenized)
    assert (ended.status, ended.err) == (0, "")
    blocks = [block.splitlines() for block in ended.out.strip().split("\n\n")]
    names = ["next_item", "next_item", "title_to_item", "title_to_item", "item_to_title", "item_to_title"]
    assert [head.partition(":")[0] for head, _ in blocks] == names
    sid = "<a_[0-3]><b_[0-3]><c_[0-3]>"
    # User 0 had items 0 to 5 of which 4 are train: 1 + 4 * 3 tokens. Item 0 is a red lamp.
    assert blocks[0][0] == "next_item: 13 tokens, 12 supervised"
    assert re.fullmatch(rf"<\|bos\|>\[\[(?:{sid}){{4}}\]\]", blocks[0][1])
    assert blocks[2][0].endswith(" tokens, 3 supervised")
    assert re.fullmatch(rf"<\|bos\|>red lamp =>\[\[{sid}\]\]", blocks[2][1])
    assert re.fullmatch(rf"<\|bos\|>{sid} =>\[\[red lamp<\|eos\|>\]\]", blocks[4][1])


def test_the_number_of_rows_and_settings_can_be_given(tokenized: Path, command: Command) -> None:
    settings = ["sft.tasks={titles_to_item: 1}", "prompt.template=instruct"]
    out = command("inspect", tokenized, *settings, "--rows", 3).out
    assert out.count("titles_to_item: ") == 3
    assert "oldest first: red lamp; green lamp; blue lamp\n\n### Response:\n[[<a_" in out


def test_the_resolved_config_of_a_run_shows_the_same(tokenized: Path, command: Command) -> None:
    resolved = tokenized.parent / "run" / "tokenize" / "config.yaml"
    changes = [f"output={tokenized.parent / 'run'}"]
    assert command("inspect", resolved, *changes).out == command("inspect", tokenized, *changes).out


def test_a_run_that_is_not_tokenized_says_what_to_run(tmp_path: Path, command: Command) -> None:
    ended = command("inspect", toy.write(tmp_path), "--rows", 2)
    assert ended.status == 2
    assert re.search(r"run/tokenize holds no finished stage\. Run first: sidrec tokenize", ended.err)


def test_the_tasks_of_the_config_are_checked(tokenized: Path, command: Command) -> None:
    ended = command("inspect", tokenized, "sft.tasks={nextitem: 1}")
    assert (ended.status, ended.out) == (2, "")
    assert 'there is no task "nextitem". Did you mean "next_item"?' in ended.err


def test_no_rows_cannot_be_shown(tokenized: Path, command: Command) -> None:
    assert "--rows 0: expected how many rows" in command("inspect", tokenized, "--rows", 0).err


def test_rows_of_a_run_directory_are_asked_for_by_its_config(tokenized: Path, command: Command) -> None:
    run = tokenized.parent / "run"
    ended = command("inspect", run, "--rows", 2)
    assert ended.status == 2
    assert f"{run} is none. Give that of the run, such as {run}/tokenize/config.yaml." in ended.err


@pytest.mark.parametrize("option", [["--json"], ["--figure", "a.png"], ["--codebook-sizes", "4,4"]])
def test_options_for_semantic_ids_are_refused_for_a_config(
    option: list[str], tokenized: Path, command: Command
) -> None:
    ended = command("inspect", tokenized, *option)
    assert ended.status == 2
    assert "are for a run or a table, and" in ended.err


def test_on_a_terminal_what_is_supervised_is_green(capsys: pytest.CaptureFixture[str]) -> None:
    print_rows([ShownRow("mine", 3, 2, [("a =>", False), ("b", True)])], in_colour=True)
    assert capsys.readouterr().out == "mine: 3 tokens, 2 supervised\na =>\x1b[32mb\x1b[0m\n\n"
