"""The variance that a table of semantic IDs explains, by hand and against chance."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenizer import arrays
from tokenizer.health.explained import explained
from tokenizer.kmeans import fit_rqkmeans


def test_the_error_is_told_level_by_level() -> None:
    """Vectors 0, 2, 10, 12 have mean 6 and squared distances 36 + 16 + 16 + 36 = 104.

    First codes 0 0 1 1 have means 1 and 11 and leave -1, 1, -1, 1: 4 of 104. Second codes 0 1 0 1 take them.
    By chance a level with 2 codes takes 1/3 of what is left: 1/3, then 1 - 2/3 * 2/3 = 5/9.
    """
    vectors = np.array([[0.0], [2.0], [10.0], [12.0]])
    first, second = explained(np.array([[0, 0], [0, 1], [1, 0], [1, 1]]), vectors, (2, 2))["levels"]
    assert first == {"explained": pytest.approx(100 / 104), "by_chance": pytest.approx(1 / 3)}
    assert second == {"explained": pytest.approx(1.0), "by_chance": pytest.approx(5 / 9)}


def test_a_group_has_its_own_share() -> None:
    """Items 0 and 1 lie at 0 and 2 and have code 0, mean 1: error 2 of their 36 + 16. Item 3 is exact."""
    vectors = np.array([[0.0], [2.0], [10.0], [12.0]])
    groups = {"near": np.array([True, True, False, False]), "last": np.array([False, False, False, True])}
    found = explained(np.array([[0], [0], [1], [2]]), vectors, (3,), groups)["groups"]
    assert found == {"near": pytest.approx(1 - 2 / 52), "last": pytest.approx(1.0)}


def test_codes_dealt_at_random_explain_what_is_told_as_chance() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(500, 8))
    codes = rng.integers(0, 50, (500, 3))
    for level in explained(codes, vectors, (50, 50, 50))["levels"]:
        assert level["explained"] == pytest.approx(level["by_chance"], abs=0.02)
    # 1 - (1 - 49/499)^3 = .267
    assert level["by_chance"] == pytest.approx(0.267, abs=1e-3)


@pytest.mark.parametrize("block_bytes", [1, 1000])
def test_the_size_of_the_blocks_does_not_matter(block_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    vectors, codes = rng.normal(size=(50, 3)).astype(np.float32), rng.integers(0, 5, (50, 2))
    whole = explained(codes, vectors, (5, 5))
    monkeypatch.setattr(arrays, "BLOCK_BYTES", block_bytes)
    assert explained(codes, vectors, (5, 5)) == whole


@given(st.integers(0, 10_000), st.integers(2, 30), st.integers(1, 3))
def test_a_level_more_never_explains_less(seed: int, num_items: int, num_levels: int) -> None:
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 4, (num_items, num_levels))
    levels = explained(codes, rng.normal(size=(num_items, 2)), [4] * num_levels)["levels"]
    shares = [0.0, *(level["explained"] for level in levels)]
    assert all(later >= earlier - 1e-9 for earlier, later in itertools.pairwise(shares))
    assert shares[-1] <= 1


def test_where_the_vectors_lie_and_how_long_they_are_does_not_matter() -> None:
    rng = np.random.default_rng(0)
    vectors, codes = rng.normal(size=(50, 3)), rng.integers(0, 5, (50, 2))
    moved = explained(codes, 1000 + 3 * vectors, (5, 5))["levels"]
    for level, other in zip(explained(codes, vectors, (5, 5))["levels"], moved, strict=True):
        assert level["explained"] == pytest.approx(other["explained"])


def test_for_residual_k_means_it_is_what_its_own_codebooks_give() -> None:
    """Its centroids are means of residuals up to the last step of Lloyd's algorithm."""
    vectors = np.random.default_rng(0).normal(size=(400, 4)).astype(np.float32)
    fit = fit_rqkmeans(vectors, (8, 8), balanced=False, iterations=50, seed=0)
    error = np.square(vectors - fit.model.decode(fit.codes)).sum()
    own = 1 - error / np.square(vectors - vectors.mean(0)).sum()
    assert explained(fit.codes, vectors, (8, 8))["levels"][-1]["explained"] == pytest.approx(own, abs=5e-3)
