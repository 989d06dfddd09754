"""Histories as padded rows of item indices, and train sequences as batches of windows.

Only train events become windows. What a model makes of them is left to `sequential.py` and `fitting.py`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

SORTED_BATCHES = 8
"""Batches whose windows are sorted by length together: half the time of unsorted ones, mostly padding."""


class WindowBatch(NamedTuple):
    """B windows.

    Attributes:
        items: (B, T) int64 item indices, padded on the right.
        weights: (B, T) float32, those of their events; None: 1 each.
    """

    items: Tensor
    weights: Tensor | None


class WindowBatches:
    """Batches of windows as padded rows, in a new order each epoch: an iterable for Lightning.

    Windows of like length share a batch, so that little of it is padding; which these are and the order of
    the batches are drawn anew each time.

    Args:
        windows: W arrays of 2 or more int64 item indices, oldest first.
        batch_size: Windows per batch.
        padding: Number of no item.
        seed: Of the orders.
        weights: The weights of the windows' events; None: 1 each.
    """

    def __init__(
        self,
        windows: Sequence[np.ndarray],
        batch_size: int,
        *,
        padding: int,
        seed: int,
        weights: Sequence[np.ndarray] | None = None,
    ) -> None:
        self.windows = windows
        self.weights = weights
        self.lengths = torch.tensor([len(window) for window in windows])
        self.batch_size = batch_size
        self.padding = padding
        self.generator = torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        return math.ceil(len(self.windows) / self.batch_size)

    def __iter__(self) -> Iterator[WindowBatch]:
        order = torch.randperm(len(self.windows), generator=self.generator)
        batches: list[Tensor] = []
        for pool in order.split(self.batch_size * SORTED_BATCHES):
            by_length = pool[self.lengths[pool].argsort(stable=True)]
            batches += by_length.split(self.batch_size)
        for place in torch.randperm(len(batches), generator=self.generator).tolist():
            rows = batches[place].tolist()
            items = pad_right([self.windows[row] for row in rows], padding=self.padding)
            if self.weights is None:
                yield WindowBatch(items, None)
            else:
                weights = [self.weights[row] for row in rows]
                yield WindowBatch(items, pad_right(weights, padding=1, dtype=np.float32))


def train_windows(sequences: Sequence[np.ndarray], *, max_history: int) -> list[np.ndarray]:
    """Cut sequences into windows of at most max_history inputs and the item after them.

    Every item but a sequence's first is the target of exactly one window; the newest window is a full one,
    as histories are when they are scored. A sequence of one item has no target and gives no window.

    Args:
        sequences: Arrays of item indices, or of the weights of their events, oldest first.
        max_history: Inputs of a window at most.
    """
    return [
        sequence[max(0, end - max_history - 1) : end]
        for sequence in sequences
        for end in range(len(sequence), 1, -max_history)
    ]


def pad_right(histories: Sequence[np.ndarray], *, padding: int, dtype: type = np.int64) -> Tensor:
    """Stack B histories as a (B, T) tensor; rows shorter than the longest end in `padding`."""
    lengths = np.array([len(history) for history in histories], dtype=np.int64)
    is_item = np.arange(lengths.max(initial=0)) < lengths[:, None]  # (B, T)
    rows: np.ndarray = np.full(is_item.shape, padding, dtype=dtype)
    rows[is_item] = np.concatenate([np.empty(0, dtype=dtype), *histories])
    return torch.from_numpy(rows)
