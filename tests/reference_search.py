"""Searches over a trie that are slow and plain: dictionaries and loops, to compare the fast ones with.

A `TableReader` is a language model that has learnt every answer by heart: the log-probability of a code
depends on the prompt and on the codes before it, and is drawn at random once for each. One more code, of
logit 0, leads out of the trie at every step, so that no step is free and no two items tie.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sidrec.decoding.prompts import Group
from sidrec.scoring import ChildScores
from sidrec.trie import SIDTrie

Codes = list[list[int]]


@dataclass(frozen=True)
class NoPrefix:
    token_ids: tuple[int, ...] = ()


class TableReader:
    """Reads prompts of one token, which says in which row of the table to look."""

    def __init__(self, trie: SIDTrie, num_prompts: int, seed: int, rows: int = 1000) -> None:
        generator = torch.Generator().manual_seed(seed)
        num_nodes = max(trie.codes_at(level).shape[0] for level in range(trie.num_levels))
        self.logits = 2 * torch.randn((num_prompts, trie.dead_end + 1 + num_nodes), generator=generator)
        self.trie, self.rows, self.device = trie, rows, trie.device

    def read_prefix(self, token_ids: list[int]) -> NoPrefix:
        return NoPrefix()

    def rows_that_fit(self, prompt_tokens: int, num_beams: int) -> int:
        return self.rows

    def read(self, group: Group, prefix: NoPrefix, num_beams: int) -> TableBeams:
        return TableBeams(self.trie, self.logits[group.input_ids[:, -1]])

    def log_prob(self, prompt: int, codes: list[int]) -> float:
        """The log-probability of these codes, by one step at a time."""
        total, state = 0.0, torch.tensor(0)
        for level, code in enumerate(codes):
            children = self.trie.children(state, level)
            logits = self.logits[prompt][children.states].masked_fill(~children.allowed, -torch.inf).double()
            place = children.codes.tolist().index(code)
            total += float(logits[place] - torch.cat([logits, logits.new_zeros(1)]).logsumexp(0))
            state = children.states[place]
        return total


class TableBeams:
    """Nothing is read again, whatever is advanced."""

    def __init__(self, trie: SIDTrie, logits: Tensor) -> None:
        self.batch_size, self._trie, self._logits = len(logits), trie, logits

    def score(self, states: Tensor, level: int) -> ChildScores:
        children = self._trie.children(states, level)
        flat = children.states.flatten(1)
        logits = self._logits.gather(1, flat).view(children.states.shape)
        chosen = logits.masked_fill(~children.allowed, -torch.inf)
        outside = logits.new_zeros((*logits.shape[:-1], 1))
        total = torch.cat([chosen, outside], dim=-1).logsumexp(-1, keepdim=True)
        return ChildScores(children, chosen - total, logits)

    def advance(self, parents: Tensor, states: Tensor, level: int) -> None:
        pass

    def rewind(self, level: int) -> None:
        pass


def brute_force(
    reader: TableReader, codes: Codes, prompt: int, without: set[int], k: int
) -> list[tuple[float, int]]:
    """The best k of all items: (score, item), items of one SID in their order."""
    scored = [(-reader.log_prob(prompt, row), item) for item, row in enumerate(codes) if item not in without]
    return [(-score, item) for score, item in sorted(scored)[:k]]


def plain_beam_search(
    reader: TableReader, codes: Codes, prompt: int, without: set[int], num_beams: int
) -> list[tuple[float, int]]:
    """Keep the best `num_beams` prefixes that go on to an item; items that end are put aside."""
    left = {item: row for item, row in enumerate(codes) if item not in without}
    beams: list[list[int]] = [[]]
    ended: list[tuple[float, list[int]]] = []
    for _ in range(max(map(len, codes))):
        grown = {
            tuple(row[: len(beam) + 1])
            for beam in beams
            for row in left.values()
            if row[: len(beam)] == beam and len(row) > len(beam)
        }
        scored = sorted((-reader.log_prob(prompt, list(prefix)), list(prefix)) for prefix in grown)
        ended += [(score, prefix) for score, prefix in scored if prefix in left.values()]
        going_on = [
            prefix
            for _, prefix in scored
            if any(row[: len(prefix)] == prefix and len(row) > len(prefix) for row in left.values())
        ]
        beams = going_on[:num_beams]
    found = [(-score, item) for score, prefix in sorted(ended) for item, row in left.items() if row == prefix]
    return found[:num_beams]


def random_table(
    rng: np.random.Generator, num_items: int, num_levels: int, num_codes: int, unequal: bool
) -> Codes:
    """Random codes, with collisions; with `unequal`, of any length from 1 on."""
    lengths = rng.integers(1, num_levels + 1, num_items) if unequal else np.full(num_items, num_levels)
    return [rng.integers(0, num_codes, length).tolist() for length in lengths]
