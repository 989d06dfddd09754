"""Whether items that are near as vectors stand together in the tree of their semantic IDs."""

from __future__ import annotations

import numpy as np

from tokenizer.arrays import blocks
from tokenizer.health.structure import prefix_numbers

NEIGHBOURS = 10
SAMPLE = 2000
"""Items whose neighbours are looked at."""


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
        of all others that have it; `fellows_near`, share of the others on its prefix that are among its
        nearest, of as many as can be (None where no item of the sample has fellows).
    """
    rows = np.arange(len(vectors))
    if len(rows) > SAMPLE:
        rows = np.sort(np.random.default_rng(seed).choice(len(rows), SAMPLE, replace=False))
    count = min(NEIGHBOURS, len(vectors) - 1)
    near = nearest(vectors, rows, count)
    result: list[dict[str, float | None]] = []
    for own in prefix_numbers(codes).T:
        together = own[near] == own[rows][:, None]  # (n, count)
        fellows = np.bincount(own)[own[rows]] - 1
        possible = np.minimum(fellows, count)
        has = possible > 0
        result.append(
            {
                "neighbours_together": float(together.mean()),
                "by_chance": float(fellows.mean() / (len(own) - 1)),
                "fellows_near": float((together.sum(1)[has] / possible[has]).mean()) if has.any() else None,
            }
        )
    return result


def nearest(vectors: np.ndarray, rows: np.ndarray, count: int) -> np.ndarray:
    """Give (n, count) the nearest others, by cosine and in no order, of some rows of (N, D) vectors.

    All vectors are gone through block by block, so that memory does not grow with N.
    """
    wanted = _unit(vectors[rows])
    cosines = np.full((len(rows), count), -np.inf, dtype=np.float32)
    items = np.zeros((len(rows), count), dtype=np.int64)
    for block in blocks(len(vectors), 12 * len(rows) + 8 * vectors.shape[1]):
        found = wanted @ _unit(vectors[block]).T
        inside = np.flatnonzero((rows >= block.start) & (rows < block.stop))
        found[inside, rows[inside] - block.start] = -np.inf
        nearer = np.flatnonzero(found.max(axis=1) > cosines.min(axis=1))  # few, once the first are found
        found = found[nearer]
        top = _largest(found, min(count, found.shape[1]))
        values = np.concatenate([cosines[nearer], np.take_along_axis(found, top, axis=1)], axis=1)
        names = np.concatenate([items[nearer], top + block.start], axis=1)
        best = _largest(values, count)
        cosines[nearer] = np.take_along_axis(values, best, axis=1)
        items[nearer] = np.take_along_axis(names, best, axis=1)
    return items


def _largest(values: np.ndarray, count: int) -> np.ndarray:
    """Give (n, count) the columns of each row's largest values."""
    return np.argpartition(values, values.shape[1] - count, axis=1)[:, values.shape[1] - count :]


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Give the vectors as float32 of length 1; a zero stays one."""
    vectors = np.asarray(vectors, dtype=np.float32)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
