"""The SFT trainer: one mean over all that a step learns from, and what it measures on the way."""

import csv
import json
import logging
import re
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import toy
from conftest import Ended
from models import random_codes, small_model, text_tokenizer
from task_rows import alignment_rows, history_rows
from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainingArguments

from sidrec.prompts import PromptSettings
from sidrec.sid_model import SIDModel
from sidrec.tasks.rows import Row
from sidrec.trainers import callbacks, meter
from sidrec.trainers.batches import BatchDataset, BatchPlan, BatchSize
from sidrec.trainers.callbacks import StepsDone, TrainingReport
from sidrec.trainers.forward import through_forward
from sidrec.trainers.history import HistoryFile, sft_columns
from sidrec.trainers.meter import Meter
from sidrec.trainers.mixing import Mixture
from sidrec.trainers.row_store import open_rows
from sidrec.trainers.sft import SFTTrainer, Supervision, target_losses
from sidrec.vocabulary import SIDVocabulary
from tokenizer.semantic_ids import SemanticIDs

SIZES = (5, 6, 4)
CODES = random_codes(num_items=12)


def make_sid_model() -> SIDModel:
    words = text_tokenizer()
    SIDVocabulary.add_to(words, SIZES)
    model = small_model(vocab_size=len(words))
    settings = PromptSettings(template="compact", max_history=4, max_title_tokens=4, normalization="catalog")
    ids = SemanticIDs([f"i{n}" for n in range(len(CODES))], CODES, SIZES)
    return SIDModel.assemble(model, words, ids, settings)


def rows_of(sid_model: SIDModel) -> list[Row]:
    """Eight rows of unequal lengths: of two tasks, with 3 to 12 supervised tokens."""
    histories = [[0], [1, 2], [3, 4, 5], [6, 7, 8, 9], [10, 11], [2]]
    rows = [row for history in histories for row in history_rows(sid_model.prompts, history)]
    titles = alignment_rows(sid_model.prompts, 5, "The red lamp")
    return rows + [Row(row.input_ids, row.kinds, row.items, task=1) for row in titles]


def batches_of(folder: Path, sid_model: SIDModel, rows: int) -> BatchDataset:
    """All rows, so many in a batch."""
    store = open_rows(folder, {}, rows_of(sid_model), {})
    mixture = Mixture(store.tasks, [Fraction(1), Fraction(1)], seed=0)
    plan = BatchPlan(store.lengths, mixture, BatchSize(rows), seed=0, epochs=2)
    return BatchDataset(store, plan, pad_id=0, num_levels=3, item_dropout=0, seed=0)


def test_the_loss_of_a_target_is_what_the_search_scores_it():
    sid_model = make_sid_model()
    histories, targets = [[n % 12, (n + 5) % 12] for n in range(70)], np.arange(70) % 12
    ranking = sid_model.rank(histories, num_beams=12)
    scores = [
        float(ranking.scores[user][ranking.items[user] == target]) for user, target in enumerate(targets)
    ]
    found = target_losses(sid_model, histories, targets)
    np.testing.assert_allclose(found.numpy(), -np.array(scores), atol=1e-5)


class Gradients(TrainerCallback):
    """Keeps the gradients of every step."""

    def __init__(self) -> None:
        self.steps: list[dict[str, torch.Tensor]] = []

    def on_pre_optimizer_step(self, *_: object, model: nn.Module, **__: object) -> None:
        self.steps.append({name: each.grad.clone() for name, each in model.named_parameters()})


def train(folder: Path, *, rows: int, accumulation: int, **options: Any) -> tuple[SFTTrainer, Gradients]:
    sid_model, kept = make_sid_model(), Gradients()
    args = TrainingArguments(
        output_dir=str(folder),
        gradient_accumulation_steps=accumulation,
        max_steps=2,
        max_grad_norm=0,
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        save_strategy="no",
        use_cpu=True,
        **({"logging_steps": 1} | options),
    )
    trainer = SFTTrainer(
        sid_model,
        Supervision(batches_of(folder / "rows", sid_model, rows), ["history", "title"]),
        args,
        validate=lambda divided=True: {"ndcg@10": 0.5, "hr@10": 0.75},
        callbacks=[kept],
    )
    trainer.train()
    return trainer, kept


def test_accumulated_batches_give_the_gradients_of_one_large_batch(tmp_path):
    whole, one = train(tmp_path, rows=8, accumulation=1)
    parts, two = train(tmp_path, rows=4, accumulation=2)
    assert len(one.steps) == len(two.steps) == 2
    for name, expected in one.steps[0].items():
        torch.testing.assert_close(two.steps[0][name], expected, atol=1e-6, rtol=0)
    losses = [[e["loss"] for e in trainer.state.log_history if "loss" in e] for trainer in (whole, parts)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


def test_a_last_batch_that_is_smaller_counts_by_its_tokens(tmp_path):
    """Eight rows as 5 + 3 are one step; the mean of the two means would be another number."""
    whole, _ = train(tmp_path, rows=8, accumulation=1)
    parts, _ = train(tmp_path, rows=5, accumulation=2)
    first = [trainer.state.log_history[0]["loss"] for trainer in (whole, parts)]
    assert first[0] == pytest.approx(first[1], abs=1e-5)


def test_the_log_has_the_mean_loss_of_every_task(tmp_path):
    trainer, _ = train(tmp_path, rows=8, accumulation=1)
    first = trainer.state.log_history[0]
    # 13 items of 3 codes in the histories; an item, the title's words and its end in the two other rows
    title_tokens = 3 + len(text_tokenizer()("The red lamp", add_special_tokens=False)["input_ids"]) + 1
    mean = (first["loss/history"] * 39 + first["loss/title"] * title_tokens) / (39 + title_tokens)
    assert first["loss"] == pytest.approx(mean, abs=1e-5)
    assert first["loss/history"] != pytest.approx(first["loss/title"], abs=0.1)


def test_several_steps_between_two_lines_are_averaged_over_their_tokens(tmp_path):
    every, _ = train(tmp_path, rows=4, accumulation=1)
    second, _ = train(tmp_path, rows=4, accumulation=1, logging_steps=2)
    assert len([entry for entry in second.state.log_history if "loss" in entry]) == 1
    steps = [entry for entry in every.state.log_history if "loss" in entry]
    counts = [count_history_tokens(every, step) for step in range(2)]
    expected = sum(entry["loss/history"] * n for entry, n in zip(steps, counts, strict=True)) / sum(counts)
    assert second.state.log_history[0]["loss/history"] == pytest.approx(expected, abs=1e-5)


def count_history_tokens(trainer: SFTTrainer, step: int) -> int:
    batch = list(trainer.get_train_dataloader())[step]
    return int((batch["kinds"][batch["tasks"] == 0] >= 0).sum())


class Wrapper(nn.Module):
    """What DDP is to the module it wraps: it does something before and after the forward."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.calls: list[str] = []

    def forward(self, *inputs: Any) -> Any:
        self.calls.append("before")
        output = self.module(*inputs)
        self.calls.append("after")
        return output


def test_a_function_runs_where_the_wrapper_calls_the_forward():
    module = nn.Linear(2, 2)
    wrapper = Wrapper(module)

    def function(value: int) -> int:
        wrapper.calls.append("function")
        return value + 1

    assert through_forward(wrapper, module, function, 3) == 4
    assert wrapper.calls == ["before", "function", "after"]


def test_inside_the_function_and_afterwards_the_module_has_its_own_forward():
    module, value = nn.Linear(2, 2), torch.ones(1, 2)
    expected = module(value)
    assert torch.equal(through_forward(Wrapper(module), module, module, value), expected)
    assert "forward" not in vars(module)
    assert torch.equal(module(value), expected)


def test_a_forward_that_mixed_precision_put_on_the_module_is_put_back():
    module = nn.Linear(2, 2)
    module.forward = lambda value: value * 7
    assert through_forward(module, module, lambda value: module(value) + 1, 2) == 15
    assert module(2) == 14


def test_a_function_that_fails_leaves_the_module_as_it_was():
    module = nn.Linear(2, 2)
    with pytest.raises(ZeroDivisionError):
        through_forward(module, module, lambda: 1 / 0)
    assert "forward" not in vars(module)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Seconds that pass only when they are told to."""
    clock = SimpleNamespace(now=100.0)
    clock.monotonic = lambda: clock.now
    monkeypatch.setattr(meter, "time", clock)
    monkeypatch.setattr(callbacks, "time", clock)
    return clock


def events(callback: TrainerCallback, **state: Any) -> Callable[..., TrainerControl]:
    """`tell("on_step_end")` as the Trainer would; returns the control."""
    control = TrainerControl()
    held = SimpleNamespace(**({"log_history": [], "global_step": 0, "max_steps": 10} | state))

    def tell(event: str, **changes: Any) -> TrainerControl:
        for name in set(changes) & set(vars(control)):
            setattr(control, name, changes.pop(name))
        arguments = {name: changes.pop(name) for name in ("logs", "metrics") if name in changes}
        vars(held).update(changes)
        getattr(callback, event)(None, held, control, **arguments)
        return control

    return tell


def add(counter: Meter, losses: list[float], tasks: list[int], tokens: int) -> None:
    counter.add(torch.tensor(losses), torch.tensor(tasks), torch.tensor(tokens))


def test_rates_are_of_steps_and_leave_evaluations_out(clock):
    counter = Meter(["a", "b"], torch.device("cpu"))
    tell = events(counter)
    tell("on_train_begin")
    clock.now += 2
    add(counter, [1.0, 3.0, 5.0], [0, 0, 1], tokens=8)
    tell("on_step_end")
    clock.now += 50
    tell("on_evaluate")
    clock.now += 2
    add(counter, [2.0], [0], tokens=12)
    tell("on_step_end")
    assert counter.read(torch.clone) == {
        "loss/a": 2.0,  # (1 + 3 + 2) / 3
        "loss/b": 5.0,
        "supervised_tokens_per_second": 1.0,  # 4 in 2 + 2 seconds
        "tokens_per_second": 5.0,  # 20
        "seconds": 54.0,
    }


def test_reading_starts_anew_and_a_task_that_was_not_seen_has_no_loss(clock):
    counter = Meter(["a", "b"], torch.device("cpu"))
    tell = events(counter)
    tell("on_train_begin")
    add(counter, [1.0], [0], tokens=3)
    counter.read(torch.clone)
    clock.now += 1
    add(counter, [4.0], [1], tokens=3)
    tell("on_step_end")
    found = counter.read(torch.clone)
    assert found == {
        "loss/b": 4.0,
        "supervised_tokens_per_second": 1.0,
        "tokens_per_second": 3.0,
        "seconds": 1.0,
    }


def test_what_other_processes_saw_is_added(clock):
    counter = Meter(["a"], torch.device("cpu"))
    add(counter, [1.0, 2.0], [0, 0], tokens=4)
    assert counter.read(lambda sums: sums * 2)["loss/a"] == 1.5


def test_seconds_go_on_where_an_interrupted_training_stopped(clock):
    counter = Meter(["a"], torch.device("cpu"))
    tell = events(counter, log_history=[{"step": 3, "seconds": 40.0}, {"step": 3, "eval_hr@10": 0.5}])
    tell("on_train_begin")
    clock.now += 2
    assert counter.read(torch.clone)["seconds"] == 42.0


def test_a_checkpoint_begins_a_new_line_of_the_log(clock):
    tell = events(Meter(["a"], torch.device("cpu")))
    assert not tell("on_step_end", should_log=False, should_save=False).should_log
    assert tell("on_step_end", should_log=False, should_save=True).should_log


def test_history_has_a_row_per_step_with_what_was_measured_there(tmp_path):
    history = HistoryFile(tmp_path / "history.csv", sft_columns(["next_item", "title"]))
    log = [
        {"step": 5, "epoch": 0.5, "loss": 2.0, "loss/next_item": 1.5, "grad_norm": 1.0, "seconds": 3.0},
        {"step": 10, "epoch": 1.0, "loss": 1.0, "loss/title": 1.0, "learning_rate": 0.1, "seconds": 6.0},
        {"step": 10, "epoch": 1.0, "eval_ndcg@10": 0.25, "eval_hr@10": 0.5},
        {"step": 10, "epoch": 1.0, "train_runtime": 9.0, "train_loss": 1.5},
    ]
    tell = events(history, log_history=log, is_world_process_zero=True)
    tell("on_evaluate")
    assert (tmp_path / "history.csv").read_text() == (
        "step,epoch,loss,loss/next_item,loss/title,learning_rate,grad_norm,"
        "supervised_tokens_per_second,tokens_per_second,seconds,valid_ndcg@10,valid_hr@10\n"
        "5,0.5,2.0,1.5,,,1.0,,,3.0,,\n"
        "10,1.0,1.0,,1.0,0.1,,,,6.0,0.25,0.5\n"
    )


def test_history_is_written_by_the_main_process_alone(tmp_path):
    events(HistoryFile(tmp_path / "history.csv", []), is_world_process_zero=False)("on_evaluate")
    assert list(tmp_path.iterdir()) == []


def test_a_bar_counts_the_steps_of_this_process_and_looks_at_the_losses_once_a_second(clock):
    told: list[tuple] = []
    looks = iter(["loss 3", "loss 2"])
    tell = events(StepsDone(lambda *given: told.append(given), lambda: next(looks)), global_step=4)
    tell("on_train_begin")
    for step, seconds in [(5, 0.0), (6, 0.5), (7, 0.6)]:
        clock.now += seconds
        tell("on_step_end", global_step=step)
    assert told == [(1, 6, "loss 3"), (2, 6), (3, 6, "loss 2")]


def test_the_line_of_an_evaluation_says_the_loss_of_each_task_and_the_rate(clock, caplog):
    tell = events(TrainingReport("sft"), best_metric=0.2)
    tell("on_train_begin")
    clock.now += 10
    with caplog.at_level(logging.INFO, "sidrec"):
        logs = {"loss": 1.5, "loss/next_item": 1.0, "loss/title": 2.0, "tokens_per_second": 12345.6}
        tell("on_log", logs=logs)
        tell("on_evaluate", metrics={"eval_ndcg@10": 0.25}, global_step=5)
    assert caplog.messages == [
        "sft: step 5 of 10, loss 1.5000 (next_item 1.0000, title 2.0000), valid NDCG@10 0.2500 (best), "
        "10 s at 12,346 tokens/s, at most 10 s left"
    ]


def test_what_a_person_watches_names_every_task(tmp_path, monkeypatch):
    trainer, _ = train(tmp_path, rows=8, accumulation=1)
    add(trainer._meter, [1.0, 2.0], [0, 1], tokens=7)
    assert re.fullmatch(r"loss history 1\.000, title 2\.000, [\d,]+ tokens/s", trainer.glance())


def sft_only(folder: Path, run: Path, **changes: Any) -> Path:
    toy.copy(run, folder, without=("sft", "rl", "evaluate", "baselines"))
    return toy.write(folder, **changes)


def test_a_reporter_that_is_not_installed_is_named_and_nothing_is_left(toy_run, tmp_path, command):
    config = sft_only(tmp_path, toy_run, sft={"trainer": {"report_to": "no_such_tracker"}})
    ended: Ended = command("sft", config)
    assert ended.status == 2
    assert (
        "sidrec: sft.trainer.report_to: no_such_tracker is not installed, or nothing that transformers can "
        "report to. Install it (pip install no_such_tracker), or leave report_to out. Installed: "
    ) in ended.err
    assert not (tmp_path / "run" / "sft.partial").exists()


def test_tensorboard_keeps_what_it_was_told_when_the_stage_is_done(toy_run, tmp_path, command):
    pytest.importorskip("tensorboardX", reason="needs tensorboard or tensorboardX")
    config = sft_only(tmp_path, toy_run, sft={"epochs": 1, "trainer": {"report_to": "tensorboard"}})
    assert command("sft", config).status == 0
    assert list((tmp_path / "run" / "sft").glob("runs/*/events.out.tfevents.*"))


def test_the_stage_leaves_a_history(toy_run):
    with (toy_run / "sft" / "history.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    metrics = json.loads((toy_run / "sft" / "metrics.json").read_text())
    assert int(rows[-1]["step"]) == metrics["steps"]
    best = next(row for row in rows if int(row["step"]) == metrics["best_step"])
    assert float(best["valid_ndcg@10"]) == metrics["valid"]["ndcg@10"]
    assert max(float(row["valid_ndcg@10"]) for row in rows) == metrics["valid"]["ndcg@10"]
    assert all(float(row["tokens_per_second"]) > float(row["supervised_tokens_per_second"]) for row in rows)
    seconds = [float(row["seconds"]) for row in rows]
    assert seconds == sorted(seconds)
