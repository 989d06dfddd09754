"""What a table of semantic IDs looks like as a tree, and whether like items stand together in it."""

from __future__ import annotations

from typing import Any

import numpy as np

NEIGHBOURS = 10
SAMPLE = 2000
"""Items whose neighbours are looked at."""


def prefix_numbers(codes: np.ndarray) -> np.ndarray:
    """Number the prefixes: (N, L) int64, equal where the first codes of two items, up to that level, are."""
    codes = np.asarray(codes)
    numbers = np.zeros(codes.shape, dtype=np.int64)
    before = np.zeros(len(codes), dtype=np.int64)
    for level in range(codes.shape[1]):
        pairs = np.column_stack([before, codes[:, level]])
        before = np.unique(pairs, axis=0, return_inverse=True)[1].reshape(-1)
        numbers[:, level] = before
    return numbers


def tree(codes: np.ndarray) -> list[dict[str, Any]]:
    """Describe the prefix tree level by level.

    Returns:
        Per level: `prefixes`, how many there are; `branching` and `widest`, mean and largest number of codes
        that follow a prefix of the level before; `items_unique`, share of items that are alone on their
        prefix.
    """
    numbers = prefix_numbers(codes)
    levels = []
    parents = np.zeros(len(numbers), dtype=np.int64)
    for level in range(numbers.shape[1]):
        own = numbers[:, level]
        pairs = np.unique(np.column_stack([parents, own]), axis=0)
        children = np.bincount(pairs[:, 0])
        sizes = np.bincount(own)
        levels.append(
            {
                "prefixes": len(sizes),
                "branching": float(children.mean()),
                "widest": int(children.max()),
                "items_unique": float((sizes[own] == 1).mean()),
            }
        )
        parents = own
    return levels


def colliding_events(codes: np.ndarray, events: np.ndarray) -> float:
    """Give the share of events on items that share their ID with another; 0 where there are no events.

    Args:
        codes: (N, L) integers.
        events: (N,) how often each item was had.
    """
    last = prefix_numbers(codes)[:, -1]
    shared = np.bincount(last)[last] > 1
    total = float(np.sum(events))
    return float(np.sum(np.asarray(events)[shared])) / total if total else 0.0


def neighbour_agreement(
    codes: np.ndarray, vectors: np.ndarray, *, seed: int = 0
) -> list[dict[str, float | None]]:
    """Say how far near items share prefixes, and how near items of a prefix are.

    Of a sample of items the nearest by cosine are found, `NEIGHBOURS` of them or, in a smaller catalogue, all
    others.

    Args:
        codes: (N, L) integers, N at least 2.
        vectors: (N, D).
        seed: Of the sample.

    Returns:
        Per level: `neighbours_together`, share of an item's nearest that have its prefix; `by_chance`, share
            of
        all others that have it; `fellows_near`, share of the others on its prefix that are among its nearest,
        of as many as can be (None where no item of the sample has fellows).
    """
    vectors = np.asarray(vectors, dtype=np.float32)
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    rows = np.arange(len(unit))
    if len(rows) > SAMPLE:
        rows = np.sort(np.random.default_rng(seed).choice(len(rows), SAMPLE, replace=False))
    count = min(NEIGHBOURS, len(unit) - 1)
    near = np.concatenate(
        [_nearest(unit, part, count) for part in np.array_split(rows, -(-len(rows) // 256))]
    )
    result: list[dict[str, float | None]] = []
    for own in prefix_numbers(codes).T:
        together = own[near] == own[rows][:, None]  # (rows, count)
        fellows = np.bincount(own)[own[rows]] - 1
        possible = np.minimum(fellows, count)
        has = possible > 0
        result.append(
            {
                "neighbours_together": float(together.mean()),
                "by_chance": float(fellows.mean() / max(len(own) - 1, 1)),
                "fellows_near": float((together.sum(1)[has] / possible[has]).mean()) if has.any() else None,
            }
        )
    return result


def _nearest(unit: np.ndarray, rows: np.ndarray, count: int) -> np.ndarray:
    """(n, count) nearest others of some rows by cosine."""
    cosines = unit[rows] @ unit.T
    cosines[np.arange(len(rows)), rows] = -np.inf
    return np.argpartition(-cosines, count - 1, axis=1)[:, :count]


def purity(codes: np.ndarray, labels: np.ndarray) -> list[float | None]:
    """Give, per level, the share of items with the commonest label of their prefix, lone items not counted.

    Args:
        codes: (N, L) integers.
        labels: (N,) category of each item.

    Returns:
        L numbers in (0, 1]; None where every item is alone.
    """
    names = np.unique(np.asarray(labels).astype(str), return_inverse=True)[1].reshape(-1)
    result: list[float | None] = []
    for own in prefix_numbers(codes).T:
        pairs, counts = np.unique(np.column_stack([own, names]), axis=0, return_counts=True)
        most = np.zeros(own.max() + 1, dtype=np.int64)
        np.maximum.at(most, pairs[:, 0], counts)
        sizes = np.bincount(own)
        crowd = sizes > 1
        result.append(float(most[crowd].sum() / sizes[crowd].sum()) if crowd.any() else None)
    return result
