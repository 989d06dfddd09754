"""Say what a table of semantic IDs is worth, before any model is trained on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tokenizer.collisions.unique import collision_rate
from tokenizer.health.explained import explained
from tokenizer.health.neighbours import neighbour_agreement
from tokenizer.health.structure import collisions, numbers_items, purity, sharing, tree, unique_depth
from tokenizer.semantic_ids import level_name


def health(
    codes: np.ndarray,
    codebook_sizes: Sequence[int],
    *,
    codes_before: np.ndarray | None = None,
    extra_error: float | None = None,
    reconstruction_error: float | None = None,
    variance: float | None = None,
    vectors: np.ndarray | None = None,
    events: np.ndarray | None = None,
    categories: np.ndarray | None = None,
    groups: Mapping[str, np.ndarray] | None = None,
) -> dict[str, Any]:
    """Collect the figures of a table of semantic IDs, ready for JSON; what was not given is None.

    A million items with vectors of 384 numbers take a few minutes and a few hundred MB beside them.

    Args:
        codes: (N, L) integers, after collisions were resolved. N is at least 1.
        codebook_sizes: K of each level.
        codes_before: (N, L) or fewer levels, before collisions were resolved. Left out, they are the codes
            without a last level that only numbers items, if there is one.
        extra_error: What moving items cost: mean squared error after less before, as a share of the variance
            of what was quantized.
        reconstruction_error: Mean squared error of the decoded embeddings, in the square of their unit,
            before collisions were resolved.
        variance: Mean squared distance of the embeddings to their mean, in the same unit.
        vectors: (N, D) the embeddings.
        events: (N,) how often each item was had.
        categories: (N,) text, "" where an item has none.
        groups: (N,) bool each, kinds of items to be looked at apart, such as head and tail.

    Returns:
        `items`, `distinct` semantic IDs and `numbered`, whether the last level only numbers items.
        `levels`, per level its name, `codebook_size`, `codes_used`, `share_used`, `entropy` in bits of the
        codes, `perplexity` (2 to the entropy, in [1, K]: as many codes as would be in use if all were used
        alike) and `largest_share` (of items on the most common code).
        `collision_rate_before`, `collision_rate_after`; `collision_groups` `before` and `after`, as
        `collisions` of `structure.py` has them; `items_moved`; `extra_error`.
        `reconstruction_error`, `variance` and `explained` = 1 - error / variance (None where the variance is
        0): by the quantizer's own decoder. `levels_explained`, per level, by the definition of `explained.py`
        that holds for every table.
        `tree`, `unique_depth`, `purity` and `neighbours` as `structure.py` and `neighbours.py` have them.
        `groups`, by name: `items`; `colliding` and `moved`, shares of them; `explained` by that definition.

    Raises:
        ValueError: If there are no items, or codes and sizes do not fit.
    """
    codes = _checked(codes, codebook_sizes)
    numbered = numbers_items(codes)
    if codes_before is None and numbered:
        codes_before = codes[:, :-1]
    moved = None
    if codes_before is not None:
        moved = (codes[:, : codes_before.shape[1]] != codes_before).any(axis=1)
    groups = {name: mask for name, mask in (groups or {}).items() if mask.any()}
    fit = near = None
    if vectors is not None and len(codes) > 1:
        fit = explained(codes, vectors, codebook_sizes, groups)
        near = neighbour_agreement(codes, vectors)
    return {
        "items": len(codes),
        "distinct": len(np.unique(codes, axis=0)),
        "numbered": numbered,
        "levels": [_level(codes[:, level], level, int(size)) for level, size in enumerate(codebook_sizes)],
        "collision_rate_before": None if codes_before is None else collision_rate(codes_before),
        "collision_rate_after": collision_rate(codes),
        "collision_groups": {
            "before": None if codes_before is None else collisions(codes_before, events),
            "after": collisions(codes, events),
        },
        "items_moved": None if moved is None else int(moved.sum()),
        "extra_error": _number(extra_error),
        "reconstruction_error": _number(reconstruction_error),
        "variance": _number(variance),
        "explained": 1 - float(reconstruction_error) / float(variance)
        if reconstruction_error is not None and variance
        else None,
        "levels_explained": None if fit is None else fit["levels"],
        "tree": tree(codes),
        "unique_depth": unique_depth(codes),
        "purity": None if categories is None else purity(codes, categories),
        "neighbours": near,
        "groups": _groups(codes, groups, moved, {} if fit is None else fit["groups"]),
    }


def _checked(codes: np.ndarray, codebook_sizes: Sequence[int]) -> np.ndarray:
    """Give the codes as an array, or say what does not fit."""
    codes = np.asarray(codes)
    shape_fits = codes.ndim == 2 and len(codes) > 0 and codes.shape[1] == len(codebook_sizes)
    if not shape_fits or not np.issubdtype(codes.dtype, np.integer):
        raise ValueError(
            "Health is of one or more items with an integer code per level; "
            f"{len(codebook_sizes)} levels do not fit {codes.dtype} codes of shape {codes.shape}."
        )
    if (codes < 0).any() or (codes >= np.array(codebook_sizes)).any():
        raise ValueError(f"A code lies outside the codebook sizes {list(codebook_sizes)}.")
    return codes


def _level(codes: np.ndarray, level: int, codebook_size: int) -> dict[str, Any]:
    counts = np.bincount(codes, minlength=codebook_size)
    shares = counts[counts > 0] / len(codes)
    entropy = float(-(shares * np.log2(shares)).sum())
    return {
        "level": level_name(level),
        "codebook_size": codebook_size,
        "codes_used": len(shares),
        "share_used": len(shares) / codebook_size,
        "entropy": entropy,
        "perplexity": 2**entropy,
        "largest_share": float(shares.max()),
    }


def _groups(
    codes: np.ndarray,
    groups: Mapping[str, np.ndarray],
    moved: np.ndarray | None,
    explained_of: Mapping[str, float | None],
) -> dict[str, dict[str, float | None]]:
    shared = sharing(codes) > 1
    return {
        name: {
            "items": int(mask.sum()),
            "colliding": float(shared[mask].mean()),
            "moved": None if moved is None else float(moved[mask].mean()),
            "explained": explained_of.get(name),
        }
        for name, mask in groups.items()
    }


def _number(value: float | None) -> float | None:
    return None if value is None else float(value)
