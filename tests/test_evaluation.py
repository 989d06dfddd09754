"""From ranked items to metrics."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import toy
from conftest import Ended

import sidrec
from sidrec.catalog import Catalog, SplitConfig, split_catalog
from sidrec.config import Config, load_config
from sidrec.stages.measurement import Predictions, measure, write_evaluation
from sidrec.stages.pipeline import results
from sidrec.stages.run import Run
from tokenizer.semantic_ids import SemanticIDs

ITEMS = pd.DataFrame({"item_id": list("ABCD"), "title": ["lamp", "chair", "rug", "vase"]})


def catalog_of(**histories: str) -> Catalog:
    """`catalog_of(u1="ABC")` is a user who had A, B and C in turn."""
    events = [(user, item) for user, items in histories.items() for item in items]
    return Catalog(ITEMS, pd.DataFrame(events, columns=["user_id", "item_id"]))


def run_of(catalog: Catalog, codes: list[list[int]]) -> Run:
    semantic_ids = SemanticIDs(list("ABCD"), np.array(codes), (2, 2))
    return Run(Path("runs/none"), catalog, split_catalog(catalog, SplitConfig()), semantic_ids)


def measured(lists: list[list[int]], codes: list[list[int]], config: Config) -> dict:
    """Metrics of two users: u1 is tested on D, u2 on C. Train: u1 has A B, u2 has B."""
    run = run_of(catalog_of(u1="ABCD", u2="BAC"), codes)
    items = np.array(lists)
    scores = -np.arange(items.size, dtype=np.float32).reshape(items.shape)
    return measure(Predictions("hand", "beam", items, scores, 0.0), run.split.test, run, config)


UNIQUE = [[0, 0], [0, 1], [1, 0], [1, 1]]
B_AND_C_COLLIDE = [[0, 0], [0, 1], [0, 1], [1, 1]]


def test_metrics_are_those_computed_by_hand(toy_config: Config) -> None:
    metrics = measured([[1, 2, 3, 0], [1, 2, 0, 3]], UNIQUE, toy_config)
    values = {name: each["value"] for name, each in metrics["item_level"].items()}
    # D stands third in u1's list, C second in u2's.
    assert values == {
        "hr@1": 0,
        "ndcg@1": 0,
        "mrr@1": 0,
        "hr@3": 1,
        "ndcg@3": pytest.approx((1 / 2 + 1 / np.log2(3)) / 2),
        "mrr@3": pytest.approx((1 / 3 + 1 / 2) / 2),
    }
    assert (metrics["users"], metrics["depth"]) == (2, 4)
    assert (metrics["invalid_items"], metrics["duplicate_items"]) == (0, 0)
    assert metrics["coverage@3"] == 1  # B C D and B C A
    # Shown: A 1, B 2, C 2, D 1 times. 2 (1x1 + 2x1 + 3x2 + 4x2) / (4 x 6) - 5/4 = 34/24 - 30/24.
    assert metrics["gini@3"] == pytest.approx(4 / 24)


def test_sid_level_counts_a_sid_once_and_is_reported_beside_the_items(toy_config: Config) -> None:
    metrics = measured([[1, 2, 3, 0], [1, 2, 0, 3]], B_AND_C_COLLIDE, toy_config)
    # u1: B and C are one SID, so D is second. u2: C's SID is first already, as B.
    assert metrics["sid_level"]["hr@1"]["value"] == 0.5
    assert metrics["sid_level"]["ndcg@3"]["value"] == pytest.approx((1 / np.log2(3) + 1) / 2)
    assert metrics["item_level"]["hr@1"]["value"] == 0
    assert metrics["item_level"]["ndcg@3"]["value"] == pytest.approx((1 / 2 + 1 / np.log2(3)) / 2)


def test_users_are_sliced_by_the_popularity_of_their_target(toy_config: Config) -> None:
    slices = measured([[1, 2, 3, 0], [1, 0, 3, 2]], UNIQUE, toy_config)["slices"]["popularity"]
    # Neither D nor C has a train event; only D is in the first three.
    assert (slices["cold"]["users"], slices["cold"]["hr@3"]["value"]) == (2, 0.5)
    assert slices["cold"]["ndcg@3"]["value"] == pytest.approx((0 + 1 / np.log2(4)) / 2)
    assert slices["cold"]["hr@3"]["low"] == 0 < slices["cold"]["hr@3"]["high"]
    assert [slices[name]["users"] for name in ("tail", "mid", "head")] == [0] * 3
    assert "hr@3" not in slices["tail"]


def test_an_item_twice_in_a_list_is_counted(toy_config: Config) -> None:
    assert measured([[1, 1, 3, 1], [1, 2, 0, 3]], UNIQUE, toy_config)["duplicate_items"] == 2


def test_an_item_outside_the_catalogue_is_never_scored(toy_config: Config) -> None:
    with pytest.raises(ValueError, match=r"1 list entries are no item: the catalogue has items 0 to 3"):
        measured([[1, 2, 3, 4], [1, 2, 0, 3]], UNIQUE, toy_config)


def test_lists_shorter_than_three_are_measured_at_their_best_depth(toy_config: Config) -> None:
    metrics = measured([[3, 2], [1, 2]], UNIQUE, toy_config)
    assert set(metrics["item_level"]) == {"hr@1", "ndcg@1", "mrr@1"}
    assert metrics["item_level"]["hr@1"]["value"] == 0.5
    assert metrics["coverage@1"] == 0.5  # D and B of four


def test_an_evaluation_is_two_files(toy_config: Config, tmp_path: Path) -> None:
    run = run_of(catalog_of(u1="ABCD", u2="BAC"), UNIQUE)
    lists, scores = np.array([[1, 3], [2, 0]]), np.array([[-0.5, -1.0], [-0.25, -2.0]])
    predictions = Predictions("hand", "full", lists, scores, 0.0)
    metrics = write_evaluation(tmp_path, predictions, run.split.test, run, toy_config)
    assert json.loads((tmp_path / "metrics.json").read_text()) == metrics
    assert pd.read_parquet(tmp_path / "predictions.parquet").to_dict("list") == {
        "user_id": ["u1", "u1", "u2", "u2"],
        "rank": [1, 2, 1, 2],
        "item_id": ["B", "D", "C", "A"],
        "score": [-0.5, -1.0, -0.25, -2.0],
        "is_target": [False, True, True, False],
    }


def test_every_model_of_a_run_is_measured_on_the_same_split(toy_run: Path) -> None:
    names = ("baselines/popularity", "evaluate/sft", "evaluate/rl")
    found = [json.loads((toy_run / name / "metrics.json").read_text()) for name in names]
    assert len({metrics["split_sha256"] for metrics in found}) == 1
    assert {metrics["users"] for metrics in found} == {60}


def test_other_settings_of_evaluation_redo_only_what_depends_on_them(toy_run: Path, tmp_path: Path) -> None:
    config = load_config(toy.copy(toy_run, tmp_path), ["evaluation.num_beams=3"])
    before = toy.contents(config.output)
    sidrec.evaluate(config)
    changed = {name for name, content in toy.contents(config.output).items() if before[name] != content}
    cards = {"sft/README.md", "rl/README.md"}
    assert {str(Path(name).parent) for name in changed - cards} == {"evaluate/sft", "evaluate/rl"}
    assert cards <= changed


def test_the_table_compares_models_at_a_depth_that_all_have(
    toy_run: Path, tmp_path: Path, command: Callable[..., Ended]
) -> None:
    """Popularity was measured to depth 10 before, the models are now to 3."""
    config = toy.copy(toy_run, tmp_path)
    ended = command("evaluate", config, "evaluation.num_beams=3")
    assert ended.out.split()[:6] == ["model", "HR@3", "NDCG@3", "invalid", "duplicate", "coverage@3"]
    rows = results(tmp_path / "run")
    assert [row.model for row in rows] == ["popularity", "item_knn", "sasrec", "sft", "rl"]
    assert {row.k for row in rows} == {3}
    of_popularity = json.loads((toy_run / "baselines" / "popularity" / "metrics.json").read_text())
    assert rows[0].hit_rate[0] == of_popularity["item_level"]["hr@3"]["value"]
    assert rows[0].coverage is None
    assert 0 < rows[-1].coverage <= 1
