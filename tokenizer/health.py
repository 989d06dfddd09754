"""Say what a table of semantic IDs is worth, before any model is trained on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tokenizer.collisions import collision_rate
from tokenizer.semantic_ids import level_name
from tokenizer.structure import colliding_events, neighbour_agreement, tree


def health(
    codes: np.ndarray,
    codebook_sizes: Sequence[int],
    *,
    moved: np.ndarray | None = None,
    collision_rate_before: float | None = None,
    extra_error: float | None = None,
    reconstruction_error: float | None = None,
    variance: float | None = None,
    vectors: np.ndarray | None = None,
    events: np.ndarray | None = None,
) -> dict[str, Any]:
    """Collect the figures of a table of semantic IDs, ready for JSON; what was not given is None.

    Args:
        codes: (N, L) integers, after collisions were resolved. N is at least 1.
        codebook_sizes: K of each level.
        moved: (N,) bool, the items that the resolution gave other codes.
        collision_rate_before: Before the resolution.
        extra_error: What the resolution added to the squared distance of latents to their code sums, mean
            over all items.
        reconstruction_error: Mean squared error of the decoded embeddings, in the square of their unit.
        variance: Of the embeddings, mean over the dimensions, in the same unit.
        vectors: (N, D) the embeddings.
        events: (N,) how often each item was had.

    Returns:
        `items`; `levels`, per level its name, `codebook_size`, `codes_used`, `share_used`, `perplexity` (2 to
        the entropy in bits of the codes, in [1, K]: as many codes as would be in use if all were used alike)
        and `largest_share` (of items on the most common code); `collision_rate_before`,
        `collision_rate_after`; `items_moved`, `extra_error`; `reconstruction_error`, `variance` and
        `explained` = 1 - error / variance (None where the variance is 0); `tree`, `colliding_events` and
        `neighbours` as `structure.py` has them.

    Raises:
        ValueError: If there are no items, or codes and sizes do not fit.
    """
    codes = np.asarray(codes)
    shape_fits = codes.ndim == 2 and len(codes) > 0 and codes.shape[1] == len(codebook_sizes)
    if not shape_fits or not np.issubdtype(codes.dtype, np.integer):
        raise ValueError(
            "Health is of one or more items with an integer code per level; "
            f"{len(codebook_sizes)} levels do not fit {codes.dtype} codes of shape {codes.shape}."
        )
    if (codes < 0).any() or (codes >= np.array(codebook_sizes)).any():
        raise ValueError(f"A code lies outside the codebook sizes {list(codebook_sizes)}.")
    explained = None
    if reconstruction_error is not None and variance:
        explained = 1 - float(reconstruction_error) / float(variance)
    return {
        "items": len(codes),
        "levels": [_level(codes[:, level], level, int(size)) for level, size in enumerate(codebook_sizes)],
        "collision_rate_before": _number(collision_rate_before),
        "collision_rate_after": collision_rate(codes),
        "extra_error": _number(extra_error),
        "items_moved": None if moved is None else int(np.sum(moved)),
        "reconstruction_error": _number(reconstruction_error),
        "variance": _number(variance),
        "explained": explained,
        "tree": tree(codes),
        "colliding_events": None if events is None else colliding_events(codes, events),
        "neighbours": (None if vectors is None or len(codes) < 2 else neighbour_agreement(codes, vectors)),
    }


def _level(codes: np.ndarray, level: int, codebook_size: int) -> dict[str, Any]:
    counts = np.bincount(codes, minlength=codebook_size)
    shares = counts[counts > 0] / len(codes)
    return {
        "level": level_name(level),
        "codebook_size": codebook_size,
        "codes_used": len(shares),
        "share_used": len(shares) / codebook_size,
        "perplexity": float(np.exp(-(shares * np.log(shares)).sum())),
        "largest_share": float(shares.max()),
    }


def _number(value: float | None) -> float | None:
    return None if value is None else float(value)
