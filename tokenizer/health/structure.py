"""What a table of semantic IDs looks like as a tree: prefixes, collisions, and categories on a prefix."""

from __future__ import annotations

from typing import Any

import numpy as np

SHUFFLES = 5
"""How often categories are dealt anew to see what purity chance alone would give."""


def prefix_numbers(codes: np.ndarray) -> np.ndarray:
    """Number the prefixes: (N, L) int64, equal where the first codes of two items, up to that level, are."""
    codes = np.asarray(codes, dtype=np.int64)
    numbers = np.zeros(codes.shape, dtype=np.int64)
    before = np.zeros(len(codes), dtype=np.int64)
    for level, own in enumerate(codes.T):
        before = np.unique(before * (own.max() + 1) + own, return_inverse=True)[1].reshape(-1)
        numbers[:, level] = before
    return numbers


def tree(codes: np.ndarray) -> list[dict[str, Any]]:
    """Describe the prefix tree level by level.

    Returns:
        Per level: `prefixes`, how many there are; `branching` and `widest`, mean and largest number of codes
        that follow a prefix of the level before; `branching_met`, the mean over items instead of prefixes,
        which is what decoding meets on the way to an item; `items_unique`, share of items that are alone on
        their prefix.
    """
    levels = []
    parents = np.zeros(len(codes), dtype=np.int64)
    for own in prefix_numbers(codes).T:
        parent_of = np.zeros(own.max() + 1, dtype=np.int64)
        parent_of[own] = parents
        children = np.bincount(parent_of)
        sizes = np.bincount(own)
        levels.append(
            {
                "prefixes": len(sizes),
                "branching": float(children.mean()),
                "branching_met": float(children[parents].mean()),
                "widest": int(children.max()),
                "items_unique": float((sizes[own] == 1).mean()),
            }
        )
        parents = own
    return levels


def unique_depth(codes: np.ndarray) -> float | None:
    """Give the mean number of codes after which an item is alone, of those that ever are; None if none is."""
    alone = np.stack([np.bincount(own)[own] == 1 for own in prefix_numbers(codes).T], axis=1)  # (N, L)
    ever = alone.any(axis=1)
    return float(alone[ever].argmax(axis=1).mean()) + 1 if ever.any() else None


def numbers_items(codes: np.ndarray) -> bool:
    """Say whether the last level only numbers the items that collide without it, as TIGER's fourth code does.

    It does where the n items of every prefix have the last codes 0 to n-1, and most items the code 0.
    """
    codes = np.asarray(codes)
    if codes.shape[1] < 2:
        return False
    numbers = prefix_numbers(codes)
    sizes = np.bincount(numbers[:, -2])
    alone = np.bincount(numbers[:, -1]).max() == 1
    within = (codes[:, -1] < sizes[numbers[:, -2]]).all()
    return bool(alone and within and (codes[:, -1] == 0).mean() > 0.5)


def sharing(codes: np.ndarray) -> np.ndarray:
    """Give (N,) the number of items that have the semantic ID of each item, itself included."""
    last = prefix_numbers(codes)[:, -1]
    return np.bincount(last)[last]


def collisions(codes: np.ndarray, events: np.ndarray | None = None) -> dict[str, Any]:
    """Count the groups of items that share a semantic ID.

    Args:
        codes: (N, L) integers.
        events: (N,) how often each item was had.

    Returns:
        `groups` of two or more; the `items` in them; the size of the `largest`, 1 where there is none;
        `sizes`, pairs of a group's size and the number of such groups, small ones first; `events`, the share
        of events on such items (0 where there are no events, None where they were not given).
    """
    shared_by = sharing(codes)
    colliding = shared_by > 1
    share = None
    if events is not None:
        total = float(np.sum(events))
        share = float(np.sum(np.asarray(events)[colliding])) / total if total else 0.0
    sizes, items = np.unique(shared_by[colliding], return_counts=True)
    return {
        "groups": int((items // sizes).sum()),
        "items": int(items.sum()),
        "largest": int(shared_by.max()),
        "sizes": np.stack([sizes, items // sizes], axis=1).tolist(),
        "events": share,
    }


def purity(codes: np.ndarray, categories: np.ndarray, *, seed: int = 0) -> list[dict[str, float] | None]:
    """Say, per level, how far the items of a prefix are of one category.

    Items without a category, and those alone on their prefix, are not counted.

    Args:
        codes: (N, L) integers.
        categories: (N,) text, "" where an item has none.
        seed: Of the dealing.

    Returns:
        Per level `purity`, share of items with the commonest category of their prefix, and `by_chance`, the
        same after the categories were dealt anew (mean of `SHUFFLES`), which small prefixes make large; None
        where every item is alone.
    """
    has = np.asarray(categories).astype(str) != ""
    labels = np.unique(np.asarray(categories).astype(str)[has], return_inverse=True)[1].reshape(-1)
    rng = np.random.default_rng(seed)
    dealt = [rng.permutation(labels) for _ in range(SHUFFLES)]
    result: list[dict[str, float] | None] = []
    for own in prefix_numbers(np.asarray(codes)[has]).T if has.any() else ():
        if np.bincount(own).max() == 1:
            result.append(None)
            continue
        chance = float(np.mean([_commonest(own, labels) for labels in dealt]))
        result.append({"purity": _commonest(own, labels), "by_chance": chance})
    return result


def _commonest(own: np.ndarray, labels: np.ndarray) -> float:
    """Give the share of items with the commonest label of their prefix, among those not alone on it."""
    kinds = int(labels.max()) + 1
    pairs, counts = np.unique(own * kinds + labels, return_counts=True)
    most = np.zeros(own.max() + 1, dtype=np.int64)
    np.maximum.at(most, pairs // kinds, counts)
    sizes = np.bincount(own)
    crowd = sizes > 1
    return float(most[crowd].sum() / sizes[crowd].sum())
