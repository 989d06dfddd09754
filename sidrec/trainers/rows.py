"""SFT rows: token ids and, token by token, what is supervised there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from sidrec.prompts import PromptBuilder

IGNORED, TEXT = -1, -2  # kinds of a token; 0..L-1 is a SID token of that level with a loss on it
NO_ITEM = -1


@dataclass(frozen=True)
class Row:
    """One training sequence of T tokens.

    Attributes:
        input_ids: T token ids.
        kinds: T integers: IGNORED, TEXT (a loss over the vocabulary), or the level of a SID token with a
            loss.
        items: T catalogue rows, the item a SID token belongs to, else NO_ITEM.
        task: Place of the row's task in the list of tasks.
    """

    input_ids: list[int]
    kinds: list[int]
    items: list[int]
    task: int = 0


def history_rows(prompts: PromptBuilder, history: Sequence[int]) -> Iterator[Row]:
    """Yield a user's rows for next-item prediction, each target supervised once.

    With the compact template a history is one row with a loss at every item; one longer than the model sees
    is cut into windows whose older half is context only. With the instruct template each target needs a
    prompt of its own.
    """
    items = [int(item) for item in history]
    if prompts.settings.template == "instruct":
        for place in range(1, len(items)):
            yield _completed(prompts.next_item(items[:place]), prompts, items[place])
        return
    window = prompts.settings.max_history + 1
    supervised = 0
    while supervised < len(items):
        context = 0 if supervised == 0 else max(1, window // 2)
        start = supervised - context
        yield _compact_row(prompts, items[start : start + window], context)
        supervised = start + window


def alignment_rows(prompts: PromptBuilder, item: int, title: str) -> Iterator[Row]:
    """Yield the two rows that tie an item's title and its SID together."""
    yield _completed(prompts.title_to_item(title), prompts, item)
    question = prompts.item_to_title(item)
    answer = [*prompts.title_tokens(title), prompts.eos_id]
    kinds = [IGNORED] * len(question) + [TEXT] * len(answer)
    yield Row([*question, *answer], kinds, [NO_ITEM] * len(kinds))


def _compact_row(prompts: PromptBuilder, items: list[int], context: int) -> Row:
    levels = list(range(prompts.codes.shape[1]))
    kinds = [IGNORED, *([IGNORED] * len(levels) * context), *(levels * (len(items) - context))]
    owners = [NO_ITEM, *(item for item in items for _ in levels)]
    return Row([prompts.bos_id, *(t for item in items for t in prompts.item_tokens[item])], kinds, owners)


def _completed(prompt: list[int], prompts: PromptBuilder, item: int) -> Row:
    """A prompt whose answer is an item."""
    levels = list(range(prompts.codes.shape[1]))
    return Row(
        [*prompt, *prompts.item_tokens[item]],
        [IGNORED] * len(prompt) + levels,
        [NO_ITEM] * len(prompt) + [item] * len(levels),
    )


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
    """Pad rows on the right into (B, T) tensors: input_ids, attention_mask, kinds, items; and (B,) tasks."""
    width = max(len(row.input_ids) for row in rows)

    def padded(values: list[list[int]], fill: int) -> Tensor:
        return torch.tensor([value + [fill] * (width - len(value)) for value in values])

    return {
        "input_ids": padded([row.input_ids for row in rows], pad_id),
        "attention_mask": padded([[1] * len(row.input_ids) for row in rows], 0),
        "kinds": padded([row.kinds for row in rows], IGNORED),
        "items": padded([row.items for row in rows], NO_ITEM),
        "tasks": torch.tensor([row.task for row in rows]),
    }
