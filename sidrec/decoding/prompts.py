"""Any number of prompts in groups of like length that memory can hold, and what all begin with."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

SHORTEST_PREFIX = 8
"""Tokens that prompts must have in common before it pays to read them apart."""


@dataclass(frozen=True)
class Group:
    """B prompts of like length.

    Attributes:
        rows: Their places among all prompts.
        input_ids: (B, P) tokens after the common prefix, padded on the left.
        mask: (B, P) bool, True = a real token.
    """

    rows: list[int]
    input_ids: Tensor
    mask: Tensor


def as_lists(input_ids: Tensor | Sequence[Sequence[int]], attention_mask: Tensor | None) -> list[list[int]]:
    """Return the real tokens of every prompt.

    Args:
        input_ids: (B, P) tokens padded anywhere, or lists of tokens.
        attention_mask: (B, P), nonzero = a real token; None: all are.

    Raises:
        ValueError: If there is no prompt, one is empty, or the mask has another shape.
    """
    if isinstance(input_ids, Tensor):
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        if mask.shape != input_ids.shape or input_ids.dim() != 2:
            raise ValueError(
                f"input_ids and attention_mask must both be (B, P), got {tuple(input_ids.shape)} and "
                f"{tuple(mask.shape)}."
            )
        ids, real = input_ids.tolist(), mask.bool().tolist()
        prompts = [[t for t, keep in zip(*row, strict=True) if keep] for row in zip(ids, real, strict=True)]
    elif attention_mask is not None:
        raise ValueError("attention_mask goes with a tensor of input_ids; lists of tokens need none.")
    else:
        prompts = [list(prompt) for prompt in input_ids]
    if not prompts or not all(prompts):
        raise ValueError("A prompt is empty; every row needs at least one token.")
    return prompts


def shared_beginning(one: list[int], other: list[int]) -> list[int]:
    """Return the tokens that both begin with."""
    pairs = zip(one, other, strict=False)
    return [token for token, _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs)]


def common_prefix(prompts: list[list[int]]) -> list[int]:
    """Return the tokens that all prompts begin with and none ends with; [] where that would not pay."""
    if len(prompts) < 2:
        return []
    # All prompts lie between the least and the greatest in the order of lists, so these two tell.
    prefix = shared_beginning(min(prompts), max(prompts))
    prefix = prefix[: min(map(len, prompts)) - 1]
    return prefix if len(prefix) >= SHORTEST_PREFIX else []


def groups_of(
    prompts: list[list[int]], skip: int, rows_that_fit: Callable[[int], int], device: torch.device
) -> Iterator[Group]:
    """Yield groups of like length, the longest first, so that memory runs out at once or not at all.

    Args:
        prompts: Tokens of each prompt.
        skip: Tokens at the beginning of each that are read apart.
        rows_that_fit: Prompt tokens of the longest -> prompts that can be read at once.
        device: Of the tensors.
    """
    order = sorted(range(len(prompts)), key=lambda row: -len(prompts[row]))
    while order:
        size = rows_that_fit(len(prompts[order[0]]) - skip)
        rows, order = order[:size], order[size:]
        yield Group(rows, *pad_prompts([prompts[row][skip:] for row in rows], 0, device))


def pad_prompts(
    prompts: list[list[int]], pad_id: int, device: torch.device | str = "cpu"
) -> tuple[Tensor, Tensor]:
    """Pad prompts on the left to one length; returns input ids, (B, P) int64, and mask, (B, P) bool."""
    width = max(map(len, prompts))
    ids = [[pad_id] * (width - len(p)) + list(p) for p in prompts]
    mask = [[False] * (width - len(p)) + [True] * len(p) for p in prompts]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)
