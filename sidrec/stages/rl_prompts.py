"""The prompts of RL: rows whose targets travel with them as integers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sidrec.prompts import PromptBuilder
from sidrec.stages.run import Run

if TYPE_CHECKING:
    from datasets import Dataset


def rl_prompts(run: Run, prompts: PromptBuilder, *, shuffle_seed: int | None = None) -> Dataset:
    """Return every train event with a history before it, as a row of `prompt_ids`, `history` and `target`.

    With a `shuffle_seed` the targets are dealt anew over all rows: the control whose rewards mean nothing.
    """
    from datasets import Dataset

    rows: list[dict[str, Any]] = []
    for history in run.split.train:
        items = history.tolist()
        rows += [
            {"history": items[:place], "prompt_ids": prompts.next_item(items[:place]), "target": items[place]}
            for place in range(1, len(items))
        ]
    if shuffle_seed is not None:
        targets = [row["target"] for row in rows]
        for row, other in zip(rows, np.random.default_rng(shuffle_seed).permutation(len(rows)), strict=True):
            row["target"] = targets[other]
    for number, row in enumerate(rows):
        row |= {"prompt": "", "row": number}  # TRL insists on a prompt
    return Dataset.from_list(rows)
