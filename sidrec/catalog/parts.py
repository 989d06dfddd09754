"""Which event is what: each method of a split as one label per event, and what such labels must keep to."""

from __future__ import annotations

import numpy as np

from sidrec.catalog.catalog import Catalog
from sidrec.catalog.config import SplitConfig
from sidrec.catalog.normalize import BY_ROWS, PARTS
from sidrec.errors import CatalogError

TRAIN, VALID, TEST, CONTEXT = range(len(PARTS))


def label_events(catalog: Catalog, config: SplitConfig) -> np.ndarray:
    """Return (E,) int8: TRAIN, VALID, TEST or CONTEXT for every event of `catalog.interactions`.

    An event of valid or test is a target, and all earlier events of its user are its history. One of the
    context is in histories alone. The first event of a user is never a target, since nothing comes before it.

    Raises:
        CatalogError: If the catalogue cannot be divided so, or a given division leaks.
    """
    offsets = catalog.sequences().offsets
    if config.method == "given":
        return _given(catalog)
    if config.method == "by_time":
        return _by_time(catalog, config)
    if config.method == "by_user":
        return _by_user(np.diff(offsets), config)
    n = config.n if config.method == "last_n" else 1
    return _last(np.diff(offsets), n, config.method)


def places(lengths: np.ndarray) -> np.ndarray:
    """Return (E,) int64: the number of events that each event's user had before it."""
    ends = np.cumsum(lengths)
    return np.arange(int(lengths.sum())) - np.repeat(ends - lengths, lengths)


def _last(lengths: np.ndarray, n: int, method: str) -> np.ndarray:
    """Label the last n events of a user test, the n before valid, the rest train; short users train alone."""
    needed = 2 * n + 1
    if not (lengths >= needed).any():
        raise CatalogError(
            f"split.method={method} needs users with {needed} events or more, but the longest history of the "
            f"{len(lengths)} users has {int(lengths.max())}. Add events, or check catalog.user_id."
        )
    to_come = np.repeat(lengths, lengths) - places(lengths)  # this one included
    long_enough = np.repeat(lengths >= needed, lengths)
    labels = np.full(len(to_come), TRAIN, dtype=np.int8)
    labels[long_enough & (to_come <= 2 * n)] = VALID
    labels[long_enough & (to_come <= n)] = TEST
    return labels


def _by_time(catalog: Catalog, config: SplitConfig) -> np.ndarray:
    """Sort all targets by time; the latest are test, those before valid. No train event is after the cut."""
    times = catalog.interactions["timestamp"].to_numpy()
    if catalog.order == BY_ROWS:
        raise CatalogError(
            "split.method=by_time needs the time of every event, but the interactions have no column of "
            "times. Set catalog.timestamp, or split.method=leave_one_out."
        )
    is_target = places(np.diff(catalog.sequences().offsets)) > 0
    targets = np.flatnonzero(is_target)
    # Equal times in the order of the rows, so that a target is never before another of its user.
    targets = targets[np.argsort(times[targets], kind="stable")]
    ends = cuts(len(targets), config.valid_share, config.test_share)
    if not 0 < ends[0] < ends[1] < len(targets):
        raise CatalogError(
            f"split.method=by_time finds {len(targets)} events with an earlier one of the same user, too few "
            f"for a train, a valid and a test target at valid_share={config.valid_share:g} and "
            f"test_share={config.test_share:g}. Add events, or check catalog.user_id."
        )
    labels = np.full(len(times), TRAIN, dtype=np.int8)
    labels[targets[ends[0] : ends[1]]] = VALID
    labels[targets[ends[1] :]] = TEST
    labels[~is_target & (times > times[targets[ends[0] - 1]])] = CONTEXT  # it came after the cut
    return labels


def cuts(targets: int, valid_share: float, test_share: float) -> tuple[int, int]:
    """Return where train and where valid end among targets in order of time.

    Source: MiniOneRec, whose samples are cut at int(.8 n) and int(.9 n).
    """
    shares = (1 - valid_share - test_share, 1 - test_share)
    train, valid = (int(targets * share + 1e-9) for share in shares)  # 1 - .1 - .1 is a little less than .8
    return train, valid


def _by_user(lengths: np.ndarray, config: SplitConfig) -> np.ndarray:
    """Draw users for valid and test: their last event is the target, the rest context, none is train."""
    able = np.flatnonzero(lengths >= 2)
    counts = round(config.valid_share * len(able)), round(config.test_share * len(able))
    if min(counts) < 1 or sum(counts) >= len(lengths):
        raise CatalogError(
            f"split.method=by_user divides the users with two events or more, of whom there are {len(able)}: "
            f"valid_share={config.valid_share:g} and test_share={config.test_share:g} give {counts[0]} and "
            f"{counts[1]} of them, expected one at least, and one left for train. Change the shares."
        )
    drawn = np.random.default_rng(config.seed).permutation(able)[: sum(counts)]
    part_of_user = np.full(len(lengths), TRAIN, dtype=np.int8)
    part_of_user[drawn[: counts[0]]] = VALID
    part_of_user[drawn[counts[0] :]] = TEST
    labels = np.repeat(part_of_user, lengths)
    is_last = places(lengths) == np.repeat(lengths, lengths) - 1
    labels[(labels != TRAIN) & ~is_last] = CONTEXT
    return labels


def _given(catalog: Catalog) -> np.ndarray:
    """Read the labels that the files give, and refuse what leaks."""
    if "split" not in catalog.interactions.columns:
        raise CatalogError(
            "split.method=given needs a column that says which event is train, valid or test, but the "
            "interactions have none. Set catalog.split_column, or another split.method."
        )
    names = catalog.interactions["split"].to_numpy(dtype=object)
    labels = np.select([names == name for name in PARTS], range(len(PARTS))).astype(np.int8)
    sequences = catalog.sequences()
    lengths = np.diff(sequences.offsets)
    if missing := [name for number, name in ((VALID, "valid"), (TEST, "test")) if number not in labels]:
        raise CatalogError(
            f"split.method=given: the files call no event {' or '.join(missing)}, expected some of each. "
            "Check catalog.split_column, or set another split.method."
        )
    later = _after_a_target(labels, lengths)
    if later.any():
        event = int(np.argmax(later))
        user = sequences.user_ids[int(np.searchsorted(sequences.offsets, event, side="right")) - 1]
        raise CatalogError(
            f'split.method=given: user "{user}" has a {PARTS[labels[event]]} event '
            f"({catalog.items['item_id'].iloc[sequences.items[event]]}) after one of valid or test, so that "
            "the model would learn from what it is asked for. Check catalog.timestamp and "
            "catalog.split_column."
        )
    return labels


def _after_a_target(labels: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Return (E,) bool: events of an earlier part than one that its user had before."""
    rank = np.where(labels == CONTEXT, 0, labels).astype(np.int64)
    # A running maximum per user: users are apart by more than a label can differ.
    user = np.repeat(np.arange(len(lengths)), lengths) * len(PARTS)
    highest = np.maximum.accumulate(rank + user) - user
    return (rank < highest) & (labels != CONTEXT)
