"""Someone else's recommendations: a table of user, rank and item, as lists over the rows of a split."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from sidrec.catalog.columns import as_strings
from sidrec.catalog.forms.table_files import read_table
from sidrec.catalog.splits import EvaluationRows
from sidrec.errors import CatalogError, nearest

_COLUMNS = ("user_id", "rank", "item_id")


@dataclass(frozen=True)
class ForeignLists:
    """Lists as a file gives them, over the users of a split in its order.

    Attributes:
        items: (U, M) catalogue rows; `no_item` for an id that the catalogue lacks, `end` after a list.
        item_ids: (U, M) ids as in the file; None after a list.
        scores: (U, M) float64; minus the rank where the file has no column `score`.
        users_without: Users of the split of whom the file says nothing.
    """

    items: np.ndarray
    item_ids: np.ndarray
    scores: np.ndarray
    users_without: int


def read_predictions(
    path: Path, rows: EvaluationRows, item_ids: list[str], *, no_item: int, end: int
) -> ForeignLists:
    """Read `user_id`, `rank` (from 1) and `item_id`; a column `score` is taken along, others are not read.

    Where users have several targets, `target_number` says which of them, from 1, a row is for.

    Args:
        path: CSV, TSV, JSONL or Parquet.
        rows: The users who are evaluated.
        item_ids: N ids, in catalogue order.
        no_item: Number for an id that is not among them.
        end: Number for places after the end of a list.

    Raises:
        CatalogError: If the file cannot be read or lacks a column; a user is not in the split; a rank is no
            whole number of 1 or more, stands twice, or leaves a gap; or no item is of the catalogue.
    """
    frame = read_table(path, "predictions")
    for name in _COLUMNS:
        if name not in frame.columns:
            raise CatalogError(
                f'{path} has no column "{name}".{nearest(name, frame.columns)} '
                "Predictions have user_id, rank (1 is best) and item_id, a row per recommended item."
            )
    users = _rows(path, frame, rows)
    ranks = _whole_numbers(path, frame["rank"], "rank", "; 1 is best")
    _check_places(path, users, ranks, rows)
    names = as_strings(frame["item_id"])
    found = pd.Index(item_ids).get_indexer(pd.Index(names))
    if (found < 0).all():
        raise CatalogError(
            f'{path} recommends no item of this catalogue (its first is "{names.iloc[0]}", the catalogue\'s '
            f'"{item_ids[0]}"): these are predictions of another one. Check the file, or catalog.items.'
        )
    shape = (len(rows), int(ranks.max()))
    items = np.full(shape, end, dtype=np.int64)
    shown = np.full(shape, None, dtype=object)
    scores = np.full(shape, -np.inf)
    items[users, ranks - 1] = np.where(found < 0, no_item, found)
    shown[users, ranks - 1] = names.to_numpy()
    scores[users, ranks - 1] = _scores(path, frame, ranks)
    return ForeignLists(items, shown, scores, int(len(rows) - len(np.unique(users))))


def _rows(path: Path, frame: pd.DataFrame, rows: EvaluationRows) -> np.ndarray:
    """Return the row of the split that every prediction is for."""
    distinct = list(dict.fromkeys(rows.user_ids))
    users = _users(path, as_strings(frame["user_id"]), distinct)
    if rows.recurring_users is None:
        return users
    if "target_number" not in frame.columns:
        raise CatalogError(
            f'{path} has no column "target_number", but this split asks {len(distinct)} users for '
            f"{len(rows)} targets. Add it: 1 for a user's first target, by time."
        )
    numbers = _whole_numbers(path, frame["target_number"], "target_number", " for the user's first target")
    most = int(rows.target_numbers.max()) + 1
    known = pd.Index(pd.Index(distinct).get_indexer(pd.Index(rows.user_ids)) * most + rows.target_numbers)
    found = known.get_indexer(pd.Index(users * most + np.minimum(numbers, most)))
    if (found < 0).any():
        row = int(np.argmax(found < 0))
        raise CatalogError(
            f'{path}: data row {row + 1} is for target {numbers[row]} of user "{distinct[users[row]]}", who '
            f"has {rows.user_ids.count(distinct[users[row]])} in this split. Remove the row."
        )
    return found


def _users(path: Path, names: pd.Series, user_ids: list[str]) -> np.ndarray:
    """Return which of the user ids every prediction is for."""
    users = pd.Index(user_ids).get_indexer(pd.Index(names))
    if (users < 0).any():
        unknown = names[users < 0]
        raise CatalogError(
            f"{path}: {unknown.nunique()} of its {names.nunique()} users are not evaluated in this split, "
            f'the first is "{unknown.iloc[0]}" (data row {int(np.argmax(users < 0)) + 1}).'
            f"{nearest(unknown.iloc[0], user_ids)} Remove them, or check catalog.user_id."
        )
    return users


def _whole_numbers(path: Path, column: pd.Series, name: str, meaning: str) -> np.ndarray:
    """Return the cells as integers of 1 or more; `meaning` is what 1 stands for."""
    numbers = pd.to_numeric(as_strings(column), errors="coerce").to_numpy(dtype=np.float64)
    bad = ~(np.isfinite(numbers) & (numbers >= 1) & (numbers == np.floor(numbers)))
    if bad.any():
        row = int(np.argmax(bad))
        raise CatalogError(
            f'{path}: data row {row + 1} has the {name} "{column.iloc[row]}", expected a whole number from '
            f"1. Mend the row{meaning}."
        )
    return numbers.astype(np.int64)


def _check_places(path: Path, users: np.ndarray, ranks: np.ndarray, rows: EvaluationRows) -> None:
    """Raise unless every user has the ranks 1 to n, each once."""
    order = np.lexsort((ranks, users))
    users, ranks = users[order], ranks[order]
    starts = np.flatnonzero(np.append(True, users[1:] != users[:-1]))
    expected = np.arange(len(users)) - np.repeat(starts, np.diff(np.append(starts, len(users)))) + 1
    wrong = np.flatnonzero(ranks != expected)
    if not len(wrong):
        return
    place = wrong[0]
    user, rank = rows.user_ids[users[place]], int(ranks[place])
    if rank < expected[place]:
        raise CatalogError(
            f'{path}: user "{user}" has rank {rank} twice, expected one item per rank. Remove one row.'
        )
    raise CatalogError(
        f'{path}: user "{user}" has rank {rank} but no rank {expected[place]}, expected ranks from 1 '
        "without a gap. Number the places anew."
    )


def _scores(path: Path, frame: pd.DataFrame, ranks: np.ndarray) -> np.ndarray:
    """Return the column `score`, or else minus the rank."""
    if "score" not in frame.columns:
        return -ranks.astype(np.float64)
    numbers = pd.to_numeric(as_strings(frame["score"]), errors="coerce").to_numpy(dtype=np.float64)
    if np.isnan(numbers).any():
        row = int(np.argmax(np.isnan(numbers)))
        raise CatalogError(
            f'{path}: data row {row + 1} has the score "{frame["score"].iloc[row]}", expected a number. '
            "Mend it, or leave the column out."
        )
    return numbers
