"""Dropout in RL: in the policy's pass alone, so that rollouts, the reference and what is saved have none."""

import json
from pathlib import Path

import pytest
import toy
from safetensors.torch import load_file

import sidrec
from sidrec.config import load_config
from sidrec.errors import ConfigError

TWO_STEPS = {"steps": 2, "evaluations": 1, "keep": "rl", "beta": 0.04}


def steps_with(run: Path, folder: Path, dropout: float, item_dropout: float = 0) -> Path:
    """Take two steps of RL; return what it made."""
    toy.copy(run, folder, without=("rl", "evaluate"))
    dropped = {"dropout": dropout, "item_dropout": item_dropout}
    settings = toy.YOUNG | {"rl": toy.YOUNG["rl"] | TWO_STEPS | dropped}
    config = load_config(toy.write(folder, **settings))
    sidrec.rl(config)
    return config.output / "rl"


def test_dropout_changes_the_step_and_not_what_was_drawn(young_run: Path, tmp_path: Path) -> None:
    without, with_it = (steps_with(young_run, tmp_path / str(each), each) for each in (0.0, 0.5))
    lines = [toy.history((each / "history.csv").read_bytes())[1] for each in (without, with_it)]
    assert [line["step"] for line in lines] == ["1", "1"]
    for name in ("reward", "group_hr@1", "group_ndcg", "dead_groups"):
        assert lines[0][name] == lines[1][name], name
    # The reference has the policy's weights in the first step, so that dropout alone can part them.
    assert float(lines[0]["kl"]) < 1e-6 < 1e-3 < float(lines[1]["kl"])
    weights = [load_file(each / "model.safetensors") for each in (without, with_it)]
    assert max(float((weights[0][name] - weights[1][name]).abs().max()) for name in weights[0]) > 1e-5


def test_prompts_with_items_left_out_are_shorter(young_run: Path, tmp_path: Path) -> None:
    directories = (steps_with(young_run, tmp_path / str(each), 0.0, item_dropout=each) for each in (0.0, 0.5))
    tokens = [json.loads((each / "metrics.json").read_text())["tokens"] for each in directories]
    assert 0 < tokens[1] < tokens[0]


def test_what_was_trained_with_dropout_ranks_without(young_run: Path, tmp_path: Path) -> None:
    directory = steps_with(young_run, tmp_path / "run", 0.5)
    lists = [
        [each.item_id for each in sidrec.Recommender.from_pretrained(directory).recommend(["i02"], k=10)]
        for _ in range(2)
    ]
    assert lists[0] == lists[1]


def test_dropout_is_refused_where_ratios_would_be_noise() -> None:
    with pytest.raises(ConfigError, match=r"updates_per_batch=2 .* dropout=0\.1 .*; set dropout to 0"):
        load_config(None, ["rl.updates_per_batch=2", "rl.dropout=0.1"])
