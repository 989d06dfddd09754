"""Histories as padded rows of item indices, and train sequences as batches of windows.

Only train events become windows. What a model makes of them is left to `sequential.py` and `fitting.py`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

SORTED_BATCHES = 8
"""Batches whose windows are sorted by length together: half the time of unsorted ones, mostly padding."""


class WindowBatches:
    """Batches of windows as padded (B, T) rows, in a new order each epoch: an iterable for Lightning.

    Windows of like length share a batch, so that little of it is padding; which these are and the order of
    the batches are drawn anew each time.

    Args:
        windows: W arrays of 2 or more int64 item indices, oldest first.
        batch_size: Windows per batch.
        padding: Number of no item.
        seed: Of the orders.
    """

    def __init__(self, windows: Sequence[np.ndarray], batch_size: int, *, padding: int, seed: int) -> None:
        self.windows = windows
        self.lengths = torch.tensor([len(window) for window in windows])
        self.batch_size = batch_size
        self.padding = padding
        self.generator = torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        return math.ceil(len(self.windows) / self.batch_size)

    def __iter__(self) -> Iterator[Tensor]:
        order = torch.randperm(len(self.windows), generator=self.generator)
        batches: list[Tensor] = []
        for pool in order.split(self.batch_size * SORTED_BATCHES):
            by_length = pool[self.lengths[pool].argsort(stable=True)]
            batches += by_length.split(self.batch_size)
        for place in torch.randperm(len(batches), generator=self.generator).tolist():
            yield pad_right([self.windows[row] for row in batches[place].tolist()], padding=self.padding)


def train_windows(sequences: Sequence[np.ndarray], *, max_history: int) -> list[np.ndarray]:
    """Cut sequences into windows of at most max_history inputs and the item after them.

    Every item but a sequence's first is the target of exactly one window; the newest window is a full one,
    as histories are when they are scored. A sequence of one item has no target and gives no window.

    Args:
        sequences: Arrays of item indices, oldest first.
        max_history: Inputs of a window at most.
    """
    return [
        sequence[max(0, end - max_history - 1) : end]
        for sequence in sequences
        for end in range(len(sequence), 1, -max_history)
    ]


def pad_right(histories: Sequence[np.ndarray], *, padding: int) -> Tensor:
    """Stack B histories as a (B, T) int64 tensor; rows shorter than the longest end in `padding`."""
    lengths = np.array([len(history) for history in histories], dtype=np.int64)
    is_item = np.arange(lengths.max(initial=0)) < lengths[:, None]  # (B, T)
    rows = np.full(is_item.shape, padding, dtype=np.int64)
    rows[is_item] = np.concatenate([np.empty(0, dtype=np.int64), *histories])
    return torch.from_numpy(rows)
