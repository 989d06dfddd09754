"""Search for the best items after a prompt: beam search that can only walk the trie.

The search knows no model. It asks `Beams`, which have read the prompts, for two things: score the children of
the beams' states, and advance the beams that were kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from sidrec.decoding.filters import RowFilter
from sidrec.metrics import PADDING
from sidrec.scoring import ChildScores
from sidrec.trie import ROOT, SIDTrie


class Beams(Protocol):
    """What the search needs of B prompts that a model has read."""

    batch_size: int

    def score(self, states: Tensor, level: int) -> ChildScores:
        """Score the children of (B, M) states of depth `level`, beams as last given to `advance`."""

    def advance(self, parents: Tensor, states: Tensor, level: int) -> None:
        """Keep (B, M) beams: `parents` index those before, `states` of depth `level` + 1 are new."""

    def rewind(self, level: int) -> None:
        """Forget what was advanced at `level` and below it: the beams are again those of depth `level`."""


@dataclass(frozen=True)
class Ranking:
    """The best items of each prompt, best first.

    Attributes:
        items: (B, M') int64 item numbers, distinct in each row; M' is `num_beams` or, if that is less, N. A
            row that has fewer, since items were left out, ends in `sidrec.metrics.PADDING`, -1.
        codes: (B, M', L) int64 codes of the items; -1 after the end of a shorter one and for `PADDING`.
        scores: (B, M') float32 log-probabilities of the codes; -inf for `PADDING`.
        logits: On request, level by level, (B, M', K) float32 logits of the codes of the level at the step
            that chose the item's code; NaN where it has none.
        complete: (B,) bool, from `exact_topk`: whether the row is proven to be the best there is.
    """

    items: Tensor
    codes: Tensor
    scores: Tensor
    logits: tuple[Tensor, ...] | None = None
    complete: Tensor | None = None


@dataclass
class Found:
    """The best (B, M) ends of items found so far: states, their scores, -inf where there are fewer."""

    states: Tensor
    scores: Tensor

    def add(self, states: Tensor, scores: Tensor, num_beams: int) -> None:
        """Take in more candidates and keep the best; of equal ones those found first."""
        both = torch.cat([self.scores, scores], dim=1)
        kept = both.topk(min(num_beams, both.shape[1]))
        self.states = torch.cat([self.states, states], dim=1).gather(1, kept.indices)
        self.scores = kept.values


@torch.no_grad()
def search(
    beams: Beams,
    trie: SIDTrie,
    *,
    num_beams: int,
    row_filter: RowFilter | None = None,
    return_logits: bool = False,
) -> Ranking:
    """Return the best `num_beams` items of each prompt; see `constrained_beam_search`, which calls this."""
    device = trie.device
    states = torch.full((beams.batch_size, 1), ROOT, device=device)  # (B, 1)
    scores = torch.zeros(states.shape, device=device)
    found = Found(states[:, :0], scores[:, :0])
    steps = []
    for level in range(trie.num_levels):
        scored = beams.score(states, level)  # (B, M, C)
        if return_logits:
            if scored.logits is None:
                raise ValueError(
                    "return_logits needs a model that gives logits; this one gives scores alone."
                )
            steps.append((states, scored.logits.expand(*states.shape, -1)))
        reached = scored.children.states.flatten(1)  # (B, M * C)
        totals = (scores.unsqueeze(-1) + scored.log_probs).flatten(1)
        # Not by adding -inf: NaN of a dead beam would stay.
        totals = totals.masked_fill(~open_states(trie, row_filter, scored).flatten(1), -torch.inf)
        if trie.ends[level]:
            found.add(
                reached, totals.masked_fill(~item_ends(trie, row_filter, reached), -torch.inf), num_beams
            )
            if not trie.continues[level]:
                break
            totals = totals.masked_fill(~items_beyond(trie, row_filter, reached), -torch.inf)
            if _is_settled(found, totals, num_beams):
                break
        width = min(num_beams, trie.level_sizes[level], totals.shape[1])
        states, scores = keep_best(beams, trie, scored, totals, width, level)
    ranking = items_of(trie, found.states, found.scores, num_beams, row_filter)
    return with_logits(trie, ranking, steps) if return_logits else ranking


def keep_best(
    beams: Beams, trie: SIDTrie, scored: ChildScores, totals: Tensor, width: int, level: int
) -> tuple[Tensor, Tensor]:
    """Advance the best `width` of (B, M * C) children; give their states and scores, -inf at a dead end."""
    kept = totals.topk(width)
    reached = scored.children.states.flatten(1).gather(1, kept.indices)
    states = torch.where(kept.values == -torch.inf, trie.dead_end, reached)
    beams.advance(kept.indices // scored.log_probs.shape[-1], states, level)
    return states, kept.values


def open_states(trie: SIDTrie, row_filter: RowFilter | None, scored: ChildScores) -> Tensor:
    """Return which children, (B, M, C), lead to an item that the subset and the row's filter leave in."""
    children = scored.children
    is_open = children.allowed
    alive = trie.alive(children.states)
    if alive is not None:
        is_open = is_open & alive
    if row_filter is not None:
        is_open = is_open & row_filter.leaves(children.states)
    return is_open


def item_ends(trie: SIDTrie, row_filter: RowFilter | None, states: Tensor) -> Tensor:
    """Return whether an item that the subset and the row's filter leave in ends at each of (B, n) states."""
    return trie.leaf_sizes(states) > 0 if row_filter is None else row_filter.leaves_ends(states)


def items_beyond(trie: SIDTrie, row_filter: RowFilter | None, states: Tensor) -> Tensor:
    """Return whether an item that the subset and the row's filter leave in goes on beyond each of (B, n)
    states.
    """
    if row_filter is not None:
        return row_filter.leaves_beyond(states)
    start, end = trie.stretch(states)
    return end > start + trie.leaf_sizes(states)


def _is_settled(found: Found, totals: Tensor, num_beams: int) -> bool:
    """Whether no live beam can enter what was found: scores only fall along a path."""
    return found.scores.shape[1] >= num_beams and bool((totals.amax(1) <= found.scores[:, -1]).all())


def items_of(
    trie: SIDTrie, ends: Tensor, scores: Tensor, num_beams: int, row_filter: RowFilter | None
) -> Ranking:
    """Expand (B, M) ends, best first, into their items and cut to `num_beams`.

    Raises:
        RuntimeError: If a row has fewer items with a finite score than it must have: NaN or inf in the
            weights.
    """
    width = min(num_beams, trie.num_items)
    places_needed = width + (0 if row_filter is None else row_filter.most)
    sizes = torch.where(torch.isfinite(scores), trie.leaf_sizes(ends), 0)
    upto = sizes.cumsum(1)
    places = torch.arange(places_needed, device=ends.device).expand(len(ends), -1).contiguous()
    beam = torch.searchsorted(upto, places, right=True)  # (B, places): the end that fills each place
    real = beam < ends.shape[1]
    beam = beam.clamp(max=ends.shape[1] - 1)
    within = places - (upto - sizes).gather(1, beam)
    states = ends.gather(1, beam)
    items = trie.leaf_items(states, torch.where(real, within, 0))
    if row_filter is not None:
        real = real & ~row_filter.drops(items)
    # Items that are left out make room for those behind them.
    order = (~real).int().argsort(dim=1, stable=True)[:, :width]
    real, items, states = real.gather(1, order), items.gather(1, order), states.gather(1, order)
    expected = trie.num_items if row_filter is None else trie.num_items - row_filter.counts
    if bool((real.sum(1) < torch.as_tensor(expected, device=real.device).clamp(max=width)).any()):
        raise RuntimeError(
            "The model gave a beam a score that is not finite; its weights or its inputs hold NaN or inf."
        )
    item_scores = scores.gather(1, beam.gather(1, order)).masked_fill(~real, -torch.inf)
    codes = trie.codes_of(states).masked_fill(~real.unsqueeze(-1), PADDING)
    return Ranking(items.masked_fill(~real, PADDING), codes, item_scores)


def with_logits(trie: SIDTrie, ranking: Ranking, steps: list[tuple[Tensor, Tensor]]) -> Ranking:
    """Add the logits of each step, given the states (B, M) and logits (B, M, K) of every level."""
    paths = trie.find(ranking.codes)  # (B, M', L + 1)
    chosen = []
    for level, (states, logits) in enumerate(steps):
        match = paths[..., level, None] == states.unsqueeze(1)  # (B, M', M)
        taken = match.any(-1) & (ranking.codes[..., level] != PADDING)
        index = match.int().argmax(-1, keepdim=True).expand(-1, -1, logits.shape[-1])
        chosen.append(logits.gather(1, index).masked_fill(~taken.unsqueeze(-1), torch.nan))
    return Ranking(ranking.items, ranking.codes, ranking.scores, tuple(chosen))
