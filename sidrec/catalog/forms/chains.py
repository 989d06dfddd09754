"""Rows of a history and its target, as events again: a user's rows are one chain, and every row is checked.

Such files repeat the events of a user row by row: [a] -> b, [a, b] -> c, and so on, the histories cut at some
length. The events are those of the first history, then a target per row.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

import pandas as pd

from sidrec.errors import CatalogError

PARTS = ("train", "valid", "test")
CONTEXT = "context"
"""The part of an event that is in histories and nobody's target."""


@dataclass(frozen=True)
class Row:
    """What one row of such a file says.

    Attributes:
        user: The user's id.
        history: Item ids, oldest first.
        target: The item that came next.
        part: What the target is for: one of `PARTS`.
        where: The row, for messages: "train/set.csv: row 7".
    """

    user: str
    history: list[str]
    target: str
    part: str
    where: str


@dataclass(frozen=True, eq=False)
class Chains:
    """The events of all users.

    Attributes:
        events: `user_id`, `item_id` and `split`, user by user, oldest first.
        longest: Length at which the histories are cut: that of the longest one.
        seen: Events of the histories of first train rows, which are train without being a target.
    """

    events: pd.DataFrame
    longest: int
    seen: int


def rebuild_events(rows: Iterable[Row], *, user_id: str, item_id: str, newest_first: bool = False) -> Chains:
    """Return the events that rows were made of.

    The history of a user's first row is train where that row is, since the model was trained on it, else
    context.

    Args:
        rows: Those of train, then valid, then test, each in the order of its file.
        user_id: What to call the column of the users.
        item_id: What to call the column of the items.
        newest_first: Whether the rows of a user may also lie so in a file, as in those of UniSRec and LC-Rec.

    Raises:
        CatalogError: If the history of a row is not the newest events before its target.
    """
    by_user: dict[str, list[Row]] = {}
    for row in rows:
        by_user.setdefault(row.user, []).append(row)
    longest = max((len(row.history) for chain in by_user.values() for row in chain), default=0)
    users: list[str] = []
    items: list[str] = []
    splits: list[str] = []
    seen = 0
    for user, chain in by_user.items():
        events, parts = _follow(_oldest_first(chain) if newest_first else chain, longest)
        users.extend([user] * len(events))
        items.extend(events)
        splits.extend(parts)
        seen += len(chain[0].history) if chain[0].part == "train" else 0
    return Chains(pd.DataFrame({user_id: users, item_id: items, "split": splits}), longest, seen)


def note_chains(chains: Chains, present: Collection[str]) -> Iterator[str]:
    """Say what the parts that are there, and those that are not, make of the events."""
    yield (
        f"The events were put together from rows with histories of up to {chains.longest}; every row agrees "
        "with those before it."
    )
    context = int((chains.events["split"] == CONTEXT).sum())
    if "train" not in present:
        yield (
            f"There is no train file: the {context:,} events of first histories are context, which no model "
            "is trained on, so this catalogue is for evaluation only."
        )
    else:
        yield (
            f"The {chains.seen:,} events of the histories of first train rows are train as well: a model "
            "was trained on them, though no row has them as its target."
        )
        if context:
            yield f"{context:,} events are context: the first histories of users without train rows."
    yield from note_missing(part for part in ("valid", "test") if part not in present)


def note_missing(parts: Iterable[str]) -> Iterator[str]:
    """Say which parts have no file."""
    for part in parts:
        yield f"There is no {part} file: no event is {part}."


def _oldest_first(chain: list[Row]) -> list[Row]:
    """Turn the parts around whose histories get shorter."""
    ordered: list[Row] = []
    for _, rows in groupby(chain, key=lambda row: row.part):
        part = list(rows)
        shrinks = len(part[0].history) > len(part[-1].history)
        ordered.extend(reversed(part) if shrinks else part)
    return ordered


def _follow(chain: list[Row], longest: int) -> tuple[list[str], list[str]]:
    """Return the items of one user's chain and what each is for."""
    first = chain[0]
    events = list(first.history)
    parts = ["train" if first.part == "train" else CONTEXT] * len(events)
    for row in chain:
        expected = events[-longest:] if longest else []
        if row.history != expected:
            raise CatalogError(
                f'{row.where} gives user "{row.user}" the history {_shown(row.history)}, expected '
                f"{_shown(expected)}: the newest events before its target, as the rows before have them, cut "
                f"at {longest}, the longest history. Write the rows of a user in the order of time, or name "
                "tables of items and of events in catalog.items and catalog.interactions."
            )
        events.append(row.target)
        parts.append(row.part)
    return events, parts


def _shown(items: list[str]) -> str:
    """Write out the newest items of a history."""
    return f"[{'..., ' if len(items) > 3 else ''}{', '.join(items[-3:])}]"
