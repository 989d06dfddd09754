"""A catalogue in memory and on disk: two checked tables, their hash, and what there is to say about them.

Reading foreign files is left to `readers`, checking to `normalize`, train and test to `splits`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as parquet

from sidrec.catalog.categories import category_column, main_categories
from sidrec.catalog.columns import as_strings, positions, source_of
from sidrec.catalog.config import FiltersConfig
from sidrec.catalog.filters import apply_filters
from sidrec.catalog.frames import ArrowTable, as_frame
from sidrec.catalog.ids import name_unknown
from sidrec.catalog.normalize import (
    BY_ROWS,
    normalize_interactions,
    normalize_items,
    normalize_users,
)
from sidrec.catalog.tables import ReadFile
from sidrec.catalog.times import TimeUnit, unit_of
from sidrec.errors import ArtifactError, CatalogError

MIN_EVENTS_TO_SPLIT = 3
_ORDER_KEY = b"sidrec.order"
_CATEGORY_KEY = b"sidrec.category"


def read_stored(path: Path) -> pa.Table:
    """Read a table that `Catalog.save` wrote.

    Raises:
        ArtifactError: If it is missing or broken.
    """
    if not path.is_file():
        raise ArtifactError(f"There is no {path}. Make it again: sidrec tokenize CONFIG.yaml")
    try:
        return parquet.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise ArtifactError(
            f"{path} cannot be read ({str(error).splitlines()[0]}). "
            "Remove it and rerun: sidrec tokenize CONFIG.yaml"
        ) from error


@dataclass(frozen=True, eq=False)
class Sequences:
    """Each user's items in order: user u has `items[offsets[u]:offsets[u + 1]]`.

    Attributes:
        user_ids: U user ids, in order of first appearance.
        items: (events,) int64 item indices of all users, one after the other.
        offsets: (U + 1,) int64.
    """

    user_ids: list[str]
    items: np.ndarray
    offsets: np.ndarray

    def __len__(self) -> int:
        return len(self.user_ids)

    def __getitem__(self, user: int) -> np.ndarray:
        """Return the items of the user with this number, oldest first (a view)."""
        user = range(len(self))[user]
        return self.items[self.offsets[user] : self.offsets[user + 1]]


class Catalog:
    """Two tables: `items`, whose row number is the item index, and `interactions`, by user and time.

    Attributes:
        items: `item_id`, `title`, `text` (str), then the other columns given.
        interactions: `user_id`, `item_id` (str), `timestamp` (int64 or float64), and where they are known
            `rating`, `weight` (float64) and `split` (train, valid, test or context).
        order: What gave the order of events: "column 'lent_at'", with " (day.month.year)" behind it for dates
            other than ISO's, or "rows" (`timestamp` is the row's number).
        category: Column of `items` with the categories; None without one.
        users: `user_id` (str), then the columns given, row by row the users of `sequences`; None without any.
        filtered: What each filter removed; empty where none is set, and after a reload.
        files: What `read_catalog` read; empty for tables handed over, and after a reload.
        notes: What it says of the reading.
        unused_times: Columns of the events that look like the time, where the order of the rows was taken.
    """

    def __init__(
        self,
        items: pd.DataFrame | ArrowTable,
        interactions: pd.DataFrame | ArrowTable,
        *,
        users: pd.DataFrame | ArrowTable | None = None,
        item_id: str = "item_id",
        user_id: str = "user_id",
        timestamp: str | None = None,
        time_format: str | None = None,
        rating: str | None = None,
        weight: str | None = None,
        split: str | None = None,
        text: str | None = None,
        title: str | None = None,
        category: str | None = None,
        filters: FiltersConfig | None = None,
    ) -> None:
        """Check the tables and copy them into the form above; `CatalogConfig` describes the keywords.

        A table is a data frame of pandas, or one of pyarrow, polars or any library that speaks Arrow.

        Raises:
            CatalogError: If the tables are incomplete or do not fit together.
        """
        filters = filters or FiltersConfig()
        items, interactions = as_frame(items, "items"), as_frame(interactions, "interactions")
        name = source_of(items, "items")
        all_items = normalize_items(items, item_id=item_id, text=text, title=title, filters=filters)
        events, self.order = normalize_interactions(
            interactions,
            all_items["item_id"],
            item_id=item_id,
            user_id=user_id,
            timestamp=timestamp,
            time_format=time_format,
            rating=rating,
            weight=weight,
            split=split,
            items_name=name,
            filters=filters,
        )
        self.items, self.interactions, self.filtered = apply_filters(all_items, events, self.order, filters)
        self.category = category_column(self.items, category, name=name)
        self._item_index = pd.Index(self.items["item_id"])
        self.files: tuple[ReadFile, ...] = ()
        self.notes: tuple[str, ...] = ()
        self.unused_times: tuple[str, ...] = ()
        self.users = (
            None
            if users is None
            else normalize_users(as_frame(users, "users"), self._sequences.user_ids, user_id=user_id)
        )

    @property
    def num_items(self) -> int:
        """Number of items, N."""
        return len(self.items)

    @property
    def num_users(self) -> int:
        """Number of users with at least one event, U."""
        return len(self._sequences)

    def sequences(self) -> Sequences:
        """Return every user's items in order."""
        return self._sequences

    @cached_property
    def time_unit(self) -> TimeUnit | None:
        """The unit of the events' times; None where only their order is known, or no unit makes dates."""
        return None if self.order == BY_ROWS else unit_of(self.interactions["timestamp"].to_numpy())

    @cached_property
    def _sequences(self) -> Sequences:
        users = self.interactions["user_id"]
        numbers, names = pd.factorize(users)
        offsets = np.concatenate([[0], np.cumsum(np.bincount(numbers))]).astype(np.int64)
        items = positions(self.interactions["item_id"], self.items["item_id"])
        return Sequences(user_ids=[str(name) for name in names], items=items, offsets=offsets)

    def categories(self) -> np.ndarray | None:
        """Return each item's category, "" without one, as `main_categories` has it; None if no item has."""
        return None if self.category is None else main_categories(self.items[self.category])

    def index_of(self, item_ids: Iterable[str]) -> list[int]:
        """Return the item index of each id.

        Raises:
            CatalogError: If an id is unknown; names it and a near match.
        """
        ids = list(item_ids)
        found = self._item_index.get_indexer(pd.Index(ids, dtype=object)).tolist() if ids else []
        unknown = [item_id for item_id, item in zip(ids, found, strict=True) if item < 0]
        if unknown:
            raise CatalogError(
                f"The catalogue of {self.num_items} items does not have "
                f"{name_unknown(unknown, self._item_index)} Use ids of its items.parquet."
            )
        return found

    @cached_property
    def sha256(self) -> str:
        """Hash of ids, titles, texts, events, weights and all of the users, the same after a reload.

        Other columns of the items do not count.
        """
        digest = hashlib.sha256(b"sidrec catalog 1\n")
        for column in ("item_id", "title", "text"):
            digest.update(json.dumps(self.items[column].tolist()).encode())
        sequences = self.sequences()
        digest.update(json.dumps(sequences.user_ids).encode())
        columns = [name for name in ("timestamp", "weight") if name in self.interactions.columns]
        events = [self.interactions[name].to_numpy() for name in columns]
        for array in (sequences.offsets, sequences.items, *events):
            little_endian = array.dtype.newbyteorder("<")
            digest.update(little_endian.str.encode() + array.astype(little_endian).tobytes())
        if self.users is not None:
            cells = {str(name): as_strings(self.users[name]).tolist() for name in self.users.columns}
            digest.update(json.dumps(cells).encode())
        return digest.hexdigest()

    def provenance(self) -> dict[str, Any]:
        """Return what was read and what was left out, for the manifest: nothing for tables handed over."""
        found = {
            "files": [asdict(each) | {"path": str(each.path)} for each in self.files],
            "notes": list(self.notes),
            "filters": [asdict(each) for each in self.filtered],
        }
        return {name: entries for name, entries in found.items() if entries}

    def save(self, directory: Path) -> None:
        """Write the tables as `.parquet` files into `directory`, which is made when missing."""
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        items = pa.Table.from_pandas(self.items, preserve_index=False)
        if self.category is not None:
            items = items.replace_schema_metadata(
                {**(items.schema.metadata or {}), _CATEGORY_KEY: self.category.encode()}
            )
        interactions = pa.Table.from_pandas(self.interactions, preserve_index=False)
        metadata = {**(interactions.schema.metadata or {}), _ORDER_KEY: self.order.encode()}
        parquet.write_table(items, directory / "items.parquet")
        parquet.write_table(
            interactions.replace_schema_metadata(metadata), directory / "interactions.parquet"
        )
        users_path = directory / "users.parquet"
        if self.users is None:
            users_path.unlink(missing_ok=True)
        else:
            parquet.write_table(pa.Table.from_pandas(self.users, preserve_index=False), users_path)

    @classmethod
    def load(cls, directory: Path) -> Catalog:
        """Read what `save` wrote.

        Raises:
            ArtifactError: If a file is missing or broken.
        """
        items, interactions = (
            read_stored(Path(directory) / name) for name in ("items.parquet", "interactions.parquet")
        )
        category = (items.schema.metadata or {}).get(_CATEGORY_KEY)
        users_path = Path(directory) / "users.parquet"
        catalog = cls(
            items.to_pandas(),
            interactions.to_pandas(),
            users=read_stored(users_path).to_pandas() if users_path.is_file() else None,
            text="{text}",
            title="title",
            timestamp="timestamp",
            weight="weight" if "weight" in interactions.column_names else None,
            category=None if category is None else category.decode(),
        )
        catalog.order = (interactions.schema.metadata or {}).get(_ORDER_KEY, catalog.order.encode()).decode()
        return catalog

    def statistics(self) -> dict[str, Any]:
        """Return counts, density (events / (users x items)) and quantiles of the events per user."""
        sequences = self.sequences()
        lengths = np.diff(sequences.offsets)
        events = len(sequences.items)
        quantiles = np.quantile(lengths, [0, 0.25, 0.5, 0.75, 0.95, 1], method="nearest").tolist()
        names = ("min", "p25", "median", "p75", "p95", "max")
        return {
            "users": self.num_users,
            "items": self.num_items,
            "events": events,
            "density": events / (self.num_users * self.num_items),
            "events_per_user": {
                **dict(zip(names, map(int, quantiles), strict=True)),
                "mean": float(lengths.mean()),
            },
            "items_without_events": self.num_items - len(np.unique(sequences.items)),
            "users_too_short_to_split": int((lengths < MIN_EVENTS_TO_SPLIT).sum()),
            "order": self.order,
        }

    def describe(self) -> str:
        """Return the statistics as a few lines to print."""
        about_users = [] if self.users is None else [f"known of users: {', '.join(self.users.columns[1:])}"]
        return "\n".join([describe_statistics(self.statistics()), *about_users])


def describe_statistics(facts: dict[str, Any]) -> str:
    """Return what `Catalog.statistics` gives as a few lines to print."""
    lengths = facts["events_per_user"]
    return "\n".join(
        [
            f"{facts['users']:,} users, {facts['items']:,} items, {facts['events']:,} events "
            f"(density {facts['density']:.3%}), in the order of: {facts['order']}",
            f"events per user: min {lengths['min']}, 25% {lengths['p25']}, median {lengths['median']}, "
            f"mean {lengths['mean']:.1f}, 75% {lengths['p75']}, 95% {lengths['p95']}, "
            f"max {lengths['max']}",
            f"items without events: {facts['items_without_events']:,}; users with fewer than "
            f"{MIN_EVENTS_TO_SPLIT} events (train only): {facts['users_too_short_to_split']:,}",
        ]
    )
