"""How much of the item vectors a table of semantic IDs keeps, level by level, whoever made the table.

One definition for all tables, with or without codebooks of their own. Each code of a level stands for the
mean of what the levels before left over of its items (`mean_codebooks`); an item's reconstruction after l
levels is the sum of its first l code vectors; explained is 1 - squared error / squared distance to the mean
of all vectors (R2). For residual k-means that is what its own codebooks give; a decoder, like that of an
RQ-VAE, may do better, and its error stands apart as `reconstruction_error`.

The more codes, the more even codes dealt at random explain: a level of k codes explains (k - 1) / (N - 1) of
what was left before it, in the mean over all ways to deal them. So that share stands beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tokenizer.arrays import blocks
from tokenizer.collisions.unique import mean_codebooks


def explained(
    codes: np.ndarray,
    vectors: np.ndarray,
    sizes: Sequence[int],
    groups: Mapping[str, np.ndarray] | None = None,
) -> dict[str, Any] | None:
    """Measure the share of the vectors' variance that the first codes explain, as the module says.

    Memory beside the input is a block of rows and the codebooks.

    Args:
        codes: (N, L) integers, N at least 2.
        vectors: (N, D).
        sizes: K of each level.
        groups: (N,) bool each, items to be looked at apart.

    Returns:
        `levels`, per level `explained` after it and `by_chance`; `groups`, by name the share explained after
        the last level of the group's own squared distance to the mean of all (None where that is 0). None if
        all vectors are equal.
    """
    vectors = np.asarray(vectors)
    if not np.ptp(vectors, axis=0).any():
        return None
    books = mean_codebooks(codes, vectors, sizes)
    mean = vectors.mean(axis=0, dtype=np.float64)
    errors = np.zeros((len(vectors), len(books) + 1))  # (N, L + 1), after 0 to L levels
    for rows in blocks(len(vectors), 24 * vectors.shape[1]):
        errors[rows, 0] = np.square(vectors[rows] - mean).sum(axis=1)
        left = np.array(vectors[rows], dtype=np.float64)
        for level, book in enumerate(books):
            left -= book[codes[rows, level]]
            errors[rows, level + 1] = np.square(left).sum(axis=1)
    total = errors.sum(axis=0)
    used = np.array([len(np.unique(own)) for own in np.asarray(codes).T])
    by_chance = 1 - np.cumprod(1 - (used - 1) / (len(vectors) - 1))
    return {
        "levels": [
            {"explained": float(1 - after / total[0]), "by_chance": float(chance)}
            for after, chance in zip(total[1:], by_chance, strict=True)
        ],
        "groups": {name: _share(errors[mask]) for name, mask in (groups or {}).items()},
    }


def _share(errors: np.ndarray) -> float | None:
    total = errors.sum(axis=0)
    return float(1 - total[-1] / total[0]) if total[0] else None
