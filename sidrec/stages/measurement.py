"""From ranked items to the files of an evaluation, the same for models, baselines and foreign predictions."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sidrec import metrics as m
from sidrec.artifacts import peak_memory_mb, write_json
from sidrec.catalog import EvaluationRows
from sidrec.config import Config
from sidrec.progress import working
from sidrec.stages.run import Run

KS = (1, 3, 5, 10, 20, 50)
SHOWN_K = 10
"""Depth of the figures that are given at one depth only: slices, and what lists are beside accurate."""


@dataclass(frozen=True)
class Predictions:
    """What a model recommends to the users of `rows`.

    Attributes:
        model: Name in the tables.
        ranking: How the list was made: `beam`, `exact`, `full` or `file`.
        items: (U, M) catalogue rows, best first; `PADDING` where a list has ended, `INVALID` for no item.
        scores: (U, M) descending.
        seconds: Wall time of the ranking.
        facts: What else to write into metrics.json, such as `parameters` and `training_cpu_seconds`.
        item_ids: (U, M) ids as a file gave them; left out, those of `items`.
    """

    model: str
    ranking: str
    items: np.ndarray
    scores: np.ndarray
    seconds: float
    facts: dict[str, Any] = field(default_factory=dict)
    item_ids: np.ndarray | None = None


def write_evaluation(
    directory: Path, predictions: Predictions, rows: EvaluationRows, run: Run, config: Config
) -> dict[str, Any]:
    """Write `metrics.json`, `predictions.parquet` and `users.parquet`; return the metrics."""
    with working(f"measuring {predictions.model}"):
        slices = _slices(rows, run)
        metrics = measure(predictions, rows, run, config, slices=slices)
    write_json(directory / "metrics.json", metrics)
    _write_predictions(directory / "predictions.parquet", predictions, rows, run)
    item_ids = run.catalog.items["item_id"].to_numpy()
    users = {
        **_names(rows),
        "target": item_ids[rows.targets],
        "rank": m.target_ranks(predictions.items, rows.targets),
    }
    for kind, parts in slices.items():
        users[f"slice_{kind}"] = np.select([part.mask for part in parts.values()], list(parts), default="")
    pd.DataFrame(users).to_parquet(directory / "users.parquet", index=False)
    return metrics


def measure(
    predictions: Predictions,
    rows: EvaluationRows,
    run: Run,
    config: Config,
    *,
    slices: dict[str, dict[str, m.Slice]] | None = None,
) -> dict[str, Any]:
    """Compute everything that DESIGN calls the metrics of an evaluation, item-level first."""
    items, targets = predictions.items, rows.targets
    seed, samples = config.seed, config.evaluation.bootstrap_samples
    depth = items.shape[1]
    ks = tuple(k for k in KS if k <= depth) or (depth,)
    k = max(k for k in ks if k <= SHOWN_K)
    ranks = m.target_ranks(items, targets)
    users = rows.recurring_users
    found: dict[str, Any] = {
        "model": predictions.model,
        "split": "test",
        "split_sha256": run.split.sha256,
        "users": len(rows),
        **({} if users is None else {"distinct_users": int(users.max()) + 1}),
        "depth": depth,
        "num_beams": config.evaluation.num_beams if predictions.ranking == "beam" else None,
        "ranking": predictions.ranking,
        "exclude_history": None if predictions.ranking == "file" else config.evaluation.exclude_history,
        "seed": seed,
        "item_level": _with_intervals(ranks, ks, seed, samples, users),
        "sid_level": _with_intervals(
            m.sid_ranks(items, targets, _sid_of_item(run)), ks, seed, samples, users
        ),
        "invalid_items": m.count_invalid(items, run.catalog.num_items),
        "duplicate_items": m.count_duplicates(items),
        "short_lists": m.count_padded(items),
        **_beyond_accuracy(items, rows, run, k),
        "slices": {
            kind: {name: _slice(part, ranks, k, seed, samples, users) for name, part in parts.items()}
            for kind, parts in (slices if slices is not None else _slices(rows, run)).items()
        },
    }
    seconds = {"seconds": round(predictions.seconds, 2), "peak_memory_mb": peak_memory_mb()}
    return found | predictions.facts | seconds


def _names(rows: EvaluationRows, places: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Return the columns that say whose each row is: `target_number` too where users have several targets."""
    names = {"user_id": np.asarray(rows.user_ids, dtype=object)}
    if rows.recurring_users is not None:
        names["target_number"] = rows.target_numbers
    return names if places is None else {name: column[places] for name, column in names.items()}


def _with_intervals(
    ranks: np.ndarray, ks: tuple[int, ...], seed: int, samples: int, users: np.ndarray | None
) -> dict[str, dict[str, float]]:
    intervals = m.rank_intervals(ranks, ks, seed=seed, samples=samples, users=users)
    return {name: {"value": i.value, "low": i.low, "high": i.high} for name, i in intervals.items()}


def _sid_of_item(run: Run) -> np.ndarray:
    """Number the distinct semantic IDs: (N,)."""
    return np.unique(run.semantic_ids.codes, axis=0, return_inverse=True)[1].reshape(-1)


def _slices(rows: EvaluationRows, run: Run) -> dict[str, dict[str, m.Slice]]:
    """Divide the users in every way that is worth a look; kinds without a division are left out."""
    num_items = run.catalog.num_items
    found = {
        "popularity": m.popularity_slices(rows.targets, run.split.train_counts(num_items)),
        "history_length": m.history_length_slices(np.array([len(history) for history in rows.histories])),
        "arrival": m.arrival_slices(rows.targets, num_items),
        "collision": m.collision_slices(rows.targets, _sid_of_item(run)),
    }
    return {kind: parts for kind, parts in found.items() if parts}


def _slice(
    part: m.Slice, ranks: np.ndarray, k: int, seed: int, samples: int, users: np.ndarray | None
) -> dict[str, Any]:
    facts: dict[str, Any] = {"what": part.description, "users": int(part.mask.sum())}
    if not facts["users"]:
        return facts
    inside = None if users is None else users[part.mask]
    intervals = _with_intervals(ranks[part.mask], (k,), seed, samples, inside)
    return facts | {name: intervals[name] for name in (f"hr@{k}", f"ndcg@{k}")}


def _beyond_accuracy(items: np.ndarray, rows: EvaluationRows, run: Run, k: int) -> dict[str, float | None]:
    """Say what lists are beside accurate; None where no list holds an item."""
    num_items = run.catalog.num_items
    counts = run.split.train_counts(num_items)
    if not (items[:, :k] >= 0).any():
        names = ("coverage", "gini", "novelty", "history_share", "diversity")
        return {f"{name}@{k}": 0.0 if name == "coverage" else None for name in names}
    diversity = None if run.vectors is None else m.intra_list_diversity_at_k(items, run.vectors, k)
    return {
        f"coverage@{k}": m.coverage_at_k(items, num_items, k),
        f"gini@{k}": m.gini_at_k(items, num_items, k),
        f"novelty@{k}": m.novelty_at_k(items, counts, k),
        f"history_share@{k}": m.history_share_at_k(items, rows.histories, k),
        f"diversity@{k}": diversity,
    }


def _write_predictions(path: Path, predictions: Predictions, rows: EvaluationRows, run: Run) -> None:
    """Write a row per recommended item; where a list has ended there is none."""
    items = predictions.items
    places = np.flatnonzero(items.ravel() != m.PADDING)
    item_ids = predictions.item_ids
    if item_ids is None:  # lists of ours: what is no item here is padding, and left out below
        item_ids = run.catalog.items["item_id"].to_numpy()[np.maximum(items, 0)]
    depth = items.shape[1]
    pd.DataFrame(
        {
            **_names(rows, places // depth),
            "rank": (places % depth + 1).astype(np.int32),
            "item_id": item_ids.ravel()[places],
            "score": predictions.scores.ravel()[places].astype(np.float32),
            "is_target": (items == rows.targets[:, None]).ravel()[places],
        }
    ).to_parquet(path, index=False)
