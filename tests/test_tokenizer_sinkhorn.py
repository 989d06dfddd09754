"""The papers' way to part colliding items, and the defect that ours is without."""

import numpy as np
import pytest

from tokenizer.collisions.sinkhorn import part_by_sinkhorn, sinkhorn_assignment
from tokenizer.collisions.unique import collision_rate


def test_an_assignment_is_even_over_items_and_near_even_over_codes() -> None:
    distances = np.random.default_rng(0).random((6, 4))
    weights = np.exp(sinkhorn_assignment(distances, epsilon=0.5, iterations=200))
    np.testing.assert_allclose(weights.sum(axis=1), 1 / 6, rtol=1e-9)
    np.testing.assert_allclose(weights.sum(axis=0), 1 / 4, rtol=1e-3)


def test_an_assignment_equals_the_plain_algorithm() -> None:
    """The textbook: exponentials, rows and columns divided in turn."""
    distances = np.random.default_rng(1).random((5, 7))
    low, high = distances.min(), distances.max()
    centred = (distances - (high + low) / 2) / (high - (high + low) / 2 + 1e-5)
    plain = np.exp(-centred / 0.1)
    for _ in range(50):
        plain /= plain.sum(axis=0, keepdims=True) * 7
        plain /= plain.sum(axis=1, keepdims=True) * 5
    np.testing.assert_allclose(np.exp(sinkhorn_assignment(distances, epsilon=0.1)), plain, rtol=1e-8)


def books() -> list[np.ndarray]:
    return [np.zeros((2, 1)), np.array([[0.0], [1.0], [2.0], [9.0]])]


def test_items_with_equal_codes_are_parted_and_others_stay() -> None:
    codes = np.array([[0, 1], [0, 1], [1, 2]])
    latents = np.array([[0.9], [1.6], [2.0]])
    parted = part_by_sinkhorn(codes, latents, books())
    assert collision_rate(parted) == 0
    assert parted[:, 0].tolist() == [0, 0, 1]
    assert parted[2].tolist() == [1, 2]


def test_items_with_equal_embeddings_do_not_all_take_one_code() -> None:
    codes = np.zeros((4, 2), np.int64)
    parted = part_by_sinkhorn(codes, np.zeros((4, 1)), books())
    assert sorted(parted[:, 1].tolist()) == [0, 1, 2, 3]


def test_a_group_larger_than_its_level_keeps_collisions() -> None:
    parted = part_by_sinkhorn(np.zeros((6, 2), np.int64), np.zeros((6, 1)), books())
    assert collision_rate(parted) == pytest.approx(2 / 6)


def test_nothing_moves_where_nothing_collides() -> None:
    codes = np.array([[0, 1], [0, 2]])
    assert np.array_equal(part_by_sinkhorn(codes, np.array([[5.0], [7.0]]), books()), codes)
