"""What rewards see: groups of rollouts as the items they name, and the targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Rollouts:
    """B groups of G rollouts, each group drawn for one prompt.

    Attributes:
        items: (B, G) int64 item indices, best beam first.
        targets: (B,) int64 item index that each prompt's user had next.
        histories: B lists of item indices, oldest first; one is empty where the prompt tells of no history,
            as in title -> SID. None where nobody asks for them.
        log_probs: (B, G) float32 log-probabilities of the rollouts' codes under the policy that drew them.
        weights: (B, G) float32 importance weights, each row sums to 1; None: all count alike.
        target_drawn: (B,) bool: whether the target was drawn, rather than put in by `rl.add_target`.

    Raises:
        ValueError: If the shapes do not fit, there is no rollout, or an entry is no item index.
    """

    items: Tensor
    targets: Tensor
    histories: Sequence[Sequence[int]] | None = None
    log_probs: Tensor | None = None
    weights: Tensor | None = None
    target_drawn: Tensor | None = None

    def __post_init__(self) -> None:
        """Refuse what is not B groups of items with a target each."""
        if self.items.ndim != 2 or self.items.shape[1] == 0 or self.targets.shape != self.items.shape[:1]:
            raise ValueError(
                "Rollouts need (B, G) items and (B,) targets, "
                f"got shapes {tuple(self.items.shape)} and {tuple(self.targets.shape)}."
            )
        if self.histories is not None and len(self.histories) != len(self.targets):
            raise ValueError(
                f"Rollouts need a history for each of {len(self.targets)} groups, got {len(self.histories)}."
            )
        for name, values in (("log_probs", self.log_probs), ("weights", self.weights)):
            if values is not None and values.shape != self.items.shape:
                raise ValueError(
                    f"Rollouts need (B, G) {name} like their items, got shapes {tuple(values.shape)} and "
                    f"{tuple(self.items.shape)}."
                )
        for name, indices in (("items", self.items), ("targets", self.targets)):
            if indices.dtype != torch.int64:
                raise ValueError(f"Rollouts need int64 {name}, got {indices.dtype}.")
            if bool((indices < 0).any()):
                raise ValueError(
                    f"Rollouts need {name} that are item indices of at least 0, got {int(indices.min())}."
                )

    @property
    def hits(self) -> Tensor:
        """(B, G) bool: which rollouts are the target item."""
        return self.items == self.targets[:, None]
