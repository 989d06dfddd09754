"""Rank without loss: every item's score, and lists that are as long as ever when items are left out.

`exact_scores` walks the whole trie depth first where `constrained_beam_search` prunes it, so that what beam
search loses can be seen. `rank_items_without` and `rank_exactly` leave items out of either ranking.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from sidrec.decoding import (
    MASK_ELEMENTS,
    BeamModel,
    CausalLMBeams,
    Ranking,
    rank_in_batches,
    rank_items,
    require_finite,
    rows_per_pass,
)
from sidrec.metrics import PADDING
from sidrec.scoring import SIDScorer
from sidrec.trie import ROOT, SIDTrie

NODES_PER_PASS = 128
"""Nodes see each other's keys only to mask them, so more of them is more work: 2,048 takes twice as long."""


class TreeModel(BeamModel, Protocol):
    """A `BeamModel` that can go back up the tree."""

    def rewind(self, level: int) -> None:
        """Forget what was advanced at `level` and below it: the beams are again those of depth `level`."""


@torch.no_grad()
def exact_scores(model: TreeModel, trie: SIDTrie, *, nodes_per_pass: int = NODES_PER_PASS) -> Tensor:
    """Return the log-probability of every item after each prompt: (B, N) float32.

    Each inner node of the trie passes the model once, in all rows at the same time. Items that share a SID
    share its score.

    Args:
        model: It has read B prompts.
        trie: The catalogue.
        nodes_per_pass: How many nodes the model is given at once; it sees up to so many on every level above.

    Raises:
        ValueError: If `nodes_per_pass` is below 1.
        RuntimeError: If the model gives an item no finite score (NaN weights).
    """
    if nodes_per_pass < 1:
        raise ValueError(f"nodes_per_pass is {nodes_per_pass}; a pass needs at least 1.")
    root = torch.tensor([ROOT], device=trie.first_edge.device)
    start = torch.zeros((model.batch_size, 1), device=root.device)
    leaves = torch.cat(list(_leaf_scores(model, trie, root, start, 0, nodes_per_pass)), dim=1)  # (B, leaves)
    require_finite(leaves)
    scores = torch.empty((model.batch_size, trie.num_items), device=root.device)
    scores[:, trie.leaf_items] = leaves.repeat_interleave(trie.first_item.diff(), dim=1)
    return scores


def _leaf_scores(
    model: TreeModel, trie: SIDTrie, states: Tensor, scores: Tensor, level: int, nodes_per_pass: int
) -> Iterator[Tensor]:
    """Yield (B, leaves) scores of what is below the beams of depth `level`: (n,) states, (B, n) scores."""
    scored = model.score(states.expand(model.batch_size, -1), level)  # (B, n, C)
    # All rows stand at the same states, so the children of the first are those of all.
    children = scored.children
    real = children.allowed[0].flatten().nonzero().squeeze(1)  # (m,) into n x C
    scores = (scores.unsqueeze(-1) + scored.log_probs).flatten(1)[:, real]  # (B, m)
    if level + 1 == trie.num_levels:
        yield scores
        return
    parents = (real // children.allowed.shape[-1]).expand(model.batch_size, -1)
    codes = children.codes.flatten(1)[:, real]
    states = children.states[0].flatten()[real]  # (m,)
    for part in torch.arange(len(states), device=states.device).chunk(-(-len(states) // nodes_per_pass)):
        model.advance(parents[:, part], codes[:, part], level)
        yield from _leaf_scores(model, trie, states[part], scores[:, part], level + 1, nodes_per_pass)
        model.rewind(level)


def rank_exactly(
    scorer: SIDScorer,
    prompts: list[list[int]],
    *,
    num_beams: int,
    pad_id: int,
    batch_size: int = 256,
    on_batch: Callable[[int, int], None] | None = None,
    excluded: Sequence[np.ndarray] | None = None,
    nodes_per_pass: int = NODES_PER_PASS,
) -> Ranking:
    """Score all items after any number of prompts and return the best, equal scores in catalogue order.

    Args:
        scorer: The model and the trie.
        prompts: Token ids of each prompt.
        num_beams: M; the length of the lists here, nothing is pruned.
        pad_id: Fills shorter prompts; it is masked.
        batch_size: Prompts encoded at once, fewer where memory would not do.
        on_batch: Called with (prompts done, prompts in all) after each batch.
        excluded: Items that each prompt's list must not hold; absent, none.
        nodes_per_pass: As in `exact_scores`.

    Raises:
        ValueError: If `num_beams` or `nodes_per_pass` is below 1.
        RuntimeError: As `exact_scores`.
    """
    if num_beams < 1:
        raise ValueError(f"num_beams is {num_beams}; a list needs at least 1.")
    trie = scorer.trie

    def best(beams: CausalLMBeams, rows: list[int]) -> Ranking:
        scores = exact_scores(beams, trie, nodes_per_pass=nodes_per_pass)  # (B, N)
        if excluded is not None:
            row, item = _events([excluded[place] for place in rows], scores.device)
            scores[row, item] = -torch.inf
        ranked = scores.sort(dim=1, descending=True, stable=True)
        return _padded(ranked.indices[:, :num_beams], ranked.values[:, :num_beams])

    nodes = min(nodes_per_pass, max(trie.level_sizes[:-1], default=1))
    scored = len(scorer.head.weight) if scorer.normalization == "vocabulary" else 1
    rows = min(rows_per_pass(scorer, prompts, nodes), max(1, MASK_ELEMENTS // max(1, nodes * scored)))
    return rank_in_batches(
        scorer, prompts, best, pad_id=pad_id, batch_size=min(batch_size, rows), on_batch=on_batch
    )


def rank_items_without(
    scorer: SIDScorer,
    prompts: list[list[int]],
    *,
    excluded: Sequence[np.ndarray],
    num_beams: int,
    pad_id: int,
    batch_size: int = 256,
    on_batch: Callable[[int, int], None] | None = None,
) -> Ranking:
    """Search with `rank_items` for lists that hold none of the items `excluded` from each.

    A list is what a beam search of 2 M beams leaves when those items are dropped, cut to M. Where fewer than
    M are left, the search is repeated with 4 M beams, with 8 M and so on up to N: the width of a row depends
    on that row alone. Other arguments as in `rank_items`; `on_batch` sees the first search.
    """
    num_items = scorer.trie.num_items
    places = min(num_beams, num_items)
    width = min(2 * num_beams, num_items)
    wide = rank_items(
        scorer, prompts, num_beams=width, pad_id=pad_id, batch_size=batch_size, on_batch=on_batch
    )
    found = _drop(wide, excluded, places, num_items)
    while width < num_items:
        short = (found.items == PADDING).any(1).nonzero().squeeze(1)
        if not len(short):
            break
        width = min(2 * width, num_items)
        rows = short.tolist()
        wide = rank_items(
            scorer, [prompts[row] for row in rows], num_beams=width, pad_id=pad_id, batch_size=batch_size
        )
        again = _drop(wide, [excluded[row] for row in rows], places, num_items)
        found.items[short], found.scores[short] = again.items, again.scores
    return found


def _drop(ranking: Ranking, excluded: Sequence[np.ndarray], places: int, num_items: int) -> Ranking:
    """Drop each row's excluded items and cut to `places`; rows that are left with fewer end in PADDING."""
    row, item = _events(excluded, ranking.items.device)
    offsets = torch.arange(len(ranking.items), device=row.device) * num_items
    dropped = torch.isin(ranking.items + offsets[:, None], item + offsets[row])  # (B, M)
    order = dropped.int().argsort(dim=1, stable=True)[:, :places]
    scores = ranking.scores.masked_fill(dropped, -torch.inf)
    return _padded(ranking.items.gather(1, order), scores.gather(1, order))


def _padded(items: Tensor, scores: Tensor) -> Ranking:
    """Put PADDING where a score says that there is no item."""
    return Ranking(items.masked_fill(scores == -torch.inf, PADDING), scores)


def _events(excluded: Sequence[np.ndarray], device: torch.device) -> tuple[Tensor, Tensor]:
    """Lay the excluded items end to end: (events,) rows and (events,) items."""
    rows = np.repeat(np.arange(len(excluded)), [len(items) for items in excluded])
    items = np.concatenate([np.empty(0, dtype=np.int64), *excluded])
    return torch.from_numpy(rows).to(device), torch.from_numpy(items).to(device)
