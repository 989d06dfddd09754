"""Semantic IDs without semantics: what a table that claims the codes carry meaning has to be compared with.

Everything else about them is as usual: unique, of the same sizes, made from a seed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

_LARGEST_LISTED_SPACE = 2**24  # up to here all IDs are numbered and dealt; beyond, draws hardly ever repeat


def shuffled_codes(codes: np.ndarray, *, seed: int) -> np.ndarray:
    """Deal the same codes to other items, along one random cycle through all of them.

    The prefix tree stays as it was, and so does how hard it is to decode; only which item is meant changes.

    Args:
        codes: (N, L) integers.
        seed: Of the cycle.

    Returns:
        (N, L) the same rows in another order; no item keeps its own, unless it is the only one.
    """
    codes = np.asarray(codes)
    cycle = np.random.default_rng(seed).permutation(len(codes))
    dealt = np.empty_like(codes)
    dealt[cycle] = codes[np.roll(cycle, 1)]
    return dealt


def random_codes(num_items: int, codebook_sizes: Sequence[int], *, seed: int) -> np.ndarray:
    """Draw a different code sequence for every item, all of them equally likely.

    Args:
        num_items: N.
        codebook_sizes: K of each level.
        seed: Of the draw.

    Returns:
        (N, L) int64, no two rows equal.

    Raises:
        ValueError: If there are fewer code sequences than items.
    """
    space = math.prod(int(size) for size in codebook_sizes)
    if space < num_items:
        raise ValueError(f"codebook_sizes {list(codebook_sizes)} name {space} items, not {num_items}.")
    rng = np.random.default_rng(seed)
    if space <= _LARGEST_LISTED_SPACE:
        numbers = rng.choice(space, size=num_items, replace=False)
        return np.stack(np.unravel_index(numbers, tuple(codebook_sizes)), axis=1).astype(np.int64)
    codes = _draw(rng, num_items, codebook_sizes)
    while True:
        _, first = np.unique(codes, axis=0, return_index=True)
        repeated = np.setdiff1d(np.arange(num_items), first)
        if not len(repeated):
            return codes
        codes[repeated] = _draw(rng, len(repeated), codebook_sizes)


def _draw(rng: np.random.Generator, count: int, codebook_sizes: Sequence[int]) -> np.ndarray:
    return np.stack([rng.integers(size, size=count) for size in codebook_sizes], axis=1)
