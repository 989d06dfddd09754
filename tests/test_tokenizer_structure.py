"""The tree of a table of semantic IDs, and who stands together in it, by hand-made numbers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenizer import arrays
from tokenizer.health.neighbours import nearest, neighbour_agreement
from tokenizer.health.structure import collisions, numbers_items, prefix_numbers, purity, tree, unique_depth

# Items 0 and 3 share an ID; item 1 shares their first code; item 2 stands alone.
CODES = np.array([[0, 0], [0, 1], [1, 2], [0, 0]])


def test_prefixes_are_numbered_level_by_level():
    first, second = prefix_numbers(CODES).T.tolist()
    assert first[0] == first[1] == first[3] != first[2]
    assert second[0] == second[3]
    assert len(set(second)) == 3


def test_equal_codes_behind_other_codes_are_other_prefixes():
    assert len(set(prefix_numbers(np.array([[0, 5], [1, 5]]))[:, 1].tolist())) == 2


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9), st.integers(0, 2)), min_size=1, max_size=30))
def test_items_have_the_number_of_a_prefix_together_if_and_only_if_they_share_it(rows):
    numbers = prefix_numbers(np.array(rows))
    for one, of_one in zip(rows, numbers, strict=True):
        for other, of_other in zip(rows, numbers, strict=True):
            shared = [one[: level + 1] == other[: level + 1] for level in range(3)]
            assert (of_one == of_other).tolist() == shared


def test_the_tree_is_described_level_by_level():
    """Level a: two prefixes below the root, item 2 alone. Level b: 2 below the first, 1 below the second."""
    first, second = tree(CODES)
    assert first == {
        "prefixes": 2,
        "branching": 2.0,
        "branching_met": 2.0,
        "widest": 2,
        "items_unique": 0.25,
    }
    # Three items have 2 next codes, one has 1: 7/4.
    assert second == {
        "prefixes": 3,
        "branching": 1.5,
        "branching_met": 1.75,
        "widest": 2,
        "items_unique": 0.5,
    }


def test_the_depth_at_which_items_are_unique_leaves_out_those_that_never_are():
    """Item 2 is alone after one code, item 1 after two, the others never."""
    assert unique_depth(CODES) == 1.5
    assert unique_depth(np.zeros((3, 2), dtype=int)) is None


@pytest.mark.parametrize(
    ("codes", "numbering"),
    [
        ([[0, 0], [0, 1], [1, 0], [2, 0]], True),
        ([[0, 1], [0, 0], [1, 0], [2, 0]], True),  # in another order
        ([[0, 0], [0, 2], [1, 0], [2, 0]], False),  # two items, but not 0 and 1
        ([[0, 0], [0, 0], [1, 0], [2, 0]], False),  # still a collision
        ([[0, 0], [0, 1], [1, 0], [1, 1]], False),  # a full grid: half of the items have 0
        ([[0], [1], [2]], False),
    ],
)
def test_a_level_that_only_numbers_items_is_recognised(codes, numbering):
    assert numbers_items(np.array(codes)) is numbering


def test_groups_that_share_an_id_are_counted():
    """Items 0 and 3 share theirs, with 1 + 4 of 10 events."""
    assert collisions(CODES, np.array([1, 2, 3, 4])) == {
        "groups": 1,
        "items": 2,
        "largest": 2,
        "sizes": [[2, 1]],
        "events": 0.5,
    }
    found = collisions(np.array([[0]] * 3 + [[1]] * 2 + [[2]] * 2 + [[3]]))
    assert (found["groups"], found["items"], found["largest"]) == (3, 7, 3)
    assert found["sizes"] == [[2, 2], [3, 1]]


def test_without_collisions_or_events_there_is_nothing_to_count():
    alone = collisions(CODES[:3], np.ones(3))
    assert alone == {"groups": 0, "items": 0, "largest": 1, "sizes": [], "events": 0.0}
    assert collisions(CODES)["events"] is None
    assert collisions(CODES, np.zeros(4))["events"] == 0.0


@pytest.mark.parametrize("block_bytes", [1, 2000, 1 << 26])
def test_the_nearest_are_those_of_all_pairs_however_small_the_blocks(block_bytes, monkeypatch):
    monkeypatch.setattr(arrays, "BLOCK_BYTES", block_bytes)
    vectors = np.random.default_rng(0).normal(size=(60, 4))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, -1)
    rows = np.array([3, 7, 59])
    found = nearest(vectors, rows, 5)
    assert (
        np.sort(found, axis=1).tolist() == np.sort(np.argsort(-cosines[rows], axis=1)[:, :5], axis=1).tolist()
    )


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


def test_purity_is_the_share_of_the_commonest_category():
    """Level a: items 0, 1, 3 have categories x, y, x: 2 of 3. Level b: items 0 and 3 agree."""
    first, second = purity(CODES, np.array(["x", "y", "z", "x"]))
    assert (first["purity"], second["purity"]) == (pytest.approx(2 / 3), 1.0)
    assert purity(np.arange(3)[:, None], np.array(["x", "y", "z"])) == [None]


def test_items_without_a_category_do_not_count():
    """Of those on code 0 three have a category, and two of these agree."""
    found = purity(np.zeros((5, 1), dtype=int), np.array(["x", "", "x", "y", ""]))
    assert found[0]["purity"] == pytest.approx(2 / 3)
    assert purity(CODES, np.array([""] * 4)) == []


def test_purity_by_chance_is_that_of_categories_dealt_anew():
    """Half of many items have each of two categories; pairs then agree fully half of the time: 3/4."""
    categories = np.repeat(["x", "y"], 2000)
    pairs = np.arange(4000)[:, None] // 2
    found = purity(pairs, categories)[0]
    assert found["purity"] == 1.0
    assert found["by_chance"] == pytest.approx(0.75, abs=0.01)
