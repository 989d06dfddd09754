"""Which prompts a step of RL is made of: those it is handed, or those that have something to teach.

A group whose rewards are all equal teaches nothing, and beams without a gradient are the cheap part of a
step. With a curriculum a step owns a stretch of the order of prompts, as long as the most it may draw, and
draws from it until it has enough groups of unequal rewards; the rest of the stretch is passed by. So what a
step draws follows from its place in the order and the weights alone, and a training that goes on from a
checkpoint draws what it would have drawn.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from sidrec.artifacts import read_json, write_json
from sidrec.processes import process_index
from sidrec.rewards import RewardParts, Rollouts

REPLAYED = 4
"""Of so many prompts that a step is handed, one may be there for another time."""
Kind = Literal["none", "live", "replay"]


@dataclass(frozen=True)
class Drawn:
    """B prompts, their rollouts and rewards, in the order in which they were drawn.

    Attributes:
        live: (B,) bool: whose group the objective can learn from.
    """

    rows: list[dict[str, Any]]
    rollouts: Rollouts
    rewards: RewardParts
    live: Tensor

    @property
    def missed(self) -> list[bool]:
        """Of each prompt, whether no rollout is its target."""
        found: list[bool] = (~self.rollouts.hits.any(dim=1)).tolist()
        return found


class Stream(Protocol):
    """Rows by their place in the order."""

    def stretch(self, start: int, count: int) -> list[dict[str, Any]]:
        """Return the rows at the places from `start` on."""


Judge = Callable[[list[dict[str, Any]]], Drawn]


@dataclass
class Curriculum:
    """Draw the prompts of one batch after the other.

    `replay`: of the prompts of a batch that were drawn for the first time and missed the target, the first
    come back `replay_after` batches later, at its beginning and in place of as many new ones; no more than a
    quarter of a batch, and at least one. A prompt comes back once each time the order has it.

    Attributes:
        kind: `rl.curriculum`.
        max_draws: A batch draws at most so many times the prompts that it is handed.
        replay_after: In batches.
        returning: Number of a batch -> places of prompts that come back in it. All that there is to save.
    """

    kind: Kind = "none"
    max_draws: int = 4
    replay_after: int = 8
    returning: dict[int, list[int]] = field(default_factory=dict)

    def stride(self, prompts: int) -> int:
        """Return how many places a batch of so many prompts owns."""
        return prompts if self.kind == "none" else prompts * self.max_draws

    def draw(
        self, handed: list[dict[str, Any]], stream: Stream, judge: Judge, *, prompts: int | None = None
    ) -> Drawn:
        """Draw the rollouts of a batch.

        Args:
            handed: Its first prompts, each with its `place`.
            stream: Gives more.
            judge: Draws and rewards rollouts.
            prompts: Those that all processes are handed, of which `handed` are the share of this one; absent:
                all.
        """
        if self.kind == "none":
            return judge(handed)
        wanted = len(handed)
        stride = self.stride(prompts or wanted)
        batch, offset = divmod(handed[0]["place"], stride)
        share = offset // wanted  # of the processes, which one this is
        first = batch * stride + (prompts or wanted) + share * wanted * (self.max_draws - 1)
        back = [row for place in self.returning.pop(batch, []) for row in stream.stretch(place, 1)]
        new = chain(handed, _one_by_one(stream, first, wanted * (self.max_draws - 1)))
        begun = [*back, *islice(new, wanted - len(back))]
        drawn = draw_until_live(begun, new, judge, most=wanted * self.max_draws)
        if self.kind == "replay":
            places = [
                row["place"]
                for row, missed in zip(drawn.rows[len(back) :], drawn.missed[len(back) :], strict=True)
                if missed
            ]
            if places := places[: max(1, wanted // REPLAYED)]:
                self.returning[batch + self.replay_after] = places
        return drawn

    def save(self, directory: Path) -> None:
        """Write what is to be known of the batches so far."""
        if self.kind == "replay":
            write_json(_state_file(directory), self.returning)

    def load(self, directory: Path) -> None:
        """Read what `save` wrote."""
        if self.kind == "replay":
            read = read_json(_state_file(directory))
            self.returning = {int(batch): places for batch, places in read.items()}


def _state_file(directory: Path) -> Path:
    return directory / f"curriculum_{process_index()}.json"  # each process has prompts of its own


def draw_until_live(
    begun: list[dict[str, Any]], more: Iterator[dict[str, Any]], judge: Judge, *, most: int
) -> Drawn:
    """Draw rollouts for `begun`, then for further prompts, until as many groups as those are live.

    The next prompts are as many as are missing, if the share of live groups stays what it was so far.

    Args:
        begun: Drawn in any case.
        more: Prompts to go on with.
        judge: Draws and rewards rollouts.
        most: Prompts that may be drawn in all; fewer live groups have to do then.
    """
    parts = [judge(begun)]
    drawn, live = len(begun), int(parts[0].live.sum())
    while live < len(begun) and drawn < most:
        missing = len(begun) - live
        count = min(most - drawn, math.ceil(missing * drawn / max(1, live)))
        rows = list(islice(more, count))
        if not rows:
            break
        parts.append(judge(rows))
        drawn, live = drawn + len(rows), live + int(parts[-1].live.sum())
    return _joined(parts)


def first_of(live: Tensor, count: int) -> Tensor:
    """Keep the first `count` of those that are live: (B,) bool."""
    return live & (live.cumsum(0) <= count)


def _one_by_one(stream: Stream, start: int, count: int) -> Iterator[dict[str, Any]]:
    for place in range(start, start + count):
        yield from stream.stretch(place, 1)


def _joined(parts: Sequence[Any]) -> Any:
    """Put the same thing of several drawings into one, along its first dimension."""
    first = parts[0]
    if len(parts) == 1 or first is None or isinstance(first, float):  # a weight is that of every drawing
        return first
    if isinstance(first, Tensor):
        return torch.cat(list(parts))
    if isinstance(first, list | tuple):
        return [each for part in parts for each in part]
    if isinstance(first, Mapping):
        return {name: _joined([part[name] for part in parts]) for name in first}
    if is_dataclass(first) and not isinstance(first, type):
        values = {each.name: _joined([getattr(part, each.name) for part in parts]) for each in fields(first)}
        return type(first)(**values)
    raise TypeError(f"{type(first).__name__} of several drawings cannot be joined.")
