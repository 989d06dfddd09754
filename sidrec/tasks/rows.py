"""A row of SFT: token ids and, token by token, what is supervised there; and what rows are made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from sidrec.prompts import PromptBuilder
from sidrec.tasks.values import Values

IGNORED, TEXT = -1, -2  # kinds of a token; 0..L-1 is a SID token of that level with a loss on it
NO_ITEM = -1


@dataclass(frozen=True)
class Row:
    """One training sequence of T tokens.

    Attributes:
        input_ids: T token ids.
        kinds: T integers: IGNORED, TEXT (a loss over the vocabulary), or the level of a SID token with a
            loss.
        items: T catalogue rows: the item that a SID token belongs to, with a loss or without, else NO_ITEM.
        task: Place of the row's task in the list of tasks.
        is_cut: Whether a text in it was cut, or a target in it sees less than the history before it.
        weights: T numbers that the losses are multiplied by, for a target that of its event; None: 1 each.
    """

    input_ids: list[int]
    kinds: list[int]
    items: list[int]
    task: int = 0
    is_cut: bool = False
    weights: list[float] | None = None


@dataclass(frozen=True)
class RowSource:
    """What rows are made from.

    Attributes:
        prompts: Words and SIDs as tokens.
        values: Texts as tokens.
        histories: For each user the train items, oldest first; in the order of the table of users.
        weights: For each user the weights of these events; None: 1 each.
        rows: `sft.rows`; None: `user` where a task allows it.
        max_positions: Tokens that the model can take; None: any number.
    """

    prompts: PromptBuilder
    values: Values
    histories: Sequence[np.ndarray]
    weights: Sequence[np.ndarray] | None = None
    rows: Literal["user", "prefix"] | None = None
    max_positions: int | None = None

    def weights_of(self, user: int) -> list[float] | None:
        """Return the weights of a user's events."""
        return None if self.weights is None else self.weights[user].tolist()
