"""SIDTrie: what may follow a prefix, and which items a leaf holds."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sidrec.trie import ROOT, SIDTrie

# item 0: a0 b1, item 1: a0 b0, item 2: a2 b1, item 3: a0 b1 (collides with item 0)
CODES = np.array([[0, 1], [0, 0], [2, 1], [0, 1]])


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


def test_unknown_prefix_raises():
    with pytest.raises(ValueError, match=r"\[1\] is not the beginning of any semantic ID"):
        SIDTrie(CODES).walk(torch.tensor([[0], [1]]))


def test_wrong_depth_raises():
    with pytest.raises(ValueError, match="has 2 codes, got 1"):
        SIDTrie(CODES).items_of([0])


@pytest.mark.parametrize("codes", [np.zeros((0, 2), int), np.zeros((2, 0), int), np.zeros(3, int)])
def test_empty_tables_raise(codes):
    with pytest.raises(ValueError, match="N and L at least 1"):
        SIDTrie(codes)


@pytest.mark.parametrize("codes", [np.array([[0, -1]]), np.array([[0.5, 1.0]])])
def test_codes_that_are_no_codes_raise(codes):
    with pytest.raises(ValueError, match="integer codes of at least 0"):
        SIDTrie(codes)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 5).flatmap(
        lambda levels: st.lists(
            st.lists(st.integers(0, 3), min_size=levels, max_size=levels), min_size=1, max_size=30
        )
    )
)
def test_the_trie_equals_a_dictionary_of_prefixes(rows):
    codes = np.array(rows)
    trie = SIDTrie(codes)
    following: dict[tuple, set] = {}
    for row in rows:
        for level, code in enumerate(row):
            following.setdefault(tuple(row[:level]), set()).add(code)
    for prefix, expected in following.items():
        state = trie.walk(torch.tensor(prefix, dtype=torch.int64))[-1]
        children = trie.children(state, len(prefix))
        assert children.codes[children.allowed].tolist() == sorted(expected)
    for row in rows:
        assert trie.items_of(row) == [i for i, other in enumerate(rows) if other == row]
    assert trie.num_leaves == len({tuple(row) for row in rows})
