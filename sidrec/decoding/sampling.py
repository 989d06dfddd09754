"""Draw items after a prompt at random, from the distribution over items that a model and a trie make.

At every step the log-probabilities of the scorer, whatever they are normalized over, are divided by a
temperature and normalized anew over the children that lead to an item, so that the probabilities of all items
sum to one. Items that share a SID share its probability evenly. Randomness comes from one generator for each
prompt: a draw depends neither on the other prompts nor on how many memory can hold at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sidrec.decoding.search import Beams, open_states
from sidrec.trie import ROOT, SIDTrie


@dataclass(frozen=True)
class Sample:
    """Items drawn for B prompts, in the order of the draw.

    Attributes:
        items: (B, G) int64 item numbers.
        scores: (B, G) float64 log-probabilities of the items' codes as the scorer normalizes them: what
            `Ranking.scores` of a search would say.
        log_probs: (B, G) float64 log-probabilities of the items under the distribution that was drawn from.
        keys: Of a draw without replacement, (B, G) float64 perturbed log-probabilities, falling.
        threshold: Of such a draw, (B,) float64: the perturbed log-probability of the item that would have
            come next, kappa; -inf where all items were drawn.
    """

    items: Tensor
    scores: Tensor
    log_probs: Tensor
    keys: Tensor | None = None
    threshold: Tensor | None = None


@dataclass(frozen=True)
class Step:
    """The children of beams: (B, M, C) each; both log-probabilities are those of the step alone."""

    states: Tensor
    is_open: Tensor
    scores: Tensor
    log_probs: Tensor  # -inf where not open


@torch.no_grad()
def sample_items(
    beams: Beams,
    trie: SIDTrie,
    *,
    num_samples: int,
    generators: Sequence[torch.Generator],
    temperature: float = 1.0,
) -> Sample:
    """Draw items independently, code by code (ancestral sampling): an item may come more than once.

    Args:
        beams: B prompts that were read, at the root.
        trie: What may be drawn: the trie of the model, or a `subset` of it.
        num_samples: G.
        generators: B, of the CPU, one for each prompt.
        temperature: What log-probabilities are divided by at every step; above 0.

    Raises:
        ValueError: If G, the temperature or the number of generators cannot be used, or an item's codes begin
            another's.
        RuntimeError: If the model gives no finite score (NaN weights).
    """
    check_draw(beams, trie, num_samples, generators, temperature)
    states = torch.full((beams.batch_size, 1), ROOT, device=trie.device)
    parents = torch.zeros((beams.batch_size, num_samples), dtype=torch.int64, device=trie.device)
    log_probs = torch.zeros(parents.shape, dtype=torch.float64, device=trie.device)
    scores = torch.zeros_like(log_probs)
    for level in range(trie.num_levels):
        step = constrained_step(beams, trie, states, level, temperature)  # (B, M, C), M = 1 or G
        bounds = step.log_probs.exp().cumsum(-1).expand(-1, num_samples, -1).contiguous()  # (B, G, C)
        at = bounds[..., -1:] * uniforms(generators, (num_samples, 1), trie.device)
        chosen = torch.searchsorted(bounds, at, right=True).clamp(max=bounds.shape[-1] - 1)  # (B, G, 1)
        goes_on = step.is_open.any(-1).expand(-1, num_samples)  # an item of fewer codes has ended
        states = torch.where(goes_on, _pick(step.states, chosen), states)
        log_probs = log_probs + torch.where(goes_on, _pick(step.log_probs, chosen), 0.0)
        scores = scores + torch.where(goes_on, _pick(step.scores, chosen), 0.0)
        if trie.continues[level]:
            beams.advance(parents, states, level)
            parents = torch.arange(num_samples, device=trie.device).expand_as(parents)
    require_finite(log_probs)
    sizes = trie.leaf_sizes(states)  # (B, G) items of each SID
    places = (uniforms(generators, (num_samples,), trie.device) * sizes).long()
    return Sample(trie.leaf_items(states, places), scores, log_probs - sizes.double().log())


@torch.no_grad()
def score_items(beams: Beams, trie: SIDTrie, items: Tensor) -> Tensor:
    """Return the log-probabilities of items as the scorer normalizes them, (B, G) float64.

    Args:
        beams: B prompts that were read, at the root.
        trie: Which holds the items.
        items: (B, G) item numbers.
    """
    codes = trie.codes_of(trie.state_of(items))  # (B, G, L)
    paths = trie.walk(codes)  # (B, G, L + 1)
    parents = torch.zeros_like(items)
    total = torch.zeros(items.shape, dtype=torch.float64, device=items.device)
    for level in range(trie.num_levels):
        states = paths[..., level] if level else paths[:, :1, 0]
        step = beams.score(states, level).pick(codes[..., level])  # (B, G)
        total = total + torch.where(codes[..., level] >= 0, step.double(), 0.0)
        if trie.continues[level]:
            beams.advance(parents, paths[..., level + 1], level)
            parents = torch.arange(items.shape[1], device=items.device).expand_as(items)
    require_finite(total)
    return total


def check_draw(
    beams: Beams, trie: SIDTrie, num_samples: int, generators: Sequence[torch.Generator], temperature: float
) -> None:
    """Raise ValueError for what cannot be drawn."""
    if num_samples < 1 or not temperature > 0:
        raise ValueError(
            f"num_samples is {num_samples} and temperature {temperature}; a draw needs at least 1 and a "
            "temperature above 0."
        )
    if len(generators) != beams.batch_size:
        raise ValueError(
            f"There are {len(generators)} generators for {beams.batch_size} prompts; give one for each."
        )
    if trie.nests():
        raise ValueError(
            "The codes of an item begin those of another, and nothing says how likely a draw is to end "
            "there. Give every item an end of its own."
        )


def constrained_step(beams: Beams, trie: SIDTrie, states: Tensor, level: int, temperature: float) -> Step:
    """Score the children and normalize over those that lead to an item."""
    scored = beams.score(states, level)
    is_open = open_states(trie, None, scored)
    scores = scored.log_probs.double()
    tempered = (scores / temperature).masked_fill(~is_open, -torch.inf)
    # Where none is open, -inf - -inf is NaN, which the mask takes away; NaN of an open child stays.
    log_probs = (tempered - tempered.logsumexp(-1, keepdim=True)).masked_fill(~is_open, -torch.inf)
    return Step(scored.children.states, is_open, scores, log_probs)


def uniforms(generators: Sequence[torch.Generator], shape: tuple[int, ...], device: torch.device) -> Tensor:
    """(B, *shape) float64 in [0, 1), of each generator its own row."""
    rows = [torch.rand(shape, generator=each, dtype=torch.float64) for each in generators]
    return torch.stack(rows).to(device)


def _pick(values: Tensor, chosen: Tensor) -> Tensor:
    """Of (B, M, C) values, M = 1 or G, take one for each of (B, G, 1)."""
    return values.expand(-1, chosen.shape[1], -1).gather(-1, chosen).squeeze(-1)


def require_finite(values: Tensor) -> None:
    if not bool(torch.isfinite(values).all()):
        raise RuntimeError(
            "The model gave an item a score that is not finite; its weights or its inputs hold NaN or inf."
        )
