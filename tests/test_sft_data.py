"""SFT over planned batches: steps, schedule, cached rows, table of the tasks, and resuming."""

import json
import logging
import math
from pathlib import Path
from typing import Any

import pytest
import toy
from models import text_tokenizer
from test_resume import results_of, stopped_after

import sidrec
from sidrec.config import Config, load_config
from sidrec.sections import DEFAULT_TASKS
from sidrec.stages.sft_data import hash_of_tokenizer

# Tasks by tokens see other rows in every epoch, a budget gives every epoch another number of batches, and
# two of them make a step.
SETTINGS = {
    "sft": {
        "epochs": 2.5,
        "evaluations": 3,
        "learning_rate": 1e-3,
        "batch_size": None,
        "tokens_per_batch": 300,
        "tasks": DEFAULT_TASKS,
        "weighting": "tokens",
        "item_dropout": 0.25,
        "trainer": {"gradient_accumulation_steps": 2, "logging_steps": 1},
    }
}


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Config:
    config = load_config(toy.write(tmp_path_factory.mktemp("budget"), **SETTINGS))
    sidrec.tokenize(config)
    sidrec.sft(config)
    return config


def metrics_of(config: Config) -> dict[str, Any]:
    return json.loads((config.output / "sft" / "metrics.json").read_text())


def test_steps_are_those_of_the_planned_batches_and_the_learning_rate_ends_at_0(whole: Config) -> None:
    metrics = metrics_of(whole)
    steps_per_epoch = metrics["steps"] / 2.5
    rates = [
        float(row["learning_rate"])
        for row in toy.history((whole.output / "sft" / "history.csv").read_bytes())
        if row["learning_rate"]
    ]
    assert len(rates) == metrics["steps"]
    assert metrics["epochs"] == pytest.approx(2.5, abs=1 / steps_per_epoch)
    # A cosine over the n steps after the one of warm-up is sin^2(pi / 2n) at the last of them.
    assert rates[-1] == pytest.approx(1e-3 * math.sin(math.pi / (2 * (metrics["steps"] - 1))) ** 2, rel=1e-3)
    assert max(rates) > 0.95e-3


def test_sft_with_a_budget_and_dropped_items_goes_on_to_the_same_files(whole: Config, tmp_path: Path) -> None:
    toy.copy(whole.output, tmp_path, without=("sft",))
    config = load_config(toy.write(tmp_path, **SETTINGS))
    with stopped_after(2):
        sidrec.sft(config)
    sidrec.sft(config)
    assert results_of(config.output / "sft") == results_of(whole.output / "sft")


def test_a_second_start_uses_the_rows_and_shows_the_tasks(
    whole: Config, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    toy.copy(whole.output, tmp_path, without=("sft",))
    config = load_config(toy.write(tmp_path, **SETTINGS))
    caplog.set_level(logging.INFO, "sidrec")
    with stopped_after(1):
        sidrec.sft(config)
    assert sum("rows are there from an earlier start" in line for line in caplog.messages) == 1
    assert not any("rows made in" in line for line in caplog.messages)
    [table] = [line for line in caplog.messages if "passes per epoch" in line]
    assert [line.split()[0] for line in table.splitlines()[3:]] == list(metrics_of(whole)["tasks"])


def test_other_histories_make_other_rows(
    whole: Config, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    toy.copy(whole.output, tmp_path, without=("sft",))
    config = load_config(toy.write(tmp_path, **SETTINGS), ["prompt.max_history=2"])
    caplog.set_level(logging.INFO, "sidrec")
    with stopped_after(1):
        sidrec.sft(config)
    assert any("rows made in" in line for line in caplog.messages)


def test_the_metrics_say_what_each_task_brought(whole: Config) -> None:
    tasks = metrics_of(whole)["tasks"]
    # 60 users with 4 items left to train on, 1 + 4 * 3 tokens each.
    assert tasks["next_item"]["rows"] == toy.NUM_USERS
    assert tasks["next_item"]["tokens"] == 60 * 13
    assert tasks["next_item"]["supervised_tokens"] == 60 * 12
    assert tasks["next_item"]["passes_per_epoch"] == 1
    assert {name: task["share"] for name, task in tasks.items()} == pytest.approx(DEFAULT_TASKS, abs=1e-6)


def test_no_accumulated_batch_is_refused(whole: Config, tmp_path: Path) -> None:
    toy.copy(whole.output, tmp_path, without=("sft",))
    config = load_config(toy.write(tmp_path), ["sft.trainer.gradient_accumulation_steps=0"])
    with pytest.raises(
        ValueError, match=r"gradient_accumulation_steps: expected a whole number from 1, got 0\."
    ):
        sidrec.sft(config)
    assert not (config.output / "sft.partial").exists()


def test_a_budget_below_the_longest_row_is_refused(whole: Config, tmp_path: Path) -> None:
    toy.copy(whole.output, tmp_path, without=("sft",))
    config = load_config(toy.write(tmp_path, sft={"batch_size": None, "tokens_per_batch": 12}))
    with pytest.raises(ValueError, match=r"sft\.tokens_per_batch is 12, but the longest row has 1\d tokens"):
        sidrec.sft(config)
    assert not (config.output / "sft.partial").exists()


def test_the_hash_of_a_text_tokenizer_is_of_what_it_does_and_not_of_what_it_did() -> None:
    words = text_tokenizer()
    before = hash_of_tokenizer(words)
    words(["a red lamp"], truncation=True, max_length=2, padding=True)
    assert hash_of_tokenizer(words) == before == hash_of_tokenizer(text_tokenizer())
    words.add_tokens(["<a_1>"])
    assert hash_of_tokenizer(words) != before
