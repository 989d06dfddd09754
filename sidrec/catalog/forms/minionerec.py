"""MiniOneRec's CSV files as the tables they were made of: rows of a history and its target, per part.

A directory with `train`, `valid` and `test` (a `*.csv` each), `index` (`*.item.json`, `*.index.json`) and
`info` (`*.txt`), or these files side by side, the CSV then called by the part (`beauty_valid.csv`). The list
cells are Python's `repr`: they are parsed, never run. Only ids are read of the rows; the titles are in the
other files, and the semantic IDs can be imported.

Source: MiniOneRec (github AkaliKong/MiniOneRec), data/Amazon.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from sidrec.catalog.config import CatalogConfig
from sidrec.catalog.forms.chains import PARTS, Row, note_chains, rebuild_events
from sidrec.catalog.forms.delimited import read_delimited
from sidrec.catalog.forms.files import read_first_line, read_lines
from sidrec.catalog.forms.lcrec import read_lcrec_fields
from sidrec.catalog.forms.literals import parse_ids
from sidrec.catalog.forms.unread import note_codes_and_vectors, note_columns
from sidrec.catalog.tables import ReadFile, Tables, read_file
from sidrec.errors import CatalogError

READ = ("user_id", "history_item_id", "item_id")
"""The columns that say who had what."""


def matches(config: CatalogConfig) -> bool:
    """Say whether `catalog.items` is a directory with a CSV of this form."""
    path = config.items_path
    if config.interactions_path is not None or path is None or not path.is_dir():
        return False
    found = [file for part in PARTS for file in _csv_files(path, part)]
    return any(set(READ) <= set(read_first_line(file).split(",")) for file in found)


def read(config: CatalogConfig) -> Tables:
    """Read the rows of all parts that are there, and the texts of the items.

    Raises:
        CatalogError: If there are several files of a part, none at all, or one is broken or contradicts
            another.
    """
    assert config.items_path is not None
    items, items_file = _read_items(config.items_path, config.item_id)
    paths = {part: _one(_csv_files(config.items_path, part), config.items_path, part) for part in PARTS}
    frames = {part: _read_part(path) for part, path in paths.items() if path is not None}
    if not frames:
        raise CatalogError(
            f"catalog.items: {config.items_path} has no CSV of train, valid or test rows, expected one at "
            "least: valid/NAME.csv or NAME_valid.csv. Add it, or set catalog.format to another form."
        )
    rows = (row for part, frame in frames.items() for row in _rows(frame, part))
    chains = rebuild_events(rows, user_id=config.user_id, item_id=config.item_id)
    chains.events.attrs |= {"source": f"the events of {config.items_path.name}"}
    files = [read_file(frame, path) for part, frame in frames.items() if (path := paths[part]) is not None]
    unread = [name for name in next(iter(frames.values())).columns if name not in READ]
    return Tables(
        items,
        chains.events,
        files=(items_file, *files),
        notes=(
            *note_chains(chains, frames),
            *note_columns(unread, "the CSV files"),
            *note_codes_and_vectors(config.items_path, config.items_path / "index"),
        ),
    )


def _csv_files(directory: Path, part: str) -> list[Path]:
    """Return the CSV files of a part: those in its folder, and those that are called by it."""
    called = [path for path in directory.glob("*.csv") if part in re.split(r"[^a-z]+", path.stem.lower())]
    return sorted([*(directory / part).glob("*.csv"), *called])


def _one(found: list[Path], directory: Path, what: str) -> Path | None:
    """Return the only path, None without one."""
    if len(found) > 1:
        raise CatalogError(
            f"catalog.items: {directory} has {len(found)} files for {what}: "
            f"{', '.join(path.name for path in found[:3])}, expected one. "
            "Put the files of one data set into a directory of their own."
        )
    return found[0] if found else None


def _read_part(path: Path) -> pd.DataFrame:
    """Read one CSV, all cells as text."""
    frame = read_delimited(path, "catalog.items", delimiter=",")
    absent = [name for name in READ if name not in frame.columns]
    if absent:
        raise CatalogError(
            f'{path} has no column "{absent[0]}", expected {", ".join(READ)} (MiniOneRec). '
            f"Columns: {', '.join(frame.columns)}. Add it, or set catalog.format to another form."
        )
    frame.attrs |= {"form": "MiniOneRec CSV", "source": f"{path.parent.name}/{path.name}"}
    return frame


def _rows(frame: pd.DataFrame, part: str) -> Iterator[Row]:
    """Yield what the rows of a CSV say."""
    cells = zip(frame["user_id"], frame["history_item_id"], frame["item_id"], strict=True)
    for number, (user, history, target) in enumerate(cells, start=2):
        where = f"{frame.attrs['source']}: row {number} (the header is row 1)"
        yield Row(user, parse_ids(history, f"{where}: history_item_id"), target, part, where)


def _read_items(directory: Path, item_id: str) -> tuple[pd.DataFrame, ReadFile]:
    """Read the texts of the items, or only their titles where the info file alone is there."""
    found = [*directory.glob("*.item.json"), *(directory / "index").glob("*.item.json")]
    path = _one(sorted(found), directory, "items (*.item.json)")
    if path is not None:
        items = read_lcrec_fields(path, "catalog.items", id_column=item_id)
        return items, read_file(items, path)
    found = [*directory.glob("*.txt"), *(directory / "info").glob("*.txt")]
    path = _one(sorted(found), directory, "titles (info/*.txt)")
    if path is None:
        raise CatalogError(
            f"catalog.items: {directory} has neither *.item.json nor info/*.txt, and semantic IDs are made "
            "from the texts of the items. Add one of them, in the folder index or info or beside the others."
        )
    items = _read_info(path, item_id)
    return items, read_file(items, path)


def _read_info(path: Path, item_id: str) -> pd.DataFrame:
    """Read `SID<TAB>title<TAB>id` lines: the ids and titles."""
    ids, titles = [], []
    for number, line in read_lines(path, "catalog.items"):
        codes, _, rest = line.partition("\t")
        title, _, item = rest.rpartition("\t")
        if not (codes.strip() and title.strip() and item.strip()):
            raise CatalogError(
                f"{path}: line {number} is {line[:60]!r}, expected semantic ID, title and item id with tabs "
                "between them (MiniOneRec's info file). Complete the line."
            )
        ids.append(item)
        titles.append(title)
    frame = pd.DataFrame({item_id: ids, "title": titles})
    frame.attrs |= {"source": path.name, "form": "MiniOneRec info file, titles alone"}
    return frame
