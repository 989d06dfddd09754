"""Constrained beam search for any number of prompts: what all of sidrec that generates calls."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor

from sidrec.decoding.filters import RowFilter
from sidrec.decoding.prompts import Group, as_lists, common_prefix, groups_of
from sidrec.decoding.search import Beams, Ranking, search
from sidrec.trie import SIDTrie

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from sidrec.sections import Normalization

Prompts = Tensor | Sequence[Sequence[int]]
Excluded = Sequence[Sequence[int] | np.ndarray | Tensor]


class Prefix(Protocol):
    """What a reader knows of tokens that prompts begin with."""

    @property
    def token_ids(self) -> tuple[int, ...]:
        """The tokens."""


class PromptReader(Protocol):
    """A model as the search sees it: it reads prompts, and knows how many it can hold.

    Attributes:
        device: Where prompts, and the trie that is searched, have to be.
    """

    device: torch.device

    def read_prefix(self, token_ids: Sequence[int]) -> Any:
        """Read what prompts begin with: a `Prefix`."""

    def read(self, group: Group, prefix: Any, num_beams: int) -> Beams:
        """Read the prompts of a group, which stand behind `prefix`."""

    def rows_that_fit(self, prompt_tokens: int, num_beams: int) -> int:
        """Return how many prompts of so many tokens can be read and searched at once, at least 1."""


def constrained_beam_search(
    model: PromptReader | PreTrainedModel,
    trie: SIDTrie,
    input_ids: Prompts,
    attention_mask: Tensor | None = None,
    *,
    num_beams: int,
    scores: Normalization = "vocabulary",
    excluded: Excluded | None = None,
    prefix: Prefix | None = None,
    return_logits: bool = False,
    rescore: Callable[[Any, Ranking], Ranking] | None = None,
    on_batch: Callable[[int, int], None] | None = None,
) -> Ranking:
    """Return the best `num_beams` items of each prompt, by beam search that can only walk the trie.

    Each prompt is read once, not once per beam; what all prompts begin with is read once for all. Beam search
    prunes: it is not the exact top M (`exact_topk` is), but every list is as long as there are items, and
    holds each item once. Items that share their codes share the score and stand in the trie's order of items.

    The score of an item is the sum of the log-probabilities of its codes. `vocabulary` takes them over all
    tokens of the model, as `generate` does; `level` over the codes of the level; `catalog` over the codes
    that may follow in the trie of the model, so that the items' probabilities sum to one if no item's codes
    begin another's. They differ by terms that depend on the prefix: two items with all but the last code in
    common stand in the same order by all three, others need not. For an untrained small model `level` agreed
    with `vocabulary` on 98% of the top 10, `catalog` on 86%; use the one that the model was trained with.

    Args:
        model: A causal LM, whose token ids are the codes of the trie; or a `PromptReader` such as
            `sidrec.decoding.CausalLM`, which brings its own `scores`.
        trie: What may be found: the trie of the model, or a `subset` of it. For many calls, put it on the
            model's device once (`trie.to`).
        input_ids: (B, P) prompt tokens, padded on any side, or B lists of tokens.
        attention_mask: (B, P), nonzero = a real token; for lists, and where nothing is padded, None.
        num_beams: M, at least 1; it may be more than there are items.
        scores: How a step is normalized, for a causal LM.
        excluded: Items that must not be in each prompt's list. Scores stay as they are without it.
        prefix: What all prompts begin with, as `model.read_prefix` returned it; worth giving when it serves
            many calls.
        return_logits: Also return the logits of the codes of each level.
        rescore: Puts the lists of a group into another order, given its beams, whose class is the reader's.
        on_batch: Called with (prompts done, prompts in all) after each group.

    Returns:
        One row per prompt, in the order given, on the model's device.

    Raises:
        ValueError: If `num_beams` is below 1, a prompt is empty or longer than the model's positions, or an
            excluded item does not exist.
        RuntimeError: If the model gives no finite score (NaN weights): nothing is returned rather than
            something outside the trie.
    """
    if num_beams < 1:
        raise ValueError(f"num_beams is {num_beams}; a search needs at least 1.")
    reader = as_reader(model, trie, scores)
    trie = trie.to(reader.device)

    def rank(beams: Beams, row_filter: RowFilter | None) -> Ranking:
        found = search(beams, trie, num_beams=num_beams, row_filter=row_filter, return_logits=return_logits)
        return found if rescore is None else rescore(beams, found)

    return rank_in_groups(
        reader,
        trie,
        as_lists(input_ids, attention_mask),
        rank,
        width=min(num_beams, trie.num_leaves),
        excluded=excluded,
        prefix=prefix,
        on_batch=on_batch,
    )


def as_reader(model: Any, trie: SIDTrie, scores: Normalization) -> PromptReader:
    """Return `model` as the search sees it."""
    if hasattr(model, "rows_that_fit"):
        return model
    from sidrec.decoding.causal_lm import CausalLM

    return CausalLM.from_model(model, trie, scores=scores)


def rank_in_groups(
    reader: PromptReader,
    trie: SIDTrie,
    prompts: list[list[int]],
    rank: Callable[[Beams, RowFilter | None], Ranking],
    *,
    width: int,
    excluded: Excluded | None = None,
    prefix: Prefix | None = None,
    on_batch: Callable[[int, int], None] | None = None,
) -> Ranking:
    """Read prompts in groups that memory can hold with `width` beams, and `rank` each.

    What all prompts begin with is read once.

    Raises:
        ValueError: If a prompt does not begin with `prefix` or holds nothing else, or `excluded` has not a
            list for each.
    """
    if excluded is not None and len(excluded) != len(prompts):
        raise ValueError(f"excluded has {len(excluded)} lists for {len(prompts)} prompts.")
    row_filter = None if excluded is None else RowFilter(trie, excluded)
    rankings, done = [], 0
    for rows, beams in read_in_groups(reader, prompts, width=width, prefix=prefix):
        own_filter = None if row_filter is None else row_filter.rows(rows)
        rankings.append((rows, rank(beams, own_filter)))
        done += len(rows)
        if on_batch is not None:
            on_batch(done, len(prompts))
    return in_order(rankings)


def read_in_groups(
    reader: PromptReader, prompts: list[list[int]], *, width: int, prefix: Prefix | None = None
) -> Iterator[tuple[list[int], Beams]]:
    """Read prompts in groups that memory can hold with `width` beams: places among `prompts`, and the beams.

    What all prompts begin with is read once.

    Raises:
        ValueError: If a prompt does not begin with `prefix` or holds nothing else.
    """
    if prefix is None:
        prefix = reader.read_prefix(common_prefix(prompts))
    begun = list(prefix.token_ids)
    if any(prompt[: len(begun)] != begun or len(prompt) == len(begun) for prompt in prompts):
        raise ValueError("A prompt does not begin with the prefix that was read, or ends with it.")
    for group in groups_of(
        prompts, len(begun), lambda tokens: reader.rows_that_fit(tokens, width), reader.device
    ):
        yield group.rows, reader.read(group, prefix, width)


def in_order(rankings: list[tuple[list[int], Ranking]]) -> Ranking:
    """Put the rankings of all groups into the order of the prompts."""
    back = torch.tensor([row for rows, _ in rankings for row in rows]).argsort()
    found = [ranking for _, ranking in rankings]

    def joined(parts: list[Tensor]) -> Tensor:
        return torch.cat(parts)[back.to(parts[0].device)]

    items = joined([each.items for each in found])
    codes = joined([each.codes for each in found])
    whole = Ranking(items, codes, joined([each.scores for each in found]))
    if found[0].complete is not None:
        whole = replace(
            whole, complete=joined([each.complete for each in found if each.complete is not None])
        )
    if found[0].logits is not None:
        steps = zip(*(each.logits for each in found if each.logits is not None), strict=True)
        whole = replace(whole, logits=tuple(joined(list(step)) for step in steps))
    return whole
