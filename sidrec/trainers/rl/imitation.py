"""Continued SFT: the control of RL. The same prompts, steps and optimizer, and no rollouts."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sidrec.decoding import pad_prompts
from sidrec.metrics import PADDING
from sidrec.scoring import SIDScorer
from sidrec.shared_prefix import completion_scores


def imitation_batch(rows: list[dict[str, Any]], codes: Tensor, pad_id: int) -> dict[str, Tensor]:
    """Put B rows into tensors.

    Args:
        rows: With `prompt_ids` and `target`.
        codes: (N, L) SIDs of the catalogue.
        pad_id: Of the text tokenizer.

    Returns:
        (B, P) prompt_ids and prompt_mask, padded on the left, and (B, 1, L) codes of the targets.
    """
    prompt_ids, prompt_mask = pad_prompts([row["prompt_ids"] for row in rows], pad_id, codes.device)
    targets = torch.tensor([row["target"] for row in rows], device=codes.device)
    return {"prompt_ids": prompt_ids, "prompt_mask": prompt_mask, "codes": codes[targets].unsqueeze(1)}


def imitation_loss(scorer: SIDScorer, batch: dict[str, Tensor]) -> Tensor:
    """Return the mean cross entropy of the targets' codes after their prompts, in nats per code.

    A code competes with what the scorer normalizes over, as in the log-probabilities of a policy.

    Args:
        scorer: Of the model that is trained.
        batch: As `imitation_batch` returns it.
    """
    scores = completion_scores(scorer, batch["prompt_ids"], batch["prompt_mask"], batch["codes"])
    return -scores.log_probs[batch["codes"] != PADDING].mean()
