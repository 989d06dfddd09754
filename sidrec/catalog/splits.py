"""Train, valid and test rows of a catalogue, as item indices, and the hash that results are compared by."""

from __future__ import annotations

import hashlib
import itertools
import json
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from sidrec.catalog.catalog import Catalog, Sequences
from sidrec.catalog.config import SplitConfig
from sidrec.catalog.parts import TEST, TRAIN, VALID, label_events
from sidrec.errors import CatalogError, ConfigError

_HASHED_AT_ONCE = 1_000_000


@dataclass(frozen=True, eq=False)
class EvaluationRows:
    """Users to be predicted for: their earlier items, and the next one.

    Attributes:
        user_ids: R user ids; a user with several targets is there once for each, earlier ones first.
        histories: R arrays of int64 item indices, oldest first, none of them empty.
        targets: (R,) int64 item indices.
    """

    user_ids: list[str]
    histories: list[np.ndarray]
    targets: np.ndarray

    def __len__(self) -> int:
        return len(self.user_ids)

    @cached_property
    def target_numbers(self) -> np.ndarray:
        """(R,) int64: which of its user's targets here a row asks for, counted from 1."""
        users = pd.Series(self.user_ids, dtype=object)
        return users.groupby(users, sort=False).cumcount().to_numpy(dtype=np.int64) + 1

    @property
    def recurring_users(self) -> np.ndarray | None:
        """(R,) int64: a number for the user of each row; None where no user is asked for a second target."""
        if not len(self) or self.target_numbers.max() == 1:
            return None
        return pd.factorize(pd.Series(self.user_ids, dtype=object))[0].astype(np.int64)

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
        train_weights: (train events,) float64, the weight of each of these events; 1 without
            `catalog.weight`.
        valid: A row per target; with leave_one_out, one for each user who can be split.
        test: As valid; with leave_one_out the same users, whose histories include the valid target.
        sha256: Hash of method, users, item ids and which event is which; the items' order does not count, nor
            do weights: what is asked for is the same, and so results stay comparable.
        method: As in `SplitConfig`.
    """

    user_ids: list[str]
    train: list[np.ndarray]
    train_times: np.ndarray
    train_weights: np.ndarray
    valid: EvaluationRows
    test: EvaluationRows
    sha256: str
    method: str

    def require_train(self) -> None:
        """Refuse to learn from a split without a train event, such as one whose train file is missing.

        Raises:
            CatalogError: If it is one.
        """
        if not len(self.train_times):
            raise CatalogError(
                f"split.method={self.method}: none of the events is a train event, so there is nothing to "
                "learn from: this catalogue is for evaluation only. Add the train events, or set another "
                "split.method."
            )

    def scaled_weights(self) -> list[np.ndarray] | None:
        """Return the train weights with mean 1, as U arrays of float32; None where all are equal."""
        weights = self.train_weights
        if (weights == weights[:1]).all():
            return None
        scaled = (weights / weights.mean()).astype(np.float32)
        return np.split(scaled, np.cumsum([len(items) for items in self.train])[:-1])

    def train_counts(self, num_items: int) -> np.ndarray:
        """Return (num_items,) int64: the number of train events of each item."""
        return np.bincount(np.concatenate(self.train), minlength=num_items).astype(np.int64)


def split_catalog(catalog: Catalog, config: SplitConfig) -> Split:
    """Divide the events as `config.method` says.

    Raises:
        CatalogError: If the catalogue cannot be divided so, or a given division leaks.
    """
    labels = label_events(catalog, config)
    sequences = catalog.sequences()
    items, offsets = sequences.items, sequences.offsets
    is_train = labels == TRAIN
    ends = np.concatenate([[0], np.cumsum(is_train)])[offsets]
    train_items = items[is_train]
    events = catalog.interactions
    return Split(
        user_ids=sequences.user_ids,
        train=[train_items[start:end] for start, end in itertools.pairwise(ends.tolist())],
        train_times=events["timestamp"].to_numpy()[is_train],
        train_weights=(
            events["weight"].to_numpy()[is_train] if "weight" in events.columns else np.ones(len(train_items))
        ),
        valid=_rows(sequences, labels == VALID, config.max_history),
        test=_rows(sequences, labels == TEST, config.max_history),
        sha256=_hash(catalog, labels, config),
        method=config.method,
    )


def _rows(sequences: Sequences, is_target: np.ndarray, max_history: int | None) -> EvaluationRows:
    """Return a row per target that has a history, in order by user and time."""
    offsets = sequences.offsets
    targets = np.flatnonzero(is_target)
    users = np.searchsorted(offsets, targets, side="right") - 1
    starts = offsets[users]
    has_history = targets > starts
    targets, users, starts = targets[has_history], users[has_history], starts[has_history]
    if max_history is not None:
        starts = np.maximum(starts, targets - max_history)
    return EvaluationRows(
        user_ids=[sequences.user_ids[user] for user in users.tolist()],
        histories=[
            sequences.items[start:end] for start, end in zip(starts.tolist(), targets.tolist(), strict=True)
        ],
        targets=sequences.items[targets],
    )


def _hash(catalog: Catalog, labels: np.ndarray, config: SplitConfig) -> str:
    """Hash who had which item ids in which order, and which event is which.

    Leave-one-out is told by where each user's train events end, as it was when it was the only method.
    """
    sequences = catalog.sequences()
    digest = hashlib.sha256(b"sidrec split 1\n")
    digest.update(json.dumps([config.method, sequences.user_ids]).encode())
    _update_with_list(digest, catalog.interactions["item_id"])
    digest.update(sequences.offsets.astype("<i8").tobytes())
    if config.method == "leave_one_out" and config.max_history is None:
        train = np.concatenate([[0], np.cumsum(labels == TRAIN)])[sequences.offsets]
        digest.update((sequences.offsets[:-1] + np.diff(train)).astype("<i8").tobytes())
    else:
        digest.update(json.dumps(config.max_history).encode() + labels.tobytes())
    return digest.hexdigest()


def _update_with_list(digest: hashlib._Hash, column: pd.Series) -> None:
    """Hash what `json.dumps` makes of a column of text, some rows at a time."""
    for start in range(0, len(column), _HASHED_AT_ONCE):
        part = json.dumps(column.iloc[start : start + _HASHED_AT_ONCE].tolist())
        digest.update((", " if start else "[").encode() + part[1:-1].encode())
    digest.update(b"]")
