"""What a list is, whoever the target was: valid, varied, new to its user, and how exposure is shared out.

An entry is *shown* when it is among the top k and names an item: `PADDING` and `INVALID` never are. The
figures that are shares or means of shown entries are not defined for lists without any; they raise, and
`coverage_at_k` is 0 just then.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sidrec.metrics.arrays import (
    PADDING,
    IntArray,
    check_counts,
    check_items,
    check_marks,
    for_entries,
    row_chunks,
)


def coverage_at_k(items: IntArray, num_items: int, k: int) -> float:
    """Give the share of the catalogue that stands in at least one user's top k.

    Args:
        items: (U, M) item indices, best first; rows may end in `PADDING` and hold `INVALID`.
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
        items: (U, M) item indices, best first; rows may end in `PADDING` and hold `INVALID`.
        num_items: N.
        k: Depth, 1..M.

    Raises:
        ValueError: As `coverage_at_k`, or if no item is shown at all.
    """
    exposures = np.sort(_exposures(items, num_items, k))
    total = _total_shown(exposures, "Gini of exposure")
    places = np.arange(1, num_items + 1)
    return float(2 * (places * exposures).sum() / (num_items * total) - (num_items + 1) / num_items)


def novelty_at_k(items: IntArray, train_counts: IntArray, k: int) -> float:
    """Give the mean of -log2 p(item) over the shown entries, in bits: how unlikely the items are in train.

    p(item) = (train events of the item + 1) / (all train events + N). The one event added to each item keeps
    an item that nobody had finite.

    Args:
        items: (U, M) item indices, best first; rows may end in `PADDING` and hold `INVALID`.
        train_counts: (N,) train events of each item.
        k: Depth, 1..M.

    Raises:
        ValueError: As `coverage_at_k`, if a count is negative, or if no item is shown at all.

    Source: Zhou et al., Solving the apparent diversity-accuracy dilemma of recommender systems (PNAS 2010),
        self-information; the smoothing is ours.
    """
    train_counts = np.asarray(train_counts)
    check_counts(train_counts)
    exposures = _exposures(items, len(train_counts), k)
    total = _total_shown(exposures, "Novelty")
    bits = -np.log2((train_counts + 1) / (train_counts.sum() + len(train_counts)))  # (N,)
    return float(exposures @ bits / total)


def intra_list_diversity_at_k(items: IntArray, vectors: NDArray[np.floating], k: int) -> float | None:
    """Give the mean over lists of 1 - the mean cosine over all pairs of the shown items of a list.

    0 when the vectors of each list all point one way, 1 when they are orthogonal. A zero vector points
    nowhere: its cosine with every other is 0. An item listed twice is a pair of cosine 1.

    Args:
        items: (U, M) item indices, best first; rows may end in `PADDING` and hold `INVALID`.
        vectors: (N, D) one vector per item, of any length; float32 is computed in float32.
        k: Depth, 1..M.

    Returns:
        The mean over the lists with two shown items or more; None when there is no such list.

    Raises:
        ValueError: As `coverage_at_k`, or if the vectors are not finite.

    Source: Ziegler et al., Improving recommendation lists through topic diversification (WWW 2005); with
        unit vectors v the sum of the cosines of all pairs is (|sum v|^2 - sum |v|^2) / 2.
    """
    _check_depth(items, k)
    unit = for_entries(_unit_vectors(vectors), 0)  # (N + 2, D)
    check_items(items, len(vectors))
    squared = np.einsum("nd,nd->n", unit, unit)  # 1, or 0 for a zero vector
    total, num_lists = 0.0, 0
    for rows in row_chunks(len(items), k * unit.shape[1]):
        shown = items[rows, :k]
        sizes = np.count_nonzero(shown >= 0, axis=1)
        sums = unit.take(shown, axis=0, mode="wrap").sum(axis=1)  # (lists, D)
        over_pairs = np.einsum("ud,ud->u", sums, sums) - squared[shown].sum(axis=1)  # each pair twice
        several = sizes >= 2
        total += float((1 - over_pairs[several] / (sizes * (sizes - 1))[several]).sum())
        num_lists += int(np.count_nonzero(several))
    return total / num_lists if num_lists else None


def history_share_at_k(items: IntArray, histories: Sequence[NDArray[np.integer]], k: int) -> float:
    """Give the share of the shown entries that are in the history of the user they are shown to.

    Args:
        items: (U, M) item indices, best first; rows may end in `PADDING` and hold `INVALID`.
        histories: U arrays of item indices, in any order; an empty one contains nothing.
        k: Depth, 1..M.

    Raises:
        ValueError: If k is not in 1..M, there is not one history of item indices per user, or no item is
            shown at all.
    """
    _check_depth(items, k)
    check_marks(items)
    if len(histories) != len(items):
        raise ValueError(f"A history per user is needed, got {len(histories)} for {len(items)} lists.")
    num_shown = num_known = 0
    for rows in row_chunks(len(items), 2 * k):  # shown and known
        shown = items[rows, :k]
        known, in_list = _user_keys(histories[rows], shown)
        known.sort()
        places = np.minimum(np.searchsorted(known, in_list), len(known) - 1)
        num_known += int(np.count_nonzero(known[places] == in_list)) if len(known) else 0
        num_shown += len(in_list)
    if num_shown == 0:
        raise ValueError("Share of the history is not defined for lists without any item.")
    return num_known / num_shown


def count_invalid(items: IntArray, num_items: int) -> int:
    """Count entries that are no item of the catalogue, `INVALID` or other; must be 0 for lists of ours.

    For `PADDING` see `count_padded`.
    """
    return sum(
        int(np.count_nonzero(((items[rows] < 0) | (items[rows] >= num_items)) & (items[rows] != PADDING)))
        for rows in row_chunks(*items.shape)
    )


def count_padded(items: IntArray) -> int:
    """Count lists that are shorter than M."""
    return int(np.count_nonzero((items == PADDING).any(axis=1)))


def count_duplicates(items: IntArray) -> int:
    """Count entries that repeat an earlier item of their own list; must be 0. No item, no duplicate."""
    repeats = 0
    for rows in row_chunks(*items.shape):
        in_order = np.sort(items[rows], axis=1)
        repeats += int(np.count_nonzero((in_order[:, 1:] == in_order[:, :-1]) & (in_order[:, 1:] >= 0)))
    return repeats


def _check_depth(items: IntArray, k: int) -> None:
    if not 1 <= k <= items.shape[1]:
        raise ValueError(f"k={k} is outside the lists, which have {items.shape[1]} places.")


def _exposures(items: IntArray, num_items: int, k: int) -> NDArray[np.int64]:
    """Count in how many top k each of the N items stands: (N,)."""
    _check_depth(items, k)
    check_items(items, num_items)
    exposures = np.zeros(num_items, dtype=np.int64)
    for rows in row_chunks(len(items), k):
        shown = items[rows, :k]
        exposures += np.bincount(shown[shown >= 0], minlength=num_items)
    return exposures


def _total_shown(exposures: NDArray[np.int64], name: str) -> int:
    """Sum the exposures, or say that the figure `name` is not defined."""
    total = int(exposures.sum())
    if total == 0:
        raise ValueError(f"{name} is not defined for lists without any item.")
    return total


def _unit_vectors(vectors: NDArray[np.floating]) -> NDArray[np.floating]:
    """Divide (N, D) vectors by their lengths, in float32 or wider; a zero vector stays zero."""
    if vectors.ndim != 2:
        raise ValueError(f"Diversity needs one vector per item, (N, D), got shape {vectors.shape}.")
    vectors = vectors.astype(np.result_type(vectors, np.float32), copy=False)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)  # (N, 1)
    if not np.isfinite(lengths).all():
        raise ValueError("Diversity needs finite item vectors, got NaN or infinity.")
    return vectors / np.where(lengths > 0, lengths, 1)


def _user_keys(histories: Sequence[NDArray[np.integer]], shown: IntArray) -> tuple[IntArray, IntArray]:
    """Name each (user, item) by one number: those of all histories, and those of the shown entries."""
    flat = np.concatenate(histories)
    if not np.issubdtype(flat.dtype, np.integer) or (flat.size and flat.min() < 0):
        raise ValueError("A history holds item indices: integers of at least 0.")
    lengths = np.fromiter(map(len, histories), dtype=np.int64, count=len(histories))
    width = 1 + max(int(flat.max(initial=0)), int(shown.max(initial=0)))  # items that can be told apart
    dtype = np.int32 if len(shown) * width <= np.iinfo(np.int32).max else np.int64  # int32 sorts faster
    first: IntArray = (np.arange(len(shown)) * width).astype(dtype)  # (users,)
    in_history = np.repeat(first, lengths) + flat.astype(dtype)
    in_list = (first[:, None] + shown.astype(dtype))[shown >= 0]
    return in_history, in_list
