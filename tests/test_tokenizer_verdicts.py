"""Figures of a table of semantic IDs, judged."""

from typing import Any

import numpy as np
import pytest

from tokenizer.health.measures import health
from tokenizer.health.verdicts import Verdict, above_chance, judge

CLUSTER = np.repeat(np.arange(30), 20)


def judged(codes: np.ndarray, sizes: tuple[int, ...], **given: Any) -> dict[str, Verdict]:
    return {each.figure: each for each in judge(health(codes, sizes, **given))}


def in_clusters(codes: np.ndarray, **given: Any) -> dict[str, Verdict]:
    """30 clusters of 20 items, and one code for each item."""
    vectors = np.eye(30)[CLUSTER] + 0.01 * np.random.default_rng(0).normal(size=(600, 30))
    return judged(codes[:, None], (30,), vectors=vectors, **given)


def test_a_healthy_table_is_good_all_over() -> None:
    """Each first code is followed by 6 of 16 second codes, and all are used alike."""
    items = np.arange(96)
    codes = np.stack([items % 16, (items + items // 16) % 16], axis=1)
    verdicts = judged(codes, (16, 16), codes_before=codes, reconstruction_error=0.5, variance=1.0).values()
    assert {verdict.verdict for verdict in verdicts} == {"good"}
    assert {verdict.advice for verdict in verdicts} == {""}


def test_a_collapsed_level_is_called_collapsed() -> None:
    """48 of 256 codes, as at the first level of MiniOneRec's released table."""
    codes = np.stack([np.arange(1000) % 48, np.arange(1000) % 256], axis=1)
    used = judged(codes, (256, 256))["codes used"]
    assert (used.value, used.verdict) == ("48, 256 of 256, 256", "bad")
    assert used.advice.startswith("collapsed: most codes of level a name no item")


def test_some_idle_codes_are_no_collapse() -> None:
    assert judged(np.arange(10)[:, None], (256,))["codes used"].verdict == "good"  # 10 items use 10 at most
    used = judged(np.tile(np.arange(80), 2)[:, None], (100,))["codes used"]
    assert (used.verdict, used.advice) == (
        "look",
        "some codes of level a are idle; balanced_rqkmeans uses all codes",
    )


def test_one_code_for_most_items_is_uneven() -> None:
    codes = np.where(np.arange(400) < 370, 0, np.arange(400) % 32)[:, None]
    verdicts = judged(codes, (32,))
    assert [verdicts[name].verdict for name in ("codes used", "even use", "commonest code")] == [
        "look",
        "bad",
        "look",  # 371 of 400 (item 384 too), 29.7 times even use
    ]
    assert verdicts["commonest code"].value == "93% of items"


def test_advice_names_the_levels_it_is_for() -> None:
    """An hourglass: the first level is even, the others are not."""
    items = np.arange(256 * 20)
    few = np.where(items % 10 < 9, 0, items // 10 % 256)
    verdicts = judged(np.stack([items % 256, few, few], axis=1), (256, 256, 256))
    assert verdicts["even use"].advice.startswith("few codes of levels b, c hold most items")
    assert verdicts["commonest code"].verdict == "bad"  # 90% is 230 times even use


@pytest.mark.parametrize(("shared", "verdict"), [(0, "good"), (2, "look"), (20, "bad")])
def test_collisions_are_judged(shared: int, verdict: str) -> None:
    codes = np.where(np.arange(100) < shared, 0, np.arange(100))[:, None]
    assert judged(codes, (100,))["collisions"].verdict == verdict


def test_collisions_are_told_with_their_groups_and_events() -> None:
    codes = np.array([0, 0, 0, 1, 1, 2, 3, 4, 5, 6])[:, None]
    found = judged(codes, (7,), events=np.array([1, 1, 1, 1, 1, 1, 1, 1, 1, 11]))["collisions"]
    # 7 distinct of 10; 5 of 20 events
    assert found.value == "rate 30%: 5 items in 2 groups of up to 3; 25% of events"


@pytest.mark.parametrize(("moved", "verdict"), [(10, "good"), (20, "look"), (50, "bad")])
def test_moving_many_items_is_judged(moved: int, verdict: str) -> None:
    codes = np.arange(100)[:, None]
    before = np.where(np.arange(100) < moved, (np.arange(100) + 1) % 100, np.arange(100))[:, None]
    assert judged(codes, (100,), codes_before=before)["moved apart"].verdict == verdict


def test_what_moving_cost_is_told() -> None:
    found = judged(np.array([[0], [1]]), (2,), codes_before=np.array([[0], [0]]), extra_error=0.25)
    assert found["moved apart"].value == "1 items (50%), error + 25% of the variance; before, rate 50%"


def test_a_level_that_hardly_any_item_needs_is_seen() -> None:
    codes = np.stack([np.arange(100), np.arange(100) % 4], axis=1)
    verdict = judged(codes, (100, 4))["items unique"]
    assert (verdict.value, verdict.verdict) == ("100%, 100% by level; 1.0 of 2 codes needed", "look")


@pytest.mark.parametrize(("taken", "verdict"), [(4, "good"), (6, "look"), (8, "bad")])
def test_a_prefix_without_a_free_code_is_seen(taken: int, verdict: str) -> None:
    codes = np.stack([np.zeros(taken, dtype=int), np.arange(taken)], axis=1)
    assert judged(codes, (1, 8))["tree"].verdict == verdict


def test_a_level_that_numbers_items_is_not_judged_by_its_use() -> None:
    codes = np.array([[0, 0], [0, 1], [1, 0], [2, 0], [3, 0], [4, 0]])
    verdicts = judged(codes, (5, 2))
    assert verdicts["codes used"].value == "5 of 5"
    assert {verdicts[name].verdict for name in ("codes used", "even use", "tree", "items unique")} == {"good"}


def test_meaning_is_judged_by_neighbours_and_by_variance() -> None:
    dealt = np.random.default_rng(0).permutation(CLUSTER)
    for name in ("neighbours", "variance explained"):
        assert [in_clusters(codes)[name].verdict for codes in (CLUSTER, dealt)] == ["good", "bad"]


def test_categories_are_judged_by_what_chance_would_give() -> None:
    dealt = np.random.default_rng(0).permutation(CLUSTER)
    names = np.char.add("kind ", (CLUSTER // 3).astype(str))
    found = [in_clusters(codes, categories=names)["one category"].verdict for codes in (CLUSTER, dealt)]
    assert found == ["good", "bad"]


def test_one_category_for_all_tells_nothing() -> None:
    assert "one category" not in in_clusters(CLUSTER, categories=np.full(600, "thing"))


def test_a_tail_that_is_coded_worse_than_the_head_is_seen() -> None:
    """The codes of the last 10 clusters are mixed up."""
    mixed = CLUSTER.copy()
    mixed[400:] = np.random.default_rng(0).permutation(CLUSTER[400:])
    tail = np.arange(600) >= 400
    same = {"tail": tail, "head": ~tail}
    assert in_clusters(mixed, groups=same)["tail / head"].verdict == "bad"
    every = {"tail": np.arange(600) % 2 == 0, "head": np.arange(600) % 2 == 1}
    assert in_clusters(mixed, groups=every)["tail / head"].verdict == "good"


def test_a_share_is_rescaled_so_that_chance_is_nothing() -> None:
    assert above_chance(0.25, 0.25) == 0.0
    assert above_chance(1.0, 0.25) == 1.0
    assert above_chance(0.625, 0.25) == 0.5
    assert above_chance(1.0, 1.0) == 0.0
