"""First rows of SID tokens in the embeddings and the output layer, before anything is trained.

A start is called with a weight and with which of its rows text has, for the input embeddings and, where they
are not tied, for the output layer. It returns a row for every SID token, level by level.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

SPREAD = 0.5
"""Noise around the mean, in standard deviations of text rows: exactly the mean would make all codes equal."""
NOISE = 0.1
"""The same around what titles say, so that codes of equal titles differ."""


class Start(Protocol):
    """Where SID rows begin."""

    def __call__(self, weight: Tensor, of_text: Tensor, text_tokenizer: PreTrainedTokenizerBase) -> Tensor:
        """Return (S, H) rows of all SID tokens, from a (V, H) weight and (V,) bool `of_text`."""
        ...


def _around(centres: Tensor, rows: Tensor, spread: float) -> Tensor:
    """Return `centres` (S, H) with noise of the size that `rows` vary by."""
    import torch

    return centres + spread * torch.randn(centres.shape, device=rows.device) * rows.std(0)


@dataclass(frozen=True)
class NearMean:
    """Every row near the mean of the rows that text has; random rows of the wrong size would drown text."""

    codebook_sizes: tuple[int, ...]

    def __call__(self, weight: Tensor, of_text: Tensor, text_tokenizer: PreTrainedTokenizerBase) -> Tensor:
        """Draw the rows."""
        rows = weight[of_text]
        return _around(rows.mean(0).expand(sum(self.codebook_sizes), -1), rows, SPREAD)


@dataclass(frozen=True)
class FromTitles:
    """A code's row is the mean row of the tokens of all titles below it; without any, the mean of text rows.

    Attributes:
        codebook_sizes: K per level.
        codes: (N, L) SIDs.
        titles: N titles.
    """

    codebook_sizes: tuple[int, ...]
    codes: np.ndarray
    titles: Sequence[str]

    def __call__(self, weight: Tensor, of_text: Tensor, text_tokenizer: PreTrainedTokenizerBase) -> Tensor:
        """Average the rows."""
        import torch
        from scipy.sparse import csr_array

        rows = weight[of_text]
        ids = text_tokenizer(list(self.titles), add_special_tokens=False)["input_ids"]
        lengths = np.array([len(each) for each in ids])
        tokens = np.concatenate([*map(np.asarray, ids), np.zeros(0)]).astype(np.int64)
        starts = np.concatenate([[0], np.cumsum(self.codebook_sizes)[:-1]])
        counts = sum(
            csr_array(
                (np.ones(len(tokens), np.float32), (np.repeat(start + column, lengths), tokens)),
                shape=(sum(self.codebook_sizes), len(weight)),
            )
            for start, column in zip(starts, self.codes.T, strict=True)
        )
        totals = counts.sum(axis=1)  # (S,) tokens below each code
        means = torch.from_numpy(counts @ weight.float().cpu().numpy()).to(rows)
        means = means / torch.from_numpy(totals).to(rows).clamp(min=1).unsqueeze(1)
        said = torch.from_numpy(totals > 0).to(rows.device).unsqueeze(1)
        return torch.where(
            said, _around(means, rows, NOISE), _around(rows.mean(0).expand_as(means), rows, SPREAD)
        )


@dataclass(frozen=True)
class FromCodebooks:
    """A code's row is its code vector, rotated into the model's width, about the mean of the rows of text.

    The rotation keeps the angles between code vectors of all levels, as long as they span no more dimensions
    than the model has; beyond that it keeps those of most variance. Each level is scaled so that its rows are
    as far from the mean as those of text are, on average. Levels without code vectors (an extra one that
    tells colliding items apart) begin near the mean.

    Attributes:
        codebook_sizes: K per level.
        codebooks: (K, d) code vectors of the first levels.
    """

    codebook_sizes: tuple[int, ...]
    codebooks: Sequence[np.ndarray]

    def __call__(self, weight: Tensor, of_text: Tensor, text_tokenizer: PreTrainedTokenizerBase) -> Tensor:
        """Rotate and scale the code vectors."""
        import torch

        rows = weight[of_text]
        mean = rows.mean(0)
        start = NearMean(self.codebook_sizes)(weight, of_text, text_tokenizer)
        vectors = torch.from_numpy(np.concatenate(self.codebooks)).to(rows)  # (S', d)
        _, _, directions = torch.linalg.svd(vectors, full_matrices=False)
        directions = directions[: rows.shape[1]]  # (r, d), most variance first
        axes, _ = torch.linalg.qr(torch.randn(rows.shape[1], len(directions)).to(rows))  # (H, r) orthonormal
        turned = vectors @ directions.T @ axes.T  # (S', H)
        size = (rows - mean).norm(dim=1).mean()
        levels = turned.split([len(book) for book in self.codebooks])
        scaled = [mean + level * (size / level.norm(dim=1).mean().clamp(min=1e-12)) for level in levels]
        return torch.cat([*scaled, start[len(turned) :]])
