"""scripts/rank_rivals.py and write_quality.py: what two models together reach, beside each alone."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import studies
import toy

from sidrec.baselines.sequential import score_with
from sidrec.baselines.weights import load_sequential
from sidrec.config import load_config
from sidrec.stages.run import load_run
from sidrec.sweep import plan, sweep

SMALL = {
    "model": {"head": "depth"},
    "sft": {"epochs": 2, "evaluations": 1, "item_loss": 0.5, "item_embedding": True},
    "rl": {"steps": 2, "evaluations": 1, "keep": "rl"},
    "evaluation": {"num_beams": 10, "rerank": 1},
    "baselines": {"models": ["popularity", "sasrec"], "sasrec": {"epochs": 2, "hidden_dim": 8}},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return studies.write_page(tmp_path, "quality.md", "toy")


@pytest.mark.slow
def test_rivals_are_sums_of_log_probabilities_and_every_model_has_a_row(folder: Path) -> None:
    path = toy.write(folder, **SMALL)
    ways = "evaluation.exclude_history=false,true"
    stages = ["tokenize", "baselines", "sft", "rl", "evaluate"]
    for grid in ([ways], ["evaluation.rerank=0", ways]):
        cells = plan(path, [], seeds=[0, 1], grid=grid, output=folder / "study")
        assert sweep(cells, stages=stages) == []
    for script, arguments in (("rank_rivals.py", ["study"]), ("write_quality.py", ["toy", "study"])):
        ended = studies.run(script, folder, *arguments)
        assert ended.returncode == 0, ended.stderr

    runs = [folder / "study" / "evaluation.exclude_history=false" / f"seed={seed}" for seed in (0, 1)]
    histories = load_run(load_config(runs[0] / "config.yaml")).split.test.histories
    total = sum(log_probs(run / "sequential" / "sasrec", histories) for run in runs)
    listed = pd.read_parquet(runs[0] / "rivals" / "sasrec_pair" / "predictions.parquet")
    items = pd.read_parquet(runs[0] / "catalog" / "items.parquet")["item_id"].to_numpy()
    assert listed[listed["rank"] == 1]["item_id"].tolist() == items[total.argmax(1)].tolist()
    facts = [
        json.loads((runs[0] / place / "metrics.json").read_text())
        for place in ("rivals/sasrec_items", "sequential/sasrec", "sft")
    ]
    assert facts[0]["parameters"] == facts[1]["parameters"] + facts[2]["parameters"]
    assert facts[0]["weight"] in (0.25, 0.5, 1.0, 2.0)

    lines = (folder / "docs" / "quality.md").read_text().splitlines()
    begin = next(number for number, line in enumerate(lines) if line.startswith("| model | seeds |"))
    names = [line.split("|")[1].strip() for line in lines[begin + 2 : begin + 10]]
    assert names == [
        "sasrec",
        "popularity",
        "sasrec of two seeds",
        "sasrec + item loss of the depth head",
        "depth head",
        "depth head, re-ranked",
        "depth head, RL",
        "depth head, RL, re-ranked",
    ]


def log_probs(directory: Path, histories: list[np.ndarray]) -> np.ndarray:
    """(U, N) of a trained baseline, by the definition."""
    model = load_sequential(directory)
    scores = score_with(model, model.settings.max_history)(histories).astype(np.float64)
    return scores - np.log(np.exp(scores).sum(1, keepdims=True))


@pytest.mark.slow
def test_each_factor_of_the_ablation_has_a_row_against_the_recipe(tmp_path: Path) -> None:
    folder = studies.write_page(tmp_path, "quality.md", "toy-ablation")
    path = toy.write(folder, **SMALL)
    sweeps = (
        ([], "sft.item_loss=0.5"),
        (["sft.item_embedding=false", "evaluation.rerank=0"], "sft.item_loss=0"),
        ([], "sft.label_smoothing=0.1"),
        (["model.head=lm"], "model.skip_connection=true"),
    )
    for settings, grid in sweeps:
        cells = plan(path, settings, seeds=[0, 1], grid=[grid], output=folder / "study")
        assert sweep(cells, stages=["tokenize", "sft"]) == []
    texts = []
    for _ in range(2):  # the second time from what was kept
        ended = studies.run("write_ablation.py", folder, "toy", "study")
        assert ended.returncode == 0, ended.stderr
        texts.append((folder / "docs" / "quality.md").read_text())
    assert texts[0] == texts[1]
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in texts[0].splitlines() if line[:1] == "|"
    ]
    names = [
        "the recipe",
        "`model.skip_connection=true`",
        "`sft.item_loss=0`",
        "`sft.label_smoothing=0.1`",
    ]
    assert [row[0] for row in rows[2:]] == names
    assert [bool(row[4]) for row in rows[2:]] == [True, True, False, True]
    assert [bool(row[3]) for row in rows[2:]] == [False, True, True, True]
    assert all(float(row[2]) > 0 for row in rows[2:])


def test_a_sweep_without_the_recipe_is_refused(tmp_path: Path) -> None:
    folder = studies.write_page(tmp_path, "quality.md", "toy-ablation")
    (folder / "study").mkdir()
    ended = studies.run("write_ablation.py", folder, "toy", "study")
    assert ended.returncode != 0
    assert "holds no sft.item_loss=0.5/seed=*/sft to compare with" in ended.stderr
