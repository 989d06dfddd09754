"""A first config from two tables: find them, guess their columns, write a YAML of a few lines.

Asking a person about what is ambiguous is left to `sidrec.commands`.
"""

from __future__ import annotations

import itertools
import json
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pandas as pd
import yaml

from sidrec.catalog.catalog import Catalog
from sidrec.catalog.columns import parse_timestamps, require_column, source_of
from sidrec.catalog.config import CatalogConfig
from sidrec.catalog.dates import AmbiguousDatesError
from sidrec.catalog.forms import FORMS, read_tables
from sidrec.catalog.guessing import (
    item_id_columns,
    renamed_item_ids,
    text_template,
    timestamp_columns,
    title_column,
    unreadable_times,
    user_id_columns,
)
from sidrec.catalog.readers import catalog_of
from sidrec.catalog.tables import Tables
from sidrec.catalog.template import render_texts
from sidrec.catalog.time_format import fault_of
from sidrec.errors import CatalogError, ConfigError

_TABLES = re.compile(r"\.(csv|tsv|jsonl|ndjson)(\.gz|\.zst)?$|\.parquet$", re.IGNORECASE)
BY_ROWS = "none"
"""Given as the column of the time: there is none, and the order of the rows is that of the events."""
_PLAIN = re.compile(r"[A-Za-z_/][\w./-]*")


@dataclass(frozen=True)
class Question:
    """Which of several columns, or forms of dates, something is, where nothing tells them apart.

    Attributes:
        option: That answers it, such as "--user-id".
        what: It is, such as "the user".
        table: The file's name.
        answers: That may be meant.
        kind: What they are.
    """

    option: str
    what: str
    table: str
    answers: list[str]
    kind: str = "column"

    def refusal(self) -> CatalogError:
        """Say it as an error, for where nobody can be asked."""
        told = " and ".join(f'"{name}"' for name in self.answers)
        return CatalogError(
            f"{self.table}: {told} may all be {self.what}. Say which: {self.option} "
            f"{shlex.quote(self.answers[0])}"
        )


@dataclass(frozen=True)
class Columns:
    """What the columns are; None: not known yet, or that there is none (of time, title, text).

    `time_format` is what was given, or answered.
    """

    item_id: str | None = None
    user_id: str | None = None
    timestamp: str | None = None
    title: str | None = None
    text: str | None = None
    time_format: str | None = None


def find_tables(items: Path, interactions: Path | None) -> tuple[CatalogConfig, Tables]:
    """Read two tables, those of a directory of a known form, or the only two tables of another directory.

    Raises:
        CatalogError: If there are no two tables, or they cannot be read.
    """
    config = CatalogConfig(items=items, interactions=interactions)
    known = any(form.matches(config) for form in FORMS.values())
    if known or interactions is not None or not items.is_dir():
        return config, read_tables(config)
    files = sorted(path for path in items.iterdir() if _TABLES.search(path.name))
    if len(files) != 2:
        return config, read_tables(config)  # which says what is there, and what is expected
    fitting = []
    for first, second in itertools.permutations(files):
        config = CatalogConfig(items=first, interactions=second)
        tables = read_tables(config)
        if _fit(tables.items, tables.interactions):
            fitting.append((config, tables))
    if len(fitting) != 1:
        raise CatalogError(
            f"{items} holds {files[0].name} and {files[1].name}, but which of them is of items and which of "
            "events cannot be told. Say it: --items FILE --interactions FILE"
        )
    return fitting[0]


def guess(tables: Tables, given: Columns) -> Columns | Question:
    """Return what the columns are, or the first question that only a person can answer.

    Args:
        tables: As read.
        given: What the user has said; only the rest is guessed. `BY_ROWS` for the timestamp: there is none.

    Raises:
        CatalogError: If there is no item or user to be found, or a given column does not exist.
    """
    items, interactions = tables.items, tables.interactions
    table = source_of(interactions, "interactions")
    ids = _given(given.item_id, "--item-id", items, interactions) or item_id_columns(items, interactions)
    if not ids:
        _refuse_items(items, interactions)
    if len(ids) > 1:
        return Question("--item-id", "the item's id", table, ids)
    (item_id,) = ids
    users = _given(given.user_id, "--user-id", interactions) or user_id_columns(
        interactions, item_id=item_id, time_format=given.time_format
    )
    if not users:
        raise CatalogError(
            f"{table} has no column that looks like a user. Columns: {_listed(interactions)}. "
            "Say which it is: --user-id COLUMN"
        )
    if len(users) > 1:
        return Question("--user-id", "the user", table, users)
    (user_id,) = users
    times = _times(interactions, given, taken=(item_id, user_id))
    if len(times) > 1:
        return Question("--timestamp", "the time", table, times)
    if times and (question := _form_question(interactions[times[0]], given.time_format, table)):
        return question
    text = given.text or text_template(items, item_id=item_id)
    render_texts(items.head(3), text, item_id=item_id)  # which refuses what cannot be one
    title = title_column(items, item_id=item_id)
    return Columns(item_id, user_id, times[0] if times else None, title, text, given.time_format)


def form_of_times(columns: Columns, tables: Tables) -> str:
    """Return what dates are taken for; "" for numbers and ISO dates, or what cannot be read."""
    if columns.timestamp is None:
        return ""
    try:
        times = parse_timestamps(
            tables.interactions[columns.timestamp], source="", time_format=columns.time_format
        )
    except CatalogError:  # which is said of the catalogue, once the config is written
        return ""
    return times.form or ""


def settings_of(config: CatalogConfig, columns: Columns, tables: Tables) -> CatalogConfig:
    """Return a catalogue's settings with the columns in them that it would not take by itself."""
    title = next((name for name in ("title", "name") if name in tables.items.columns), None)
    taken = {"timestamp": "timestamp", "title": title}
    named = {name: value for name, value in vars(columns).items() if value and value != taken.get(name)}
    return config.model_copy(update=named)


def check(config: CatalogConfig, tables: Tables) -> Catalog:
    """Make the catalogue that the settings ask for.

    Raises:
        CatalogError: If it is not right: what a run would say too.
    """
    return catalog_of(tables, config)


def config_yaml(config: CatalogConfig, output: Path) -> str:
    """Write a config of few lines: where the tables lie, what their columns mean, where the run goes."""
    lines = [f"output: {_scalar(str(output))}", "catalog:"]
    named = config.model_dump(mode="json", exclude_defaults=True)
    lines += [f"  {name}: {_scalar(value)}" for name, value in named.items()]
    return "\n".join(lines) + "\n"


def write_new(path: Path, text: str) -> None:
    """Write a file that does not exist yet.

    Raises:
        ConfigError: If it exists, or cannot be written.
    """
    try:
        with path.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError:
        raise exists(path) from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be written ({error.strerror}). Set another --output.") from None


def exists(path: Path) -> ConfigError:
    """Return what to say of a file that would be overwritten."""
    return ConfigError(f"{path} exists, and is not overwritten. Remove it, or set another --output.")


def _fit(items: pd.DataFrame, interactions: pd.DataFrame) -> bool:
    return bool(item_id_columns(items, interactions) or renamed_item_ids(items, interactions))


def _given(column: str | None, option: str, *frames: pd.DataFrame) -> list[str]:
    """Return the column that was given, which must be in all the tables; nothing if none was."""
    if column is None:
        return []
    for frame in frames:
        require_column(frame, column, setting=option, default="the table")
    return [column]


def _refuse_items(items: pd.DataFrame, interactions: pd.DataFrame) -> NoReturn:
    """Say why no column is the item's id."""
    names = [source_of(items, "items"), source_of(interactions, "interactions")]
    if renamed := renamed_item_ids(items, interactions):
        there, here = renamed[0]
        raise CatalogError(
            f'{names[0]} calls an item "{there}" and {names[1]} calls it "{here}", expected one name in both '
            f'files. Rename the column "{here}" to "{there}" in {names[1]}.'
        )
    if _fit(interactions, items):
        raise CatalogError(
            f"{names[0]} looks like the interactions and {names[1]} like the items. Change them round: "
            "--items takes the file with one row per item."
        )
    raise CatalogError(
        f"No column is the item's id in both files: one of distinct ids in {names[0]} (columns "
        f"{_listed(items)}) that the events of {names[1]} name (columns {_listed(interactions)}). "
        "Say which it is: --item-id COLUMN"
    )


def _times(interactions: pd.DataFrame, given: Columns, *, taken: tuple[str, str]) -> list[str]:
    """Return the columns that may be the time; none where the rows are in order."""
    table = source_of(interactions, "interactions")
    if given.time_format is not None and (fault := fault_of(given.time_format)) is not None:
        raise CatalogError(f'--time-format: {fault}, got "{given.time_format}".')
    if given.timestamp == BY_ROWS:
        _refuse_timestamps(interactions, table, given.time_format)
        return []
    if given.timestamp is not None:
        return _given(given.timestamp, "--timestamp", interactions)
    times = timestamp_columns(interactions, taken=taken, time_format=given.time_format)
    if not times and given.time_format is not None:
        raise CatalogError(
            f'{table} has no column of dates written as --time-format "{given.time_format}" says. Columns: '
            f"{_listed(interactions)}. Mend it, or say which is the time: --timestamp COLUMN"
        )
    if not times:
        _refuse_unreadable(interactions, table, taken)
    return times


def _form_question(column: pd.Series, time_format: str | None, table: str) -> Question | None:
    """Return what to ask where dates fit several forms.

    Raises:
        CatalogError: If they do not fit the form that was given.
    """
    try:
        parse_timestamps(column, source=table, time_format=time_format)
    except AmbiguousDatesError as found:
        what = f'the form of "{found.cell}" ({found.column})'
        return Question("--time-format", what, table, found.formats, kind="format")
    except CatalogError:
        if time_format is not None:
            raise
    return None


def _refuse_timestamps(interactions: pd.DataFrame, table: str, time_format: str | None) -> None:
    """Refuse the order of the rows beside a form of dates, or a column that is always the time."""
    if time_format is not None:
        raise CatalogError(
            f"--time-format would change nothing with --timestamp {BY_ROWS}. Leave one of them out."
        )
    if "timestamp" in interactions.columns:
        raise CatalogError(
            f"{table}: --timestamp {BY_ROWS} would change nothing, since a column called timestamp is always "
            "the time. Rename it, or leave --timestamp out."
        )


def _refuse_unreadable(interactions: pd.DataFrame, table: str, taken: tuple[str, str]) -> None:
    """Refuse to order events by their rows where a column says that it is the time."""
    for name in unreadable_times(interactions, taken=taken):
        raise CatalogError(
            f'{table}: column "{name}" looks like the time, but cells such as '
            f'"{str(interactions[name].iloc[0])[:40]}" are neither numbers nor dates in a usual form '
            '(2024-05-31, 31.05.2024). Say how they are written, such as --time-format "%d/%m/%Y", or take '
            f"the order of the rows: --timestamp {BY_ROWS}"
        )


def _listed(frame: pd.DataFrame) -> str:
    return ", ".join(map(str, frame.columns))


def _scalar(value: str) -> str:
    """Write a string for YAML, in quotes where it could be read as anything else."""
    plain = _PLAIN.fullmatch(value) and yaml.safe_load(value) == value
    return value if plain else json.dumps(value, ensure_ascii=False)
