"""From ranked items to the two files of an evaluation, the same for models and baselines."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sidrec import metrics as m
from sidrec.artifacts import peak_memory_mb, write_json
from sidrec.catalog import EvaluationRows
from sidrec.config import Config
from sidrec.stages.run import Run

KS = (1, 3, 5, 10, 20, 50)


@dataclass(frozen=True)
class Predictions:
    """What a model recommends to the users of `rows`.

    Attributes:
        model: Name in the tables.
        ranking: How the list was made: `beam` or `full`.
        items: (U, M) catalogue rows, best first.
        scores: (U, M) descending.
        seconds: Wall time of the ranking.
    """

    model: str
    ranking: str
    items: np.ndarray
    scores: np.ndarray
    seconds: float


def write_evaluation(
    directory: Path, predictions: Predictions, rows: EvaluationRows, run: Run, config: Config
) -> dict[str, Any]:
    """Write `metrics.json` and `predictions.parquet`; return the metrics."""
    metrics = measure(predictions, rows, run, config)
    write_json(directory / "metrics.json", metrics)
    items = predictions.items
    item_ids = run.catalog.items["item_id"].to_numpy()
    pd.DataFrame(
        {
            "user_id": np.repeat(np.asarray(rows.user_ids, dtype=object), items.shape[1]),
            "rank": np.tile(np.arange(1, items.shape[1] + 1, dtype=np.int32), len(items)),
            "item_id": item_ids[items.ravel()],
            "score": predictions.scores.ravel().astype(np.float32),
            "is_target": (items == rows.targets[:, None]).ravel(),
        }
    ).to_parquet(directory / "predictions.parquet", index=False)
    return metrics


def measure(predictions: Predictions, rows: EvaluationRows, run: Run, config: Config) -> dict[str, Any]:
    """Compute everything that DESIGN calls the metrics of an evaluation, item-level first."""
    items, targets = predictions.items, rows.targets
    num_items, seed = run.catalog.num_items, config.seed
    samples = config.evaluation.bootstrap_samples
    ks = tuple(k for k in KS if k <= items.shape[1]) or (items.shape[1],)
    sid_of_item = np.unique(run.semantic_ids.codes, axis=0, return_inverse=True)[1].reshape(-1)
    per_user = m.metrics_at_k(m.target_ranks(items, targets), ks)
    sid_level = m.metrics_at_k(m.sid_ranks(items, targets, sid_of_item), ks)
    k = max(k for k in ks if k <= 10)
    slices = m.popularity_slices(targets, run.split.train_counts(num_items))
    return {
        "model": predictions.model,
        "split": "test",
        "split_sha256": run.split.sha256,
        "users": len(rows),
        "num_beams": items.shape[1],
        "ranking": predictions.ranking,
        "seed": seed,
        "item_level": _with_intervals(per_user, seed, samples),
        "sid_level": _with_intervals(sid_level, seed, samples),
        "invalid_items": m.count_invalid(items, num_items),
        "duplicate_items": m.count_duplicates(items),
        f"coverage@{k}": m.coverage_at_k(items, num_items, k),
        f"gini@{k}": m.gini_at_k(items, num_items, k),
        "slices": {
            "popularity": {
                name: {"users": int(mask.sum())}
                | ({f"hr@{k}": float(per_user[f"hr@{k}"][mask].mean())} if mask.any() else {})
                for name, mask in slices.items()
            }
        },
        "seconds": round(predictions.seconds, 2),
        "peak_memory_mb": peak_memory_mb(),
    }


def _with_intervals(per_user: dict[str, np.ndarray], seed: int, samples: int) -> dict[str, dict[str, float]]:
    intervals = m.bootstrap_intervals(per_user, seed=seed, samples=samples)
    return {name: {"value": i.value, "low": i.low, "high": i.high} for name, i in intervals.items()}
