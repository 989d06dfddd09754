"""In which order RL sees its prompts: an endless one, from the seed alone.

Each kind of prompts has a weight, and every stretch of the order has the kinds in those shares.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from sidrec.errors import ConfigError


class Rows(Protocol):
    """Rows that are made when they are read."""

    def __len__(self) -> int: ...

    def __getitem__(self, row: int) -> dict[str, Any]: ...


class PromptOrder:
    """Pass after pass over R rows.

    A pass has all rows of the first kind with the largest weight w once, and of a kind with weight v so many
    that they stand to those as v to w, to the nearest row and at least one: a part of its rows, or some more
    than once, and none a second time before all of them came once. The kinds are spread evenly over a pass:
    of k kinds each has its share of any stretch of it to less than k prompts.

    Attributes:
        size: Prompts of a pass.
    """

    def __init__(self, kinds: np.ndarray, weights: Sequence[float], names: Sequence[str], seed: int) -> None:
        """Take of which kind every row is.

        Args:
            kinds: (R,) integers below k.
            weights: k, above 0.
            names: k, of the tasks they are of, for messages.
            seed: The run's.

        Raises:
            ConfigError: If a kind has no row.
        """
        self._rows = [np.flatnonzero(kinds == kind) for kind in range(len(weights))]
        for rows, name in zip(self._rows, names, strict=True):
            if len(rows) == 0:
                raise ConfigError(
                    f"rl.tasks.{name} has a weight, but the catalogue gives no prompt of it. "
                    f"Set rl.tasks.{name}=0, or fill the columns it reads."
                )
        largest = max(weights)
        once = len(self._rows[list(weights).index(largest)])
        self._counts = [max(1, round(weight / largest * once)) for weight in weights]
        self._seed = seed
        self.size = sum(self._counts)
        self._passes: dict[int, np.ndarray] = {}

    def rows(self, start: int, count: int) -> np.ndarray:
        """Return the row numbers at the places from `start` on, (count,) int64."""
        found = []
        while count > 0:
            number, first = divmod(start, self.size)
            part = self._pass(number)[first : first + count]
            found.append(part)
            start, count = start + len(part), count - len(part)
        return np.concatenate(found) if found else np.empty(0, dtype=np.int64)

    def _pass(self, number: int) -> np.ndarray:
        if number not in self._passes:
            for old in sorted(self._passes)[:-1]:  # two are held: what comes back may be of the one before
                del self._passes[old]
            kinds = [self._of_kind(kind, number) for kind in range(len(self._rows))]
            when = [moments for moments, _ in kinds]
            order = np.argsort(np.concatenate(when), kind="stable")
            self._passes[number] = np.concatenate([rows for _, rows in kinds])[order]
        return self._passes[number]

    def _of_kind(self, kind: int, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Return when in a pass, in [0, 1), rows of a kind come, and which."""
        generator = torch.Generator().manual_seed(self._seed + 1_000_003 * number + 10_007 * kind)
        rows, count = self._rows[kind], self._counts[kind]
        copies = [
            rows[torch.randperm(len(rows), generator=generator).numpy()]
            for _ in range(-(-count // len(rows)))
        ]
        moments = (np.arange(count) + torch.rand(1, generator=generator).item()) / count
        return moments, np.concatenate(copies)[:count]


class PromptStream(Dataset[dict[str, Any]]):
    """The rows of an order by their place in it; each dict has its `place` too.

    Places of one batch that are equal, as TRL asks for a group, give one dict.
    """

    def __init__(
        self,
        rows: Rows,
        order: PromptOrder,
        length: int,
        change: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
    ) -> None:
        """Take rows, their order and how many places a training has; `change` makes each dict another one."""
        self._rows, self._order, self._length, self._change = rows, order, length, change

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, place: int) -> dict[str, Any]:
        if place >= self._length:
            raise IndexError(place)
        row = self._rows[int(self._order.rows(place, 1)[0])] | {"place": place}
        return row if self._change is None else self._change(row)

    def __getitems__(self, places: Sequence[int]) -> list[dict[str, Any]]:
        """Return the rows of a batch; torch's loader calls this."""
        made = {place: self[place] for place in dict.fromkeys(places)}
        return [made[place] for place in places]

    def stretch(self, start: int, count: int) -> list[dict[str, Any]]:
        """Return the rows at the places from `start` on."""
        return [self[place] for place in range(start, start + count)]


class PromptSampler(Sampler[int]):
    """Places as TRL wants them: those of a batch, each G times in a row, all of it again for each update.

    A training is one pass of this sampler, so that one that goes on from a checkpoint has the same places.
    """

    def __init__(self, *, prompts: int, group_size: int, updates: int, stride: int, batches: int) -> None:
        """Take the shape of a training.

        Args:
            prompts: Of a batch.
            group_size: G.
            updates: Batches in a row that have the same prompts.
            stride: Places from where a batch of new prompts begins to where the next one does.
            batches: Of the training.
        """
        self._prompts, self._group_size = prompts, group_size
        self._updates, self._stride, self._batches = updates, stride, batches

    def __len__(self) -> int:
        return self._batches * self._prompts * self._group_size

    def __iter__(self) -> Iterator[int]:
        for batch in range(self._batches):
            first = batch // self._updates * self._stride
            for place in range(first, first + self._prompts):
                yield from [place] * self._group_size
