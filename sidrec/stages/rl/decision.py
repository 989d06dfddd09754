"""Whether RL made the model better: what `rl/` holds in the end."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np

from sidrec.config import Config
from sidrec.metrics import metrics_at_k, paired_difference
from sidrec.stages.rl.start import NAMES

logger = logging.getLogger(__name__)


def decide(
    before: np.ndarray, after: np.ndarray, config: Config, users: np.ndarray | None = None
) -> dict[str, Any]:
    """Compare RL with its start over the same valid users; kept if the interval of its gain lies above 0.

    A gain that the interval does not show is as likely as not the luck of having picked the best checkpoint.

    Args:
        before: (U,) ranks of the start, 0 for a miss.
        after: (U,) ranks after RL.
        config: Of the run.
        users: (U,) which user each rank is of, where users have several targets.
    """
    values = [metrics_at_k(ranks, ks=(10,)) for ranks in (before, after)]
    start = config.rl.start
    result: dict[str, Any] = {"valid_users": len(before)}
    for name in ("ndcg@10", "hr@10"):
        first_values, rl_values = values[0][name], values[1][name]
        gain = paired_difference(
            rl_values,
            first_values,
            seed=config.seed,
            samples=config.evaluation.bootstrap_samples,
            users=users,
        )
        result[name] = {
            start: float(first_values.mean()),
            "rl": float(rl_values.mean()),
            "difference": {"value": gain.value, "low": gain.low, "high": gain.high},
        }
    is_better = result["ndcg@10"]["difference"]["low"] > 0
    result["kept"] = "rl" if is_better or config.rl.keep == "rl" else start
    gain_ = result["ndcg@10"]
    logger.info(
        "rl: valid NDCG@10 %.4f of %s, %.4f after RL, difference %+.4f [%+.4f, %+.4f]: kept %s",
        gain_[start], NAMES[start], gain_["rl"], gain_["difference"]["value"], gain_["difference"]["low"],
        gain_["difference"]["high"], result["kept"],
    )  # fmt: skip
    return result
