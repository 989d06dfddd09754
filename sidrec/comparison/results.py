"""Read one result directory: who was in it and where each target stood, checked against its metrics.json."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as parquet

from sidrec.artifacts import read_json
from sidrec.errors import ArtifactError
from sidrec.metrics import metrics_at_k

METRIC = re.compile(r"(hr|ndcg|mrr)@([1-9]\d*)")
SLICE_PREFIX = "slice_"
TARGET_DIVIDER = "\t"
_NEEDED = {"model": str, "seed": int, "split_sha256": str, "users": int, "item_level": dict}
_ROUNDING = 1e-9  # a mean may be summed in another order than the one in metrics.json


@dataclass(frozen=True, eq=False)
class Result:
    """What a model did for the users of a split.

    Attributes:
        directory: Where it lies.
        model: Its name in metrics.json.
        seed: That of its run.
        split_sha256: Equal hashes mean the same users and targets.
        num_users: U, of whom `ranks` may lack some.
        depth: Length of its lists.
        metrics: Names of its item-level figures that are functions of a rank within the lists.
        ranks: User id -> 1-based rank, 0 for a miss. Who is not in it was recommended nothing: a miss. Where
            users have several targets, "user id<tab>number of the target".
        users_recur: Whether they have.
        slices: User id -> name of the user's slice, "" for none, a column per kind; None where the result
            does not say.
        slice_order: Kind -> names of its slices, in the order of metrics.json.
    """

    directory: Path
    model: str
    seed: int
    split_sha256: str
    num_users: int
    depth: int
    metrics: tuple[str, ...]
    ranks: pd.Series
    users_recur: bool
    slices: pd.DataFrame | None
    slice_order: dict[str, list[str]]


def read_result(directory: Path) -> Result:
    """Read a directory that `evaluate` or `baselines` wrote.

    `users.parquet` holds all users; where it is missing, `predictions.parquet` tells those with a list.

    Raises:
        ArtifactError: If the directory is no result, or its files are broken or contradict each other.
    """
    _check_is_result(directory)
    metrics = read_json(directory / "metrics.json")
    depth = _check_metrics(directory, metrics)
    path = directory / "users.parquet"
    if path.is_file():
        frame = _read_users(path)
        kinds = [name for name in frame.columns if name.startswith(SLICE_PREFIX)]
        slices = frame[kinds].fillna("").rename(columns=lambda name: name.removeprefix(SLICE_PREFIX))
        ranks = frame["rank"]
    else:
        path, slices = directory / "predictions.parquet", None
        ranks = _read_predictions(path)
    result = Result(
        directory,
        metrics["model"],
        metrics["seed"],
        metrics["split_sha256"],
        metrics["users"],
        depth,
        tuple(name for name in metrics["item_level"] if _depth_of(name) <= depth),
        ranks,
        "distinct_users" in metrics,
        slices,
        {kind: list(parts) for kind, parts in metrics.get("slices", {}).items()},
    )
    _check_ranks(path, result, metrics["item_level"])
    return result


def _depth_of(metric: str) -> float:
    """Return the k of a metric of ranks, infinity for any other."""
    match = METRIC.fullmatch(metric)
    return int(match[2]) if match else float("inf")


def _check_is_result(directory: Path) -> None:
    if not directory.is_dir():
        raise ArtifactError(
            f"{directory} is no directory. Give the directory of a result, such as RUN/evaluate/rl."
        )
    has_ranks = any((directory / name).is_file() for name in ("users.parquet", "predictions.parquet"))
    missing = [] if (directory / "metrics.json").is_file() else ["metrics.json"]
    missing += [] if has_ranks else ["predictions.parquet"]
    if missing:
        inside = sorted(
            path.parent.relative_to(directory).as_posix()
            for stage in ("evaluate", "baselines")
            for path in directory.glob(f"{stage}/*/metrics.json")
        )
        hint = f" It holds results: give {' or '.join(inside)} in it." if inside else ""
        raise ArtifactError(
            f"{directory} is no result: it lacks {' and '.join(missing)}. Expected a directory that sidrec "
            f"evaluate or sidrec baselines wrote, such as RUN/evaluate/rl.{hint}"
        )


def _check_metrics(directory: Path, metrics: Any) -> int:
    """Refuse a metrics.json that is not that of an evaluation; return the depth of the lists."""
    known = metrics if isinstance(metrics, dict) else {}
    missing = [name for name, kind in _NEEDED.items() if not isinstance(known.get(name), kind)]
    depth = known.get("depth", known.get("num_beams"))  # results of old have num_beams alone
    missing += [] if isinstance(depth, int) and depth > 0 else ["depth"]
    if missing:
        raise ArtifactError(
            f"{directory} is no result: its metrics.json does not say {', '.join(missing)}. Expected one "
            "that sidrec evaluate or sidrec baselines wrote."
        )
    assert isinstance(depth, int)
    return depth


def _read_users(path: Path) -> pd.DataFrame:
    frame = _read_columns(path, {"user_id": None, "rank": "iu"}, and_slices=True).set_index("user_id")
    repeated = frame.index[frame.index.duplicated()]
    if len(repeated):
        raise ArtifactError(f'{path} has user "{repeated[0]}" more than once. Rerun its stage.')
    return frame


def _read_predictions(path: Path) -> pd.Series:
    """Return the rank of the target for every user with a list; an item listed twice counts at its first."""
    frame = _read_columns(path, {"user_id": None, "rank": "iu", "is_target": "b"})
    hits = frame[frame["is_target"]].groupby("user_id")["rank"].min()
    return hits.reindex(frame["user_id"].unique(), fill_value=0)


def _read_columns(path: Path, kinds: dict[str, str | None], *, and_slices: bool = False) -> pd.DataFrame:
    """Read some columns, user ids as text; `kinds` are those of numpy's types (None: any)."""
    try:
        # ParquetFile, since read_table would take a folder named "seed=0" for a column
        with parquet.ParquetFile(path) as file:
            names = file.schema_arrow.names
            missing = [name for name in kinds if name not in names]
            if missing:
                raise ArtifactError(
                    f"{path} has no column {', '.join(missing)}, expected {', '.join(kinds)}. "
                    "Rerun its stage."
                )
            more = [name for name in names if and_slices and name.startswith(SLICE_PREFIX)]
            more += ["target_number"] if "target_number" in names else []
            frame = file.read([*kinds, *more]).to_pandas(ignore_metadata=True, integer_object_nulls=True)
    except (pa.ArrowException, OSError) as error:
        raise ArtifactError(
            f"{path} is not a readable Parquet file ({str(error).splitlines()[0]}). Rerun its stage."
        ) from error
    for name, kind in kinds.items():
        if frame[name].isna().any() or (kind is not None and frame[name].dtype.kind not in kind):
            raise ArtifactError(f"{path}: column {name} holds other values than expected. Rerun its stage.")
    frame["user_id"] = frame["user_id"].astype(str)
    if "target_number" in frame.columns:
        frame["user_id"] += TARGET_DIVIDER + frame.pop("target_number").astype(str)
    return frame


def _check_ranks(path: Path, result: Result, item_level: dict[str, Any]) -> None:
    """Refuse ranks that do not give the figures of metrics.json."""
    ranks = result.ranks.to_numpy()
    complete = result.slices is not None
    if result.num_users < 1:
        raise ArtifactError(f"{result.directory} is the result of no user. Evaluate it on one at least.")
    if len(ranks) > result.num_users or (complete and len(ranks) < result.num_users):
        raise _changed(path, f"it has {len(ranks)} users, metrics.json {result.num_users}")
    if len(ranks) and not 0 <= ranks.min() <= ranks.max() <= result.depth:
        span = f"{ranks.min()} to {ranks.max()}"
        raise _changed(path, f"its ranks are {span}, the lists have {result.depth} items")
    for name in result.metrics:
        entry = item_level[name]
        if not isinstance(entry, dict) or not isinstance(entry.get("value"), int | float):
            raise ArtifactError(f"{result.directory}/metrics.json gives no value of {name}. Rerun its stage.")
        found = metrics_at_k(ranks, (int(_depth_of(name)),))[name].sum() / result.num_users
        if not abs(found - entry["value"]) <= _ROUNDING:
            raise _changed(path, f"it gives {name} {found:.6f}, metrics.json {entry['value']:.6f}")


def _changed(path: Path, how: str) -> ArtifactError:
    return ArtifactError(f"{path} has changed since it was written: {how}. Rerun its stage.")
