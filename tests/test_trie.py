"""SIDTrie: what may follow a prefix, which items a leaf holds, subsets, files."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sidrec.errors import ArtifactError
from sidrec.trie import NOWHERE, ROOT, SIDTrie

# item 0: a0 b1, item 1: a0 b0, item 2: a2 b1, item 3: a0 b1 (collides with item 0)
CODES = np.array([[0, 1], [0, 0], [2, 1], [0, 1]])
# item 1 is the beginning of items 0 and 2; item 4 equals item 1
UNEQUAL = [[7, 1, 5], [7], [7, 1], [2, 2], [7]]
TABLES = st.integers(1, 6).flatmap(
    lambda levels: st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=levels), min_size=1, max_size=30)
)


def test_children_of_the_root_are_the_first_codes():
    children = SIDTrie(CODES).children(torch.tensor([ROOT]), 0)
    assert children.codes[children.allowed].tolist() == [0, 2]


def test_children_are_padded_to_the_widest_node():
    trie = SIDTrie(CODES)
    states = trie.walk(torch.tensor([[0], [2]]))[:, 1]
    children = trie.children(states, 1)
    assert children.codes.tolist() == [[0, 1], [1, 0]]
    assert children.allowed.tolist() == [[True, True], [True, False]]


def test_items_with_one_sid_stand_in_catalogue_order():
    assert SIDTrie(CODES).items_of([0, 1]) == [0, 3]


def test_counts_of_nodes_and_leaves():
    trie = SIDTrie(CODES)
    assert (trie.num_items, trie.num_levels, trie.num_leaves) == (4, 2, 3)
    assert trie.level_sizes == [2, 3]
    assert trie.num_nodes == 6
    assert (trie.ends, trie.continues) == ([False, True], [True, False])


def test_items_of_unequal_depth_end_where_their_codes_end():
    trie = SIDTrie(UNEQUAL)
    assert trie.items_of([7]) == [1, 4]
    assert trie.items_of([7, 1]) == [2]
    assert trie.items_of([7, 1, 5]) == [0]
    assert trie.ends == [True, True, True]
    assert trie.num_leaves == 4


def test_a_table_padded_with_minus_one_is_one_of_unequal_depth():
    table = np.array([[7, 1, 5], [7, -1, -1], [7, 1, -1], [2, 2, -1], [7, -1, -1]])
    assert SIDTrie(table) == SIDTrie(UNEQUAL)


def test_codes_can_be_any_token_ids():
    """Titles, as tokens of a vocabulary of 152k: items 0 and 1 begin alike."""
    trie = SIDTrie([[151_000, 12, 3], [151_000, 12, 151_935], [4, 4]])
    state = trie.walk(torch.tensor([151_000, 12]))[-1]
    children = trie.children(state, 2)
    assert children.codes[children.allowed].tolist() == [3, 151_935]


def test_unknown_prefix_raises():
    with pytest.raises(ValueError, match=r"\[1\] is not the beginning of any semantic ID"):
        SIDTrie(CODES).walk(torch.tensor([[0], [1]]))


def test_an_unknown_prefix_leads_nowhere_and_stays_there():
    found = SIDTrie(CODES).find(torch.tensor([[0, 1], [1, 1], [2, 0]]))
    assert found[:, 0].tolist() == [ROOT] * 3
    assert (found == NOWHERE).tolist() == [[False] * 3, [False, True, True], [False, False, True]]


def test_only_whole_sids_are_contained():
    trie = SIDTrie(UNEQUAL)
    table = torch.tensor([[7, 1, 5], [7, -1, -1], [2, -1, -1], [2, 2, -1], [7, 1, 4]])
    assert trie.contains(table).tolist() == [True, True, False, True, False]
    assert bool(trie.contains([7, 1]))


@pytest.mark.parametrize("codes", [[0], [0, 1, 1]])
def test_codes_that_name_no_item_raise(codes):
    with pytest.raises(ValueError, match=r"is the beginning of semantic IDs|is not the beginning of any"):
        SIDTrie(CODES).items_of(codes)


@pytest.mark.parametrize("codes", [np.zeros((0, 2), int), np.zeros((2, 0), int), np.zeros(3, int), []])
def test_empty_tables_raise(codes):
    with pytest.raises(ValueError, match="N and L at least 1"):
        SIDTrie(codes)


@pytest.mark.parametrize("codes", [np.array([[0, -2]]), np.array([[0.5, 1.0]]), [[1, -1]], [[0.5]], [["a"]]])
def test_codes_that_are_no_codes_raise(codes):
    with pytest.raises(ValueError, match="integer codes of at least 0"):
        SIDTrie(codes)


def test_a_hole_in_a_sequence_raises():
    with pytest.raises(ValueError, match="-1 stands before a code"):
        SIDTrie(np.array([[1, -1, 2]]))


def test_an_item_without_a_code_raises():
    with pytest.raises(ValueError, match="Item 1 has no code at all"):
        SIDTrie([[1, 2], []])


def test_a_code_beyond_32_bits_raises():
    with pytest.raises(ValueError, match=r"codes below 2\*\*31 - 1"):
        SIDTrie(np.array([[2**31]]))


def following(rows: list[list[int]]) -> dict[tuple, set]:
    """Prefix -> codes that may follow."""
    allowed: dict[tuple, set] = {}
    for row in rows:
        for level, code in enumerate(row):
            allowed.setdefault(tuple(row[:level]), set()).add(code)
    return allowed


@settings(max_examples=80, deadline=None)
@given(TABLES)
def test_the_trie_equals_a_dictionary_of_prefixes(rows):
    trie = SIDTrie(rows)
    for prefix, expected in following(rows).items():
        state = trie.walk(torch.tensor(prefix, dtype=torch.int64))[-1]
        children = trie.children(state, len(prefix))
        assert children.codes[children.allowed].tolist() == sorted(expected)
        assert trie.codes_of(state)[: len(prefix)].tolist() == list(prefix)
    for row in rows:
        assert trie.items_of(row) == [i for i, other in enumerate(rows) if other == row]
    assert trie.num_leaves == len({tuple(row) for row in rows})
    states = trie.state_of(torch.arange(len(rows)))
    for row, codes in zip(rows, trie.codes_of(states).tolist(), strict=True):
        assert codes == row + [-1] * (trie.num_levels - len(row))


@settings(max_examples=80, deadline=None)
@given(TABLES, st.data())
def test_a_subset_allows_what_its_items_allow(rows, data):
    kept = sorted(data.draw(st.sets(st.integers(0, len(rows) - 1), min_size=1)))
    trie = SIDTrie(rows)
    part = trie.subset(kept)
    left = [rows[item] for item in kept]
    for prefix, expected in following(left).items():
        state = part.walk(torch.tensor(prefix, dtype=torch.int64))[-1]
        assert int(state) == int(trie.walk(torch.tensor(prefix, dtype=torch.int64))[-1])
        children = part.children(state, len(prefix))
        assert children.codes[children.allowed].tolist() == sorted(expected)
    for item in kept:
        assert part.items_of(rows[item]) == [i for i in kept if rows[i] == rows[item]]
    assert part.num_items == len(kept)
    assert part.num_leaves == len({tuple(row) for row in left})
    assert part.level_sizes[0] == len({row[0] for row in left})


def test_a_subset_of_a_subset_is_a_subset():
    trie = SIDTrie(UNEQUAL)
    assert trie.subset([0, 1, 3]).subset([3, 0]) == trie.subset([0, 3])


def test_an_item_that_a_subset_left_out_is_not_contained():
    part = SIDTrie(UNEQUAL).subset([1, 2])
    assert part.contains(torch.tensor([[7, -1, -1], [7, 1, -1], [7, 1, 5], [2, 2, -1]])).tolist() == [
        True,
        True,
        False,
        False,
    ]
    assert part.items_of([7]) == [1]


@pytest.mark.parametrize("items", [[], [5], [-1]])
def test_a_subset_needs_items_that_are_there(items):
    with pytest.raises(ValueError, match=r"at least one item|is not one of the 5"):
        SIDTrie(UNEQUAL).subset(items)


def test_a_subset_cannot_take_back_what_was_left_out():
    with pytest.raises(ValueError, match="only items that the trie holds"):
        SIDTrie(UNEQUAL).subset([0, 1]).subset([2])


@pytest.mark.parametrize("kept", [None, [1, 3]])
def test_what_was_saved_is_loaded(tmp_path: Path, kept):
    trie = SIDTrie(UNEQUAL) if kept is None else SIDTrie(UNEQUAL).subset(kept)
    trie.save(tmp_path / "trie")
    loaded = SIDTrie.load(tmp_path / "trie")
    assert loaded == trie
    assert loaded.items_of([7]) == trie.items_of([7])
    assert (loaded.level_sizes, loaded.num_leaves) == (trie.level_sizes, trie.num_leaves)


def test_other_items_or_codes_are_unequal():
    assert SIDTrie(CODES) != SIDTrie(CODES[::-1].copy())
    assert SIDTrie(CODES) != SIDTrie(CODES + 1)
    assert SIDTrie(CODES) != "a trie"


def test_a_missing_file_is_refused(tmp_path: Path):
    SIDTrie(CODES).save(tmp_path)
    (tmp_path / "items.npy").unlink()
    with pytest.raises(ArtifactError, match="holds no trie that can be read"):
        SIDTrie.load(tmp_path)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        *((name, -1) for name in ("first_edge", "edge_codes", "item_start", "item_end", "items")),
        *((name, 10**6) for name in ("first_edge", "item_start", "item_end")),
    ],
)
def test_files_that_make_no_tree_are_refused(tmp_path: Path, name, wrong):
    SIDTrie(CODES).save(tmp_path)
    array = np.load(tmp_path / f"{name}.npy")
    array[len(array) // 2] = wrong
    np.save(tmp_path / f"{name}.npy", array)
    with pytest.raises(ArtifactError, match="not those of a trie"):
        SIDTrie.load(tmp_path)


def test_a_million_items_take_less_than_40_mb_beside_the_table():
    codes = np.random.default_rng(0).integers(0, 256, (1_000_000, 3))
    tracemalloc.start()
    trie = SIDTrie(codes)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert trie.num_items == 1_000_000
    assert peak < 40e6
