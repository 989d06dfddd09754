"""What is planted in the demo catalogue, so that a result on it means something."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sidrec.metrics import metrics_at_k, target_ranks

ROOT = Path(__file__).resolve().parent.parent
DEMO = ROOT / "sidrec" / "demo"


@pytest.fixture(scope="module")
def items() -> pd.DataFrame:
    return pd.read_csv(DEMO / "items.csv")


@pytest.fixture(scope="module")
def interactions() -> pd.DataFrame:
    return pd.read_csv(DEMO / "interactions.csv")


@pytest.fixture(scope="module")
def histories(interactions: pd.DataFrame) -> list[list[str]]:
    """Return each user's item ids, oldest first."""
    return interactions.groupby("user_id", sort=False)["item_id"].apply(list).tolist()


def train_part(history: list[str]) -> list[str]:
    """Return what leave-one-out leaves for train; a user with fewer than three events is all train."""
    return history[:-2] if len(history) >= 3 else history


def hit_rate_at_10(lists: list[list[str]], targets: list[str], item_ids: list[str]) -> float:
    """Return HR@10 of lists of ten item ids, by sidrec's own metrics."""
    index = {item_id: number for number, item_id in enumerate(item_ids)}
    ranked = np.array([[index[item_id] for item_id in row] for row in lists])
    ranks = target_ranks(ranked, np.array([index[target] for target in targets]))
    return float(metrics_at_k(ranks, ks=(10,))["hr@10"].mean())


def test_regenerating_gives_the_committed_bytes(tmp_path: Path) -> None:
    script = ROOT / "scripts" / "make_demo_data.py"
    subprocess.run([sys.executable, str(script), "--output", str(tmp_path)], check=True, capture_output=True)
    for name in ("items.csv", "interactions.csv"):
        assert (tmp_path / name).read_bytes() == (DEMO / name).read_bytes()


def test_both_files_together_are_under_one_megabyte() -> None:
    assert sum((DEMO / name).stat().st_size for name in ("items.csv", "interactions.csv")) < 1_000_000


def test_there_are_about_800_items_and_2500_users(items: pd.DataFrame, interactions: pd.DataFrame) -> None:
    assert 750 <= len(items) <= 850
    assert interactions["user_id"].nunique() == 2500
    assert list(items) == ["item_id", "title", "brand", "category", "description"]
    assert list(interactions) == ["user_id", "item_id", "timestamp"]
    assert items["item_id"].is_unique
    assert not items.isna().any(axis=None)
    assert set(interactions["item_id"]) <= set(items["item_id"])


def test_no_user_has_an_item_twice(interactions: pd.DataFrame) -> None:
    assert not interactions.duplicated(["user_id", "item_id"]).any()


def test_the_log_is_sorted_by_time_and_users_interleave(interactions: pd.DataFrame) -> None:
    times = pd.to_datetime(interactions["timestamp"])
    assert times.is_monotonic_increasing
    assert not interactions.duplicated(["user_id", "timestamp"]).any()
    assert (interactions["user_id"] == interactions["user_id"].shift()).mean() < 0.05


def test_most_users_have_five_or_more_events_and_a_few_too_few_to_split(histories: list[list[str]]) -> None:
    lengths = np.array([len(history) for history in histories])
    assert 8 <= lengths.mean() <= 10
    assert (lengths < 3).sum() == 40
    assert (lengths >= 5).sum() == 2460


def test_some_items_are_cold(items: pd.DataFrame, interactions: pd.DataFrame) -> None:
    cold = set(items["item_id"]) - set(interactions["item_id"])
    assert 0.03 * len(items) <= len(cold) <= 0.1 * len(items)


def test_some_items_have_exactly_and_some_nearly_equal_texts(items: pd.DataFrame) -> None:
    texts = items.drop(columns="item_id")
    assert texts.duplicated().sum() == 14  # listed twice
    other_colour = items["title"].duplicated(keep=False) & ~texts.duplicated(keep=False)
    assert other_colour.sum() >= 60
    assert items.loc[other_colour, "description"].str.contains("Colour: ").all()


def test_a_tenth_of_the_items_has_two_fifths_of_the_events(
    items: pd.DataFrame, interactions: pd.DataFrame
) -> None:
    counts = interactions["item_id"].value_counts()  # most popular first
    assert counts.iloc[: len(items) // 10].sum() > 0.4 * len(interactions)


def test_series_are_read_in_order(items: pd.DataFrame, histories: list[list[str]]) -> None:
    ordinals = ["One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight"]
    volume = (
        items["title"]
        .str.extract(r"\((?P<series>.+), Book (?P<number>\w+)\)$")
        .set_index(items["item_id"])
        .dropna()
    )
    numbers = {item_id: (row.series, ordinals.index(row.number)) for item_id, row in volume.iterrows()}
    pairs = [
        (numbers[earlier], numbers[later])
        for history in histories
        for earlier, later in itertools.pairwise(history)
        if earlier in numbers and later in numbers
    ]
    steps = Counter(later[1] - earlier[1] for earlier, later in pairs if earlier[0] == later[0])
    assert sum(steps.values()) > 800
    assert min(steps) >= 1  # never backwards
    assert steps[1] > 0.85 * sum(steps.values())


def test_accessories_come_after_their_main_product(items: pd.DataFrame, histories: list[list[str]]) -> None:
    titles = dict(zip(items["item_id"], items["title"], strict=True))
    after = before = 0
    for history in histories:
        bought = [titles[item_id] for item_id in history]
        for place, title in enumerate(bought):
            _, is_accessory, main = title.partition(" for ")
            if is_accessory and main in bought:
                after += bought.index(main) < place
                before += bought.index(main) > place
    assert after > 1000
    assert before < 0.1 * after


def test_tastes_drift(items: pd.DataFrame, histories: list[list[str]]) -> None:
    category = dict(zip(items["item_id"], items["category"], strict=True))
    long = [history for history in histories if len(history) >= 8]
    first = np.array([[category[item_id] for item_id in history[:4]] for history in long])
    last = np.array([[category[item_id] for item_id in history[-4:]] for history in long])
    within = (first[:, :1] == first[:, 1:]).mean()
    across = (first[:, :1] == last).mean()
    assert across < 0.6 * within


def test_an_order_aware_rule_beats_popularity_four_times(
    items: pd.DataFrame, histories: list[list[str]]
) -> None:
    train = [train_part(history) for history in histories]
    popular = [
        item_id for item_id, _ in Counter(item_id for history in train for item_id in history).most_common()
    ]
    successors: dict[str, Counter[str]] = defaultdict(Counter)
    for history in train:
        for item_id, following in itertools.pairwise(history):
            successors[item_id][following] += 1
    tested = [history for history in histories if len(history) >= 3]
    by_rule = []
    for history in tested:
        frequent = [item_id for item_id, _ in successors[history[-2]].most_common(10)]
        by_rule.append((frequent + [item_id for item_id in popular[:20] if item_id not in frequent])[:10])
    targets = [history[-1] for history in tested]
    item_ids = items["item_id"].tolist()
    popularity = hit_rate_at_10([popular[:10]] * len(tested), targets, item_ids)
    rule = hit_rate_at_10(by_rule, targets, item_ids)
    assert 0.03 < popularity < 0.06
    assert 0.25 < rule < 0.45  # far from a foregone conclusion
    assert rule > 4 * popularity
