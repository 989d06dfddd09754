"""The stage and its rewards: what they read, what is refused before training, and hacking that is noticed."""

import json
import logging
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import toy
from conftest import Ended
from datasets import Dataset
from models import random_codes, small_model, text_tokenizer

from sidrec.artifacts import sha256_of_file
from sidrec.baselines.sequential import score_with
from sidrec.baselines.weights import load_sequential
from sidrec.catalog import read_catalog, split_catalog
from sidrec.config import Config, load_config
from sidrec.errors import ConfigError
from sidrec.prompts import PromptSettings
from sidrec.rewards import Rollouts, combine_rewards
from sidrec.sid_model import SIDModel
from sidrec.stages.pipeline import notes
from sidrec.stages.rl import check_rl, stage_of, stages_of
from sidrec.stages.rl.arguments import grpo_arguments
from sidrec.stages.rl.rewards import make_reward, reward_inputs
from sidrec.stages.run import load_run
from sidrec.trainers.rl.drawing import Drawing
from sidrec.trainers.rl.trainer import ReReTrainer
from sidrec.vocabulary import SIDVocabulary
from tokenizer.semantic_ids import SemanticIDs

SIZES = (5, 6, 4)
FIRST_ITEM = "def first_item(rollouts):\n    return (rollouts.items == 0).float()\n"


def with_rewards(config: Config, rewards: dict[str, float]) -> Config:
    return config.model_copy(update={"rl": config.rl.model_copy(update={"rewards": rewards})})


def check(path: Path, setting: str) -> None:
    """Read a config and check it as `sidrec run` does first of all."""
    config = load_config(path, [setting])
    catalog = read_catalog(config.catalog)
    check_rl(config, catalog, split_catalog(catalog, config.split))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, forgotten by `sys.path` afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", list(sys.path))
    return tmp_path


# What is refused, before a model is there.


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("rl.rewards={mine_absent:f: 1}", r"rl\.rewards: mine_absent:f: there is no module mine_absent"),
        (
            "rl.rewards={mine_toy:list_of: 1}",
            r"mine_toy:list_of returned a list, expected a tensor of shape \(2, 4\)",
        ),
        ("rl.rewards={mine_toy:nan: 1}", r"mine_toy:nan returned NaN or infinity"),
        ("rl.rewards={rule: 0}", r"rl\.rewards: all weights are 0"),
        (
            "rl.trainer.gradient_accumulation_steps=3",
            r"rl\.prompts_per_step: 4 prompts, each with its whole group of 4 rollouts, cannot be divided "
            r"by 3 \(processes: 1, rl\.trainer\.gradient_accumulation_steps: 3\)\. Make it a multiple of 3\.",
        ),
        ("rl.trainer.gradient_accumulation_steps=0", r"expected a whole number from 1, got 0\."),
        ("rl.trainer.per_device_train_batch_size=6", r"per_device_train_batch_size is set by sidrec"),
        ("rl.trainer.per_device_eval_batch_size=6", r"per_device_eval_batch_size is set by sidrec"),
        ("rl.trainer.generation_batch_size=6", r"generation_batch_size is set by sidrec"),
    ],
)
def test_rewards_and_batches_that_cannot_be_are_refused_before_a_model_is_there(
    setting: str, message: str, here: Path
) -> None:
    (here / "mine_toy.py").write_text(
        "def list_of(rollouts):\n    return rollouts.items.tolist()\n\n"
        "def nan(rollouts):\n    return rollouts.items.float().log().log()\n"
    )
    path = toy.write(here / "toy")
    with pytest.raises(ConfigError, match=message):
        check(path, setting)


def test_processes_divide_whole_groups_or_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sidrec.stages.rl.arguments.num_processes", lambda: 2)
    config = load_config(toy.write(tmp_path), ["rl.prompts_per_step=6", "rl.num_generations=4"])
    assert grpo_arguments(config, 3, tmp_path).per_device_train_batch_size == 3 * 4
    odd = load_config(toy.write(tmp_path), ["rl.prompts_per_step=5"])
    with pytest.raises(ConfigError, match=r"5 prompts, .* cannot be divided by 2 \(processes: 2, "):
        grpo_arguments(odd, 3, tmp_path)


# Small models, random and untrained.


def small_trainer(folder: Path, *settings: str) -> ReReTrainer:
    """A trainer of a random model of 12 items, with a prompt after each of 12 histories."""
    torch.manual_seed(0)
    words = text_tokenizer()
    SIDVocabulary.add_to(words, SIZES)
    codes = random_codes(num_items=12)
    prompt = PromptSettings(template="compact", max_history=4, max_title_tokens=4, normalization="catalog")
    ids = SemanticIDs([f"i{n}" for n in range(12)], codes, SIZES)
    sid_model = SIDModel.assemble(small_model(vocab_size=len(words)), words, ids, prompt)
    ours = ["rl.steps=1", "rl.evaluations=1", "rl.beta=0", "rl.prompts_per_step=6", "rl.num_generations=8"]
    config = load_config(
        toy.write(folder), [*ours, "rl.trainer={max_grad_norm: 0, warmup_steps: 0}", *settings]
    )
    rows = [
        {
            "prompt": "",
            "row": n,
            "history": [n],
            "target": (n + 1) % 12,
            "prompt_ids": sid_model.prompts.next_item([n]),
        }
        for n in range(12)
    ]
    return ReReTrainer(
        sid_model,
        Dataset.from_list(rows),
        grpo_arguments(config, 3, folder / "checkpoints"),
        drawing=Drawing(sid_model, config.rl.num_generations),
        reward=partial(combine_rewards, weights=config.rl.rewards),
        validate=lambda divided=True: {"ndcg@10": 0.5, "hr@10": 0.5},
        callbacks=[],
    )


def test_a_step_in_two_passes_is_the_step_in_one(tmp_path: Path) -> None:
    trained = []
    for name, settings in (("one", ()), ("two", ("rl.trainer.gradient_accumulation_steps=2",))):
        trainer = small_trainer(tmp_path / name, *settings)
        before = {key: value.clone() for key, value in trainer.model.state_dict().items()}
        trainer.train()
        assert trainer.state.global_step == 1
        trained.append(trainer.model.state_dict())
    assert max(float((trained[0][key] - before[key]).abs().max()) for key in before) > 1e-5
    for key in before:
        torch.testing.assert_close(trained[0][key], trained[1][key], atol=1e-6, rtol=0)


def test_a_prompt_that_stands_in_a_batch_twice_is_two_groups_alike(tmp_path: Path) -> None:
    trainer = small_trainer(tmp_path, "rl.num_generations=12")
    rows = [trainer.prompts[place] for place in (3, 3, 5)]
    batch = trainer._generate_and_score_completions([row for row in rows for _ in range(12)])
    assert batch["codes"].shape == (3, 12, 3)
    assert torch.equal(batch["codes"][0], batch["codes"][1])
    assert torch.equal(batch["advantages"][0], batch["advantages"][1])
    best = batch["codes"][torch.arange(3), batch["advantages"].argmax(1)]
    assert best.tolist() == trainer._sid_model.semantic_ids.codes[[4, 4, 6]].tolist()


def test_a_step_logs_the_sum_the_parts_and_their_shares(tmp_path: Path) -> None:
    trainer = small_trainer(tmp_path, "rl.rewards={rule: 1, ndcg: 0.5}", "rl.num_generations=12")
    trainer.train()
    (line,) = (entry for entry in trainer.state.log_history if "reward" in entry)
    assert line["reward/rule"] == pytest.approx(1 / 12)  # every item is drawn, one of them is the target
    for mean in ("reward", "ranked_reward"):
        assert line[mean] == pytest.approx(line[f"{mean}/rule"] + 0.5 * line[f"{mean}/ndcg"])
    # In each group one rollout gets 1 and (half) its discount: deviations, and so shares, are as these.
    shares = line["reward_share/rule"], line["reward_share/ndcg"]
    assert shares[1] / shares[0] == pytest.approx(0.5 * line["reward/ndcg"] / line["reward/rule"], rel=1e-5)


# A run with all its stages.


def test_rewards_read_the_codes_vectors_and_baseline_of_the_run(
    young_run: Path, young_config: Config
) -> None:
    sasrec = young_run / "sequential" / "sasrec"
    written = {path: path.stat().st_mtime_ns for path in sasrec.iterdir()}
    config = with_rewards(young_config, {"prefix": 1.0, "semantic": 1.0, "collaborative": 1.0})
    run = load_run(config)
    found = make_reward(config, run, torch.device("cpu"))(
        Rollouts(torch.tensor([[3, 7, 11]]), torch.tensor([7]), histories=[[5, 6]])
    )
    codes, vectors = run.semantic_ids.codes, np.load(young_run / "tokenize" / "embeddings.npy")
    agree = [next((n for n in range(3) if codes[item][n] != codes[7][n]), 3) / 3 for item in (3, 7, 11)]
    assert found.parts["prefix"][0].tolist() == pytest.approx(agree)
    cosine = [
        vectors[item] @ vectors[7] / np.linalg.norm(vectors[item]) / np.linalg.norm(vectors[7])
        for item in (3, 7, 11)
    ]
    assert found.parts["semantic"][0].tolist() == pytest.approx(cosine, abs=1e-6)
    (scores,) = score_with(load_sequential(sasrec), 50)([np.array([5, 6])])
    expected = (scores[[3, 7, 11]] - scores.min()) / (scores.max() - scores.min())
    assert found.parts["collaborative"][0].tolist() == pytest.approx(expected.tolist(), abs=1e-6)
    assert {path: path.stat().st_mtime_ns for path in sasrec.iterdir()} == written  # not trained again


def test_the_fingerprint_of_rl_depends_on_what_its_rewards_read(
    young_config: Config, young_run: Path, here: Path
) -> None:
    run = load_run(young_config)
    assert reward_inputs(young_config, run) == {}
    assert reward_inputs(with_rewards(young_config, {"semantic": 1.0}), run) == {
        "vectors": sha256_of_file(young_run / "tokenize" / "embeddings.npy")
    }
    collaborative = with_rewards(young_config, {"collaborative": 1.0})
    sasrec, rl = stages_of(collaborative, run)
    assert sasrec.directory == young_run / "sequential" / "sasrec"
    assert rl.inputs["collaborative"] == sasrec.fingerprint
    larger = collaborative.baselines.sasrec.model_copy(update={"hidden_dim": 16})
    baselines = collaborative.baselines.model_copy(update={"sasrec": larger})
    other = collaborative.model_copy(update={"baselines": baselines})
    assert stage_of(other, run).fingerprint != rl.fingerprint
    (here / "mine_hashed.py").write_text(FIRST_ITEM)
    own = with_rewards(young_config, {"mine_hashed:first_item": 1.0})
    before = stage_of(own, run).fingerprint
    (here / "mine_hashed.py").write_text(FIRST_ITEM + "# another\n")
    assert stage_of(own, run).fingerprint != before


def test_a_reward_that_makes_the_ranking_better_is_not_hacked(young_run: Path) -> None:
    metrics = json.loads((young_run / "rl" / "metrics.json").read_text())
    assert metrics["hacking"]["found"] is False
    log = toy.history((young_run / "rl" / "history.csv").read_bytes())
    start, *_, last = (float(row["valid_ndcg@10"]) for row in log if row["valid_ndcg@10"])
    assert log[0]["step"] == "0"
    assert start == pytest.approx(metrics["ndcg@10"]["sft"])  # the sample is all users here
    assert metrics["hacking"]["valid_ndcg@10"] == [start, last]
    assert list(metrics["reward_shares"]) == ["rule", "ranking"]
    assert sum(metrics["reward_shares"].values()) == pytest.approx(1)
    assert notes(young_run) == []


def test_a_reward_for_the_wrong_thing_is_called_hacked_in_log_metrics_and_final_table(
    young_run: Path,
    here: Path,
    command: Callable[..., Ended],
    caplog: pytest.LogCaptureFixture,
) -> None:
    (here / "mine_of_stage.py").write_text(FIRST_ITEM)
    toy.copy(young_run, here / "toy", without=("rl", "evaluate"))
    config = toy.write(here / "toy", **toy.YOUNG)
    with caplog.at_level(logging.INFO, logger="sidrec"):
        settings = ("rl.rewards={mine_of_stage:first_item: 1}", "rl.steps=12", "rl.learning_rate=4e-4")
        ended = command("run", config, *settings)
    assert ended.status == 0
    metrics = json.loads((here / "toy" / "run" / "rl" / "metrics.json").read_text())
    assert metrics["hacking"]["found"] is True
    assert list(metrics["hacking"]["rose"]) == ["total", "mine_of_stage:first_item"]
    ours = [each for each in caplog.records if each.name.startswith("sidrec")]
    warnings = [each.getMessage() for each in ours if each.levelno == logging.WARNING]
    assert warnings
    assert all(each.startswith("rl: rewards rose (total ") for each in warnings)
    told = " ".join(ended.out.split())
    assert "rl: rewards rose (total " in told
    assert "while valid NDCG@10 fell (" in told
    table = pd.read_parquet(here / "toy" / "run" / "rl" / "rollouts.parquet")
    assert (table["reward"] == (table["item_id"] == "i00")).all()
    assert (table.groupby("group")["advantage"].idxmax() == table[table["item_id"] == "i00"].index).all()
    sample = next(each.getMessage() for each in caplog.records if "rollouts.parquet" in each.getMessage())
    assert "  history: " in sample
    assert "mine_of_stage:first_item" in sample


def test_a_control_takes_the_baseline_that_its_rewards_read_from_the_run(
    young_run: Path, tmp_path: Path, command: Callable[..., Ended]
) -> None:
    toy.copy(young_run, tmp_path, without=("rl", "evaluate"))
    config = toy.write(tmp_path, **toy.YOUNG)
    settings = ("rl.rewards={rule: 1, collaborative: 1}", "rl.steps=1", "rl.evaluations=1")
    assert command("run", config, *settings, "evaluation.controls=[shuffled_targets]").status == 0
    ours, control = (
        path / "sequential" / "sasrec" / "model.safetensors"
        for path in (tmp_path / "run", tmp_path / "run" / "controls" / "shuffled_targets")
    )
    assert ours.stat().st_ino == control.stat().st_ino  # not trained again
    table = pd.read_parquet(tmp_path / "run" / "rl" / "rollouts.parquet")
    assert table["reward_collaborative"].between(0, 1).all()
    assert table["reward_collaborative"].nunique() > 50
    stages = [tmp_path / "run" / name for name in ("tokenize", "sft", "rl", "sequential/sasrec")]
    measured = json.loads((tmp_path / "run" / "evaluate" / "rl" / "metrics.json").read_text())
    seconds = sum(json.loads((stage / "manifest.json").read_text())["cpu_seconds"] for stage in stages)
    assert measured["training_cpu_seconds"] == pytest.approx(seconds, abs=0.01)
