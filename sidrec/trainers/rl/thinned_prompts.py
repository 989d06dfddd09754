"""Prompts of RL with random items left out of the history that they show (`rl.item_dropout`).

What a row says of its history and target stays: rewards judge the rollouts of a user, not of what was shown.
"""

from __future__ import annotations

from itertools import compress
from typing import Any

from sidrec.tasks.asked import PromptRows
from sidrec.trainers.item_dropout import kept_items


class ThinnedPrompts:
    """Write a prompt anew each time that the order of prompts has it.

    Which items go depends on the seed and the place in the order alone, so that a training that goes on from
    a checkpoint leaves out the same ones. One item at least stays.
    """

    def __init__(self, rows: PromptRows, probability: float, seed: int) -> None:
        """Take the rows, the probability of an item to be left out, in [0, 1), and the seed of the run."""
        self._rows, self._probability, self._seed = rows, probability, seed

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Return a row, which has its `row` and `place`, with other `prompt_ids`."""
        shown = self._rows.shown(row["row"])
        kept = kept_items(len(shown), self._probability, seed=self._seed, sight=row["place"])
        return row | {"prompt_ids": self._rows.prompt_ids(row["row"], list(compress(shown, kept)))}
