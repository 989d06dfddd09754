"""How often each task's rows are seen in an epoch, from the weights of the tasks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np

from sidrec.errors import ConfigError
from sidrec.text_table import table_lines
from sidrec.trainers.row_store import RowStore

Weighting = Literal["tokens", "rows"]


@dataclass(frozen=True)
class TaskShare:
    """What one task brings to an epoch.

    Attributes:
        name: Of the task.
        rows: It has.
        tokens: In them.
        supervised: Tokens with a loss among those, of which item dropout leaves `expected`.
        expected: Supervised tokens of one pass over the rows, in expectation.
        passes: Times that each row is seen per epoch; of a fraction, a random part of the rows.
        share: Of all supervised tokens of an epoch, in expectation.
        truncated: Rows that were cut to fit.
    """

    name: str
    rows: int
    tokens: int
    supervised: int
    expected: float
    passes: Fraction
    share: float
    truncated: int

    def facts(self) -> dict[str, float]:
        """Return what `metrics.json` says of the task."""
        return {
            "rows": self.rows,
            "tokens": self.tokens,
            "supervised_tokens": self.supervised,
            "share": round(self.share, 6),
            "passes_per_epoch": round(float(self.passes), 6),
            "truncated": self.truncated,
        }


def task_shares(
    store: RowStore,
    weights: Mapping[str, float],
    weighting: Weighting,
    *,
    num_levels: int,
    item_dropout: float = 0,
) -> list[TaskShare]:
    """Turn weights into passes per epoch.

    `rows`: a weight is the number of passes. `tokens`: supervised tokens are seen in the proportion of the
    weights, in expectation; the first task with the largest weight is passed over once.

    Args:
        store: All rows.
        weights: Task -> weight, in the order of the tasks; at least 0.
        weighting: What the weights weigh.
        num_levels: L, tokens of an item.
        item_dropout: Probability that an item is left out of a row.

    Raises:
        ConfigError: If every weight is 0, or a task with a weight has nothing to learn from.
    """
    count = len(weights)
    rows = np.bincount(store.tasks, minlength=count)
    tokens = np.bincount(store.tasks, weights=store.lengths, minlength=count)
    supervised = np.bincount(store.tasks, weights=store.supervised, minlength=count)
    left_out = _items_left_out(store, item_dropout)
    expected = supervised - num_levels * np.bincount(store.tasks, weights=left_out, minlength=count)
    for name, weight, learned in zip(weights, weights.values(), supervised, strict=True):
        if weight > 0 and learned == 0:
            raise ConfigError(
                f"sft.tasks.{name} has the weight {weight:g}, but the catalogue gives no row of it that has "
                f"something to learn. Set sft.tasks.{name}=0, or fill the columns it reads."
            )
    passes = _passes(list(weights.values()), expected.tolist(), weighting)
    seen = np.array([float(times) for times in passes]) * expected
    return [
        TaskShare(
            name=name,
            rows=int(rows[task]),
            tokens=int(tokens[task]),
            supervised=int(supervised[task]),
            expected=float(expected[task]),
            passes=passes[task],
            share=float(seen[task] / seen.sum()),
            truncated=store.truncated.get(name, 0),
        )
        for task, name in enumerate(weights)
    ]


def _items_left_out(store: RowStore, probability: float) -> np.ndarray:
    """Return how many items with a loss dropout takes from each row in expectation, (R,) float64.

    Of m there are m p, less the one that is put back when all would go, which happens with p to the m.
    """
    items = store.supervised_items
    return np.where(items > 0, items * probability - np.power(probability, items, dtype=float), 0)


def _passes(weights: Sequence[float], expected: Sequence[float], weighting: Weighting) -> list[Fraction]:
    exact = [Fraction(weight) for weight in weights]
    largest = max(exact)
    if largest <= 0:
        raise ConfigError("Every weight of sft.tasks is 0: there is nothing to train on. Raise one above 0.")
    if weighting == "rows":
        return exact
    once = exact.index(largest)
    wanted = [weight / largest * Fraction(expected[once]) for weight in exact]  # tokens per epoch
    return [
        want / Fraction(one_pass) if want else Fraction(0)
        for want, one_pass in zip(wanted, expected, strict=True)
    ]


def share_table(shares: Sequence[TaskShare]) -> str:
    """Return the table that is shown before training, one line per task."""
    header = ["task", "rows", "tokens", "supervised", "share", "passes per epoch", "truncated"]
    lines = [
        [
            task.name,
            f"{task.rows:,}",
            f"{task.tokens:,}",
            f"{task.supervised:,}",
            f"{task.share:.1%}",
            f"{float(task.passes):.4g}",
            f"{task.truncated:,}",
        ]
        for task in shares
    ]
    return "\n".join(table_lines(header, lines))


class Mixture:
    """Which rows an epoch sees, from seed and epoch alone.

    A row that an epoch sees twice has two *sights*: copy c of row r of R is the number c R + r.

    Attributes:
        num_rows: R.
    """

    def __init__(self, tasks: np.ndarray, passes: Sequence[Fraction], seed: int) -> None:
        """Take the (R,) tasks of the rows, and the passes of each task."""
        self.num_rows = len(tasks)
        self._rows = [np.flatnonzero(tasks == task) for task in range(len(passes))]
        self._passes = list(passes)
        self._seed = seed

    def sights(self, epoch: int) -> np.ndarray:
        """Return all sights of an epoch, int64, task by task.

        With p passes each row comes floor(p) times, and a random part of the rows once more. Those are as
        many as keep the rows seen in all epochs so far at p times the epochs, to the nearest row.
        """
        return np.concatenate([self._of_task(task, epoch) for task in range(len(self._rows))])

    def count(self, epoch: int) -> int:
        """Return the number of sights of an epoch."""
        return sum(self._count(task, epoch) for task in range(len(self._rows)))

    def _count(self, task: int, epoch: int) -> int:
        per_epoch = len(self._rows[task]) * self._passes[task]
        return _rounded(per_epoch * (epoch + 1)) - _rounded(per_epoch * epoch)

    def _of_task(self, task: int, epoch: int) -> np.ndarray:
        rows, whole = self._rows[task], math.floor(self._passes[task])
        rng = np.random.default_rng([self._seed, epoch, task + 1])  # a 0 in the end would change nothing
        some = rng.choice(rows, self._count(task, epoch) - whole * len(rows), replace=False)
        copies = [copy * self.num_rows + rows for copy in range(whole)]
        return np.concatenate([*copies, whole * self.num_rows + some])


def _rounded(number: Fraction) -> int:
    return math.floor(number + Fraction(1, 2))
