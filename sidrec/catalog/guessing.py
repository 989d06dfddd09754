"""Guess which columns of two tables are the item, the user, the time and the text, by names and by contents.

A guess is a list: one column is an answer, none is none, and several are equally likely, for a person to say.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable

import pandas as pd

from sidrec.catalog.columns import as_strings, is_text, parse_timestamps
from sidrec.catalog.times import unit_of
from sidrec.errors import CatalogError

SAMPLE = 10_000
"""Rows of a table, the first ones, whose cells are looked at."""
KNOWN_EVENTS = 0.5
"""Least share of the events whose item must be among the items for a column to be the item's id."""

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_a-zA-Z]+")
_ITEMS = {"item", "product", "asin", "isbn", "sku", "ean", "upc", "gtin", "article", "movie", "film", "book"}
_ITEMS |= {
    "song",
    "track",
    "artist",
    "game",
    "recipe",
    "business",
    "news",
    "course",
    "video",
    "show",
    "event",
}
_ITEMS |= {"offer", "listing", "hotel", "place", "poi", "anime", "app", "paper", "work", "title"}
_USERS = {"reader", "customer", "client", "member", "visitor", "reviewer", "buyer", "account", "patron"}
_USERS |= {"borrower", "person", "shopper", "viewer", "listener", "player", "subscriber", "guest", "author"}
_USERS |= {"student", "employee", "household", "subject", "rater", "cust"}
_TIMES = {"timestamp", "time", "date", "datetime", "ts", "at", "day", "when", "on", "unix"}
_NO_TEXT = {"url", "urls", "uri", "link", "image", "images", "img", "picture", "thumbnail", "href", "path"}
_NO_TEXT |= {"date", "time", "timestamp", "created", "updated", "hash", "uuid", "asin", "isbn", "sku", "ean"}
_ORDER_OF_TEXT = (
    {"title", "name", "headline"},
    {"subtitle", "series", "edition"},
    {"brand", "maker", "author", "authors", "artist", "director", "creator", "publisher", "store"},
    {"category", "categories", "genre", "genres", "class", "type", "kind", "tags", "subject", "topic"},
    {"features", "feature", "keywords"},
    {"description", "summary", "abstract", "overview", "plot", "synopsis", "text", "about", "body"},
)
_MOST_EMPTY = 0.5
"""Share of empty cells above which a column is left out of the text."""


def words_of(name: str) -> list[str]:
    """Divide a column's name into lower-case words: `unixReviewTime`, `lent_at`, `userid`, `reviewerID`."""
    words = [word.lower() for word in _WORD.findall(name)]
    divided: list[str] = []
    for word in words:
        stem = word.removesuffix("id")
        known = word != stem and (stem in _ITEMS | _USERS | {"user"})
        divided += [stem, "id"] if known else [word]
    return divided


def item_id_columns(items: pd.DataFrame, interactions: pd.DataFrame) -> list[str]:
    """Return the columns of both tables that may be the item's id: distinct in one, and found from the other.

    Named like an id comes before named like an item, and that before any other name.
    """
    shared = [name for name in items.columns if name in interactions.columns]
    found = [name for name in shared if _refers(interactions[name], items[name])]
    return _likeliest(found, (_is("item", "id"), _is("id"), _has_id_of(_ITEMS), _has(_ITEMS), _any))


def renamed_item_ids(items: pd.DataFrame, interactions: pd.DataFrame) -> list[tuple[str, str]]:
    """Return pairs of columns that hold the item's id under two names: of the items, of the interactions."""
    ids = [name for name in items.columns if is_id(items[name])]
    return [
        (there, here)
        for there in ids
        for here in interactions.columns
        if here != there and _refers(interactions[here], items[there])
    ]


def user_id_columns(interactions: pd.DataFrame, *, item_id: str) -> list[str]:
    """Return the columns that may be the user: by name, else any that repeats and measures nothing."""
    others = [name for name in interactions.columns if name != item_id]
    named = _likeliest(
        others,
        (_is("user", "id"), _has({"user", "uid"}), _has_id_of(_USERS), _has(_USERS), _has({"session"})),
    )
    return named or [name for name in others if _repeats(interactions[name])]


def timestamp_columns(interactions: pd.DataFrame, *, taken: Collection[str]) -> list[str]:
    """Return the columns that may be the time: named so and readable, else ones whose cells are dates."""
    others = [name for name in interactions.columns if name not in taken]
    readable = [name for name in others if is_time(interactions[name])]
    named = _likeliest(readable, (_is("timestamp"), _has({"unix", "timestamp"}), _has(_TIMES)))
    return named or [name for name in readable if _is_calendar(interactions[name])]


def unreadable_times(interactions: pd.DataFrame, *, taken: Collection[str]) -> list[str]:
    """Return the columns that are called a time and are none that can be read."""
    certain = _TIMES - {"at", "on", "day", "when"}
    named = [name for name in interactions.columns if name not in taken and certain & set(words_of(name))]
    return [name for name in named if not is_time(interactions[name])]


def text_columns_in_order(items: pd.DataFrame, *, item_id: str) -> list[str]:
    """Return the columns of words that say what an item is: title first, description and the rest last."""
    chosen = [name for name in items.columns if name != item_id and _says_something(items[name])]
    return sorted(chosen, key=lambda name: _place(words_of(name)))  # stable: as the table has them


def title_column(items: pd.DataFrame, *, item_id: str) -> str | None:
    """Return the column that people would call an item by; None where no name says so."""
    texts = text_columns_in_order(items, item_id=item_id)
    named = _likeliest(
        texts, (_is("title"), _is("name"), _has({"title", "headline"}), _has_both({"name"}, _ITEMS))
    )
    return named[0] if named else None


def text_template(items: pd.DataFrame, *, item_id: str) -> str | None:
    """Return a template of an item's text over the columns that say what it is; None where there is none."""
    names = [name for name in text_columns_in_order(items, item_id=item_id) if not set("{}") & set(name)]
    return ". ".join(f"{{{name}}}" for name in names) or None


def is_id(column: pd.Series) -> bool:
    """Say whether nearly every cell is there and is different: 1 in 100 may be repeated or missing."""
    cells = as_strings(column)
    return cells[cells != ""].nunique() >= 0.99 * len(cells)


def is_time(column: pd.Series) -> bool:
    """Say whether the first cells are all numbers or ISO dates."""
    try:
        parse_timestamps(column.head(SAMPLE), source="")
    except CatalogError:
        return False
    return True


def _is_calendar(column: pd.Series) -> bool:
    """Say whether times are dates, or numbers of the size of dates; many other numbers are just numbers."""
    times = parse_timestamps(column.head(SAMPLE), source="")
    return unit_of(times.values) is not None


def _refers(column: pd.Series, ids: pd.Series) -> bool:
    """Say whether the cells of an event's column are mostly ids, and those are ids."""
    if not is_id(ids):
        return False
    return bool(as_strings(column.head(SAMPLE)).isin(set(as_strings(ids))).mean() >= KNOWN_EVENTS)


def _repeats(column: pd.Series) -> bool:
    """Say whether a column has several values, and fewer than rows, that are no measurements."""
    cells = as_strings(column.head(SAMPLE))
    numbers = pd.to_numeric(cells, errors="coerce")
    measured = not is_text(column) and bool((numbers % 1 != 0).any() or numbers.nunique() <= 10)
    return (
        1 < cells.nunique() < len(cells) and not measured and not (is_time(column) and _is_calendar(column))
    )


def _says_something(column: pd.Series) -> bool:
    """Say whether a column of items holds words for most of them, and not an address, a date or a code."""
    sample = column.head(SAMPLE)
    if set(words_of(str(column.name))) & (_NO_TEXT | {"id", "ids"}) or not is_text(sample) or is_time(sample):
        return False
    cells = as_strings(sample).str.strip()
    filled = cells[cells != ""]
    if len(filled) < (1 - _MOST_EMPTY) * len(cells) or filled.str.match(r"https?://").all():
        return False
    return filled.nunique() > 1


def _place(words: list[str]) -> int:
    places = [place for place, known in enumerate(_ORDER_OF_TEXT) if known & set(words)]
    return places[-1] if places else len(_ORDER_OF_TEXT) - 1


_Test = Callable[[list[str]], bool]


def _likeliest(names: Iterable[str], tests: Iterable[_Test]) -> list[str]:
    """Return the names that pass the first test which any of them passes."""
    divided = [(name, words_of(str(name))) for name in names]
    for test in tests:
        if found := [name for name, words in divided if test(words)]:
            return found
    return []


def _any(words: list[str]) -> bool:
    return True


def _is(*wanted: str) -> _Test:
    return lambda words: words == list(wanted)


def _has(known: set[str]) -> _Test:
    return lambda words: bool(known & set(words))


def _has_both(first: set[str], second: set[str]) -> _Test:
    return lambda words: bool(first & set(words)) and bool(second & set(words))


def _has_id_of(known: set[str]) -> _Test:
    """The name of something with `id`, or a number that is one by its name (isbn, asin)."""
    numbers = {"asin", "isbn", "sku", "ean", "upc", "gtin", "uid"}
    return lambda words: bool(known & set(words)) and ("id" in words or bool(numbers & set(words)))
