"""What `catalog.filters` leaves out of checked tables, step by step, each with what it removed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from sidrec.catalog.columns import positions
from sidrec.catalog.config import FiltersConfig
from sidrec.catalog.normalize import BY_ROWS
from sidrec.catalog.times import unit_of
from sidrec.errors import CatalogError


@dataclass(frozen=True)
class FilterStep:
    """One filter, and how many it removed.

    Attributes:
        name: As it is set, such as "min_rating=4".
        users: Users that have no event any more.
        items: Items.
        events: Events.
        left: Users with events, items and events after it.
    """

    name: str
    users: int
    items: int
    events: int
    left: tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class _State:
    """Who had what, as numbers: (E,) users and items of the events, in order by user and time."""

    users: np.ndarray
    items: np.ndarray
    events_kept: np.ndarray  # (E,) bool
    items_kept: np.ndarray  # (N,) bool

    def counts(self) -> tuple[int, int, int]:
        users = len(np.unique(self.users[self.events_kept]))
        return users, int(self.items_kept.sum()), int(self.events_kept.sum())

    def of_users(self) -> np.ndarray:
        """Return the number of kept events of every user."""
        return np.bincount(self.users[self.events_kept], minlength=int(self.users.max()) + 1)

    def of_items(self) -> np.ndarray:
        """Return the number of kept events of every item, (N,)."""
        return np.bincount(self.items[self.events_kept], minlength=len(self.items_kept))

    def without_events(self, remove: np.ndarray) -> _State:
        return _State(self.users, self.items, self.events_kept & ~remove, self.items_kept)

    def without_items(self, remove: np.ndarray) -> _State:
        kept = self.items_kept & ~remove
        return _State(self.users, self.items, self.events_kept & kept[self.items], kept)


def apply_filters(
    items: pd.DataFrame, interactions: pd.DataFrame, order: str, filters: FiltersConfig
) -> tuple[pd.DataFrame, pd.DataFrame, list[FilterStep]]:
    """Return the items and interactions that are left, and the steps that were taken.

    Args:
        items: As `normalize_items` gives them.
        interactions: As `normalize_interactions` gives them.
        order: What gave the order of events, as that says.
        filters: What to leave out.

    Raises:
        CatalogError: If a filter needs a column that is not there, or nothing is left.
    """
    if filters == FiltersConfig():
        return items, interactions, []
    numbers = positions(interactions["item_id"], items["item_id"])
    state = _State(
        pd.factorize(interactions["user_id"])[0],
        np.maximum(numbers, 0),
        np.ones(len(interactions), dtype=bool),
        np.ones(len(items), dtype=bool),
    )
    steps: list[FilterStep] = []
    before = state.counts()
    for name, after in _steps(state, numbers < 0, items, interactions, order, filters):
        left = after.counts()
        users, gone, events = (was - now for was, now in zip(before, left, strict=True))
        steps.append(FilterStep(name, users, gone, events, left))
        if not left[2]:
            raise CatalogError(
                f"catalog.filters: no event is left after {name}; before it there were {before[2]:,}, of "
                f"{before[0]:,} users and {before[1]:,} items. Loosen it."
            )
        state, before = after, left
    return (
        items[state.items_kept].reset_index(drop=True),
        interactions[state.events_kept].reset_index(drop=True),
        steps,
    )


def _steps(
    state: _State,
    unknown: np.ndarray,
    items: pd.DataFrame,
    interactions: pd.DataFrame,
    order: str,
    filters: FiltersConfig,
) -> Iterator[tuple[str, _State]]:
    """Yield the name of each filter that is set, and what is left after it; `unknown` is (E,) bool."""
    if filters.unknown_items == "drop":
        state = state.without_events(unknown)
        yield "unknown_items=drop", state
    for name, bad_items in _bad_items(items, filters):
        state = state.without_items(bad_items)
        yield name, state
    for name, bad_events in _bad_events(interactions, order, filters):
        state = state.without_events(bad_events)
        yield name, state
    if filters.deduplicate != "none":
        state = state.without_events(_repeats(state, filters.deduplicate))
        yield f"deduplicate={filters.deduplicate}", state
    if filters.min_history > 1 or filters.max_history is not None:
        lengths = state.of_users()
        at_most = np.inf if filters.max_history is None else filters.max_history
        outside = (lengths < filters.min_history) | (lengths > at_most)
        state = state.without_events(outside[state.users])
        limits = [f"min_history={filters.min_history}"] if filters.min_history > 1 else []
        limits += [] if filters.max_history is None else [f"max_history={filters.max_history}"]
        yield ", ".join(limits), state
    if filters.user_core > 1 or filters.item_core > 0:
        yield f"user_core={filters.user_core}, item_core={filters.item_core}", _core(state, filters)


def _bad_items(items: pd.DataFrame, filters: FiltersConfig) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the rules on items that are set, and (N,) bool: the items that break them."""
    if filters.duplicate_items == "first":
        yield "duplicate_items=first", items["item_id"].duplicated().to_numpy()
    if filters.empty_texts == "drop":
        yield "empty_texts=drop", (items["text"] == "").to_numpy()
    titles = items["title"]
    if filters.drop_titles is not None:
        pattern = re.compile(filters.drop_titles)
        found = np.array([pattern.search(title) is not None for title in titles], dtype=bool)
        yield f"drop_titles={filters.drop_titles}", found
    lengths = titles.str.len().to_numpy()
    if filters.min_title_characters > 0:
        yield f"min_title_characters={filters.min_title_characters}", lengths < filters.min_title_characters
    if filters.max_title_characters is not None:
        yield f"max_title_characters={filters.max_title_characters}", lengths > filters.max_title_characters


def _bad_events(
    interactions: pd.DataFrame, order: str, filters: FiltersConfig
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the rules on events that are set, and (E,) bool: the events that break them."""
    if filters.min_rating is not None:
        if "rating" not in interactions.columns:
            raise CatalogError(
                f"catalog.filters.min_rating={filters.min_rating:g} needs ratings, but the interactions have "
                'no column "rating". Set catalog.rating to the one that holds them, or leave the filter out.'
            )
        ratings = interactions["rating"].to_numpy(dtype=np.float64)
        yield f"min_rating={filters.min_rating:g}", ~(ratings >= filters.min_rating)
    if filters.start is None and filters.end is None:
        return
    times = interactions["timestamp"].to_numpy()
    unit = unit_of(times)
    if order == BY_ROWS or unit is None:
        what = (
            "the interactions have no column of times"
            if order == BY_ROWS
            else f"the times go from {times.min()} to {times.max()}, which no unit puts between 1980 and 2100"
        )
        raise CatalogError(
            f"catalog.filters.start and end need times since 1970, but {what}. Set catalog.timestamp to a "
            "column of dates or of seconds since 1970, or leave the filters out."
        )
    if filters.start is not None:
        yield f"start={filters.start.isoformat()}", times < unit.time(filters.start)
    if filters.end is not None:
        yield f"end={filters.end.isoformat()}", times >= unit.time(filters.end)


def _repeats(state: _State, which: str) -> np.ndarray:
    """Return (E,) bool: kept events that repeat an item of the same user, in order by user and time."""
    kept = np.flatnonzero(state.events_kept)
    users, items = state.users[kept], state.items[kept]
    if which == "consecutive":
        repeated = np.zeros(len(kept), dtype=bool)
        repeated[1:] = (users[1:] == users[:-1]) & (items[1:] == items[:-1])
    else:
        pairs = users.astype(np.int64) * len(state.items_kept) + items
        _, first = np.unique(pairs, return_index=True)
        repeated = np.ones(len(kept), dtype=bool)
        repeated[first] = False
    found = np.zeros(len(state.users), dtype=bool)
    found[kept[repeated]] = True
    return found


def _core(state: _State, filters: FiltersConfig) -> _State:
    """Remove users and items with too few events until all that is left has enough."""
    while True:
        before = state.counts()
        state = state.without_items(state.of_items() < filters.item_core)
        state = state.without_events((state.of_users() < filters.user_core)[state.users])
        if state.counts() == before:
            return state
