"""Where items stand in rows of tokens, and which tokens a trunk reads if an item is one position.

An item is a run of SID tokens of the levels 0, 1, ... in order. Its last token stands for the whole item;
those before it are no positions of their own, unless they are to be. What a token is depends on nothing that
comes after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class ItemPositions:
    """Which of (B, T) tokens are positions of a trunk, and what each is after.

    Attributes:
        levels: (B, T) int64: of a SID token that stands in a run from level 0, its level; -1 of all others.
        is_inside: (B, T) bool: a code before the last of its item.
        places: (B, W) int64: the tokens that are positions, in order; any, where a row has fewer.
        mask: (B, W) bool: which of those are there.
        last: (B, T) int64: for each token the position that is it, or that it comes after.
    """

    levels: Tensor
    is_inside: Tensor
    places: Tensor
    mask: Tensor
    last: Tensor

    @classmethod
    def find(
        cls,
        levels: Tensor,
        num_levels: int,
        mask: Tensor | None = None,
        *,
        told: Tensor | None = None,
        to_right: bool = False,
    ) -> ItemPositions:
        """Find them.

        Args:
            levels: (B, T) level of each SID token, -1 for all other tokens.
            num_levels: L.
            mask: (B, T), nonzero = a real token; None: all are.
            told: (B, T) bool: tokens whose followers are told from positions of their own. Of an item that
                holds one, the codes before the last are positions, too.
            to_right: Let the positions of a row end with it; else they begin with it.
        """
        in_run = levels == 0
        for level in range(1, num_levels):
            after = _shifted(in_run & (levels == level - 1), 1, fill=False)
            in_run = in_run | ((levels == level) & after)
        is_inside = in_run & (levels < num_levels - 1)
        is_position = ~is_inside if told is None else ~is_inside | _whole_items(levels, is_inside, told)
        if mask is not None:
            is_position = is_position & mask.bool()
        counts = is_position.sum(1, keepdim=True)  # (B, 1)
        width = max(1, int(counts.max()))
        last = (is_position.cumsum(1) - 1).clamp(min=0)
        there = torch.arange(width, device=levels.device) < counts
        if to_right:
            places = is_position.int().argsort(dim=1, stable=True)[:, -width:]
            last, there = last + width - counts, there.flip(1)
        else:
            places = (~is_position).int().argsort(dim=1, stable=True)[:, :width]
        return cls(levels.masked_fill(~in_run, -1), is_inside, places, there, last)

    def sums(self, vectors: Tensor) -> Tensor:
        """Sum, for each code of an item, (B, T, H) vectors of its codes so far; other tokens keep theirs."""
        total = vectors
        for step in range(1, int(self.levels.max()) + 1):
            reaches = (self.levels >= step).unsqueeze(-1)
            total = total + _shifted(vectors, step, fill=0.0) * reaches
        return total

    def gather(self, values: Tensor) -> Tensor:
        """Take of (B, T) values or (B, T, H) vectors of tokens those of positions, (B, W) or (B, W, H)."""
        if values.dim() == 2:
            return values.gather(1, self.places)
        return values.gather(1, self.places.unsqueeze(-1).expand(-1, -1, values.shape[-1]))

    def spread(self, states: Tensor) -> Tensor:
        """Give each token the (B, W, H) state of the position that it is or comes after, (B, T, H)."""
        return states.gather(1, self.last.unsqueeze(-1).expand(-1, -1, states.shape[-1]))


def level_table(token_ids: Sequence[Sequence[int]]) -> Tensor:
    """Return what `levels_of` looks up: the level of each token id up to the greatest of a code, then -1.

    Args:
        token_ids: Level by level, the token id of every code.
    """
    table = torch.full((max(map(max, token_ids)) + 2,), -1)
    for level, ids in enumerate(token_ids):
        table[torch.tensor(ids)] = level
    return table


def code_table(token_ids: Sequence[Sequence[int]]) -> Tensor:
    """Return the code of each token id up to the greatest of a code; 0 of those that are none.

    Args:
        token_ids: As for `level_table`.
    """
    table = torch.zeros(max(map(max, token_ids)) + 1, dtype=torch.int64)
    for ids in token_ids:
        table[torch.tensor(ids)] = torch.arange(len(ids))
    return table


def levels_of(table: Tensor, input_ids: Tensor) -> Tensor:
    """Return the level of each SID token among `input_ids`, -1 of all other tokens."""
    return table[input_ids.clamp(max=len(table) - 1)]


def runs_of(levels: Tensor) -> Tensor:
    """Number the (B, T) tokens by the items they stand in: the count of those that have begun, from 1."""
    return (levels == 0).cumsum(1)


def _whole_items(levels: Tensor, is_inside: Tensor, told: Tensor) -> Tensor:
    """Which tokens stand before the last of an item, of which one is `told`, (B, T) bool."""
    runs = runs_of(levels)
    counts = runs.new_zeros((len(runs), runs.shape[1] + 1))
    counts = counts.scatter_add(1, runs, (told & is_inside).long())
    return is_inside & (counts.gather(1, runs) > 0)


def _shifted(values: Tensor, steps: int, *, fill: float) -> Tensor:
    """Move (B, T, ...) values to the right by some tokens."""
    padding = [0, 0] * (values.dim() - 2) + [steps, 0]
    return nn.functional.pad(values, padding, value=fill)[:, : values.shape[1]]
