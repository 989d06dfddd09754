"""Weights of events in SFT: against a slow reference and copies of events, and through all its stages."""

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import toy
from conftest import Ended
from models import random_codes, small_model, text_tokenizer
from task_rows import catalog_of, rows_of

import sidrec
from sidrec.config import Config, load_config
from sidrec.decoding import pad_prompts
from sidrec.depth_model import DepthModel
from sidrec.prompts import PromptSettings
from sidrec.shared_prefix import completion_scores
from sidrec.sid_model import SIDModel
from sidrec.stages.run import load_run
from sidrec.stages.sequential import fit_stage
from sidrec.stages.sft import stage_of
from sidrec.tasks.rows import IGNORED, NO_ITEM, TEXT, Row
from sidrec.trainers.flat_rows import FlatRows
from sidrec.trainers.item_dropout import drop_items
from sidrec.trainers.sft import sft_losses
from sidrec.vocabulary import SIDVocabulary
from tokenizer.semantic_ids import SemanticIDs

SIZES = (5, 6, 4)
CODES = random_codes(num_items=12)
TITLES = catalog_of({"title": [f"item {n}" for n in range(12)]})
HISTORIES = [[0, 1, 2, 3, 4, 5, 6], [7, 8], [9], [11, 10, 3, 2, 1]]  # with max_history 3: windows of 4 items
BY_ITEM = np.array([0.5, 2, 1, 4, 0.25, 3, 1, 0.1, 7, 2, 5, 0.75], dtype=np.float32)


def sid_model_of(kind: str) -> SIDModel:
    """A small model with the plain head, the depth head, or merged items in its histories."""
    words = text_tokenizer()
    vocabulary = SIDVocabulary.add_to(words, SIZES)
    model = small_model(vocab_size=len(words))
    settings = PromptSettings(
        template="compact",
        max_history=3,
        max_title_tokens=4,
        normalization="catalog",
        head="depth" if kind == "depth" else "lm",
        history="merged" if kind == "merged" else "codes",
    )
    if kind == "depth":
        model = DepthModel.around(model, vocabulary.token_ids)
    ids = SemanticIDs([f"i{n}" for n in range(len(CODES))], CODES, SIZES)
    return SIDModel.assemble(model.eval(), words, ids, settings)


def weighted_rows(
    sid_model: SIDModel, task: str, by_item: np.ndarray = BY_ITEM, **source: object
) -> list[Row]:
    """Rows of a task, where each event has the weight of its item."""
    weights = [by_item[history] for history in HISTORIES]
    return rows_of(task, sid_model.prompts, TITLES, HISTORIES, weights=weights, **source)


def losses_of(sid_model: SIDModel, rows: FlatRows, **settings: float) -> tuple[torch.Tensor, ...]:
    codes = torch.tensor(CODES)
    paths = sid_model.scorer.trie.walk(codes)
    return sft_losses(sid_model.scorer, rows.padded(sid_model.prompts.pad_id), codes, paths, **settings)


def summed_by_hand(sid_model: SIDModel, rows: FlatRows) -> float:
    """Target by target: its weight times -log p of its codes after what stands before it."""
    total = 0.0
    for start, end in pairwise(rows.offsets.tolist()):
        for place in np.flatnonzero(rows.kinds[start:end] == 0).tolist():
            item = int(rows.items[start + place])
            prompt, mask = pad_prompts([rows.input_ids[start : start + place].tolist()], pad_id=0)
            codes = torch.tensor(CODES[item]).view(1, 1, -1)
            with torch.no_grad():
                log_probs = completion_scores(sid_model.scorer, prompt, mask, codes).log_probs
            total -= float(BY_ITEM[item]) * float(log_probs.sum())
    return total


# Rows


def test_in_a_row_per_user_every_item_has_the_weight_of_its_event() -> None:
    first, second, *_ = weighted_rows(sid_model_of("lm"), "next_item")
    assert first.items == [NO_ITEM, *np.repeat([0, 1, 2, 3], 3)]
    assert first.weights == [1, *np.repeat([0.5, 2, 1, 4], 3)]
    assert second.items == [NO_ITEM, *np.repeat([2, 3, 4, 5], 3)]  # 2 and 3 are context
    assert second.weights == [1, *np.repeat([1, 4, 0.25, 3], 3)]


def test_the_same_item_counts_by_the_event_that_it_is_the_target_of() -> None:
    prompts = sid_model_of("lm").prompts
    weights = [np.array([1, 2, 3], dtype=np.float32)]
    [row] = rows_of("next_item", prompts, TITLES, [[4, 4, 4]], weights=weights)
    assert row.weights == [1, *np.repeat([1, 2, 3], 3)]
    rows = rows_of("next_item", prompts, TITLES, [[4, 4, 4]], weights=weights, rows="prefix")
    assert [set(row.weights) for row in rows] == [{1}, {2}, {3}]


@pytest.mark.parametrize("task", ["next_item", "titles_to_item", "history_to_title"])
def test_in_a_row_per_target_all_that_is_answered_has_the_weight_of_the_target(task: str) -> None:
    rows = weighted_rows(sid_model_of("lm"), task, rows="prefix")
    first = 0 if task == "next_item" else 1  # a prompt that shows the history needs an item in it
    expected = [float(BY_ITEM[item]) for history in HISTORIES for item in history[first:]]
    assert [set(row.weights) for row in rows] == [{weight} for weight in expected]
    assert all(len(row.weights) == len(row.input_ids) for row in rows)


def test_a_row_about_an_item_alone_counts_once() -> None:
    for task in ("title_to_item", "item_to_title"):
        assert {weight for row in weighted_rows(sid_model_of("lm"), task) for weight in row.weights} == {1}


# Losses


@pytest.mark.parametrize("item_dropout", [0, 0.4])
@pytest.mark.parametrize("rows", ["user", "prefix"])
@pytest.mark.parametrize("kind", ["lm", "depth", "merged"])
def test_the_loss_is_the_sum_of_weight_times_minus_log_p(kind: str, rows: str, item_dropout: float) -> None:
    sid_model = sid_model_of(kind)
    flat = FlatRows.of(weighted_rows(sid_model, "next_item", rows=rows))
    sights = np.arange(len(flat.lengths))
    seen = drop_items(flat, len(SIZES), item_dropout, seed=0, epoch=0, sights=sights)
    assert (len(seen.items) < len(flat.items)) == (item_dropout > 0)
    with torch.no_grad():
        losses, *_ = losses_of(sid_model, seen)
    assert float(losses.sum()) == pytest.approx(summed_by_hand(sid_model, seen), rel=1e-4)


def test_words_of_an_answer_are_weighed_too() -> None:
    sid_model = sid_model_of("lm")
    rows = weighted_rows(sid_model, "history_to_title")
    assert {kind for row in rows for kind in row.kinds} == {IGNORED, TEXT}
    with torch.no_grad():
        alone = [losses_of(sid_model, FlatRows.of([replace(row, weights=None)]))[0].sum() for row in rows]
        found = losses_of(sid_model, FlatRows.of(rows))[0].sum()
    expected = sum(row.weights[0] * float(loss) for row, loss in zip(rows, alone, strict=True))
    assert float(found) == pytest.approx(expected, rel=1e-5)


def gradients_of(sid_model: SIDModel, rows: Iterable[Row]) -> dict[str, torch.Tensor]:
    losses, _, auxiliary = losses_of(sid_model, FlatRows.of(list(rows)), smoothing=0.1, item_weight=0.5)
    sid_model.model.zero_grad()
    (losses.sum() + auxiliary).backward()
    return {name: weight.grad.clone() for name, weight in sid_model.model.named_parameters()}


@pytest.mark.parametrize("kind", ["lm", "depth"])
def test_an_event_of_weight_w_pulls_like_w_events(kind: str) -> None:
    sid_model = sid_model_of(kind)
    by_item = np.arange(12, dtype=np.float32) % 4 + 1
    rows = weighted_rows(sid_model, "next_item", by_item, rows="prefix")
    copies = [replace(row, weights=None) for row in rows for _ in range(int(row.weights[0]))]
    assert len(copies) > 2 * len(rows)
    found, expected = gradients_of(sid_model, rows), gradients_of(sid_model, copies)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-4, rtol=1e-4, msg=name)
    once = gradients_of(sid_model, [replace(row, weights=None) for row in rows])  # negative control
    assert max(float((found[name] - once[name]).abs().max()) for name in once) > 0.1


# Stages

SFT = {"epochs": 1, "evaluations": 1, "item_dropout": 0.2, "item_loss": 0.5, "tasks": {"next_item": 1}}


def weigh(folder: Path, minutes: Callable[[np.ndarray], np.ndarray]) -> None:
    """Write the events of the toy catalogue with weights that are a function of their items."""
    events = toy.interactions()
    numbers = events["item_id"].str[1:].astype(int).to_numpy()
    events.assign(minutes=minutes(numbers)).to_csv(folder / "interactions.csv", index=False)


def written(folder: Path, minutes: Callable[[np.ndarray], np.ndarray]) -> Config:
    path = toy.write(folder, sft=SFT)
    weigh(folder, minutes)
    return load_config(path, ["catalog.weight=minutes", "tokenizer.epochs=2"])


def trained(folder: Path, minutes: Callable[[np.ndarray], np.ndarray] | None) -> Config:
    if minutes is None:
        config = load_config(toy.write(folder, sft=SFT), ["tokenizer.epochs=2"])
    else:
        config = written(folder, minutes)
    sidrec.tokenize(config)
    sidrec.sft(config)
    return config


def uneven(numbers: np.ndarray) -> np.ndarray:
    return 1.0 + numbers % 5


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Config:
    return trained(tmp_path_factory.mktemp("plain"), None)


@pytest.fixture(scope="module")
def weighed(tmp_path_factory: pytest.TempPathFactory) -> Config:
    return trained(tmp_path_factory.mktemp("weighed"), uneven)


def weights_of(config: Config) -> bytes:
    return (config.output / "sft" / "model.safetensors").read_bytes()


def rows_file(config: Config) -> bytes:
    [path] = config.output.glob("cache/rows/*/rows.arrow")
    return path.read_bytes()


def metrics_of(config: Config) -> dict:
    return json.loads((config.output / "sft" / "metrics.json").read_text())


def test_weights_that_are_all_equal_train_to_the_bytes_of_none(plain: Config, tmp_path: Path) -> None:
    equal = trained(tmp_path, lambda numbers: np.full(len(numbers), 0.1))
    assert weights_of(equal) == weights_of(plain)
    assert rows_file(equal) == rows_file(plain)


def test_weights_change_what_is_learnt_and_no_share_of_a_task(plain: Config, weighed: Config) -> None:
    assert weights_of(weighed) != weights_of(plain)
    assert metrics_of(weighed)["tasks"] == metrics_of(plain)["tasks"]


def test_other_weights_train_sft_and_sequential_baselines_again(tmp_path: Path) -> None:
    config = written(tmp_path, uneven)
    prints = []
    for minutes in (uneven, lambda numbers: 5.0 - numbers % 5):
        weigh(tmp_path, minutes)
        sidrec.tokenize(config)
        run = load_run(config)
        stages = [stage_of(config, run), fit_stage(config, run.catalog, run.split, "sasrec")]
        prints.append([stage.fingerprint for stage in stages])
    assert not set(prints[0]) & set(prints[1])


def test_the_events_that_sft_does_not_see_take_their_weights_along(weighed: Config) -> None:
    run = load_run(weighed.model_copy(update={"split": weighed.split.model_copy(update={"rl_share": 0.5})}))
    mean = run.split.train_weights.mean()
    assert run.reserved.sum() == toy.NUM_USERS / 2
    for history, weights in zip(run.learned_histories(), run.learned_weights(), strict=True):
        assert weights.tolist() == pytest.approx((uneven(history) / mean).tolist())


def test_a_run_with_weights_recommends_and_takes_new_items(
    weighed: Config, command: Callable[..., Ended]
) -> None:
    ended = command("recommend", weighed.output, "--history", "i03", "-k", "3")
    assert ended.status == 0, ended.err
    new = weighed.output.parent / "new.csv"
    toy.items().head(1).assign(item_id="new").to_csv(new, index=False)
    ended = command("add-items", weighed.output, "--items", new)
    assert ended.status == 0, ended.err
