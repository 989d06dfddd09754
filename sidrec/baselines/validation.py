"""How good a sequential model is on rows with known targets, fast enough for every epoch."""

from __future__ import annotations

import numpy as np

from sidrec.baselines.sequential import SequentialModel, score_with
from sidrec.catalog import EvaluationRows
from sidrec.metrics import metrics_at_k

BATCH_ROWS = 512
"""Users that are scored at once; (BATCH_ROWS, N) scores are in memory."""


def evaluate(model: SequentialModel, rows: EvaluationRows) -> dict[str, float]:
    """Return the mean `ndcg@10` and `hr@10` over users, the whole catalogue ranked for each."""
    by_length = np.argsort([len(history) for history in rows.histories], kind="stable")  # less padding
    score_items = score_with(model, model.settings.max_history)
    ranks = []
    for start in range(0, len(rows), BATCH_ROWS):
        users = by_length[start : start + BATCH_ROWS]
        scores = score_items([rows.histories[user] for user in users])  # (B, N)
        ranks.append(ranks_by_count(scores, rows.targets[users]))
    values = metrics_at_k(np.concatenate(ranks), ks=(10,))
    return {name: float(values[name].mean()) for name in ("ndcg@10", "hr@10")}


def ranks_by_count(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Find each target's 1-based rank by counting the items before it, without sorting.

    Equal scores stand in catalogue order, as in `ranking.top_items`.

    Args:
        scores: (B, N) float.
        targets: (B,) item indices.

    Returns:
        (B,) int64, 1..N.

    Raises:
        RuntimeError: If a score is NaN: nothing would be counted, and every target come first.
    """
    if np.isnan(scores).any():
        raise RuntimeError("A score is NaN, so no target can be ranked by it: a fault of ours.")
    own = np.take_along_axis(scores, targets[:, None], axis=1)  # (B, 1)
    is_earlier = np.arange(scores.shape[1]) < targets[:, None]  # (B, N)
    return 1 + np.count_nonzero((scores > own) | ((scores == own) & is_earlier), axis=1)
