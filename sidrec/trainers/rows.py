"""SFT rows as the Trainer wants them: a data set with lengths, and batches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from sidrec.tasks.rows import IGNORED, NO_ITEM, Row


class RowDataset(Dataset):
    """Rows as the Trainer wants them, with their lengths for grouping."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self._rows = rows
        self.lengths = np.array([len(row.input_ids) for row in rows])

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Row:
        return self._rows[index]


def collate(rows: Sequence[Row], pad_id: int) -> dict[str, Tensor]:
    """Pad rows on the right into (B, T) tensors: input_ids, attention_mask, kinds, items."""
    width = max(len(row.input_ids) for row in rows)

    def padded(values: list[list[int]], fill: int) -> Tensor:
        return torch.tensor([value + [fill] * (width - len(value)) for value in values])

    return {
        "input_ids": padded([row.input_ids for row in rows], pad_id),
        "attention_mask": padded([[1] * len(row.input_ids) for row in rows], 0),
        "kinds": padded([row.kinds for row in rows], IGNORED),
        "items": padded([row.items for row in rows], NO_ITEM),
    }
