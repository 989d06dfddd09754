"""Draw distinct items after a prompt at random, with the probability of each known: stochastic beam search.

Every item's log-probability is perturbed by independent Gumbel noise, and the G largest are the sample. A
beam search finds them without a look at the others: the largest key below a node is drawn before those of its
children, which then may not exceed it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from sidrec.decoding.sampling import Sample, Step, check_draw, constrained_step, require_finite, uniforms
from sidrec.decoding.search import Beams, item_ends, items_beyond
from sidrec.trie import ROOT, SIDTrie


@dataclass(frozen=True)
class _Paths:
    """Perturbed beams: (B, M) states or items, and what `Sample` says of them; the key of none is -inf."""

    states: Tensor
    scores: Tensor
    log_probs: Tensor
    keys: Tensor

    def only(self, keep: Tensor) -> _Paths:
        return replace(self, keys=self.keys.masked_fill(~keep, -torch.inf))

    def joined(self, other: _Paths) -> _Paths:
        pairs = zip(self._all(), other._all(), strict=True)
        return _Paths(*(torch.cat(pair, dim=1) for pair in pairs))

    def best(self, width: int) -> tuple[_Paths, Tensor]:
        """Return those of the largest keys, and where they stood."""
        index = self.keys.topk(min(width, self.keys.shape[1])).indices
        return _Paths(*(values.gather(1, index) for values in self._all())), index

    def _all(self) -> tuple[Tensor, ...]:
        return self.states, self.scores, self.log_probs, self.keys


@torch.no_grad()
def sample_distinct(
    beams: Beams,
    trie: SIDTrie,
    *,
    num_samples: int,
    generators: Sequence[torch.Generator],
    temperature: float = 1.0,
) -> Sample:
    """Draw distinct items, as if one after another without replacement (stochastic beam search).

    Every item's log-probability is perturbed by Gumbel noise, and the G largest are the sample; the largest
    key of a node's items is drawn before theirs, so that a beam of G + 1 finds them. The key of the item that
    would have come next is the `threshold`, with which `log_inclusion` says how likely each was to come.

    Args:
        beams: As for `sample_items`, with the other arguments.
        trie: As there.
        num_samples: G; of fewer items, all are drawn.
        generators: As there.
        temperature: As there.

    Raises:
        ValueError: As there.
        RuntimeError: As there.

    Source: Kool, van Hoof and Welling (arXiv:1903.06059), algorithm 1 and section 4.2; the key of the root is
    drawn, not set to 0, so that keys are independent and `log_inclusion` is exact.
    """
    check_draw(beams, trie, num_samples, generators, temperature)
    width = min(num_samples + 1, trie.num_items)
    states = torch.full((beams.batch_size, 1), ROOT, device=trie.device)
    zeros = torch.zeros(states.shape, dtype=torch.float64, device=trie.device)
    live = _Paths(states, zeros, zeros, _gumbels(generators, (1,), trie.device))
    ended = _Paths(*(values[:, :0] for values in live._all()))
    for level in range(trie.num_levels):
        step = constrained_step(beams, trie, live.states, level, temperature)  # (B, M, C)
        grown = _grown(live, step, _gumbels(generators, step.states.shape[1:], trie.device))  # (B, M * C)
        if trie.ends[level]:
            ended = ended.joined(grown.only(item_ends(trie, None, grown.states))).best(width)[0]
        if not trie.continues[level]:
            break
        beyond = grown.only(items_beyond(trie, None, grown.states))
        live, index = beyond.best(min(width, trie.level_sizes[level]))
        live = replace(live, states=torch.where(live.keys == -torch.inf, trie.dead_end, live.states))
        beams.advance(index // step.states.shape[2], live.states, level)
    ended = _items_below(trie, ended, generators).best(width)[0]
    require_finite(ended.keys)
    following = ended.keys[:, num_samples:]  # (B, 1), or (B, 0) where all items were drawn
    threshold = following.sum(1) if following.shape[1] else following.new_full((len(following),), -torch.inf)
    items, scores, log_probs, keys = (values[:, :num_samples] for values in ended._all())
    return Sample(items, scores, log_probs, keys, threshold)


def log_inclusion(log_probs: Tensor, threshold: Tensor) -> Tensor:
    """Return log q: how likely each item was to be among those drawn without replacement.

    q = 1 - exp(-exp(log p - kappa)), the probability that a Gumbel around log p exceeds the threshold. An
    estimate sum_i p_i / q_i f(x_i) of the mean of f is unbiased.

    Args:
        log_probs: (B, G), as `Sample` has them.
        threshold: (B,) kappa.

    Source: Kool, van Hoof and Welling (arXiv:1903.06059), section 4.2.
    """
    return _log1mexp(-(log_probs - threshold.unsqueeze(1)).exp())


def _grown(live: _Paths, step: Step, noise: Tensor) -> _Paths:
    """Return the children of (B, M) paths, (B, M * C), with keys below those of their parents."""
    log_probs = live.log_probs.unsqueeze(-1) + step.log_probs
    scores = live.scores.unsqueeze(-1) + step.scores
    keys = _below(live.keys, log_probs + noise).masked_fill(~step.is_open, -torch.inf)
    return _Paths(step.states.flatten(1), scores.flatten(1), log_probs.flatten(1), keys.flatten(1))


def _items_below(trie: SIDTrie, ended: _Paths, generators: Sequence[torch.Generator]) -> _Paths:
    """Return the items of (B, M) SIDs, of each as many as the fullest SID of the trie has."""
    sizes = trie.leaf_sizes(ended.states).unsqueeze(-1)  # (B, M, 1)
    places = torch.arange(trie.most_items_of_a_sid(), device=trie.device)
    items = trie.leaf_items(ended.states.unsqueeze(-1), places)  # (B, M, c)
    is_open = (places < sizes) & (ended.keys > -torch.inf).unsqueeze(-1)
    share = -sizes.double().log().expand(items.shape)
    step = Step(items, is_open, torch.zeros_like(share), share.masked_fill(~is_open, -torch.inf))
    return _grown(ended, step, _gumbels(generators, items.shape[1:], trie.device))


def _below(limits: Tensor, keys: Tensor) -> Tensor:
    """Shift independent Gumbels, (..., C), so that their largest is `limits`, (...), as if it had been known.

    Source: Kool, van Hoof and Welling (arXiv:1903.06059), appendix B.3, in the form that is safe in floats.
    """
    limits = limits.unsqueeze(-1)
    distance = limits - keys + _log1mexp(keys - keys.amax(-1, keepdim=True))
    return limits - distance.clamp(min=0) - torch.log1p(torch.exp(-distance.abs()))


def _log1mexp(values: Tensor) -> Tensor:
    """Return log(1 - exp(values)) of values of at most 0."""
    near = torch.log(-torch.expm1(values))
    return torch.where(values > -0.693, near, torch.log1p(-torch.exp(values)))


def _gumbels(generators: Sequence[torch.Generator], shape: tuple[int, ...], device: torch.device) -> Tensor:
    """(B, *shape) float64 draws of the standard Gumbel distribution."""
    least = torch.finfo(torch.float64).tiny
    return -torch.log(-torch.log(uniforms(generators, shape, device).clamp(min=least)))
