"""Kinds of users whose figures are worth seeing apart.

Each function divides all users in one way: name of the slice -> `Slice`, with every user in exactly one. A
slice may be empty, and its description says where it was cut.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sidrec.metrics.arrays import BoolArray, IntArray, check_counts

_QUARTERS = ("first quarter", "second quarter", "third quarter", "last quarter")
_NO_ITEM = "no item of the catalogue"
_GROUP_SIZES = {"own": 1, "2": 2, "3-5": 3, "6 or more": 6}  # the smallest of each kind


@dataclass(frozen=True, eq=False)
class Slice:
    """Some of the users.

    Attributes:
        description: Whom it holds, with the cut points, in the words of a table.
        mask: (U,) bool, True for its users.
    """

    description: str
    mask: BoolArray


def popularity_slices(targets: IntArray, train_counts: IntArray) -> dict[str, Slice]:
    """Divide users by how often their target occurs in train.

    Items are sorted by train events, most first, equal counts in catalogue order. Head items are the first
    ones that together reach a third of all train events, mid the next ones that reach two thirds, tail the
    rest that has any event, cold those without. (An item belongs to the third in which its first event
    falls.) So items of equal counts may fall on both sides of a cut.

    Args:
        targets: (U,) item indices.
        train_counts: (N,) train events of each item.

    Returns:
        "cold", "tail", "mid" and "head".

    Raises:
        ValueError: If a target is not in 0..N-1 or a count is negative.
    """
    counts = np.asarray(train_counts)
    check_counts(counts)
    _check_targets(targets, len(counts))
    order = np.argsort(-counts, kind="stable")
    events_before = np.empty(len(counts), dtype=np.int64)  # (N,) events of all more popular items
    events_before[order] = np.cumsum(counts[order]) - counts[order]
    third = 3 * events_before // max(int(counts.sum()), 1)  # (N,) 0, 1 or 2; meaningless where cold
    group = np.where(counts == 0, 0, 3 - third)  # (N,)
    descriptions = {}
    for number, name in enumerate(("cold", "tail", "mid", "head")):
        inside = counts[group == number]
        if len(inside):
            events = _counted(_span(int(inside.min()), int(inside.max())), "train event")
            descriptions[name] = f"targets with {events} ({_counted(len(inside), 'item')})"
        else:
            descriptions[name] = _NO_ITEM
    return _divide(group[targets], descriptions)


def history_length_slices(lengths: IntArray) -> dict[str, Slice]:
    """Divide users into about four equal parts by the length of their history.

    Users with equal lengths stay together, in the part that holds the middle of them; so few distinct
    lengths make fewer parts.

    Args:
        lengths: (U,) number of items in each user's history.

    Returns:
        By their shortest and longest history, as "1-4", "5" and "6-31": at most four, none of them empty.

    Raises:
        ValueError: If a length is negative.
    """
    lengths = np.asarray(lengths)
    if lengths.size and lengths.min() < 0:
        raise ValueError(f"A history has 0 items or more, got a length of {lengths.min()}.")
    distinct, number, counts = np.unique(lengths, return_inverse=True, return_counts=True)  # (R,), (U,), (R,)
    middle = 2 * np.cumsum(counts) - counts  # (R,) users up to the middle of each length, twice
    quarter = 4 * middle // (2 * max(len(lengths), 1))  # (R,) 0..3, never falling
    _, part = np.unique(quarter, return_inverse=True)  # (R,) the same without gaps
    descriptions = {}
    for one in range(int(part.max(initial=-1)) + 1):
        inside = distinct[part == one]
        span = _span(int(inside[0]), int(inside[-1]))
        descriptions[span] = f"histories of {_counted(span, 'item')}"
    return _divide(part[number], descriptions)


def arrival_slices(targets: IntArray, num_items: int) -> dict[str, Slice]:
    """Divide users by the quarter of the catalogue that their target is in.

    Where a catalogue lists its items in the order in which they came, as many do, these are old and new
    items.

    Args:
        targets: (U,) item indices.
        num_items: N.

    Returns:
        "first quarter" to "last quarter".

    Raises:
        ValueError: If a target is not in 0..N-1.
    """
    _check_targets(targets, num_items)
    starts = [-(-number * num_items // 4) for number in range(5)]  # first i with 4 * i // N == number
    descriptions = {}
    for name, (start, end) in zip(_QUARTERS, itertools.pairwise(starts), strict=True):
        rows = f"targets in rows {start}-{end - 1} of the catalogue ({_counted(end - start, 'item')})"
        descriptions[name] = rows if end > start else _NO_ITEM
    return _divide(4 * targets.astype(np.int64) // num_items, descriptions)


def collision_slices(targets: IntArray, sid_of_item: IntArray) -> dict[str, Slice]:
    """Divide users by how many items have the semantic ID of their target.

    Args:
        targets: (U,) item indices.
        sid_of_item: (N,) a number per distinct SID, as in `sid_ranks`.

    Returns:
        "own", "2", "3-5" and "6 or more"; nothing when no two items share a SID.

    Raises:
        ValueError: If a target is not in 0..N-1.
    """
    _check_targets(targets, len(sid_of_item))
    _, numbers, sizes = np.unique(sid_of_item, return_inverse=True, return_counts=True)
    if len(sizes) == len(sid_of_item):
        return {}
    size_of_item = sizes[numbers]  # (N,)
    group = np.searchsorted(list(_GROUP_SIZES.values()), size_of_item, side="right") - 1  # (N,)
    descriptions = {}
    for number, name in enumerate(_GROUP_SIZES):
        whose = "is theirs alone" if name == "own" else f"is shared by {name} items"
        count = int(np.count_nonzero(group == number))
        descriptions[name] = f"targets whose semantic ID {whose} ({_counted(count, 'item')})"
    return _divide(group[targets], descriptions)


def _divide(group: NDArray[np.int64], descriptions: Mapping[str, str]) -> dict[str, Slice]:
    """Make a slice of each group; (U,) groups are numbered as the names stand."""
    return {
        name: Slice(description, group == number)
        for number, (name, description) in enumerate(descriptions.items())
    }


def _check_targets(targets: IntArray, num_items: int) -> None:
    if targets.size and not 0 <= targets.min() <= targets.max() < num_items:
        raise ValueError(f"A target is not an item: the catalogue has items 0 to {num_items - 1}.")


def _span(low: int, high: int) -> str:
    return str(low) if low == high else f"{low}-{high}"


def _counted(count: int | str, noun: str) -> str:
    return f"{count} {noun}" + ("" if str(count) == "1" else "s")
