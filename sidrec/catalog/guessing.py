"""Guess which columns of two tables are the item, the user, the time and the text, by names and by contents.

A guess is a list: one column is an answer, none is none, and several are equally likely, for a person to say.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Collection, Iterable

import pandas as pd

from sidrec.catalog.column_words import (
    ENDINGS,
    IDS,
    ITEMS,
    NAMES,
    NO_TEXT,
    ORDER_OF_TEXT,
    PERHAPS_TIMES,
    TIMES,
    TITLES,
    USERS,
)
from sidrec.catalog.columns import as_strings, is_text, parse_timestamps
from sidrec.catalog.dates import AmbiguousDatesError
from sidrec.catalog.times import unit_of
from sidrec.errors import CatalogError

SAMPLE = 10_000
"""Rows of a table, the first ones, whose cells are looked at."""
KNOWN_EVENTS = 0.5
"""Least share of the events whose item must be among the items for a column to be the item's id."""

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_a-zA-Z]+")
_MOST_EMPTY = 0.5
"""Share of empty cells above which a column is left out of the text."""


def words_of(name: str) -> list[str]:
    """Divide a column's name into lower-case words without accents: `unixReviewTime`, `userid`, `Título`."""
    plain = unicodedata.normalize("NFKD", name.replace("ß", "ss"))
    plain = "".join(letter for letter in plain if not unicodedata.combining(letter))
    divided: list[str] = []
    for word in (word.lower() for word in _WORD.findall(plain)):
        stem, ending = next(
            ((word.removesuffix(each), each) for each in ENDINGS if word.endswith(each)), ("", "")
        )
        divided += [stem, ending] if stem in ITEMS | USERS else [word]
    return divided


def item_id_columns(items: pd.DataFrame, interactions: pd.DataFrame) -> list[str]:
    """Return the columns of both tables that may be the item's id: distinct in one, and found from the other.

    Named like an id comes before named like an item, and that before any other name.
    """
    shared = [name for name in items.columns if name in interactions.columns]
    found = [name for name in shared if _refers(interactions[name], items[name])]
    return _likeliest(found, (_is("item", "id"), _is("id"), _has_id_of(ITEMS), _has(ITEMS), _any))


def renamed_item_ids(items: pd.DataFrame, interactions: pd.DataFrame) -> list[tuple[str, str]]:
    """Return pairs of columns that hold the item's id under two names: of the items, of the interactions."""
    ids = [name for name in items.columns if is_id(items[name])]
    return [
        (there, here)
        for there in ids
        for here in interactions.columns
        if here != there and _refers(interactions[here], items[there])
    ]


def user_id_columns(interactions: pd.DataFrame, *, item_id: str, time_format: str | None = None) -> list[str]:
    """Return the columns that may be the user, no dates: by name, else what repeats and measures nothing."""
    others = [
        name
        for name in interactions.columns
        if name != item_id and not _are_dates(interactions[name], time_format)
    ]
    named = _likeliest(
        others,
        (_is("user", "id"), _has({"user", "uid"}), _has_id_of(USERS), _has(USERS), _has({"session"})),
    )
    return named or [name for name in others if _repeats(interactions[name])]


def timestamp_columns(
    interactions: pd.DataFrame, *, taken: Collection[str | None], time_format: str | None = None
) -> list[str]:
    """Return the columns that may be the time: named so and readable, else ones whose cells are dates."""
    others = [name for name in interactions.columns if name not in taken]
    readable = [name for name in others if is_time(interactions[name], time_format)]
    named = _likeliest(readable, (_is("timestamp"), _has({"unix", "timestamp"}), _has(TIMES | PERHAPS_TIMES)))
    return named or [name for name in readable if _is_calendar(interactions[name], time_format)]


def unreadable_times(interactions: pd.DataFrame, *, taken: Collection[str]) -> list[str]:
    """Return the columns that are called a time and are none that can be read."""
    named = [name for name in interactions.columns if name not in taken and TIMES & set(words_of(name))]
    return [name for name in named if not is_time(interactions[name])]


def text_columns_in_order(items: pd.DataFrame, *, item_id: str) -> list[str]:
    """Return the columns of words that say what an item is: title first, description and the rest last."""
    chosen = [name for name in items.columns if name != item_id and _says_something(items[name])]
    return sorted(chosen, key=lambda name: _place(words_of(name)))  # stable: as the table has them


def title_column(items: pd.DataFrame, *, item_id: str) -> str | None:
    """Return the column that people would call an item by; None where no name says so."""
    texts = text_columns_in_order(items, item_id=item_id)
    named = _likeliest(
        texts, (_is_one_of(TITLES), _is_one_of(NAMES), _has(TITLES | {"headline"}), _has_both(NAMES, ITEMS))
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


def is_time(column: pd.Series, time_format: str | None = None) -> bool:
    """Say whether the first cells are all numbers or dates, if only in several forms at once."""
    try:
        parse_timestamps(column.head(SAMPLE), source="", time_format=time_format)
    except AmbiguousDatesError:
        return True
    except CatalogError:
        return False
    return True


def _are_dates(column: pd.Series, time_format: str | None) -> bool:
    """Say whether cells are dates in words, be it in a usual form or in one that was given."""
    return is_text(column.head(SAMPLE)) and (
        is_time(column) or (time_format is not None and is_time(column, time_format))
    )


def _is_calendar(column: pd.Series, time_format: str | None = None) -> bool:
    """Say whether times are dates, or numbers of the size of dates; many other numbers are just numbers."""
    try:
        times = parse_timestamps(column.head(SAMPLE), source="", time_format=time_format)
    except AmbiguousDatesError:
        return True
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
    if set(words_of(str(column.name))) & (NO_TEXT | {"id", "ids"}) or not is_text(sample) or is_time(sample):
        return False
    cells = as_strings(sample).str.strip()
    filled = cells[cells != ""]
    if len(filled) < (1 - _MOST_EMPTY) * len(cells) or filled.str.match(r"https?://").all():
        return False
    return filled.nunique() > 1


def _place(words: list[str]) -> int:
    places = [place for place, known in enumerate(ORDER_OF_TEXT) if known & set(words)]
    return places[-1] if places else len(ORDER_OF_TEXT) - 1


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


def _is_one_of(known: set[str]) -> _Test:
    return lambda words: len(words) == 1 and words[0] in known


def _has(known: set[str]) -> _Test:
    return lambda words: bool(known & set(words))


def _has_both(first: set[str], second: set[str]) -> _Test:
    return lambda words: bool(first & set(words)) and bool(second & set(words))


def _has_id_of(known: set[str]) -> _Test:
    """The name of something with `id`, or a number that is one by its name (isbn, asin)."""
    numbers = IDS | {"asin", "isbn", "sku", "ean", "upc", "gtin", "uid"}
    return lambda words: bool(known & set(words)) and bool(numbers & set(words))
