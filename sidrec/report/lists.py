"""Read what a result recommended, in the order of the split's test rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as parquet

from sidrec.catalog import EvaluationRows, Split
from sidrec.comparison.results import TARGET_DIVIDER
from sidrec.report.opening import Absent, Measured, OpenRun

SHOWN = 10
"""Items of a list that are read."""


@dataclass(frozen=True, eq=False)
class Lists:
    """What a result recommended to the R test rows of a split.

    Attributes:
        items: (R, 10) catalogue rows, best first; -1 where a list has ended or names no item.
        scores: (R, 10) float32, NaN where there is no item.
        ranks: (R,) 1-based rank of the target in the whole list, 0 for a miss.
    """

    items: np.ndarray
    scores: np.ndarray
    ranks: np.ndarray


def read_lists(run: OpenRun, result: Measured) -> Lists | Absent:
    """Read the `predictions.parquet` of a result; absent where it is not there or of another split."""
    split = run.split
    if isinstance(split, Absent):
        return split
    if result.metrics["split_sha256"] != split.sha256:
        return Absent(f"{result.directory} is of another split than the run has now. Rerun its stage.")
    path = result.directory / "predictions.parquet"
    try:
        # ParquetFile, since read_table would take a folder named "seed=0" for a column
        with parquet.ParquetFile(path) as file:
            frame = file.read().to_pandas(ignore_metadata=True)
    except (pa.ArrowException, OSError) as error:
        return Absent(f"{path} cannot be read ({str(error).splitlines()[0]}). Rerun its stage.")
    return _in_rows(frame, run, split)


def _in_rows(frame: pd.DataFrame, run: OpenRun, split: Split) -> Lists:
    rows = pd.Index(_keys_of(split.test))
    keys = frame["user_id"].astype(str)
    if "target_number" in frame.columns:
        keys = keys + TARGET_DIVIDER + frame["target_number"].astype(str)
    row = rows.get_indexer(pd.Index(keys))
    rank = frame["rank"].to_numpy()
    known, hit = row >= 0, frame["is_target"].to_numpy(dtype=bool)
    ranks = np.full(len(rows), np.iinfo(np.int64).max)
    np.minimum.at(ranks, row[known & hit], rank[known & hit])
    top = known & (rank <= SHOWN)
    items = np.full((len(rows), SHOWN), -1, dtype=np.int64)
    scores = np.full((len(rows), SHOWN), np.nan, dtype=np.float32)
    found = pd.Index(run.semantic_ids.item_ids).get_indexer(pd.Index(frame["item_id"][top].astype(str)))
    items[row[top], rank[top] - 1] = found
    scores[row[top], rank[top] - 1] = frame["score"].to_numpy()[top]
    return Lists(items, scores, np.where(ranks == np.iinfo(np.int64).max, 0, ranks))


def _keys_of(rows: EvaluationRows) -> list[str]:
    """Name the rows as predictions do: by user, and by number of the target where users have several."""
    if rows.recurring_users is None:
        return rows.user_ids
    numbers = rows.target_numbers.tolist()
    return [f"{user}{TARGET_DIVIDER}{number}" for user, number in zip(rows.user_ids, numbers, strict=True)]
