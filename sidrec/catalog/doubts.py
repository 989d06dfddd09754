"""What looks wrong in a catalogue, though it can be read: each with what to do about it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pandas as pd

from sidrec.catalog.catalog import MIN_EVENTS_TO_SPLIT, Catalog
from sidrec.catalog.config import SplitConfig
from sidrec.catalog.normalize import BY_ROWS
from sidrec.catalog.splits import Split

USER_SHARE = 0.05
REPEATED_SHARE = 0.5
EQUAL_TEXT_SHARE = 0.01
EQUAL_TIME_SHARE = 0.2
SHORT_SHARE = 0.5
COLD_SHARE = 0.2
LONG_TEXT = 10_000
SHORT_TEXT = 8
_SHOWN = 3
_WRITTEN_FOR_NONE = ("nan", "null", "none", "na", "n/a", "nat", "<na>", "#n/a", "undefined")


@dataclass(frozen=True)
class Doubt:
    """Something that looks wrong: what it is, with figures, and what to do."""

    what: str
    advice: str


def find_doubts(catalog: Catalog, config: SplitConfig, split: Split | None) -> list[Doubt]:
    """Return what looks wrong; `split` is None where the catalogue cannot be divided."""
    found = [*_ids(catalog), *_events(catalog), *_times(catalog), *_texts(catalog)]
    if split is not None:
        found += _parts(catalog, config, split)
    return found


def _ids(catalog: Catalog) -> Iterator[Doubt]:
    users = pd.Series(catalog.sequences().user_ids, dtype=str)
    for what, ids in (("item", catalog.items["item_id"]), ("user", users)):
        alike = ids.str.casefold().str.lstrip("0")
        twice = ids[alike.duplicated(keep=False) & (alike != "")]
        if len(twice):
            pair = twice[alike[twice.index] == alike[twice.index[0]]].tolist()[:2]
            yield Doubt(
                f"{len(twice):,} {what} ids differ from another only by case or leading zeros, such as "
                f'"{pair[0]}" and "{pair[1]}"',
                "ids are text, so these are different ones; if they should not be, mend what wrote the files",
            )
        missing = ids[ids.str.casefold().isin(_WRITTEN_FOR_NONE)]
        if len(missing):
            yield Doubt(
                f'"{missing.iloc[0]}" is the id of one of the {what}s, and what is written for none',
                "ids are text, so it is one like any other; if it should be none, remove its rows",
            )


def _events(catalog: Catalog) -> Iterator[Doubt]:
    sequences = catalog.sequences()
    lengths = np.diff(sequences.offsets)
    events = len(sequences.items)
    most = int(np.argmax(lengths))
    if len(lengths) >= 20 and lengths[most] > USER_SHARE * events:
        yield Doubt(
            f'user "{sequences.user_ids[most]}" has {lengths[most] / events:.0%} of all events',
            "a robot, a shop or a shared account? catalog.filters.max_history removes such users",
        )
    users = np.repeat(np.arange(len(lengths)), lengths)
    distinct = len(np.unique(users * np.int64(catalog.num_items) + sequences.items))
    repeated = 1 - distinct / events
    if repeated > REPEATED_SHARE:
        yield Doubt(
            f"{repeated:.0%} of the events repeat an item that their user had before",
            "look at the baseline repeat_history first; catalog.filters.deduplicate=consecutive or all "
            "leaves the first of each",
        )
    short = int((lengths < MIN_EVENTS_TO_SPLIT).sum())
    if short > SHORT_SHARE * len(lengths):
        yield Doubt(
            f"{short:,} of {len(lengths):,} users have fewer than {MIN_EVENTS_TO_SPLIT} events",
            "they are trained on, but never evaluated; is catalog.user_id the user, or a session or an order",
        )
    without = catalog.num_items - len(np.unique(sequences.items))
    if without > SHORT_SHARE * catalog.num_items:
        yield Doubt(
            f"{without:,} of {catalog.num_items:,} items have no event",
            "they can be recommended by their text alone; catalog.filters.item_core=1 leaves them out",
        )


def _times(catalog: Catalog) -> Iterator[Doubt]:
    if catalog.order == BY_ROWS:
        if catalog.unused_times:
            told = " and ".join(f'"{name}"' for name in catalog.unused_times)
            yield Doubt(
                f"events are in the order of the rows, but {told} may be their time",
                f"set catalog.timestamp={catalog.unused_times[0]} unless the rows are in order",
            )
        return
    times = catalog.interactions["timestamp"].to_numpy()
    unit = catalog.time_unit
    if unit is None:
        yield Doubt(
            f"the times, {times.min()} to {times.max()}, are no dates between 1980 and 2100 in any unit",
            "only their order counts, so this is no error; filters by date need real ones",
        )
    elif unit.name != "seconds":
        yield Doubt(
            f"the times look like {unit.name} since 1970",
            "only their order counts, and filters by date know the unit; nothing to do if the dates fit",
        )
    if unit is not None and (newest := unit.date(float(times.max()))) > datetime.now(tz=UTC):
        yield Doubt(
            f"the newest event is of {newest:%Y-%m-%d}, which is still to come",
            "mend the clock that wrote it, or set catalog.filters.end",
        )
    starts = catalog.sequences().offsets[:-1]
    equal = np.zeros(len(times), dtype=bool)
    equal[1:] = times[1:] == times[:-1]
    equal[starts] = False
    if equal.mean() > EQUAL_TIME_SHARE:
        yield Doubt(
            f"{equal.mean():.0%} of the events have the very time of their user's event before",
            "their order is that of the rows in the file; use finer times if there are some",
        )


def _texts(catalog: Catalog) -> Iterator[Doubt]:
    texts = catalog.items["text"]
    same = texts.duplicated(keep=False)
    if same.sum() > EQUAL_TEXT_SHARE * len(texts):
        first = texts[same].iloc[0]
        shown = ", ".join(f'"{item}"' for item in catalog.items["item_id"][texts == first][:_SHOWN])
        yield Doubt(
            f"{int(same.sum()):,} of {len(texts):,} items share their text with another, such as {shown}",
            "nothing in such texts tells the items apart, so neither do their semantic IDs; add columns to "
            "catalog.text, or merge the items",
        )
    lengths = texts.str.len().to_numpy()
    if (longest := int(lengths.max())) > LONG_TEXT:
        yield Doubt(
            f"{int((lengths > LONG_TEXT).sum()):,} texts have more than {LONG_TEXT:,} characters, the "
            f'longest {longest:,} (item "{catalog.items["item_id"].iloc[int(np.argmax(lengths))]}")',
            "an embedding model reads the beginning of a text; name the columns that matter in catalog.text",
        )
    if np.median(lengths) < SHORT_TEXT:
        yield Doubt(
            f'half of the texts have fewer than {SHORT_TEXT} characters, such as "{texts.iloc[0][:40]}"',
            "semantic IDs are made from the texts, and these say little; name more columns in catalog.text",
        )


def _parts(catalog: Catalog, config: SplitConfig, split: Split) -> Iterator[Doubt]:
    if "split" in catalog.interactions.columns and config.method != "given":
        yield Doubt(
            f"the files say which events are train, valid and test, but split.method is {config.method}",
            "set split.method=given to keep to them",
        )
    counts = split.train_counts(catalog.num_items)
    cold = float((counts[split.test.targets] == 0).mean()) if counts.any() and len(split.test) else 0.0
    if cold > COLD_SHARE:
        yield Doubt(
            f"{cold:.0%} of the test targets are items without a train event",
            "whatever learns from events alone cannot find them: compare with the baseline text_knn",
        )
