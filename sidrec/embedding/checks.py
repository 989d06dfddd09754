"""What vectors must be, wherever they come from, and what is worth a warning."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from sidrec.embedding.blocks import row_blocks
from sidrec.errors import ConfigError

logger = logging.getLogger(__name__)
_SHOWN = 5


def some(names: Iterable[str]) -> str:
    """Name the first few."""
    names = list(names)
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")


def require_usable(
    vectors: np.ndarray, item_ids: Sequence[str] | pd.Series, setting: str, *, zeros: bool = False
) -> None:
    """Refuse rows that are not finite, or all zeros, from which nothing can be told.

    Args:
        vectors: (N, D) float32.
        item_ids: N ids.
        setting: What gave the vectors, as the user wrote it.
        zeros: Whether a row of zeros has a meaning. A single number may be 0 in any case.

    Raises:
        ConfigError: With the ids.
    """
    zeros = zeros or vectors.shape[1] == 1
    finite = np.ones(len(vectors), dtype=bool)
    empty = np.zeros(len(vectors), dtype=bool)
    for rows in row_blocks(len(vectors)):
        finite[rows] = np.isfinite(vectors[rows]).all(axis=1)
        empty[rows] = not zeros and ~vectors[rows].any(axis=1)
    for problem, bad in (("NaN or infinity", ~finite), ("only zeros", empty)):
        if bad.any():
            found = np.flatnonzero(bad)
            ids = pd.Series(item_ids).iloc[found]
            raise ConfigError(
                f"{setting} gives {problem} to {len(found)} of {len(vectors)} items: {some(ids)}; expected "
                "finite vectors that are not zero. Compute these again."
            )


def require_spread(vectors: np.ndarray, setting: str) -> None:
    """Refuse vectors that tell no item from another, and warn of columns that tell none.

    Raises:
        ConfigError: If there are several items and all have the same vector.
    """
    first = vectors[0]
    constant = np.ones(len(first), dtype=bool)
    for rows in row_blocks(len(vectors)):
        constant &= (vectors[rows] == first).all(axis=0)
    if len(vectors) > 1 and constant.all():
        raise ConfigError(
            f"{setting} gives all {len(vectors)} items the same vector, so none can be told from another. "
            "Give them texts or vectors that differ."
        )
    if len(vectors) > 1 and constant.any():
        logger.warning(
            "%s: %d of %d columns are the same for all items", setting, constant.sum(), len(constant)
        )


def note_duplicates(vectors: np.ndarray, item_ids: pd.Series) -> None:
    """Say how many items have the vector of another, as items of equal texts do."""
    hashes = np.array(
        [hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in vectors], dtype="S16"
    )
    _, group, sizes = np.unique(hashes, return_inverse=True, return_counts=True)
    shared = np.flatnonzero(sizes[group] > 1)
    if len(shared):
        pair = item_ids.iloc[np.flatnonzero(group == group[shared[0]])[:2]]
        logger.info(
            "embedding: %s of %s items have the same vector as another, such as %s and %s",
            f"{len(shared):,}",
            f"{len(vectors):,}",
            *pair,
        )
