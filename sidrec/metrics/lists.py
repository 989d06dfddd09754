"""What a list is, whoever the target was: valid, varied, and how the exposure is shared out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sidrec.metrics.arrays import PADDING, IntArray


def coverage_at_k(items: IntArray, num_items: int, k: int) -> float:
    """Give the share of the catalogue that stands in at least one user's top k.

    Args:
        items: (U, M) item indices, best first; rows may end in `PADDING`.
        num_items: N.
        k: Depth, 1..M.

    Raises:
        ValueError: If k is not in 1..M, or an item is not in the catalogue.
    """
    return float(np.count_nonzero(_exposures(items, num_items, k)) / num_items)


def gini_at_k(items: IntArray, num_items: int, k: int) -> float:
    """Give the Gini coefficient of how often each of all N items stands in a top k.

    0 when every item is shown equally often, 1 - 1/N when one item takes every place.
    Items that are never shown count.

    Args:
        items: (U, M) item indices, best first; rows may end in `PADDING`.
        num_items: N.
        k: Depth, 1..M.

    Raises:
        ValueError: As `coverage_at_k`, or if no item is shown at all.
    """
    exposures = np.sort(_exposures(items, num_items, k))
    total = exposures.sum()
    if total == 0:
        raise ValueError("Gini of exposure is not defined for lists without any item.")
    places = np.arange(1, num_items + 1)
    return float(2 * (places * exposures).sum() / (num_items * total) - (num_items + 1) / num_items)


def count_invalid(items: IntArray, num_items: int) -> int:
    """Count entries that are no item of the catalogue; must be 0. For `PADDING` see `count_padded`."""
    return int(np.count_nonzero(((items < 0) | (items >= num_items)) & (items != PADDING)))


def count_padded(items: IntArray) -> int:
    """Count lists that are shorter than M."""
    return int(np.count_nonzero((items == PADDING).any(axis=1)))


def count_duplicates(items: IntArray) -> int:
    """Count entries that repeat an earlier entry of their own list, `PADDING` aside; must be 0."""
    in_order = np.sort(items, axis=1)
    repeats = (in_order[:, 1:] == in_order[:, :-1]) & (in_order[:, 1:] != PADDING)
    return int(np.count_nonzero(repeats))


def refuse_invalid(items: IntArray, num_items: int) -> None:
    """Raise when an entry is neither an item nor padding."""
    invalid = count_invalid(items, num_items)
    if invalid:
        raise ValueError(f"{invalid} list entries are no item: the catalogue has items 0 to {num_items - 1}.")


def _exposures(items: IntArray, num_items: int, k: int) -> NDArray[np.int64]:
    """Count in how many top k each of the N items stands: (N,)."""
    if not 1 <= k <= items.shape[1]:
        raise ValueError(f"k={k} is outside the lists, which have {items.shape[1]} places.")
    refuse_invalid(items, num_items)
    shown = items[:, :k]
    return np.bincount(shown[shown != PADDING], minlength=num_items)
