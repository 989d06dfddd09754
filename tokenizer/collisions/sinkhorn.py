"""Part items that share a semantic ID by Sinkhorn's algorithm, as the papers do; for comparison.

Again and again, each group of items that share all codes gets last codes anew: the assignment of the group's
items to the codes of the last level that is nearest and, entropically smoothed, even. Nothing looks at the
items outside of a group, so that parted items may meet others; what is left after the last round stays.

In the papers' code items with equal embeddings get equal assignments and never part (all of them take code 0
where distances do not differ at all). Here they take the codes that suit them one after another.

Source: Zheng et al., "Adapting large language models by integrating collaborative semantics for
recommendation" (LC-Rec, arXiv:2311.09049), section 3.1.2; epsilon, iterations and rounds as in its code,
which TIGER's and MiniOneRec's tokenizers share.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tokenizer.collisions.prefix_search import squared_distances
from tokenizer.collisions.unique import collision_groups

EPSILON = 0.003
ITERATIONS = 50
ROUNDS = 20


def sinkhorn_assignment(
    distances: np.ndarray, *, epsilon: float = EPSILON, iterations: int = ITERATIONS
) -> np.ndarray:
    """Give (n, K) log-weights of assigning n items to K codes, near and evenly.

    Args:
        distances: (n, K).
        epsilon: Of the smoothing, with distances stretched to [-1, 1].
        iterations: Of Sinkhorn's algorithm.

    Returns:
        Logarithms of a matrix whose rows sum to 1/n and whose columns come near 1/K.
    """
    middle = (distances.max() + distances.min()) / 2
    amplitude = distances.max() - middle + 1e-5
    logs = -(distances - middle) / amplitude / epsilon
    num_items, size = distances.shape
    for _ in range(iterations):
        logs = logs - np.logaddexp.reduce(logs, axis=0, keepdims=True) - np.log(size)
        logs = logs - np.logaddexp.reduce(logs, axis=1, keepdims=True) - np.log(num_items)
    return logs


def part_by_sinkhorn(codes: np.ndarray, latents: np.ndarray, books: Sequence[np.ndarray]) -> np.ndarray:
    """Give (N, L) codes in which items that shared all codes have other last codes where they found some.

    Args:
        codes: (N, L) integers.
        latents: (N, d), before quantization.
        books: Per level (K, d).
    """
    codes = np.array(codes, dtype=np.int64)
    prefix = sum(np.asarray(book, np.float64)[codes[:, level]] for level, book in enumerate(books[:-1]))
    residuals = np.asarray(latents, np.float64) - prefix
    last = np.asarray(books[-1], np.float64)
    for _ in range(ROUNDS):
        groups = collision_groups(codes)
        if not groups:
            break
        for rows in groups:
            weights = sinkhorn_assignment(squared_distances(residuals[rows], last))
            codes[rows, -1] = _in_turn(weights, residuals[rows])
    return codes


def _in_turn(weights: np.ndarray, residuals: np.ndarray) -> np.ndarray:
    """Give each row its best code; the second of equal rows its second best, and so on, round and round."""
    ranked = np.argsort(-weights, axis=1, kind="stable")
    same = np.unique(residuals, axis=0, return_inverse=True)[1].reshape(-1)
    order = np.argsort(same, kind="stable")
    turn = np.empty(len(same), np.int64)
    starts = np.searchsorted(same[order], same[order])
    turn[order] = np.arange(len(same)) - starts
    return ranked[np.arange(len(same)), turn % weights.shape[1]]
