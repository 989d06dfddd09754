"""Which rows stand in which batch, and the loader that reads them for one of several processes.

The batches of an epoch are planned for all processes together, from (seed, epoch) alone: each process takes
its share of every one, so that two processes learn from the same batches as one, and a resumed run goes on
with the ones it had before it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler
from transformers import TrainingArguments

from sidrec.errors import ConfigError
from sidrec.tasks.rows import IGNORED
from sidrec.trainers.item_dropout import drop_items
from sidrec.trainers.mixing import Mixture
from sidrec.trainers.row_store import RowStore

GROUPED_BATCHES = 32  # batches whose rows are sorted by length together


@dataclass(frozen=True)
class BatchSize:
    """How large a batch of all processes together is.

    Attributes:
        rows: So many, where `tokens` is None.
        tokens: At most so many, padding included.
    """

    rows: int
    tokens: int | None = None

    def of_length(self, longest: int) -> int:
        """Return the rows of a batch whose longest row has so many tokens."""
        return self.rows if self.tokens is None else self.tokens // longest

    def check(self, longest: int) -> None:
        """Refuse a budget that the longest row does not fit into.

        Raises:
            ConfigError: With what to do.
        """
        if self.tokens is not None and self.tokens < longest:
            raise ConfigError(
                f"sft.tokens_per_batch is {self.tokens}, but the longest row has {longest} tokens. Set it to "
                f"{longest} or more, or shorten the rows by prompt.max_history or prompt.max_title_tokens."
            )


class BatchPlan:
    """The batches of every epoch, of rows of like length, in random order.

    Attributes:
        num_batches: Of every epoch alike, which the learning-rate schedule and a resumed training count on:
            the most that an epoch needs. Others come to it by halving their largest batches.
    """

    def __init__(
        self, lengths: np.ndarray, mixture: Mixture, size: BatchSize, *, seed: int, epochs: int
    ) -> None:
        """Plan so many epochs over rows of (R,) lengths.

        Raises:
            ConfigError: If the longest row is above the budget, or an epoch has no row.
        """
        size.check(int(lengths.max()))
        self._lengths, self._mixture, self._size, self._seed = lengths, mixture, size, seed
        self._window = GROUPED_BATCHES * size.of_length(int(lengths.mean()))
        needed = [self._count(epoch) for epoch in range(epochs)]
        if min(needed) == 0:
            raise ConfigError(
                "sft.tasks: the weights are so small that an epoch sees no row at all. With "
                "sft.weighting=rows a weight is the number of times that an epoch sees each row; raise them."
            )
        self.num_batches = max(needed)

    def batches(self, epoch: int) -> list[np.ndarray]:
        """Return the batches of an epoch, each an array of sights (see `Mixture`)."""
        batches = _stretched(self._grouped(epoch), self.num_batches)
        np.random.default_rng([self._seed, epoch, 0, 1]).shuffle(batches)
        return batches

    def rows_of(self, sights: np.ndarray) -> np.ndarray:
        """Return the rows that are seen."""
        return sights % len(self._lengths)

    def _count(self, epoch: int) -> int:
        """Return how many batches the sights of an epoch need."""
        if self._size.tokens is None:  # at once, without drawing them
            return math.ceil(self._mixture.count(epoch) / self._size.rows)
        return len(self._grouped(epoch))

    def _grouped(self, epoch: int) -> list[np.ndarray]:
        """Shuffle the rows, sort a window at a time by length, and cut it into batches, longest first.

        What is left of a window goes into the next one: the last batch of the epoch alone is not full.
        """
        order = np.random.default_rng([self._seed, epoch]).permutation(self._mixture.sights(epoch))
        batches: list[np.ndarray] = []
        rest = order[:0]
        for start in range(0, len(order), self._window):
            window = np.concatenate([rest, order[start : start + self._window]])
            lengths = self._lengths[self.rows_of(window)]
            by_length = np.argsort(-lengths, kind="stable")
            window, lengths = window[by_length], lengths[by_length]
            first = 0
            while first < len(window):
                end = first + self._size.of_length(int(lengths[first]))
                if end > len(window):
                    break
                batches.append(window[first:end])
                first = end
            rest = window[first:]
        return [*batches, rest] if len(rest) else batches


def _stretched(batches: list[np.ndarray], count: int) -> list[np.ndarray]:
    """Halve the largest batches until there are `count`; where all have one row, see some rows once more."""
    assert len(batches) <= count, "an epoch that was not planned"
    batches = list(batches)
    while len(batches) < count:
        largest = max(range(len(batches)), key=lambda number: len(batches[number]))
        if len(batches[largest]) == 1:
            batches += batches[: count - len(batches)]
            continue
        batches[largest : largest + 1] = np.array_split(batches[largest], 2)
    return batches


@dataclass(frozen=True, eq=False)
class Share:
    """What one process reads of a batch.

    Attributes:
        epoch: Of the batch.
        sights: (B,) at least one.
        supervised: False where the batch had no row left for this process: it computes along, on a row
            without a loss.
    """

    epoch: int
    sights: np.ndarray
    supervised: bool = True


class ShareSampler(Sampler[Any]):
    """One process's shares of the batches of an epoch, which torch expects as lists of rows."""

    def __init__(self, plan: BatchPlan, *, process: int, world: int) -> None:
        self._plan, self._process, self._world, self._epoch = plan, process, world, 0

    def set_epoch(self, epoch: int) -> None:
        """Go over to another epoch; the Trainer calls this, also on a loader that skips batches."""
        self._epoch = epoch

    def __len__(self) -> int:
        return self._plan.num_batches

    def __iter__(self) -> Iterator[Share]:
        for batch in self._plan.batches(self._epoch):
            share = batch[self._process :: self._world]
            yield Share(self._epoch, share) if len(share) else Share(self._epoch, batch[:1], supervised=False)


class BatchDataset(Dataset):
    """Rows as the Trainer wants them: a whole batch is read, thinned and padded at once."""

    def __init__(
        self,
        store: RowStore,
        plan: BatchPlan,
        *,
        pad_id: int,
        num_levels: int,
        item_dropout: float,
        seed: int,
    ) -> None:
        self._store, self.plan = store, plan
        self._pad_id, self._num_levels = pad_id, num_levels
        self._item_dropout, self._seed = item_dropout, seed

    def __len__(self) -> int:
        return len(self._store)

    def __getitems__(self, share: Share) -> dict[str, Tensor]:
        """Return the batch of a share: `FlatRows.padded`."""
        rows = drop_items(
            self._store.take(self.plan.rows_of(share.sights)),
            self._num_levels,
            self._item_dropout,
            seed=self._seed,
            epoch=share.epoch,
            sights=share.sights,
        )
        batch = rows.padded(self._pad_id)
        if not share.supervised:
            batch["kinds"].fill_(IGNORED)
        return batch


class BatchLoader(DataLoader):
    """Reads one process's shares, epoch by epoch.

    It is not prepared by accelerate, which would give whole batches to the processes in turn; the Trainer
    moves tensors to the device itself.
    """

    def __init__(self, batches: BatchDataset, args: TrainingArguments) -> None:
        self._shares = ShareSampler(batches.plan, process=args.process_index, world=args.world_size)
        super().__init__(
            batches,
            batch_sampler=self._shares,
            collate_fn=_as_it_is,
            num_workers=args.dataloader_num_workers,
            pin_memory=args.dataloader_pin_memory,
            persistent_workers=args.dataloader_persistent_workers,
            prefetch_factor=args.dataloader_prefetch_factor,
        )

    def set_epoch(self, epoch: int) -> None:
        """Go over to another epoch; the Trainer calls this."""
        self._shares.set_epoch(epoch)


def _as_it_is(batch: Any) -> Any:
    return batch
