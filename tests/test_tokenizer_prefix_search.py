"""The prefixes nearest to a latent: equal to listing all of them, one latent at a time or many."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenizer.collisions.prefix_search import CANDIDATES, Prefix, PrefixTables, nearest_prefixes


def books_of(sizes: tuple[int, ...], seed: int = 0, width: int = 3) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(size, width)) for size in sizes]


def listed(latent: np.ndarray, books: list[np.ndarray]) -> list[tuple[float, Prefix]]:
    """The slow way: the distance to every prefix, nearest first."""
    prefixes = itertools.product(*(range(len(book)) for book in books))
    found = [
        (
            float(
                np.square(latent - sum(book[code] for book, code in zip(books, prefix, strict=True))).sum()
            ),
            prefix,
        )
        for prefix in prefixes
    ]
    return sorted(found)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=3), st.integers(1, 12), st.integers(0, 10**6))
def test_many_latents_find_what_listing_all_prefixes_finds(sizes, wanted, seed):
    books = books_of(tuple(sizes), seed)
    latents = np.random.default_rng(seed + 1).normal(size=(4, 3))
    distances, prefixes = PrefixTables(books).nearest(latents, width=36, wanted=wanted)
    for latent, row, codes in zip(latents, distances, prefixes.tolist(), strict=True):
        expected = listed(latent, books)[:wanted]
        assert [tuple(each) for each in codes] == [prefix for _, prefix in expected]
        np.testing.assert_allclose(row, [distance for distance, _ in expected], atol=1e-9)


def test_blocks_of_latents_do_not_change_what_is_found(monkeypatch):
    books, latents = books_of((5, 4)), np.random.default_rng(1).normal(size=(30, 3))
    whole = PrefixTables(books).nearest(latents, width=9, wanted=6)
    monkeypatch.setattr("tokenizer.collisions.prefix_search.TABLE_ENTRIES", 60)
    parts = PrefixTables(books).nearest(latents, width=9, wanted=6)
    np.testing.assert_allclose(parts[0], whole[0], atol=1e-12)
    assert np.array_equal(parts[1], whole[1])


def test_without_levels_there_is_one_prefix():
    distances, prefixes = PrefixTables([]).nearest(np.array([[3.0, 4.0]]), width=4, wanted=4)
    assert distances.tolist() == [[25.0]]
    assert prefixes.shape == (1, 1, 0)


def test_a_narrow_beam_finds_near_prefixes_and_their_true_distances():
    books, latents = books_of((40, 40)), np.random.default_rng(1).normal(size=(20, 3))
    distances, prefixes = PrefixTables(books).nearest(latents, width=4, wanted=3)
    true = np.square(latents[:, None] - books[0][prefixes[:, :, 0]] - books[1][prefixes[:, :, 1]]).sum(axis=2)
    np.testing.assert_allclose(distances, true, atol=1e-9)
    best = np.array([listed(latent, books)[0][0] for latent in latents])
    assert (distances[:, 0] >= best - 1e-9).all()


@pytest.mark.parametrize("sizes", [(6,), (5, 4), (3, 4, 5)])
def test_one_latent_finds_the_free_prefixes_nearest_first(sizes):
    books, latent = books_of(sizes), np.array([0.3, -0.2, 0.5])
    taken = {prefix for _, prefix in listed(latent, books)[::2]}
    found = nearest_prefixes(latent, books, is_free=lambda prefix: prefix not in taken)
    expected = [each for each in listed(latent, books) if each[1] not in taken][:CANDIDATES]
    assert [prefix for _, prefix in found[: len(expected)]] == [prefix for _, prefix in expected][
        : len(found)
    ]
    assert len(found) >= 1


def test_the_search_is_widened_until_a_free_prefix_is_found():
    """Only the farthest of 40,000 prefixes is free: neither the beam nor the list holds it at first."""
    books, latent = books_of((200, 200)), np.zeros(3)
    sums = books[0][:, None] + books[1][None]
    farthest = tuple(int(code) for code in np.unravel_index(np.square(sums).sum(axis=2).argmax(), (200, 200)))
    found = nearest_prefixes(latent, books, is_free=lambda prefix: prefix == farthest)
    assert [prefix for _, prefix in found] == [farthest]


def test_where_no_prefix_is_free_none_is_found():
    assert nearest_prefixes(np.zeros(3), books_of((3, 3)), is_free=lambda prefix: False) == []
