"""Warn, while RL trains, of a reward that is hacked and of one that alone decides."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from sidrec.rewards.watch import VALID, describe_dominance, describe_hacking, find_hacking, mean_shares

logger = logging.getLogger(__name__)


class RewardWatch(TrainerCallback):
    """Read the log at every evaluation; all that it knows is in checkpoints.

    Args:
        weights: Of the rewards.
        start: Valid NDCG@10 before the first step, on the users that evaluations rank.
    """

    def __init__(self, weights: Mapping[str, float], start: float) -> None:
        self._weights, self._start = weights, start

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Put the start into the log, unless it came with a checkpoint."""
        if state.global_step == 0:
            state.log_history.append({"step": 0, "epoch": 0.0, VALID: self._start})

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Warn of hacking wherever it shows, of a dominant reward at the first evaluation."""
        if warning := describe_hacking(find_hacking(state.log_history, self._weights)):
            logger.warning("rl: %s", warning)
        if sum(VALID in entry and entry["step"] > 0 for entry in state.log_history) > 1:
            return
        if warning := describe_dominance(mean_shares(state.log_history)):
            logger.warning("rl: %s", warning)
