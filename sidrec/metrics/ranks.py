"""Where the target stands in a list, and what that is worth.

Items that share a semantic ID stand in a list one after another in catalogue order, so item-level ranks need
no correction for collisions; `sid_ranks` gives the SID-level figure.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from sidrec.metrics.arrays import (
    INVALID,
    PADDING,
    BoolArray,
    FloatArray,
    IntArray,
    check_items,
    check_marks,
    for_entries,
    row_chunks,
)

DEFAULT_KS = (1, 3, 5, 10, 20)


def target_ranks(items: IntArray, targets: IntArray) -> NDArray[np.int64]:
    """Find the 1-based place of each user's target in their list; 0 where the list lacks it.

    Args:
        items: (U, M) item indices, best first; rows may end in `PADDING` and hold `INVALID`.
        targets: (U,) item indices.

    Returns:
        (U,) ranks, 0 or 1..M. An item listed twice counts at its first place.

    Raises:
        ValueError: If the shapes do not fit, an index is not an integer, or one is negative that may not be.
        RuntimeError: If an entry follows a padding entry: then no place would be the rank.
    """
    _check_lists(items, targets)
    ranks = np.empty(len(items), dtype=np.int64)
    for rows in row_chunks(*items.shape):
        ranks[rows] = _first_places(items[rows] == targets[rows, None])
    return ranks


def sid_ranks(items: IntArray, targets: IntArray, sid_of_item: IntArray) -> NDArray[np.int64]:
    """Find the 1-based place of each target's semantic ID among the distinct semantic IDs of the list.

    This is the SID-level figure: a list that names any item with the target's SID is a hit, so where SIDs
    collide it is at least as good as the item-level rank, and not what a customer sees. An `INVALID` entry
    counts as a SID that nothing else has.

    Args:
        items: (U, M) item indices, best first; rows may end in `PADDING` and hold `INVALID`.
        targets: (U,) item indices.
        sid_of_item: (N,) a number per distinct SID, for instance the inverse of `np.unique(codes, axis=0)`.

    Returns:
        (U,) ranks, 0 where the SID is not in the list.

    Raises:
        ValueError: As `target_ranks`, if an index is not below N, or if `sid_of_item` is not one number each.
        RuntimeError: As `target_ranks`.
    """
    _check_lists(items, targets)
    sid_of_item = np.asarray(sid_of_item)
    if sid_of_item.ndim != 1:
        raise ValueError(f"Semantic IDs are given as one number per item, got shape {sid_of_item.shape}.")
    num_items = len(sid_of_item)
    check_items(items, num_items)
    if targets.size and targets.max() >= num_items:
        raise ValueError(
            f"Target {targets.max()} is not an item: the catalogue has items 0 to {num_items - 1}."
        )
    _, numbers = np.unique(sid_of_item, return_inverse=True)  # (N,) 0 or more, so that PADDING is no SID
    number_of = for_entries(numbers, PADDING)
    own_numbers = num_items + np.arange(items.shape[1])  # (M,) above those of all SIDs
    ranks = np.empty(len(items), dtype=np.int64)
    for rows in row_chunks(*items.shape):
        sids = np.where(items[rows] == INVALID, own_numbers, number_of[items[rows]])
        ranks[rows] = _places_among_distinct(sids, numbers[targets[rows]])
    return ranks


def metrics_at_k(ranks: IntArray, ks: Sequence[int] = DEFAULT_KS) -> dict[str, FloatArray]:
    """Turn ranks into per-user values of `hr@k`, `ndcg@k` and `mrr@k`.

    With one target per user HR@k is also recall@k, and NDCG@k is 1 / log2(rank + 1), since the ideal DCG is
    1. Nothing here can know how long the lists were: a k beyond that gives the value at the lists' end.

    Args:
        ranks: (U,) 1-based ranks, 0 for a miss.
        ks: Depths, each at least 1.

    Returns:
        Name to (U,) float64 in [0, 1], in the order hr, ndcg, mrr for each k.

    Raises:
        ValueError: If a rank is negative or no integer, or a k is below 1.
        RuntimeError: As `check_metrics`.
    """
    ranks = np.asarray(ranks)
    if ranks.ndim != 1 or not np.issubdtype(ranks.dtype, np.integer) or (ranks.size and ranks.min() < 0):
        raise ValueError(
            "Ranks are a row of integers: 1 or more, and 0 for a target that is not in the list."
        )
    if not ks or min(ks) < 1:
        raise ValueError(f"Metrics are taken at one or more depths k of at least 1, got {list(ks)}.")
    last = min(max(ks), int(ranks.max(initial=0)))
    table = _values_of_ranks(np.arange(last + 2), ks)  # any rank beyond `last` is a miss at every k
    check_metrics(table)
    rows = np.minimum(ranks, last + 1)
    return {name: values[rows] for name, values in table.items()}


def check_metrics(values: Mapping[str, FloatArray]) -> None:
    """Check that for every user 0 <= MRR@k <= NDCG@k <= HR@k <= 1, and that none of them falls as k grows.

    Args:
        values: As `metrics_at_k` returns them.

    Raises:
        RuntimeError: If that does not hold, which no input can cause: a fault of ours.
    """
    ks = sorted({int(name.partition("@")[2]) for name in values})
    for k in ks:
        chain: list[tuple[str, FloatArray | float]] = [("0", 0.0)]
        chain += [(f"{name}@{k}", values[f"{name}@{k}"]) for name in ("mrr", "ndcg", "hr")]
        chain += [("1", 1.0)]
        for (small_name, small), (large_name, large) in itertools.pairwise(chain):
            _check_order(small_name, small, large_name, large)
    for k, next_k in itertools.pairwise(ks):
        for name in ("hr", "ndcg", "mrr"):
            _check_order(f"{name}@{k}", values[f"{name}@{k}"], f"{name}@{next_k}", values[f"{name}@{next_k}"])


def _check_lists(items: IntArray, targets: IntArray) -> None:
    """Refuse lists and targets for which a rank has no meaning."""
    if items.ndim != 2 or targets.shape != items.shape[:1]:
        raise ValueError(
            "Ranks need (U, M) items and (U,) targets of the same users, "
            f"got shapes {items.shape} and {targets.shape}."
        )
    if not (np.issubdtype(items.dtype, np.integer) and np.issubdtype(targets.dtype, np.integer)):
        raise ValueError(f"Items and targets are integer indices, got {items.dtype} and {targets.dtype}.")
    if targets.size and targets.min() < 0:
        raise ValueError(f"Targets are item indices of at least 0, got {targets.min()}.")
    check_marks(items)
    for rows in row_chunks(*items.shape):
        padded = items[rows] == PADDING
        if (padded[:, :-1] & ~padded[:, 1:]).any():
            raise RuntimeError(
                "A list has an item after a padding entry, so places in it are no ranks: a fault of ours."
            )


def _first_places(matches: BoolArray) -> NDArray[np.int64]:
    """Return the 1-based place of the first True of each row, 0 without one."""
    if matches.shape[1] == 0:
        return np.zeros(len(matches), dtype=np.int64)
    return np.where(matches.any(axis=1), matches.argmax(axis=1) + 1, 0).astype(np.int64)


def _places_among_distinct(sids: IntArray, targets: IntArray) -> NDArray[np.int64]:
    """Return the 1-based place of each row's target among the distinct values of (U, M) `sids`, 0 without."""
    places = _first_places(sids == targets[:, None])
    hits = np.flatnonzero(places)
    wanted = targets[hits, None]
    before = np.arange(sids.shape[1]) < places[hits, None] - 1  # (hits, M)
    seen = np.sort(np.where(before, sids[hits], wanted), axis=1)  # all values down to the target, in order
    places[hits] = 1 + np.count_nonzero(seen[:, 1:] != seen[:, :-1], axis=1)
    return places


def _values_of_ranks(ranks: IntArray, ks: Sequence[int]) -> dict[str, FloatArray]:
    """Compute the metrics of each rank: name -> values of the shape of `ranks`."""
    places = np.maximum(ranks, 1)  # a miss is masked below
    values: dict[str, FloatArray] = {}
    for k in ks:
        hit = (ranks >= 1) & (ranks <= k)
        values[f"hr@{k}"] = hit.astype(np.float64)
        values[f"ndcg@{k}"] = np.where(hit, 1 / np.log2(places + 1.0), 0.0)
        values[f"mrr@{k}"] = np.where(hit, 1 / places, 0.0)
    return values


def _check_order(
    small_name: str, small: FloatArray | float, large_name: str, large: FloatArray | float
) -> None:
    """Raise unless small <= large everywhere; NaN raises too."""
    if not np.all(np.less_equal(small, large)):
        raise RuntimeError(f"{small_name} is not at most {large_name} for every user: a fault of ours.")
