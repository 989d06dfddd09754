"""Log-probabilities of G completions of one prompt in one pass: the prompt is read once, not G times.

One row holds `[prompt | c_1 .. c_{L-1} of each completion]`. A 4-D mask lets a completion see the prompt and
itself, explicit positions put each completion right after the prompt. The last code of a completion is only
predicted, never read.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sidrec.scoring import ChildScores, SIDScorer
from sidrec.trie_arrays import END


@dataclass(frozen=True)
class CompletionScores:
    """How a model scores G completions of B prompts.

    Attributes:
        log_probs: (B, G, L) of the codes of each completion; -inf after its last.
        entropies: (B, G, L) of the steps, in nats; 0 after the last.
        outside: (B, G, L) probability that a step gives to what the trie forbids, without a gradient.
    """

    log_probs: Tensor
    entropies: Tensor
    outside: Tensor


def completion_scores(
    scorer: SIDScorer, prompt_ids: Tensor, prompt_mask: Tensor, codes: Tensor
) -> CompletionScores:
    """Score the completions of each prompt; gradients flow into the model.

    Args:
        scorer: Model, trie and normalization.
        prompt_ids: (B, P), padded on the left.
        prompt_mask: (B, P), nonzero = a real token.
        codes: (B, G, L) semantic IDs of the completions, -1 after the last code; all in the trie.

    Raises:
        ValueError: If a completion is not in the trie, or a prompt does not end with its row.
    """
    if not bool(prompt_mask[:, -1].all()):
        raise ValueError("Prompts must be padded on the left, and none may be empty.")
    batch, num_generations, levels = codes.shape
    paths = scorer.trie.walk(codes)  # (B, G, L + 1)
    read = _summed_states if scorer.sums_codes else _read_states
    before, after = read(scorer, prompt_ids, prompt_mask, paths)
    first = scorer.children(before, paths[:, :1, 0], 0)  # (B, 1, C)
    shape = batch, num_generations
    columns = [_columns(first, codes[..., 0], shape)]
    is_ragged = bool((codes == END).any())
    for level in range(1, levels):
        states, at, wanted = after[:, :, level - 1], paths[:, :, level], codes[..., level]
        if not is_ragged:
            columns.append(_columns(scorer.children(states, at, level), wanted, shape))
            continue
        real = wanted != END  # (B, G): completions that go on so far; no child follows the others
        found = _columns(scorer.children(states[real], at[real], level), wanted[real], wanted[real].shape)
        columns.append(
            [
                values.new_full(shape, nothing).masked_scatter(real, values)
                for values, nothing in zip(found, (-torch.inf, 0.0, 0.0), strict=True)
            ]
        )
    return CompletionScores(*(torch.stack(each, dim=-1) for each in zip(*columns, strict=True)))


def _read_states(
    scorer: SIDScorer, prompt_ids: Tensor, prompt_mask: Tensor, paths: Tensor
) -> tuple[Tensor, Tensor]:
    """The states after the prompts, (B, 1, H), and after each code but the last, (B, G, L - 1, H), which the
    trunk reads beside each other.
    """
    num_generations, levels = paths.shape[1], paths.shape[2] - 1
    branches = scorer.tokens(paths[..., 1:-1]).flatten(1)  # (B, G * (L - 1))
    inputs, prompt_mask = scorer.prompt_inputs(prompt_ids, prompt_mask, branches)
    lengths = prompt_mask.sum(1, keepdim=True)  # (B, 1)
    steps = torch.arange(levels - 1, device=paths.device).repeat(num_generations)  # (G * (L - 1),)
    prompt_positions = (prompt_mask.cumsum(1) - 1).clamp(min=0)
    positions = torch.cat([prompt_positions, lengths + steps], dim=1)
    visible = _visible(prompt_mask.bool(), num_generations, levels - 1)
    hidden = scorer.hidden(
        **inputs,
        attention_mask=scorer.attention.masks(visible, positions, positions, scorer.model.dtype),
        position_ids=positions,
    )
    width = prompt_mask.shape[1]
    before = hidden[:, width - 1 : width]
    after = hidden[:, width:].unflatten(1, (num_generations, levels - 1))
    return before, scorer.later_states(after, boundary=before.unsqueeze(1))


def _summed_states(
    scorer: SIDScorer, prompt_ids: Tensor, prompt_mask: Tensor, paths: Tensor
) -> tuple[Tensor, Tensor]:
    """The same of a depth head: the trunk reads the prompts alone."""
    before = scorer.hidden(input_ids=prompt_ids, attention_mask=prompt_mask)[:, -1:]
    states = before.unsqueeze(1)  # (B, 1, 1, H)
    after = []
    for level in range(1, paths.shape[2] - 1):
        states = scorer.add_codes(states, paths[..., level].unsqueeze(-1))  # (B, G, 1, H)
        after.append(states)
    if not after:
        return before, before.new_zeros((*paths.shape[:2], 0, before.shape[-1]))
    return before, torch.cat(after, dim=2)


def _columns(scored: ChildScores, codes: Tensor, shape: tuple[int, ...]) -> list[Tensor]:
    """Log-probabilities of codes, entropies, and the mass outside the trie, each of `shape`."""
    return [scored.pick(codes), scored.entropy().expand(shape), scored.outside().expand(shape)]


def _visible(prompt_mask: Tensor, num_generations: int, steps: int) -> Tensor:
    """(B, T, T) bool, T = P + G * steps: causal, and a branch sees the prompt and itself only."""
    batch, width = prompt_mask.shape
    total = width + num_generations * steps
    index = torch.arange(total, device=prompt_mask.device)
    branch = torch.where(index < width, -1, (index - width) // max(steps, 1))  # -1 = prompt
    same = branch[:, None] == branch[None, :]
    allowed = (same | (branch == -1)[None, :]) & (index[:, None] >= index[None, :])  # (T, T)
    real = torch.cat([prompt_mask, prompt_mask.new_ones(batch, total - width)], dim=1)
    visible = allowed & real[:, None, :]
    # A padding row sees itself, so that no row of the softmax is empty.
    visible = visible | torch.eye(total, dtype=torch.bool, device=index.device)
    return visible
