"""What was understood of a catalogue, before anything is trained: the answer of `sidrec catalog`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from sidrec.catalog.catalog import Catalog
from sidrec.catalog.config import SplitConfig
from sidrec.catalog.doubts import Doubt, find_doubts
from sidrec.catalog.filters import FilterStep
from sidrec.catalog.normalize import BY_ROWS
from sidrec.catalog.splits import Split, split_catalog
from sidrec.catalog.tables import ReadFile
from sidrec.errors import CatalogError

TAIL_SHARES = (0.01, 0.05, 0.1, 0.2, 0.5, 1.0)
_EXAMPLES = 3
_EVENTS_SHOWN = 5


@dataclass(frozen=True)
class Overview:
    """All of it.

    Attributes:
        files: What was read.
        notes: What the reader says of the reading.
        statistics: `Catalog.statistics`, after the filters.
        filters: What each removed, in order.
        items: Id, title and text of the first items.
        events: User, item, title and time of the first user's first events.
        texts: Characters of the texts (min, median, 95%, max), and items whose text another has too.
        times: First and last day, the unit, and what the order is by; days are None without real times.
        weights: `min` and `max` of the events' weights; None without `catalog.weight`.
        tail: (share of the items, the most frequent first; share of the events that they have).
        split: Sizes of the parts, or why there are none.
        doubts: What looks wrong.
    """

    files: tuple[ReadFile, ...]
    notes: tuple[str, ...]
    statistics: dict[str, Any]
    filters: list[FilterStep]
    items: list[tuple[str, str, str]]
    events: list[tuple[str, str, str, str]]
    texts: dict[str, int]
    times: dict[str, str | None]
    weights: dict[str, float] | None
    tail: list[tuple[float, float]]
    split: dict[str, Any]
    doubts: list[Doubt]

    def as_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        found = asdict(self)
        found["files"] = [{**each, "path": str(each["path"])} for each in found["files"]]
        return found


def look_at(catalog: Catalog, config: SplitConfig) -> Overview:
    """Gather what there is to say of a catalogue and of its split."""
    try:
        split, parts = (found := split_catalog(catalog, config)), _parts(catalog, found)
    except CatalogError as error:
        split, parts = None, {"error": str(error)}
    lengths = catalog.items["text"].str.len().to_numpy()
    quantiles = np.quantile(lengths, [0, 0.5, 0.95, 1], method="nearest").tolist()
    return Overview(
        files=catalog.files,
        notes=catalog.notes,
        statistics=catalog.statistics(),
        filters=catalog.filtered,
        items=[tuple(row) for row in catalog.items[["item_id", "title", "text"]].head(_EXAMPLES).to_numpy()],
        events=_events(catalog),
        texts={
            **dict(zip(("min", "median", "p95", "max"), map(int, quantiles), strict=True)),
            "shared": int(catalog.items["text"].duplicated(keep=False).sum()),
        },
        times=_times(catalog),
        weights=_weights(catalog),
        tail=long_tail(catalog),
        split=parts,
        doubts=find_doubts(catalog, config, split),
    )


def long_tail(catalog: Catalog) -> list[tuple[float, float]]:
    """Return for shares of the items, the most frequent first, the share of the events that they have."""
    counts = _most_frequent_first(catalog)
    summed = np.cumsum(counts) / counts.sum()
    return [(share, float(summed[max(1, round(share * len(counts))) - 1])) for share in TAIL_SHARES]


def draw_long_tail(catalog: Catalog, path: Path, *, title: str) -> None:
    """Draw the events of each item, by rank, and of how many users there are how many, into a PNG file."""
    from matplotlib.figure import Figure

    counts = _most_frequent_first(catalog)
    lengths = np.sort(np.diff(catalog.sequences().offsets))[::-1]
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    figure.suptitle(title)
    for axes, values, what in zip(figure.subplots(1, 2), (counts, lengths), ("items", "users"), strict=True):
        shown = values[values > 0]
        axes.loglog(np.arange(1, len(shown) + 1), shown, color="#1f6f8b")
        axes.set_xlabel(f"{what}, by rank")
        axes.set_ylabel("events")
        axes.grid(alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120, format="png", metadata={"Software": None})


def _most_frequent_first(catalog: Catalog) -> np.ndarray:
    """Return the number of events of each item, (N,), descending."""
    return np.sort(np.bincount(catalog.sequences().items, minlength=catalog.num_items))[::-1]


def _events(catalog: Catalog) -> list[tuple[str, str, str, str]]:
    rows = catalog.interactions.head(_EVENTS_SHOWN)
    rows = rows[rows["user_id"] == rows["user_id"].iloc[0]]
    titles = catalog.items["title"].to_numpy()[catalog.index_of(rows["item_id"])]
    unit = catalog.time_unit
    times = [
        f"row {time + 1}"
        if catalog.order == BY_ROWS
        else str(time)
        if unit is None
        else _day(unit.date(time))
        for time in rows["timestamp"].tolist()
    ]
    return list(zip(rows["user_id"].tolist(), rows["item_id"].tolist(), titles.tolist(), times, strict=True))


def _day(date: datetime) -> str:
    return f"{date:%Y-%m-%d %H:%M}"


def _times(catalog: Catalog) -> dict[str, str | None]:
    times = catalog.interactions["timestamp"].to_numpy()
    unit = catalog.time_unit
    if unit is None:
        return {"order": catalog.order, "unit": None, "first": None, "last": None}
    first, last = (f"{unit.date(float(time)):%Y-%m-%d}" for time in (times.min(), times.max()))
    return {"order": catalog.order, "unit": unit.name, "first": first, "last": last}


def _weights(catalog: Catalog) -> dict[str, float] | None:
    if "weight" not in catalog.interactions.columns:
        return None
    weights = catalog.interactions["weight"]
    return {"min": float(weights.min()), "max": float(weights.max())}


def _parts(catalog: Catalog, split: Split) -> dict[str, Any]:
    counts = split.train_counts(catalog.num_items)
    return {
        "method": split.method,
        "train_events": int(counts.sum()),
        "train_users": int(sum(len(items) > 0 for items in split.train)),
        "valid_targets": len(split.valid),
        "test_targets": len(split.test),
        "test_users": len(set(split.test.user_ids)),
        "cold_test_targets": int((counts[split.test.targets] == 0).sum()),
        "sha256": split.sha256,
    }
