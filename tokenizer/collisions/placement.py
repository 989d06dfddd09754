"""Give new items codes of their own in a table whose items keep theirs. Plain numpy; nothing random.

The rules are those of `collisions.make_unique`, with the items that are there as residents who never move.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tokenizer.collisions.resolver import Resolver, checked_codes, checked_table, rows_by_value
from tokenizer.collisions.unique import CodeSpaceError


@dataclass(frozen=True)
class Placement:
    """Where new items went.

    Attributes:
        codes: (n, L) int64, no two rows equal, none that of a resident.
        moved: (n,) bool, True where the codes differ from those given.
        left_prefix: (n,) bool, True where even the first L-1 codes do.
    """

    codes: np.ndarray
    moved: np.ndarray
    left_prefix: np.ndarray


def place_new(
    taken: np.ndarray, codes: np.ndarray, latents: np.ndarray, codebooks: Sequence[np.ndarray]
) -> Placement:
    """Give every new item its own semantic ID, by moving as few of them as possible, as little as possible.

    1. A new item whose codes nobody else has or wants keeps them.
    2. Of the new items that want the same free codes one stays. The others, and those whose codes a resident
       has, share out the free last codes of their prefix at least cost.
    3. Where a prefix has fewer free codes than it needs, the rest goes to the nearest prefixes with a free
       one, the nearest pair of item and prefix first.

    Cost, nearness and ties are those of `make_unique`. A level without code vectors, as `add_level` makes it,
    is one of zeros: all its codes cost the same, and the least free one is taken.

    Args:
        taken: (N, L) codes of the residents.
        codes: (n, L) codes that the new items would have.
        latents: (n, d), theirs, before quantization.
        codebooks: Per level (K, d).

    Raises:
        CodeSpaceError: If fewer than n semantic IDs are free.
        ValueError: If shapes or ranges do not fit, or a latent is not finite.
    """
    codes, latents, books = checked_table(codes, latents, codebooks)
    taken = checked_codes(taken, books)
    sizes = [len(book) for book in books]
    free = math.prod(sizes) - len(np.unique(taken, axis=0))
    if len(codes) > free:
        raise CodeSpaceError(
            f"{len(codes)} new items cannot have semantic IDs of their own: of the {math.prod(sizes)} of "
            f"tokenizer.codebook_sizes={sizes} only {free} are free. Tokenize all items anew with a larger "
            "size or one more level."
        )
    resolver = Resolver(codes, latents, books, residents=taken)
    resolver.resolve()
    differs = resolver.codes != codes
    return Placement(resolver.codes, differs.any(axis=1), differs[:, :-1].any(axis=1))


def next_numbers(taken: np.ndarray, prefixes: np.ndarray, size: int) -> np.ndarray:
    """Number new items on the level that `add_level` made: each gets the least number its prefix has free.

    Args:
        taken: (N, L) codes of the items that are there, their numbers last.
        prefixes: (n, L - 1) codes of the new items, served in the order of rows.
        size: K of the last level. Where a prefix has used up its numbers, the rest gets the last one, and
            `place_new` finds them another prefix.

    Returns:
        (n,) int64.
    """
    numbers = np.full(len(prefixes), size - 1, dtype=np.int64)
    everyone = np.concatenate([taken[:, :-1], prefixes])
    for rows in rows_by_value(everyone):
        new = rows[rows >= len(taken)] - len(taken)
        if len(new):
            free = np.setdiff1d(np.arange(size), taken[rows[rows < len(taken)], -1])[: len(new)]
            numbers[new[: len(free)]] = free
    return numbers
