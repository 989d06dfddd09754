"""What networks over sequences of items share: their form, their losses, and scoring items with them.

SASRec and GRU4Rec are two such networks; `fitting.py` trains them and `weights.py` keeps them on disk.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from sidrec.baselines.config import SequentialConfig
from sidrec.baselines.ranking import ScoreItems
from sidrec.baselines.sequences import pad_right

EMBEDDING_STD = 0.02
"""Of item vectors at the start; as inputs they are multiplied by sqrt(d), as outputs they are not."""

REDRAWS = 10
"""How often negatives are drawn again that the user has had."""


class SequentialModel(nn.Module):
    """A network over item sequences whose output is compared with the vectors of its input items.

    Args:
        num_items: N.
        settings: Sizes and dropout.

    Attributes:
        padding: Number of no item, N.
        item_embedding: N vectors, and one for padding that stays 0.
    """

    def __init__(self, num_items: int, settings: SequentialConfig) -> None:
        super().__init__()
        self.num_items = num_items
        self.padding = num_items
        self.settings = settings
        self.item_embedding = nn.Embedding(num_items + 1, settings.hidden_dim, padding_idx=num_items)
        with torch.no_grad():
            self.item_vectors().normal_(std=EMBEDDING_STD)

    def forward(self, items: Tensor) -> Tensor:
        """Read B histories; the state at a position knows that item and those before it, nothing after.

        Args:
            items: (B, T) int64 item indices, oldest first, padded on the right with `padding`.

        Returns:
            (B, T, d) states; those at padding mean nothing.
        """
        raise NotImplementedError

    def embed(self, items: Tensor) -> Tensor:
        """Return (B, T, d) inputs for (B, T) items, 0 for padding."""
        return self.item_embedding(items) * math.sqrt(self.settings.hidden_dim)

    def item_vectors(self) -> Tensor:
        """Return the (N, d) item vectors: an item's score is the dot product of a state with its own."""
        return self.item_embedding.weight[: self.num_items]


@dataclass(frozen=True, eq=False)
class Positions:
    """What a loss sees of a batch: its R positions that have a target.

    Attributes:
        states: (R, d) states.
        targets: (R,) int64 item indices.
        windows: (R, T) int64, the inputs of the window that a position lies in, padding included.
        item_vectors: (N, d).
        weights: (R,) float32, of the targets' events; None: 1 each.
    """

    states: Tensor
    targets: Tensor
    windows: Tensor
    item_vectors: Tensor
    weights: Tensor | None = None

    def mean(self, losses: Tensor) -> Tensor:
        """Average (R,) losses, each times its weight."""
        return (losses if self.weights is None else losses * self.weights).mean()


Loss = Callable[[Positions], Tensor]


def softmax_loss(positions: Positions, *, label_smoothing: float) -> Tensor:
    """Average the cross-entropy of the targets, times their weights, under a softmax over all N items.

    Args:
        positions: `windows` is not read.
        label_smoothing: Share of the target's probability that is divided among all items, [0, 1).
    """
    states, targets, vectors = positions.states, positions.targets, positions.item_vectors
    loss = positions.mean(functional.cross_entropy(states @ vectors.T, targets, reduction="none"))
    # As `label_smoothing` of torch would give it, without its second pass over (R, N) logits.
    target_scores = (states * vectors[targets]).sum(dim=-1)  # (R,)
    return loss + label_smoothing * positions.mean(target_scores - states @ vectors.mean(dim=0))


def sampled_bce_loss(positions: Positions, *, generator: torch.Generator) -> Tensor:
    """Average the binary cross-entropy of each target and of one item drawn evenly from the others.

    Source: SASRec (arXiv:1808.09781), equation 6, as its authors train: one negative per position.
    """
    negatives = draw_negatives(positions, generator=generator)
    return bce_loss(positions, negatives)


def bce_loss(positions: Positions, negatives: Tensor) -> Tensor:
    """Average -log sigmoid(target's score) - log(1 - sigmoid(negative's score)), times the target's weight.

    Args:
        positions: `windows` is not read.
        negatives: (R,) int64 item indices.
    """
    states, vectors = positions.states, positions.item_vectors
    target_scores = (states * vectors[positions.targets]).sum(dim=-1)  # (R,)
    negative_scores = (states * vectors[negatives]).sum(dim=-1)
    return positions.mean(functional.softplus(-target_scores) + functional.softplus(negative_scores))


def draw_negatives(positions: Positions, *, generator: torch.Generator) -> Tensor:
    """Draw for each position an item that is not its target and not in its window.

    The target is never drawn. Items of the window are drawn again up to `REDRAWS` times, so one may be left
    where a window holds nearly the whole catalogue.

    Returns:
        (R,) int64 item indices.

    Raises:
        ValueError: If the catalogue has one item only.
    """
    num_items = len(positions.item_vectors)
    if num_items < 2:
        raise ValueError("A negative is an item other than the target, but the catalogue has one item only.")
    negatives = torch.full_like(positions.targets, -1)
    open_rows = torch.arange(len(negatives))
    for _ in range(1 + REDRAWS):
        steps = torch.randint(1, num_items, (len(open_rows),), generator=generator)
        negatives[open_rows] = (positions.targets[open_rows] + steps) % num_items
        had = (positions.windows[open_rows] == negatives[open_rows, None]).any(dim=1)
        open_rows = open_rows[had]
    return negatives


def score_with(model: SequentialModel, max_history: int) -> ScoreItems:
    """Return a function from B histories to (B, N) float32 scores.

    An empty history says nothing about its user: all items get score 0.

    Args:
        model: It is put into evaluation mode whenever items are scored.
        max_history: Newest items of a history that are read.
    """

    @torch.no_grad()
    def score_items(histories: Sequence[np.ndarray]) -> np.ndarray:
        scores = np.zeros((len(histories), model.num_items), dtype=np.float32)
        told = [row for row, history in enumerate(histories) if len(history)]
        if not told:
            return scores
        model.eval()
        newest = [histories[row][-max_history:] for row in told]
        last = torch.tensor([len(history) - 1 for history in newest])
        states = model(pad_right(newest, padding=model.padding))  # (B, T, d)
        states = states[torch.arange(len(told)), last]  # (B, d)
        scores[told] = (states @ model.item_vectors().T).numpy()
        return scores

    return score_items
