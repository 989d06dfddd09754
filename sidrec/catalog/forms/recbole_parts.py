"""RecBole's benchmark files, `NAME.train.inter` and so on: joined, with the part that each event is for.

They hold an event per row, or, with a column such as `item_id_list:token_seq`, a history and its target: then
the events are rebuilt and checked as those of MiniOneRec are.

Source: RecBole's documentation, `benchmark_filename`; UniSRec's and LC-Rec's data, which are so written.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from sidrec.catalog.columns import require_column
from sidrec.catalog.forms.chains import PARTS, Row, note_chains, note_missing, rebuild_events
from sidrec.catalog.forms.unread import note_columns
from sidrec.errors import CatalogError

WHOLE = "all"
"""The part of a file that is not divided."""


@dataclass(frozen=True, eq=False)
class Joined:
    """The events of all files, and what to say of them."""

    events: pd.DataFrame
    notes: tuple[str, ...] = ()


def part_of(path: Path) -> str:
    """Return the part that a file is called by, or `WHOLE`: "train" for `set.train.inter`."""
    return next((part for part in PARTS if path.name.endswith(f".{part}.inter")), WHOLE)


def join_parts(frames: dict[str, pd.DataFrame], *, user_id: str, item_id: str) -> Joined:
    """Return one table of the events, with `split` where there are parts.

    Args:
        frames: Part -> its rows; or `WHOLE` -> all of them.
        user_id: Column of the users.
        item_id: Column of the items; with `_list` after it, that of the histories.

    Raises:
        CatalogError: If the files differ in their columns, or rows with histories contradict each other.
    """
    first, *others = frames.values()
    for frame in others:
        if set(frame.columns) != set(first.columns):
            raise CatalogError(
                f"{frame.attrs['source']} has the columns {', '.join(frame.columns)}, expected those of "
                f"{first.attrs['source']}: {', '.join(first.columns)}. Write the parts with the same columns."
            )
    histories = f"{item_id}_list"
    if histories in first.columns:
        return _rebuild(frames, histories, user_id=user_id, item_id=item_id)
    if WHOLE in frames:
        return Joined(first)
    events = pd.concat([frame.assign(split=part) for part, frame in frames.items()], ignore_index=True)
    events.attrs = {"source": _sources(frames)}
    return Joined(events, tuple(note_missing(part for part in PARTS if part not in frames)))


def _rebuild(frames: dict[str, pd.DataFrame], histories: str, *, user_id: str, item_id: str) -> Joined:
    """Put rows with histories together."""
    first = next(iter(frames.values()))
    if WHOLE in frames:
        raise CatalogError(
            f'{first.attrs["source"]} has rows with histories (column "{histories}") and does not say what '
            "they are for, expected files *.train.inter, *.valid.inter and *.test.inter. "
            "Call it by its part, or write a row per event."
        )

    columns = {user_id: "catalog.user_id", histories: "catalog.item_id", item_id: "catalog.item_id"}
    rows = (row for part, frame in frames.items() for row in _rows(frame, part, columns))
    chains = rebuild_events(rows, user_id=user_id, item_id=item_id, newest_first=True)
    chains.events.attrs["source"] = f"the events of {_sources(frames)}"
    unread = [name for name in first.columns if name not in columns]
    return Joined(
        chains.events, (*note_chains(chains, frames), *note_columns(unread, "the files of the parts"))
    )


def _rows(frame: pd.DataFrame, part: str, columns: dict[str, str]) -> Iterator[Row]:
    """Yield what the rows of a file say; `columns` are user, history and item, with the setting of each."""
    source = frame.attrs["source"]
    cells = [
        require_column(frame, name, setting=setting, default=source) for name, setting in columns.items()
    ]
    for number, (user, history, target) in enumerate(zip(*cells, strict=True), start=2):
        yield Row(user, history.split(), target, part, f"{source}: row {number} (the header is row 1)")


def _sources(frames: dict[str, pd.DataFrame]) -> str:
    """Name the files."""
    return ", ".join(frame.attrs["source"] for frame in frames.values())
