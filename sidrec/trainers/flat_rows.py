"""SFT rows one after the other in flat arrays, and padded as the model reads them: no loop over tokens."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sidrec.tasks.rows import IGNORED, NO_ITEM, Row


@dataclass(frozen=True, eq=False)
class FlatRows:
    """B rows with S tokens in all.

    Attributes:
        lengths: (B,) int32, tokens of each row; none is empty.
        input_ids: (S,) int32.
        kinds: (S,) int8, as in `Row`.
        items: (S,) int32, as in `Row`.
        tasks: (B,) int16, the place of each row's task in the list of tasks.
        weights: (S,) float32, as in `Row`, or None.
    """

    lengths: np.ndarray
    input_ids: np.ndarray
    kinds: np.ndarray
    items: np.ndarray
    tasks: np.ndarray
    weights: np.ndarray | None = None

    @classmethod
    def of(cls, rows: Sequence[Row]) -> FlatRows:
        """Lay rows out flat; either all have weights or none."""
        lengths = np.array([len(row.input_ids) for row in rows], dtype=np.int32)
        assert (lengths > 0).all(), "a row without tokens"
        size = int(lengths.sum(dtype=np.int64))

        def flat(lists: Iterable[list[Any]], dtype: type) -> np.ndarray:
            return np.fromiter(chain.from_iterable(lists), dtype=dtype, count=size)

        return cls(
            lengths,
            flat((row.input_ids for row in rows), np.int32),
            flat((row.kinds for row in rows), np.int8),
            flat((row.items for row in rows), np.int32),
            np.array([row.task for row in rows], dtype=np.int16),
            None if rows[0].weights is None else flat((row.weights or [] for row in rows), np.float32),
        )

    @property
    def row_of_token(self) -> np.ndarray:
        """The row of each token, (S,) int64."""
        return np.repeat(np.arange(len(self.lengths)), self.lengths)

    @property
    def offsets(self) -> np.ndarray:
        """Where each row begins, and the end of the last, (B + 1,) int32."""
        return np.concatenate([[0], np.cumsum(self.lengths)]).astype(np.int32)

    def count(self, tokens: np.ndarray) -> np.ndarray:
        """Return how many of the tokens that an (S,) bool array marks each row has, (B,) int32."""
        return np.bincount(self.row_of_token[tokens], minlength=len(self.lengths)).astype(np.int32)

    def padded(self, pad_id: int) -> dict[str, Tensor]:
        """Pad on the right.

        Returns:
            (B, T) int64 `input_ids`, `attention_mask`, `kinds` and `items`, (B,) int64 `tasks`, and (B, T)
            float32 `weights` if there are any.
        """
        here = np.arange(self.lengths.max()) < self.lengths[:, None]  # (B, T) bool

        def spread(values: np.ndarray, fill: int, dtype: type = np.int64) -> Tensor:
            full: np.ndarray = np.full(here.shape, fill, dtype=dtype)
            full[here] = values
            return torch.from_numpy(full)

        batch = {
            "input_ids": spread(self.input_ids, pad_id),
            "attention_mask": torch.from_numpy(here.astype(np.int64)),
            "kinds": spread(self.kinds, IGNORED),
            "items": spread(self.items, NO_ITEM),
            "tasks": torch.from_numpy(self.tasks.astype(np.int64)),
        }
        return batch if self.weights is None else batch | {"weights": spread(self.weights, 1, np.float32)}
