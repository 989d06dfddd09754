"""Leave random items out of the histories of rows, as if the user had not had them.

What stays reads like the prompt for the shorter history: where an item goes, so does the text that parted it
from its neighbour. Whether an item goes depends on the seed, the epoch, the sight of the row and the item's
place in it alone, not on the batch, so that a resumed or divided training leaves out the same ones.
"""

from __future__ import annotations

import numpy as np

from sidrec.tasks.rows import IGNORED, NO_ITEM
from sidrec.trainers.flat_rows import FlatRows

GAMMA = np.uint64(0x9E3779B97F4A7C15)


def drop_items(
    rows: FlatRows, num_levels: int, probability: float, *, seed: int, epoch: int, sights: np.ndarray
) -> FlatRows:
    """Leave each item of the rows out with a probability, all L tokens of it, supervised or not.

    Of a row's items with a loss at least one stays, and of those without one as well: the target of a row
    that ends in its only target always does. Text between two items with a loss, or between two without,
    goes with the first of them; between one without and one with a loss (the end of a prompt) it stays.

    Args:
        rows: B rows whose SIDs have `num_levels` tokens each.
        num_levels: L.
        probability: In [0, 1); 0 returns `rows` as they are.
        seed: Of the run.
        epoch: From 0.
        sights: (B,) what tells apart the times that a row is seen in an epoch.
    """
    of_item = rows.items != NO_ITEM
    if probability == 0 or not of_item.any():
        return rows
    row_of_token = rows.row_of_token
    heads = np.flatnonzero(of_item)[::num_levels]  # (I,) the first token of each item
    row = row_of_token[heads]
    group = 2 * row + (rows.kinds[heads] != IGNORED)
    place = np.arange(len(heads)) - np.searchsorted(row, row)
    chance = _uniform(_keys(seed, epoch, sights)[row], place)
    luckiest = np.zeros(2 * len(rows.lengths))
    np.maximum.at(luckiest, group, chance)
    kept = (chance >= probability) | (chance == luckiest[group])

    text_stays = np.append(_text_before_stays(group, kept), True)  # after the last item: it does
    before = np.zeros(len(of_item), dtype=np.int64)
    before[heads] = 1
    before = np.cumsum(before)  # items up to a token: for text, the number of the next item
    stays = text_stays[before]
    stays[of_item] = np.repeat(kept, num_levels)
    lengths = np.bincount(row_of_token[stays], minlength=len(rows.lengths)).astype(np.int32)
    weights = None if rows.weights is None else rows.weights[stays]
    return FlatRows(lengths, rows.input_ids[stays], rows.kinds[stays], rows.items[stays], rows.tasks, weights)


def kept_items(num_items: int, probability: float, *, seed: int, sight: int) -> np.ndarray:
    """Say of each item of one history whether it stays, (num_items,) bool; if there are any, one does.

    Args:
        num_items: Of the history.
        probability: Of an item to be left out, in [0, 1).
        seed: Of the run.
        sight: What tells apart the times that histories are seen.
    """
    chance = _uniform(_keys(seed, 0, np.array([sight])), np.arange(num_items))
    return (chance >= probability) | (chance == chance.max(initial=0))


def _text_before_stays(group: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Say of each of I items whether the text between it and the item before stays, (I,) bool.

    It goes with either of them, except that the first and the last text of a group are the prompt's own.
    """
    first = np.append(True, group[1:] != group[:-1])  # of its group, which stands together
    kept_before = np.cumsum(kept) - kept
    some_before = kept_before > kept_before[first][np.cumsum(first) - 1]
    return first | (kept & some_before)


def _keys(seed: int, epoch: int, sights: np.ndarray) -> np.ndarray:
    """Return a hash of seed, epoch and each sight, (B,) uint64."""
    of_epoch = _hash(_hash(np.zeros(1, dtype=np.uint64), np.array([seed])), np.array([epoch]))
    return _hash(of_epoch, sights)


def _uniform(keys: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Return a number in [0, 1) for each key and place, float64."""
    return (_hash(keys, places) >> np.uint64(11)) * 2.0**-53


def _hash(key: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Return output number `value` of the generator with the state `key`, uint64.

    Source: SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
    """
    state = key + GAMMA * (value.astype(np.uint64) + np.uint64(1))
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))
