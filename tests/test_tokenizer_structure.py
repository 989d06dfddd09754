"""The tree of a table of semantic IDs, who stands together in it, and the verdicts, by hand-made numbers."""

import numpy as np
import pytest

from tokenizer.health import health
from tokenizer.structure import colliding_events, neighbour_agreement, prefix_numbers, purity, tree
from tokenizer.verdicts import judge

# Items 0 and 3 share an ID; item 1 shares their first code; item 2 stands alone.
CODES = np.array([[0, 0], [0, 1], [1, 2], [0, 0]])


def test_prefixes_are_numbered_level_by_level():
    first, second = prefix_numbers(CODES).T.tolist()
    assert first[0] == first[1] == first[3] != first[2]
    assert second[0] == second[3]
    assert len(set(second)) == 3


def test_equal_codes_behind_other_codes_are_other_prefixes():
    assert len(set(prefix_numbers(np.array([[0, 5], [1, 5]]))[:, 1].tolist())) == 2


def test_the_tree_is_described_level_by_level():
    """Level a: two prefixes below the root, item 2 alone. Level b: 2 below the first, 1 below the second."""
    first, second = tree(CODES)
    assert first == {"prefixes": 2, "branching": 2.0, "widest": 2, "items_unique": 0.25}
    assert second == {"prefixes": 3, "branching": 1.5, "widest": 2, "items_unique": 0.5}


def test_events_on_shared_ids_are_counted():
    """Items 0 and 3 have 1 + 4 of 10 events."""
    assert colliding_events(CODES, np.array([1, 2, 3, 4])) == 0.5
    assert colliding_events(CODES, np.zeros(4)) == 0.0
    assert colliding_events(CODES[:3], np.ones(3)) == 0.0


def test_neighbours_on_one_prefix_are_found():
    """Two directions with two items each; codes that follow them, and codes that cross them."""
    vectors = np.array([[1, 0.1], [1, 0], [0, 1], [0.1, 1]])
    follows = neighbour_agreement(np.array([[0], [0], [1], [1]]), vectors)[0]
    crosses = neighbour_agreement(np.array([[0], [1], [0], [1]]), vectors)[0]
    # Of 3 others all are neighbours (fewer than 10 items), one of them on the same prefix either way ...
    assert follows["neighbours_together"] == pytest.approx(1 / 3)
    assert follows["by_chance"] == crosses["by_chance"] == pytest.approx(1 / 3)
    # ... so many clusters tell them apart: 30 of 20 items each, ten nearest within their own.
    rng = np.random.default_rng(0)
    own = np.repeat(np.arange(30), 20)
    many = np.eye(30)[own] + 0.01 * rng.normal(size=(600, 30))
    assert neighbour_agreement(own[:, None], many)[0]["neighbours_together"] == 1.0
    assert neighbour_agreement(own[:, None], many)[0]["fellows_near"] == 1.0
    shuffled = neighbour_agreement(rng.permutation(own)[:, None], many)[0]
    assert shuffled["neighbours_together"] < 0.08  # 19 of 599 by chance


def test_without_fellows_there_is_nothing_to_be_near():
    agreement = neighbour_agreement(np.arange(5)[:, None], np.eye(5))[0]
    assert agreement["fellows_near"] is None
    assert agreement["neighbours_together"] == 0.0


def test_purity_is_the_share_of_the_commonest_label():
    """Level a: items 0, 1, 3 have labels x, y, x: 2 of 3. Level b: items 0 and 3 agree."""
    assert purity(CODES, np.array(["x", "y", "z", "x"])) == [pytest.approx(2 / 3), 1.0]
    assert purity(np.arange(3)[:, None], np.array(["x", "y", "z"])) == [None]


def healthy(num_items: int = 256) -> dict:
    codes = np.stack(np.unravel_index(np.arange(num_items), (16, 16)), axis=1)
    return health(codes, (16, 16), reconstruction_error=0.5, variance=1.0)


def test_a_healthy_table_is_good_all_over():
    assert {verdict.verdict for verdict in judge(healthy())} == {"good"}
    assert {verdict.advice for verdict in judge(healthy())} == {""}


def test_a_collapsed_level_is_called_collapsed():
    """48 of 256 codes, as at the first level of MiniOneRec's released table."""
    codes = np.stack([np.arange(1000) % 48, np.arange(1000) % 256], axis=1)
    verdicts = {each.figure: each for each in judge(health(codes, (256, 256)))}
    used = verdicts["codes used, level a"]
    assert (used.value, used.verdict) == ("48 of 256", "bad")
    assert used.advice.startswith("collapsed")
    assert verdicts["codes used, level b"].verdict == "good"


def test_one_code_for_most_items_is_uneven():
    codes = np.where(np.arange(400) < 370, 0, np.arange(400) % 16)[:, None]
    verdicts = {each.figure: each for each in judge(health(codes, (16,)))}
    assert verdicts["evenness, level a"].verdict == "bad"
    assert verdicts["codes used, level a"].verdict == "good"


@pytest.mark.parametrize(("shared", "verdict"), [(0, "good"), (1, "look"), (20, "bad")])
def test_collisions_are_judged(shared, verdict):
    codes = np.arange(100)[:, None].copy()
    codes[:shared] = 99
    verdicts = {each.figure: each for each in judge(health(codes, (100,)))}
    assert verdicts["collision rate"].verdict == verdict


def test_meaning_is_judged_by_neighbours():
    rng = np.random.default_rng(0)
    own = np.repeat(np.arange(30), 20)
    vectors = np.eye(30)[own] + 0.01 * rng.normal(size=(600, 30))
    for codes, verdict in ((own, "good"), (rng.permutation(own), "bad")):
        found = {each.figure: each for each in judge(health(codes[:, None], (30,), vectors=vectors))}
        assert found["neighbours with the same first code"].verdict == verdict


def test_fewer_items_than_codes_can_use_no_more_codes_than_items():
    assert judge(health(np.arange(10)[:, None], (256,)))[0].verdict == "good"
