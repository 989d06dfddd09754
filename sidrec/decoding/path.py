"""Follow one item through the trie: what a model gives each of its codes, which add up to its score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from sidrec.decoding.beam_search import Prefix, PromptReader, read_in_groups
from sidrec.decoding.search import open_states
from sidrec.scoring import ChildScores
from sidrec.trie import SIDTrie


@dataclass(frozen=True)
class PathStep:
    """One code of an item, after the codes before it.

    Attributes:
        code: Of the level.
        log_prob: As the search adds it up to the score.
        probability: Among the codes that may follow; exp(log_prob) where the model is normalized over the
            `catalog` and the trie holds all items.
        place: Among them, 1 the most likely.
        choices: How many may follow.
        items: How many items begin so, this code included.
    """

    code: int
    log_prob: float
    probability: float
    place: int
    choices: int
    items: int


@torch.no_grad()
def item_path(
    reader: PromptReader,
    trie: SIDTrie,
    prompt: Sequence[int],
    item: int,
    *,
    prefix: Prefix | None = None,
) -> list[PathStep]:
    """Return a step for each code of an item after a prompt, first to last.

    Args:
        reader: The model.
        trie: What may be found.
        prompt: Its tokens.
        item: One that the trie holds.
        prefix: What the prompt begins with, as `reader.read_prefix` returned it.

    Raises:
        ValueError: If the trie does not hold the item, or the prompt does not begin with `prefix`.
    """
    trie = trie.to(reader.device)
    place = trie.places()[trie.known(torch.tensor([item], device=trie.device))]
    if int(place) < 0:
        raise ValueError(f"Item {item} is not in this subset of the trie.")
    codes = trie.codes_of(trie.state_of(torch.tensor([item], device=trie.device)))[0]
    states = trie.walk(codes[codes >= 0])
    [(_, beams)] = read_in_groups(reader, [list(prompt)], width=1, prefix=prefix)
    only_beam = torch.zeros((1, 1), dtype=torch.int64, device=trie.device)
    steps = []
    for level, (parent, state) in enumerate(pairwise(states)):
        if level:
            beams.advance(only_beam, parent.view(1, 1), level - 1)
        scored = beams.score(parent.view(1, 1), level)
        steps.append(_step(trie, scored, state, int(codes[level])))
    return steps


def _step(trie: SIDTrie, scored: ChildScores, state: Tensor, code: int) -> PathStep:
    may_follow = open_states(trie, None, scored)[0, 0]  # (C,)
    log_probs = scored.log_probs[0, 0][may_follow].double()
    own = log_probs[scored.children.states[0, 0][may_follow] == state].squeeze(0)
    start, end = trie.stretch(state)
    return PathStep(
        code=code,
        log_prob=float(own),
        probability=float((own - log_probs.logsumexp(0)).exp()),
        place=1 + int((log_probs > own).sum()),
        choices=len(log_probs),
        items=int(end - start),
    )
