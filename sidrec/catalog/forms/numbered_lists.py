"""Events by number, as NGCF and LightGCN hand them on: `train.txt`, `test.txt`, and the lists of the numbers.

A line of `train.txt` is a user's number and then those of the items. `item_list.txt` and `user_list.txt` say
in `org_id remap_id` which id of the data set each number stands for. Texts and times there are none.

Source: Wang et al., "Neural Graph Collaborative Filtering", SIGIR 2019, and its code.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd

from sidrec.catalog.forms.files import read_first_line, read_utf8
from sidrec.catalog.tables import ReadFile
from sidrec.errors import CatalogError

FORM = "numbered lists"
SPLITS = ("train", "test")
_MAX_DIGITS = 18


@dataclass(frozen=True, eq=False)
class NumberedLists:
    """What the files say.

    Attributes:
        item_ids: The ids of the items.
        interactions: `user_id`, `item_id` and `split`, in the order of the files.
        files: What was read.
        notes: What a user should know of it.
    """

    item_ids: list[str]
    interactions: pd.DataFrame
    files: tuple[ReadFile, ...]
    notes: tuple[str, ...]


def is_there(directory: Path) -> bool:
    """Say whether a directory has events and a list of items of this form."""
    header = read_first_line(directory / "item_list.txt").split()
    return header[:2] == ["org_id", "remap_id"] and (directory / "train.txt").is_file()


def read(directory: Path) -> NumberedLists:
    """Read the lists and the events; without `user_list.txt` the numbers are the ids of the users.

    Raises:
        CatalogError: If a file is missing or broken; names the line.
    """
    items = _read_list(directory / "item_list.txt")
    has_users = (directory / "user_list.txt").is_file()
    users = _read_list(directory / "user_list.txt") if has_users else None
    parts = {
        split: _read_events(directory / f"{split}.txt", items, users)
        for split in SPLITS
        if split == "train" or (directory / "test.txt").is_file()
    }
    interactions = pd.concat([frame.assign(split=split) for split, frame in parts.items()], ignore_index=True)
    interactions.attrs |= {"source": " and ".join(f"{split}.txt" for split in parts), "form": FORM}
    files = [ReadFile(directory / "item_list.txt", len(items), FORM)]
    if users is not None:
        files.append(ReadFile(directory / "user_list.txt", len(users), FORM))
    files += [ReadFile(directory / f"{split}.txt", len(frame), FORM) for split, frame in parts.items()]
    note = (
        f"{' and '.join(f'{split}.txt' for split in parts)}: {len(interactions):,} events without times, in "
        "the order of the lines, which need not be the order in which they happened."
    )
    return NumberedLists(items.tolist(), interactions, tuple(files), (note,))


def _read_list(path: Path) -> pd.Series:
    """Return the ids of a list, indexed by their numbers."""
    ids: list[str] = []
    numbers: list[bytes] = []
    for place, line in enumerate(read_utf8(path, "catalog.items").split(b"\n")):
        cells = line.split()
        if not cells or place == 0:
            continue
        if len(cells) < 2 or not cells[1].isdigit() or len(cells[1]) > _MAX_DIGITS:
            raise CatalogError(
                f"{path}: line {place + 1} is {line.decode()[:60]!r}, expected an id and its number "
                "(org_id remap_id), with a blank between them. Mend the line, or copy the file again."
            )
        ids.append(cells[0].decode())
        numbers.append(cells[1])
    listed = pd.Series(ids, index=np.array(numbers, dtype=np.int64), dtype=str)
    if not listed.index.is_unique:
        twice = listed.index[listed.index.duplicated()][0]
        raise CatalogError(f"{path} has the number {twice} twice, expected it once. Copy the file again.")
    return listed


def _read_events(path: Path, items: pd.Series, users: pd.Series | None) -> pd.DataFrame:
    """Return a row for every item of every line."""
    lines = [line.split() for line in read_utf8(path, "catalog.items").split(b"\n")]
    lengths = np.array([len(cells) for cells in lines], dtype=np.int64)
    line_numbers = np.repeat(np.arange(1, len(lines) + 1), lengths)
    cells = np.array(list(chain.from_iterable(lines)))
    broken = ~np.char.isdigit(cells) | (np.char.str_len(cells) > _MAX_DIGITS)
    if broken.any():
        _refuse(cells, line_numbers, broken, path, "the number of a user, then those of the items")
    numbers = cells.astype(np.int64)
    is_user = np.zeros(len(numbers), dtype=bool)
    is_user[(np.cumsum(lengths) - lengths)[lengths > 0]] = True
    places = items.index.get_indexer(pd.Index(numbers))
    unknown = ~is_user & (places < 0)
    if unknown.any():
        _refuse(cells, line_numbers, unknown, path, "the number of an item in item_list.txt")
    items_per_line = lengths[lengths > 0] - 1
    if users is None:
        user_ids = pd.Series(np.repeat(numbers[is_user], items_per_line)).astype(str)
    else:
        users_at = users.index.get_indexer(pd.Index(numbers))
        unknown = is_user & (users_at < 0)
        if unknown.any():
            _refuse(cells, line_numbers, unknown, path, "the number of a user in user_list.txt")
        user_ids = users.iloc[np.repeat(users_at[is_user], items_per_line)].reset_index(drop=True)
    item_ids = items.iloc[places[~is_user]].reset_index(drop=True)
    return pd.DataFrame({"user_id": user_ids, "item_id": item_ids})


def _refuse(cells: np.ndarray, lines: np.ndarray, wrong: np.ndarray, path: Path, expected: str) -> None:
    """Raise for the first cell that is wrong."""
    first = int(np.argmax(wrong))
    raise CatalogError(
        f'{path}: line {lines[first]} has "{cells[first].decode()[:60]}", expected {expected}. '
        "Mend the line, or copy the file again."
    )
