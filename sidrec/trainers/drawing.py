"""Draw the rollouts of a step: G items for each prompt, with the policy as it is now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from sidrec.rewards import Rollouts
from sidrec.sid_model import SIDModel


@dataclass(frozen=True)
class Drawing:
    """How rollouts are drawn; nothing of it changes from step to step.

    Attributes:
        sid_model: The policy.
        num_generations: G.
    """

    sid_model: SIDModel
    num_generations: int

    def draw(self, rows: Sequence[dict[str, Any]]) -> Rollouts:
        """Return the rollouts of rows that have `prompt_ids`, tokens, and `target`, a catalogue row.

        `history` holds catalogue rows too; a row whose prompt tells of none may lack it.
        """
        found = self.sid_model.search([row["prompt_ids"] for row in rows], num_beams=self.num_generations)
        targets = torch.tensor([row["target"] for row in rows], device=found.items.device)
        return Rollouts(found.items, targets, histories=[row.get("history") or [] for row in rows])
