"""Train, valid and test rows of a catalogue, as item indices, and the hash that results are compared by."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

import numpy as np

from sidrec.catalog.catalog import MIN_EVENTS_TO_SPLIT, Catalog
from sidrec.catalog.config import SplitConfig
from sidrec.errors import CatalogError, ConfigError


@dataclass(frozen=True, eq=False)
class EvaluationRows:
    """Users to be predicted for: all their earlier items, and the next one.

    Attributes:
        user_ids: R user ids.
        histories: R arrays of int64 item indices, oldest first, none of them empty.
        targets: (R,) int64 item indices.
    """

    user_ids: list[str]
    histories: list[np.ndarray]
    targets: np.ndarray

    def __len__(self) -> int:
        return len(self.user_ids)

    def draw(self, n: int, seed: int) -> np.ndarray:
        """Return the numbers of `n` rows drawn without replacement, ascending; of all when there are no more.

        Raises:
            ConfigError: If `n` is below 1.
        """
        if n < 1:
            raise ConfigError(f"A sample of {n} users cannot be evaluated on. Ask for 1 or more.")
        if n >= len(self):
            return np.arange(len(self))
        return np.sort(np.random.default_rng(seed).choice(len(self), size=n, replace=False))

    def sample(self, n: int, seed: int) -> EvaluationRows:
        """Return the rows that `draw` draws.

        Raises:
            ConfigError: If `n` is below 1.
        """
        rows = self.draw(n, seed)
        if len(rows) == len(self):
            return self
        return EvaluationRows(
            user_ids=[self.user_ids[row] for row in rows],
            histories=[self.histories[row] for row in rows],
            targets=self.targets[rows],
        )


@dataclass(frozen=True, eq=False)
class Split:
    """The events of a catalogue, divided.

    Attributes:
        user_ids: U user ids, as in `Catalog.sequences()`.
        train: U arrays of int64 item indices, oldest first.
        train_times: (train events,) int64 or float64, the time of each event of `np.concatenate(train)`, in
            the unit of the data. Where `Catalog.order` is "rows" it is the number of the event's row, so that
            a later time is a later line of the file.
        valid: One row per user who can be split.
        test: The same users; their histories include the valid target.
        sha256: Hash of method, users, item ids and which event is which; the items' order does not count.
        method: As in `SplitConfig`.
    """

    user_ids: list[str]
    train: list[np.ndarray]
    train_times: np.ndarray
    valid: EvaluationRows
    test: EvaluationRows
    sha256: str
    method: str

    def train_counts(self, num_items: int) -> np.ndarray:
        """Return (num_items,) int64: the number of train events of each item."""
        return np.bincount(np.concatenate(self.train), minlength=num_items).astype(np.int64)


def split_catalog(catalog: Catalog, config: SplitConfig) -> Split:
    """Divide the events leave-one-out: per user the last is test, the one before valid, the rest train.

    A user with fewer than 3 events goes wholly to train and is not evaluated.

    Raises:
        CatalogError: If no user has 3 events.
    """
    sequences = catalog.sequences()
    items, offsets = sequences.items, sequences.offsets
    lengths = np.diff(offsets)
    evaluated = np.flatnonzero(lengths >= MIN_EVENTS_TO_SPLIT)
    if not len(evaluated):
        raise CatalogError(
            f"split.method={config.method} needs users with {MIN_EVENTS_TO_SPLIT} events or more, but the "
            f"longest history of the {len(sequences)} users has {int(lengths.max())}. "
            "Add events, or check catalog.user_id."
        )
    ends = offsets[1:].copy()
    ends[evaluated] -= 2  # train ends before valid and test
    starts = offsets[:-1]
    last = offsets[evaluated + 1]
    train_events = [slice(start, end) for start, end in zip(starts, ends, strict=True)]
    times = catalog.interactions["timestamp"].to_numpy()
    evaluated_ids = [sequences.user_ids[user] for user in evaluated]
    return Split(
        user_ids=sequences.user_ids,
        train=[items[events] for events in train_events],
        train_times=np.concatenate([times[events] for events in train_events]),
        valid=EvaluationRows(
            user_ids=evaluated_ids,
            histories=[items[starts[user] : offsets[user + 1] - 2] for user in evaluated],
            targets=items[last - 2],
        ),
        test=EvaluationRows(
            user_ids=evaluated_ids,
            histories=[items[starts[user] : offsets[user + 1] - 1] for user in evaluated],
            targets=items[last - 1],
        ),
        sha256=_hash(catalog, ends, method=config.method),
        method=config.method,
    )


def _hash(catalog: Catalog, train_ends: np.ndarray, *, method: str) -> str:
    """Hash who had which item ids in which order, and where each user's train events end."""
    sequences = catalog.sequences()
    digest = hashlib.sha256(b"sidrec split 1\n")
    digest.update(json.dumps([method, sequences.user_ids]).encode())
    digest.update(json.dumps(catalog.interactions["item_id"].tolist()).encode())
    for array in (sequences.offsets, train_ends):
        digest.update(array.astype("<i8").tobytes())
    return digest.hexdigest()
