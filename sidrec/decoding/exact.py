"""Rank without loss, where `constrained_beam_search` prunes: the exact top M, and every item's score."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sidrec.decoding.beam_search import (
    Excluded,
    PromptReader,
    Prompts,
    as_reader,
    rank_in_groups,
)
from sidrec.decoding.filters import RowFilter
from sidrec.decoding.prompts import as_lists
from sidrec.decoding.search import (
    Beams,
    Found,
    Ranking,
    item_ends,
    items_beyond,
    items_of,
    keep_best,
    open_states,
    search,
)
from sidrec.metrics import PADDING
from sidrec.trie import ROOT, SIDTrie

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from sidrec.sections import Normalization

MAX_NODES = 512
MARGIN = 1e-4
"""Nats by which a score may differ between two passes: what is so near the threshold is kept."""
NODES_PER_PASS = 128
"""Nodes see each other's keys only to mask them, so more of them is more work: 2,048 takes twice as long."""


def exact_topk(
    model: PromptReader | PreTrainedModel,
    trie: SIDTrie,
    input_ids: Prompts,
    attention_mask: Tensor | None = None,
    *,
    num_beams: int,
    scores: Normalization = "vocabulary",
    excluded: Excluded | None = None,
    max_nodes: int = MAX_NODES,
    on_batch: Callable[[int, int], None] | None = None,
) -> Ranking:
    """Return the best `num_beams` items of each prompt, and whether that is proven.

    Beam search finds M items; the best M are at least as good as the last of them. A score only falls along a
    path, so a second walk that keeps every node above that threshold passes all better items. The prompts are
    read once for both.

    Args:
        model: As in `constrained_beam_search`, with the other arguments that are not here.
        trie: As there.
        input_ids: As there.
        attention_mask: As there.
        num_beams: M.
        scores: As there.
        excluded: As there.
        max_nodes: Nodes of a level that a prompt may keep. Where there are more above the threshold, the row
            is what beam search found and `complete` is False.
        on_batch: As there.

    Raises:
        ValueError: As there, or if `max_nodes` is below 1.
        RuntimeError: As there.
    """
    if num_beams < 1 or max_nodes < 1:
        raise ValueError(f"num_beams is {num_beams} and max_nodes {max_nodes}; both must be at least 1.")
    reader = as_reader(model, trie, scores)
    trie = trie.to(reader.device)

    def rank(beams: Beams, row_filter: RowFilter | None) -> Ranking:
        found = search(beams, trie, num_beams=num_beams, row_filter=row_filter)
        beams.rewind(0)
        return _certified(beams, trie, found, num_beams, max_nodes, row_filter)

    return rank_in_groups(
        reader,
        trie,
        as_lists(input_ids, attention_mask),
        rank,
        width=min(max(num_beams, max_nodes), max(trie.level_sizes)),
        excluded=excluded,
        on_batch=on_batch,
    )


@torch.no_grad()
def _certified(
    beams: Beams,
    trie: SIDTrie,
    ranking: Ranking,
    num_beams: int,
    max_nodes: int,
    row_filter: RowFilter | None,
) -> Ranking:
    """Walk again and keep every node above the last score of `ranking`."""
    # A row with fewer items than asked for, or all there are, has them all: nothing is above +inf.
    whole = ranking.items.shape[1] < num_beams
    threshold = ranking.scores[:, -1] - MARGIN
    threshold = torch.where(torch.isfinite(threshold) & (not whole), threshold, torch.inf)
    complete = torch.ones(len(threshold), dtype=torch.bool, device=threshold.device)
    states = torch.full((beams.batch_size, 1), ROOT, device=trie.device)
    scores = torch.zeros(states.shape, device=trie.device)
    found = Found(states[:, :0], scores[:, :0])
    for level in range(trie.num_levels):
        scored = beams.score(states, level)
        reached = scored.children.states.flatten(1)
        totals = (scores.unsqueeze(-1) + scored.log_probs).flatten(1)
        above = open_states(trie, row_filter, scored).flatten(1) & (totals >= threshold.unsqueeze(1))
        if trie.ends[level]:
            ends = above & item_ends(trie, row_filter, reached)
            found.add(reached, totals.masked_fill(~ends, -torch.inf), num_beams)
        above = above & items_beyond(trie, row_filter, reached)
        most = int(above.sum(1).max()) if trie.continues[level] else 0
        if most == 0:
            break
        complete &= above.sum(1) <= max_nodes
        totals = totals.masked_fill(~above, -torch.inf)
        states, scores = keep_best(beams, trie, scored, totals, min(most, max_nodes), level)
    proven = complete & torch.isfinite(threshold)
    better = _where_proven(trie, found, ranking, num_beams, row_filter, proven)
    return replace(better, complete=complete)


def _where_proven(
    trie: SIDTrie,
    found: Found,
    ranking: Ranking,
    num_beams: int,
    row_filter: RowFilter | None,
    proven: Tensor,
) -> Ranking:
    """Take the second walk's items in the rows where it kept all it had to, beam search's in the others."""
    rows = proven.nonzero().squeeze(1)
    if not len(rows):
        return ranking
    part = None if row_filter is None else row_filter.rows(rows.tolist())
    exact = items_of(trie, found.states[rows], found.scores[rows], num_beams, part)
    result = Ranking(ranking.items.clone(), ranking.codes.clone(), ranking.scores.clone())
    result.items[rows], result.codes[rows], result.scores[rows] = exact.items, exact.codes, exact.scores
    return result


def rank_all(
    reader: PromptReader,
    trie: SIDTrie,
    input_ids: Prompts,
    *,
    num_beams: int,
    excluded: Excluded | None = None,
    nodes_per_pass: int = NODES_PER_PASS,
) -> Ranking:
    """Score all items after each prompt and return the best, equal scores in the order of the items.

    Slower than `exact_topk`, and exact whatever the scores are.

    Raises:
        ValueError: If `num_beams` or `nodes_per_pass` is below 1.
        RuntimeError: As `exact_scores`.
    """
    if num_beams < 1:
        raise ValueError(f"num_beams is {num_beams}; a list needs at least 1.")
    trie = trie.to(reader.device)

    def rank(beams: Beams, row_filter: RowFilter | None) -> Ranking:
        scores = exact_scores(beams, trie, nodes_per_pass=nodes_per_pass)  # (B, num_rows)
        items = torch.arange(scores.shape[1], device=scores.device).expand(len(scores), -1)
        if row_filter is not None:
            scores = scores.masked_fill(row_filter.drops(items), -torch.inf)
        best = scores.sort(dim=1, descending=True, stable=True)
        places = min(num_beams, trie.num_items)
        values, items = best.values[:, :places], best.indices[:, :places]
        gone = values == -torch.inf
        codes = trie.codes_of(trie.state_of(items)).masked_fill(gone.unsqueeze(-1), PADDING)
        return Ranking(items.masked_fill(gone, PADDING), codes, values)

    return rank_in_groups(
        reader,
        trie,
        as_lists(input_ids, None),
        rank,
        width=min(nodes_per_pass, max(trie.level_sizes)),
        excluded=excluded,
    )


@torch.no_grad()
def exact_scores(beams: Beams, trie: SIDTrie, *, nodes_per_pass: int = NODES_PER_PASS) -> Tensor:
    """Return every item's log-probability after each prompt, (B, num_rows); -inf outside a subset.

    Each inner node of the trie passes the model once, in all rows at the same time. Items that share a SID
    share its score.

    Args:
        beams: B prompts that were read.
        trie: The catalogue.
        nodes_per_pass: How many nodes the model is given at once; it sees up to so many on every level above.

    Raises:
        ValueError: If `nodes_per_pass` is below 1.
        RuntimeError: If the model gives an item no finite score (NaN weights).
    """
    if nodes_per_pass < 1:
        raise ValueError(f"nodes_per_pass is {nodes_per_pass}; a pass needs at least 1.")
    root = torch.tensor([ROOT], device=trie.device)
    start = torch.zeros((beams.batch_size, 1), device=trie.device)
    scores = torch.full((beams.batch_size, trie.num_rows), -torch.inf, device=trie.device)
    for states, totals in _ends_below(beams, trie, root, start, 0, nodes_per_pass):
        sizes = trie.leaf_sizes(states)  # (n,)
        spread = torch.arange(len(states), device=trie.device).repeat_interleave(sizes)
        within = torch.arange(len(spread), device=trie.device) - (sizes.cumsum(0) - sizes)[spread]
        scores[:, trie.leaf_items(states[spread], within)] = totals[:, spread]
    if int(torch.isfinite(scores).sum()) != beams.batch_size * trie.num_items:
        raise RuntimeError(
            "The model gave an item a score that is not finite; its weights or its inputs hold NaN or inf."
        )
    return scores


def _ends_below(
    beams: Beams, trie: SIDTrie, states: Tensor, scores: Tensor, level: int, nodes_per_pass: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (n,) states below the beams of depth `level`, (m,) states, and their (B, n) scores."""
    scored = beams.score(states.expand(beams.batch_size, -1), level)  # (B, m, C)
    # All rows stand at the same states, so the children of the first are those of all.
    real = open_states(trie, None, scored)[0].flatten().nonzero().squeeze(1)  # (n,) into m x C
    scores = (scores.unsqueeze(-1) + scored.log_probs).flatten(1)[:, real]  # (B, n)
    parents = (real // scored.log_probs.shape[-1]).expand(beams.batch_size, -1)
    states = scored.children.states[0].flatten()[real]  # (n,)
    if trie.ends[level]:
        yield states, scores
    inner = items_beyond(trie, None, states).nonzero().squeeze(1)
    for part in inner.split(nodes_per_pass):
        if not len(part):
            continue
        beams.advance(parents[:, part], states[part].expand(beams.batch_size, -1), level)
        yield from _ends_below(beams, trie, states[part], scores[:, part], level + 1, nodes_per_pass)
        beams.rewind(level)
