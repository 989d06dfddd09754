"""Semantic IDs without semantics are otherwise as usual."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenizer.collisions.unique import collision_rate
from tokenizer.controls import random_codes, shuffled_codes


def rows(codes: np.ndarray) -> list[tuple[int, ...]]:
    return sorted(map(tuple, codes.tolist()))


@given(st.integers(2, 40), st.integers(0, 5))
def test_shuffling_deals_every_code_to_another_item(num_items: int, seed: int) -> None:
    codes = np.stack([np.arange(num_items), np.arange(num_items) % 3], axis=1)
    dealt = shuffled_codes(codes, seed=seed)
    assert rows(dealt) == rows(codes)
    assert (dealt != codes).any(axis=1).all()


def test_shuffling_leaves_the_codes_it_was_given() -> None:
    codes = np.array([[0, 1], [1, 0], [1, 1]])
    shuffled_codes(codes, seed=0)
    assert codes.tolist() == [[0, 1], [1, 0], [1, 1]]


def test_one_item_keeps_its_code() -> None:
    assert shuffled_codes(np.array([[3, 4]]), seed=0).tolist() == [[3, 4]]


def test_the_seed_decides_who_gets_what() -> None:
    codes = np.arange(20)[:, None]
    assert np.array_equal(shuffled_codes(codes, seed=1), shuffled_codes(codes, seed=1))
    assert not np.array_equal(shuffled_codes(codes, seed=1), shuffled_codes(codes, seed=2))
    assert np.array_equal(random_codes(20, (8, 8), seed=1), random_codes(20, (8, 8), seed=1))
    assert not np.array_equal(random_codes(20, (8, 8), seed=1), random_codes(20, (8, 8), seed=2))


@pytest.mark.parametrize("sizes", [(4, 3), (3, 4)])
def test_random_codes_fill_the_space_if_they_must(sizes: tuple[int, int]) -> None:
    codes = random_codes(12, sizes, seed=0)
    assert rows(codes) == list(product(range(sizes[0]), range(sizes[1])))


def test_random_codes_of_a_space_too_large_to_list_are_unique_and_inside() -> None:
    codes = random_codes(5000, (4096, 4096, 4096), seed=0)
    assert collision_rate(codes) == 0
    assert (codes.min(), codes.max() < 4096) == (pytest.approx(0, abs=10), True)


def test_a_repeated_draw_is_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tokenizer.controls._LARGEST_LISTED_SPACE", 0)
    codes = random_codes(60, (8, 8), seed=0)  # 60 of 64: the first draw repeats for certain
    assert len(set(rows(codes))) == 60


def test_random_codes_use_every_code_about_alike() -> None:
    counts = np.bincount(random_codes(4000, (4, 2000), seed=0)[:, 0])
    assert counts.min() > 900  # 1000 each, standard deviation 27


def test_more_items_than_codes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"codebook_sizes \[2, 2\] name 4 items, not 5"):
        random_codes(5, (2, 2), seed=0)
