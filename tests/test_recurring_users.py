"""Splits that ask a user for several targets: each has its row, and a user is resampled with all of them."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import toy
from conftest import Ended

from sidrec.metrics import bootstrap_interval, difference_over_seeds, estimate_over_seeds, paired_difference
from sidrec.metrics.intervals import bootstrap_intervals, rank_intervals

Command = Callable[..., Ended]


def width(interval) -> float:
    return interval.high - interval.low


def test_copies_of_a_user_s_value_are_no_further_evidence():
    per_user = np.random.default_rng(0).random(400)
    users = np.repeat(np.arange(400), 9)
    of_users = bootstrap_interval(per_user, seed=0, samples=4000)
    together = bootstrap_intervals({"x": np.repeat(per_user, 9)}, seed=0, samples=4000, users=users)["x"]
    apart = bootstrap_interval(np.repeat(per_user, 9), seed=0, samples=4000)
    assert together.value == pytest.approx(of_users.value)
    assert width(together) == pytest.approx(width(of_users), rel=0.1)
    assert width(apart) == pytest.approx(width(of_users) / 3, rel=0.1)  # sqrt(9) times too narrow


def test_a_mean_over_targets_weighs_users_by_their_targets():
    # One user with 3 targets, all hit, and one with 1, missed: 3 of 4; resamples have 0, 3 of 4 or 1.
    interval = rank_intervals(
        np.array([1, 1, 1, 0]), (1,), seed=0, samples=2000, users=np.array([0, 0, 0, 1])
    )["hr@1"]
    assert (interval.value, interval.low, interval.high) == (0.75, 0, 1)


def test_one_target_each_gives_the_interval_over_users():
    values = np.random.default_rng(1).random(300)
    plain = bootstrap_interval(values, seed=3, samples=500)
    numbered = bootstrap_intervals({"x": values}, seed=3, samples=500, users=np.arange(300))["x"]
    assert numbered.low == pytest.approx(plain.low, abs=0.01)
    assert numbered.high == pytest.approx(plain.high, abs=0.01)


def test_differences_draw_users_with_all_their_targets():
    rng = np.random.default_rng(2)
    gain = np.repeat(rng.normal(0.05, 0.3, 200), 4)
    users = np.repeat(np.arange(200), 4)
    base = rng.random(800)
    wide, narrow = (
        difference_over_seeds((base + gain)[None], base[None], seed=0, users=each).interval
        for each in (users, None)
    )
    assert width(wide) == pytest.approx(2 * width(narrow), rel=0.15)  # sqrt(4)
    paired = paired_difference(base + gain, base, seed=0, users=users)
    assert width(paired) == pytest.approx(width(wide), rel=0.1)
    assert width(estimate_over_seeds(gain[None], seed=0, users=users).interval) == pytest.approx(
        width(wide), rel=0.1
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The config of a run of the toy catalogue that asks every user for two targets, with two baselines."""
    from sidrec.config import load_config
    from sidrec.stages.baselines import run_baselines
    from sidrec.stages.tokenization import tokenize

    folder = tmp_path_factory.mktemp("recurring")
    path = toy.write(
        folder, split={"method": "last_n", "n": 2}, baselines={"models": ["popularity", "item_knn"]}
    )
    config = load_config(path)
    tokenize(config)
    run_baselines(config)
    return path


def popularity(run: Path) -> Path:
    return run.parent / "run" / "baselines" / "popularity"


def test_every_target_has_a_row_and_its_number(run: Path):
    users = pd.read_parquet(popularity(run) / "users.parquet")
    assert len(users) == 2 * toy.NUM_USERS
    # user u0 has items 0 to 5: its test targets are 4 and 5
    mine = users[users["user_id"] == "u0"]
    assert mine[["target_number", "target"]].values.tolist() == [[1, "i04"], [2, "i05"]]
    metrics = json.loads((popularity(run) / "metrics.json").read_text())
    assert (metrics["users"], metrics["distinct_users"]) == (120, 60)
    lists = pd.read_parquet(popularity(run) / "predictions.parquet")
    assert lists.groupby(["user_id", "target_number"]).size().eq(metrics["depth"]).all()


def test_compare_pairs_the_targets_of_a_user(run: Path, command: Command):
    other = run.parent / "run" / "baselines" / "item_knn"
    ended = command("compare", popularity(run), other, "--json", "--metrics", "ndcg@10")
    assert ended.status == 0, ended.err
    found = json.loads(ended.out)
    ours, theirs = (
        json.loads((directory / "metrics.json").read_text())["item_level"]["ndcg@10"]["value"]
        for directory in (popularity(run), other)
    )
    assert found["users"] == 120
    (versus,) = found["metrics"]["ndcg@10"]["differences"].values()
    assert versus["value"] == pytest.approx(theirs - ours)


def test_foreign_lists_name_the_target_they_are_for(run: Path, command: Command):
    lists = pd.read_parquet(popularity(run) / "predictions.parquet")
    path = run.parent / "theirs.csv"
    lists.sample(frac=1, random_state=0).to_csv(path, index=False)
    assert command("evaluate", run, f"predictions={path}").status == 0
    theirs = json.loads((run.parent / "run" / "evaluate" / "theirs" / "metrics.json").read_text())
    ours = json.loads((popularity(run) / "metrics.json").read_text())
    assert theirs["item_level"] == ours["item_level"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda frame: frame.drop(columns="target_number"),
            r'no column "target_number", but this split asks 60',
        ),
        (
            lambda frame: frame.assign(target_number=3),
            r'is for target 3 of user "u0", who has 2 in this split',
        ),
        (lambda frame: frame.assign(target_number=0), r'has the target_number "0", expected a whole number'),
    ],
)
def test_foreign_lists_without_their_target_are_refused(
    run: Path, command: Command, change, message, tmp_path
):
    path = tmp_path / "wrong.csv"
    change(pd.read_parquet(popularity(run) / "predictions.parquet")).to_csv(path, index=False)
    ended = command("evaluate", run, f"predictions={path}")
    assert ended.status == 2

    assert re.search(message, ended.err), ended.err
