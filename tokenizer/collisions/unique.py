"""Find items that share a semantic ID, and make the IDs unique at least cost. Plain numpy; nothing random.

A *group* is the set of items that share the first L-1 codes, their *prefix*; it offers K slots, one per code
of the last level. Cost is the squared distance of an item's latent to the sum of its code vectors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tokenizer.arrays import blocks
from tokenizer.collisions.resolver import Resolver, checked_table, rows_by_value


class CodeSpaceError(ValueError):
    """There are more items than semantic IDs."""


@dataclass(frozen=True)
class Resolution:
    """Unique semantic IDs and what they cost.

    Attributes:
        codes: (N, L) int64, no two rows equal.
        moved: (N,) bool, True where the codes differ from those given.
        collision_rate_before: 1 - distinct / N of the codes given.
        extra_error: Squared distance of latents to their code sums, mean over all N items: after less before.
    """

    codes: np.ndarray
    moved: np.ndarray
    collision_rate_before: float
    extra_error: float


def collision_rate(codes: np.ndarray) -> float:
    """Give 1 - distinct semantic IDs / N of (N, L) codes; 0 for no items."""
    codes = np.asarray(codes)
    return 1 - len(np.unique(codes, axis=0)) / len(codes) if len(codes) else 0.0


def collision_groups(codes: np.ndarray) -> list[np.ndarray]:
    """Give the rows of each semantic ID that two or more items share, in the order of their first rows."""
    return [rows for rows in rows_by_value(np.asarray(codes)) if len(rows) > 1]


def add_level(codes: np.ndarray) -> np.ndarray:
    """Give (N, L + 1) codes: items that share an ID are numbered from 0 in the order of rows, others get 0.

    Source: TIGER (arXiv:2305.05065), section 3.1.
    """
    codes = np.asarray(codes)
    number = np.zeros(len(codes), dtype=np.int64)
    for rows in collision_groups(codes):
        number[rows] = np.arange(len(rows))
    return np.column_stack([codes, number])


def mean_codebooks(codes: np.ndarray, latents: np.ndarray, sizes: Sequence[int]) -> list[np.ndarray]:
    """Give code vectors to codes that came without: of each level the mean of what its items leave over.

    Args:
        codes: (N, L) integers.
        latents: (N, d) with mean 0.
        sizes: K of each level. A code that no item has gets the mean of its level, 0.

    Returns:
        Per level (K, d) float64.
    """
    latents = np.asarray(latents)
    books: list[np.ndarray] = []
    for level, size in enumerate(sizes):
        own = codes[:, level]
        sums = np.zeros((size, latents.shape[1]))
        for rows in blocks(len(latents), 8 * latents.shape[1]):
            residuals = np.array(latents[rows], dtype=np.float64)
            for before, book in enumerate(books):
                residuals -= book[codes[rows, before]]
            np.add.at(sums, own[rows], residuals)
        books.append(sums / np.maximum(np.bincount(own, minlength=size), 1)[:, None])
    return books


def make_unique(codes: np.ndarray, latents: np.ndarray, codebooks: Sequence[np.ndarray]) -> Resolution:
    """Give every item its own semantic ID by moving as few items as possible, as little as possible.

    1. A group in which no two items collide is not touched.
    2. A group with collisions of at most K items is solved exactly (linear sum assignment): on each code one
       of the items that have it stays, the others get free last codes; of all ways to do so, the one of least
       cost.
    3. From a larger group some items spill. Who does is decided in the same assignment, with the cost of an
       item's nearest free slot elsewhere as the price of spilling it. Then the item nearest to a prefix with
       a free slot moves there first, nearness being the squared distance of the latent to the sum of the
       prefix's code vectors; a prefix that no item has counts too. Newcomers share out a group's free last
       codes at least cost; those who were there stay.

    Items equal in latent and codes are served in the order of rows. Nearest prefixes are exact for up to
    three levels with a first codebook of at most 256 codes, and up to some ten thousand items in groups that
    are too large; beyond, a beam search finds near ones.

    Args:
        codes: (N, L) integers in [0, K) of their level.
        latents: (N, d), before quantization.
        codebooks: Per level (K, d).

    Raises:
        CodeSpaceError: If there are more items than code sequences.
        ValueError: If shapes or ranges do not fit, or a latent is not finite.
    """
    codes, latents, books = checked_table(codes, latents, codebooks)
    sizes = [len(book) for book in books]
    if len(codes) > math.prod(sizes):
        raise CodeSpaceError(
            f"{len(codes)} items cannot have unique semantic IDs: tokenizer.codebook_sizes={sizes} holds "
            f"{math.prod(sizes)}. Raise tokenizer.codebook_sizes or add a level."
        )
    resolver = Resolver(codes, latents, books, residents=codes[:0])
    resolver.resolve()
    after = resolver.codes
    return Resolution(
        codes=after,
        moved=(after != codes).any(axis=1),
        collision_rate_before=collision_rate(codes),
        extra_error=extra_error(codes, after, latents, books),
    )


def extra_error(
    before: np.ndarray, after: np.ndarray, latents: np.ndarray, books: Sequence[np.ndarray]
) -> float:
    """Give the squared distance between latent and code sum, mean over items: after less before.

    Args:
        before: (N, L) integers.
        after: (N, L), the same or others.
        latents: (N, d).
        books: Per level (K, d).
    """
    moved = np.flatnonzero((before != after).any(axis=1))
    total = 0.0
    for rows in blocks(len(moved), max(1, 8 * latents.shape[1])):
        own = moved[rows]
        for codes, sign in ((after, 1), (before, -1)):
            sums = sum(np.asarray(book, np.float64)[codes[own, level]] for level, book in enumerate(books))
            total += sign * float(np.square(latents[own] - sums).sum())
    return total / max(1, len(before))
