"""Find the prefixes nearest to a latent without listing all: three levels of 256 have 16 million."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

BEAM_WIDTH = 256
"""Partial prefixes kept per level at first."""

CANDIDATES = 32
"""Prefixes looked at, at first, and given at most."""

TABLE_ENTRIES = 2**22
"""Distances that a block of `PrefixTables` holds."""

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


class PrefixTables:
    """The same search for many latents at once, by tables of inner products of code vectors.

    The squared distance to a prefix grows by |c|^2 - 2 c.(x - s) with each code vector c after the sum s, so
    that once c.x and c.s are known no step looks at all d dimensions.

    Args:
        books: (K, d) code vectors of each level of a prefix.
    """

    def __init__(self, books: Sequence[np.ndarray]) -> None:
        self.books = [np.asarray(book, dtype=np.float64) for book in books]
        self.squares = [np.square(book).sum(axis=1) for book in self.books]
        self.products = [
            [earlier @ book.T for earlier in self.books[:level]] for level, book in enumerate(self.books)
        ]

    def nearest(self, latents: np.ndarray, *, width: int, wanted: int) -> tuple[np.ndarray, np.ndarray]:
        """Give the nearest prefixes of each latent that a beam search finds, nearest first.

        Args:
            latents: (n, d).
            width: Partial prefixes kept per level.
            wanted: Prefixes kept at the end.

        Returns:
            (n, C) squared distances and (n, C, levels) codes, C being `wanted` or all prefixes if there are
            fewer.
        """
        count = min(wanted, math.prod(len(book) for book in self.books))
        distances = np.empty((len(latents), count))
        prefixes = np.empty((len(latents), count, len(self.books)), dtype=np.int64)
        widest = max((len(book) for book in self.books), default=1) * min(width, TABLE_ENTRIES)
        step = max(1, TABLE_ENTRIES // widest)
        for start in range(0, len(latents), step):
            rows = slice(start, start + step)
            distances[rows], prefixes[rows] = self._block(
                np.asarray(latents[rows], np.float64), width, wanted
            )
        return distances, prefixes

    def _block(self, latents: np.ndarray, width: int, wanted: int) -> tuple[np.ndarray, np.ndarray]:
        distances = np.square(latents).sum(axis=1)[:, None]  # (n, w)
        prefixes = np.zeros((len(latents), 1, 0), dtype=np.int64)
        for level, book in enumerate(self.books):
            table = (
                distances[:, :, None] + self.squares[level] - 2 * (latents @ book.T)[:, None, :]
            )  # (n, w, K)
            for before in range(level):
                table += 2 * self.products[level][before][prefixes[:, :, before]]
            kept = wanted if level == len(self.books) - 1 else width
            parents, codes = _least_of_each(table, kept)  # (n, w')
            rows = np.arange(len(latents))[:, None]
            distances = table[rows, parents, codes]
            prefixes = np.concatenate([prefixes[rows, parents], codes[:, :, None]], axis=2)
        return np.maximum(distances, 0.0), prefixes


def _least_of_each(tables: np.ndarray, wanted: int) -> tuple[np.ndarray, np.ndarray]:
    """Give rows and columns of the `wanted` least entries of each (w, K) table, least first, ties in
    order.
    """
    flat = tables.reshape(len(tables), -1)
    if wanted >= flat.shape[1]:
        order = np.argsort(flat, axis=1, kind="stable")
    else:
        # In place of ties by `argpartition`, which are in no order: the cut is the wanted-th least value.
        chosen = np.argpartition(flat, wanted, axis=1)[:, : wanted + 1]
        chosen.sort(axis=1)
        values = np.take_along_axis(flat, chosen, axis=1)
        order = np.take_along_axis(chosen, np.argsort(values, axis=1, kind="stable")[:, :wanted], axis=1)
    return np.divmod(order, tables.shape[2])


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
