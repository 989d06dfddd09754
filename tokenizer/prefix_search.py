"""Find the prefixes nearest to a latent without listing all: three levels of 256 have 16 million."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

BEAM_WIDTH = 256
"""Partial prefixes kept per level at first."""

CANDIDATES = 32
"""Prefixes looked at, at first, and given at most."""

Prefix = tuple[int, ...]


def nearest_prefixes(
    latent: np.ndarray, books: Sequence[np.ndarray], *, is_free: Callable[[Prefix], bool]
) -> list[tuple[float, Prefix]]:
    """Give up to CANDIDATES free prefixes, nearest first, with their squared distances.

    A beam search, repeated with a wider beam until a free prefix is found; at last it sees all of them. The
    result is exact where no level has to drop a partial prefix: up to two levels, the first of at most
    BEAM_WIDTH codes.

    Args:
        latent: (d,).
        books: (K, d) code vectors of each level of a prefix; a prefix stands for the sum of its code vectors.
        is_free: Whether a prefix may be given.

    Returns:
        Pairs of distance and prefix; none only if no prefix at all is free.
    """
    width, wanted = BEAM_WIDTH, CANDIDATES
    num_prefixes = math.prod(len(book) for book in books)
    while True:
        distances, prefixes = _beam_search(latent, books, width=width, wanted=wanted)
        near = zip(distances.tolist(), map(tuple, prefixes.tolist()), strict=True)
        found = [(distance, prefix) for distance, prefix in near if is_free(prefix)]
        if found or min(width, wanted) >= num_prefixes:
            return found[:CANDIDATES]
        if wanted >= width:
            width *= 8
        wanted *= 8


def squared_distances(rows: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Give (n, K) squared distances between (n, d) rows and (K, d) vectors, at least 0."""
    squares = np.square(rows).sum(axis=1)[:, None] + np.square(vectors).sum(axis=1)[None, :]
    return np.maximum(squares - 2 * rows @ vectors.T, 0.0)


def _beam_search(
    latent: np.ndarray, books: Sequence[np.ndarray], *, width: int, wanted: int
) -> tuple[np.ndarray, np.ndarray]:
    """Keep `width` partial prefixes per level; give the `wanted` nearest at the end, distances and codes."""
    residuals = latent[None, :]  # (w, d)
    prefixes = np.zeros((1, 0), dtype=np.int64)
    distances = np.square(residuals).sum(axis=1)  # (w,)
    for level, book in enumerate(books):
        table = squared_distances(residuals, book)  # (w, K)
        parents, codes = _least(table, wanted if level == len(books) - 1 else width)
        distances = table[parents, codes]
        prefixes = np.concatenate([prefixes[parents], codes[:, None]], axis=1)
        residuals = residuals[parents] - book[codes]
    return distances, prefixes


def _least(table: np.ndarray, wanted: int) -> tuple[np.ndarray, np.ndarray]:
    """Give rows and columns of the `wanted` least entries, least first, ties in the table's order."""
    if 4 * wanted <= len(table):
        # So many rows reach this cut in their least entry that enough entries do, and few more. Finding it
        # does not partition the whole table, which would be the slow part of the search.
        cut = np.partition(table.min(axis=1), wanted - 1)[wanted - 1]
    elif wanted < table.size:
        cut = np.partition(table, wanted - 1, axis=None)[wanted - 1]
    else:
        cut = np.inf
    entries = np.flatnonzero(table <= cut)
    entries = entries[np.argsort(table.reshape(-1)[entries], kind="stable")[:wanted]]
    return np.divmod(entries, table.shape[1])
