"""Search for the best items after a prompt: beam search that can only walk the trie.

The search knows no model. It asks a `BeamModel` for two things: score the children of the beams' states, and
advance the beams that were kept. `CausalLMBeams` answers for Hugging Face causal LMs: the prompt is encoded
once per row and the beams stand in the *sequence* dimension of that row, each seeing the prompt and its own
ancestors through a 4-D mask.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from sidrec.scoring import ChildScores, SIDScorer
from sidrec.trie import ROOT, SIDTrie

MASK_ELEMENTS = 2**25
"""Of the attention mask of one pass, rows x queries x keys: 128 MiB in float32."""


class BeamModel(Protocol):
    """What the search needs of a model that has read B prompts."""

    batch_size: int

    def score(self, states: Tensor, level: int) -> ChildScores:
        """Score the children of (B, M) states of depth `level`, beams as last given to `advance`."""

    def advance(self, parents: Tensor, codes: Tensor, level: int) -> None:
        """Keep (B, M) beams: `parents` index the beams before, `codes` are their new codes of `level`."""


@dataclass(frozen=True)
class Ranking:
    """The best items of each prompt, best first.

    Attributes:
        items: (B, M) int64 catalogue rows, distinct in each row; M is `num_beams` or, if that is less, N.
            Rows that have fewer, since items were left out, end in `sidrec.metrics.PADDING`.
        scores: (B, M) float32 log-probabilities of their SIDs; -inf for `PADDING`.
    """

    items: Tensor
    scores: Tensor


@torch.no_grad()
def constrained_beam_search(model: BeamModel, trie: SIDTrie, *, num_beams: int) -> Ranking:
    """Return the best `num_beams` items of each prompt.

    Beam search is not the exact top M; it prunes prefixes. Items that share a SID share its score and stand
    in catalogue order.

    Raises:
        ValueError: If `num_beams` is below 1.
        RuntimeError: If the model gives a kept beam no finite score (NaN weights): nothing is returned rather
            than something outside the trie.
    """
    if num_beams < 1:
        raise ValueError(f"num_beams is {num_beams}; a search needs at least 1.")
    device = trie.first_edge.device
    states = torch.full((model.batch_size, 1), ROOT, device=device)  # (B, 1)
    scores = torch.zeros(states.shape, device=device)
    for level in range(trie.num_levels):
        scored = model.score(states, level)  # (B, M, C)
        totals = (scores.unsqueeze(-1) + scored.log_probs).flatten(1)  # (B, M * C)
        # A node has at least one child, so that many candidates are real: no filler can enter.
        kept = totals.topk(min(num_beams, trie.level_sizes[level]))
        scores = kept.values
        parents = kept.indices // scored.log_probs.shape[-1]
        states = scored.children.states.flatten(1).gather(1, kept.indices)
        if level + 1 < trie.num_levels:
            model.advance(parents, scored.children.codes.flatten(1).gather(1, kept.indices), level)
    require_finite(scores)
    return _items_of_leaves(trie, states, scores, num_beams)


def require_finite(scores: Tensor) -> None:
    """Raise RuntimeError for a score of NaN or inf, which no path of the trie can have."""
    if not bool(torch.isfinite(scores).all()):
        raise RuntimeError(
            "The model gave a beam a score that is not finite; its weights or its inputs hold NaN or inf."
        )


def _items_of_leaves(trie: SIDTrie, leaves: Tensor, scores: Tensor, num_beams: int) -> Ranking:
    """Expand (B, M) leaves into their items and cut to `num_beams`."""
    sizes = trie.leaf_sizes(leaves)
    ends = sizes.cumsum(1)
    places = (
        torch.arange(min(num_beams, trie.num_items), device=leaves.device)
        .expand(len(leaves), -1)
        .contiguous()
    )
    beam = torch.searchsorted(ends, places, right=True)  # (B, M'): the leaf that fills each place
    within = places - (ends - sizes).gather(1, beam)
    items = trie.leaf_items[trie.leaf_start(leaves).gather(1, beam) + within]
    return Ranking(items, scores.gather(1, beam))


class CausalLMBeams:
    """Beams of a Hugging Face causal LM over prompts that were encoded once.

    Each level appends one key per kept beam to the cache, and `rewind` cuts them off again; nothing is
    reordered or repeated.
    """

    def __init__(self, scorer: SIDScorer, input_ids: Tensor, attention_mask: Tensor) -> None:
        """Encode the prompts.

        Args:
            scorer: The model with its SID rows.
            input_ids: (B, P) prompt tokens, padded left or right.
            attention_mask: (B, P), nonzero = a real token; every row has at least one.

        Raises:
            ValueError: If a prompt is empty.
        """
        from transformers import DynamicCache

        mask = attention_mask.bool()
        if not bool(mask.any(1).all()):
            raise ValueError("A prompt is empty; every row needs at least one token.")
        self.batch_size = len(input_ids)
        self._scorer = scorer
        self._lengths = mask.sum(1)
        self._prompt_mask = mask
        self._cache = DynamicCache(config=scorer.model.config)
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        hidden = scorer.hidden(
            input_ids=input_ids,
            attention_mask=mask.long(),
            position_ids=positions,
            past_key_values=self._cache,
            use_cache=True,
        )
        last = (mask * torch.arange(mask.shape[1], device=mask.device)).argmax(1)  # (B,)
        hidden = hidden[torch.arange(len(hidden), device=hidden.device), last].unsqueeze(1)  # (B, 1, H)
        ancestors = torch.zeros((self.batch_size, 1, 0), dtype=torch.bool, device=mask.device)
        self._beams = [_Beams(hidden, ancestors)]  # by depth

    def score(self, states: Tensor, level: int) -> ChildScores:
        """Score the children of the beams' states."""
        return self._scorer.children(self._beams[level].hidden, states, level)

    def advance(self, parents: Tensor, codes: Tensor, level: int) -> None:
        """Feed the kept beams' new tokens, all beams of a row in one sequence."""
        before = self._beams[level]
        num_beams = parents.shape[1]
        index = parents.unsqueeze(-1).expand(-1, -1, before.ancestors.shape[-1])
        own = torch.eye(num_beams, dtype=torch.bool, device=parents.device).expand(self.batch_size, -1, -1)
        ancestors = torch.cat([before.ancestors.gather(1, index), own], dim=-1)  # (B, M, generated)
        prompt = self._prompt_mask.unsqueeze(1).expand(-1, num_beams, -1)
        visible = torch.cat([prompt, ancestors], dim=-1).unsqueeze(1)  # (B, 1, M, P + generated)
        hidden = self._scorer.hidden(
            input_ids=self._scorer.token_ids[level][codes],
            attention_mask=additive_mask(visible, before.hidden.dtype),
            position_ids=(self._lengths + level).unsqueeze(1).expand(-1, num_beams),
            past_key_values=self._cache,
            use_cache=True,
        )
        self._beams.append(_Beams(hidden, ancestors))

    def rewind(self, level: int) -> None:
        """Forget what was advanced at `level` and below it: the beams are again those of depth `level`."""
        forgotten = self._beams[-1].ancestors.shape[-1] - self._beams[level].ancestors.shape[-1]
        self._cache.crop(-forgotten)
        del self._beams[level + 1 :]


@dataclass(frozen=True)
class _Beams:
    """The beams of one depth, and which of the keys after the prompt they see."""

    hidden: Tensor  # (B, M, H)
    ancestors: Tensor  # (B, M, generated) bool


def additive_mask(visible: Tensor, dtype: torch.dtype) -> Tensor:
    """Return a 4-D attention mask: 0 where `visible`, else the least number of `dtype`."""
    return torch.zeros(visible.shape, dtype=dtype, device=visible.device).masked_fill(
        ~visible, torch.finfo(dtype).min
    )


def pad_prompts(
    prompts: list[list[int]], pad_id: int, device: torch.device | str = "cpu"
) -> tuple[Tensor, Tensor]:
    """Pad prompts on the left to one length; returns input ids and attention mask, both (B, P) int64."""
    width = max(map(len, prompts))
    ids = [[pad_id] * (width - len(p)) + list(p) for p in prompts]
    mask = [[0] * (width - len(p)) + [1] * len(p) for p in prompts]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)


def rank_items(
    scorer: SIDScorer,
    prompts: list[list[int]],
    *,
    num_beams: int,
    pad_id: int,
    batch_size: int = 256,
    on_batch: Callable[[int, int], None] | None = None,
) -> Ranking:
    """Encode any number of prompts and search: what evaluation, RL and `recommend` all call.

    Args:
        scorer: The model and the trie.
        prompts: Token ids of each prompt.
        num_beams: M.
        pad_id: Fills shorter prompts; it is masked.
        batch_size: Prompts encoded at once, fewer where the beams are so many that memory would not do.
        on_batch: Called with (prompts done, prompts in all) after each batch.
    """

    def search(beams: CausalLMBeams, _: list[int]) -> Ranking:
        return constrained_beam_search(beams, scorer.trie, num_beams=num_beams)

    return rank_in_batches(
        scorer,
        prompts,
        search,
        pad_id=pad_id,
        batch_size=min(batch_size, rows_per_pass(scorer, prompts, min(num_beams, scorer.trie.num_leaves))),
        on_batch=on_batch,
    )


def rows_per_pass(scorer: SIDScorer, prompts: list[list[int]], nodes: int) -> int:
    """Return how many prompts can be advanced at once, `nodes` tokens a level in each, in `MASK_ELEMENTS`."""
    keys = max(map(len, prompts)) + (scorer.trie.num_levels - 1) * nodes
    return max(1, MASK_ELEMENTS // max(1, nodes * keys))


def rank_in_batches(
    scorer: SIDScorer,
    prompts: list[list[int]],
    rank_batch: Callable[[CausalLMBeams, list[int]], Ranking],
    *,
    pad_id: int,
    batch_size: int,
    on_batch: Callable[[int, int], None] | None,
) -> Ranking:
    """Encode prompts in batches of like length, and put what `rank_batch` finds into the order given.

    `rank_batch` gets the prompts of a batch, encoded, and their places in `prompts`; all else is as in
    `rank_items`.
    """
    order = sorted(range(len(prompts)), key=lambda row: len(prompts[row]))
    rankings = []
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        input_ids, mask = pad_prompts([prompts[row] for row in rows], pad_id, scorer.token_ids[0].device)
        with torch.no_grad():
            beams = CausalLMBeams(scorer, input_ids, mask)
        rankings.append(rank_batch(beams, rows))
        if on_batch is not None:
            on_batch(start + len(rows), len(order))
    back = torch.tensor(order).argsort()
    items = torch.cat([ranking.items for ranking in rankings])[back]
    return Ranking(items, torch.cat([ranking.scores for ranking in rankings])[back])
