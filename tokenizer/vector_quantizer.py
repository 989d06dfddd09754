"""VectorQuantizer: item embeddings -> codes by codebooks alone, without networks: residual k-means, OPQ.

An embedding is centred, divided by one number and, for OPQ, rotated; that is its latent. Its codes are found
level by level, each on what the levels before left over. How codebooks are made is in `kmeans.py`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tokenizer.arrays import checked_vectors, read_tensors
from tokenizer.collisions.prefix_search import squared_distances

FORMAT_VERSION = 1
BATCH_ROWS = 4096


@dataclass(frozen=True, eq=False)
class VectorQuantizer:
    """Codebooks over standardized embeddings.

    Attributes:
        mean: (D,) float32, subtracted from embeddings.
        scale: Divides them after that.
        rotation: (D, d) float32 with orthonormal columns.
        books: Per level (K, d) float32 code vectors.
        prices: Per level (K,) float32: a code counts as so much nearer, in squared distance. All 0, but for
            balanced codebooks, where they spread items over the codes, and -inf for a code never to be given.
    """

    mean: np.ndarray
    scale: float
    rotation: np.ndarray
    books: tuple[np.ndarray, ...]
    prices: tuple[np.ndarray, ...] = field(default=())

    def __post_init__(self) -> None:
        if not self.prices:
            zeros = tuple(np.zeros(len(book), np.float32) for book in self.books)
            object.__setattr__(self, "prices", zeros)
        input_dim, latent_dim = self.rotation.shape
        fits = (
            self.mean.shape == (input_dim,)
            and len(self.books) > 0
            and len(self.prices) == len(self.books)
            and all(
                book.ndim == 2
                and len(book) > 0
                and book.shape[1] == latent_dim
                and price.shape == book.shape[:1]
                for book, price in zip(self.books, self.prices, strict=True)
            )
        )
        if not fits:
            raise ValueError(
                "Mean, rotation, codebooks and prices of a vector quantizer do not fit together."
            )

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """K of each level."""
        return tuple(len(book) for book in self.books)

    def latents(self, vectors: np.ndarray) -> np.ndarray:
        """Give the (N, d) float32 latents of (N, D) vectors.

        Raises:
            ValueError: If the vectors have another width, or one is not finite.
        """
        vectors = checked_vectors(vectors, len(self.mean))
        return ((vectors - self.mean) / np.float32(self.scale)) @ self.rotation

    def encode(self, vectors: np.ndarray) -> np.ndarray:
        """Give the (N, L) int64 codes of (N, D) vectors. They may collide: see `collisions.py`."""
        vectors = checked_vectors(vectors, len(self.mean))
        codes = np.zeros((len(vectors), len(self.books)), np.int64)
        for start in range(0, len(vectors), BATCH_ROWS):
            residuals = self.latents(vectors[start : start + BATCH_ROWS])
            for level, (book, price) in enumerate(zip(self.books, self.prices, strict=True)):
                nearest = (squared_distances(residuals, book) - price).argmin(axis=1)
                codes[start : start + BATCH_ROWS, level] = nearest
                residuals = residuals - book[nearest]
        return codes

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Reconstruct (N, D) float32 vectors from (N, L) codes.

        Raises:
            ValueError: If the codes have another number of levels or lie outside the codebooks.
        """
        codes = np.asarray(codes)
        if codes.ndim != 2 or codes.shape[1] != len(self.books):
            raise ValueError(
                f"This quantizer has {len(self.books)} levels, got codes of shape {codes.shape}."
            )
        if len(codes) and ((codes < 0).any() or (codes >= np.array(self.codebook_sizes)).any()):
            raise ValueError(f"A code lies outside the codebook sizes {list(self.codebook_sizes)}.")
        sums = np.zeros((len(codes), self.rotation.shape[1]), np.float32)
        for level, book in enumerate(self.books):
            sums += book[codes[:, level]]
        return (sums @ self.rotation.T) * np.float32(self.scale) + self.mean

    def codebooks(self) -> list[np.ndarray]:
        """Give a copy of the (K, d) float32 codebook of each level."""
        return [book.copy() for book in self.books]

    def save(self, path: str | Path, *, made_by: Mapping[str, Any] | None = None) -> None:
        """Write everything to one safetensors file; `made_by` is JSON that is kept in it."""
        from safetensors.numpy import save_file

        tensors = {"mean": self.mean, "rotation": self.rotation}
        tensors |= {f"book_{level}": book for level, book in enumerate(self.books)}
        tensors |= {f"price_{level}": price for level, price in enumerate(self.prices)}
        facts = {
            "version": FORMAT_VERSION,
            "scale": float(self.scale),
            "levels": len(self.books),
            "made_by": made_by,
        }
        save_file(
            {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()},
            str(path),
            metadata={"vector_quantizer": json.dumps(facts, sort_keys=True)},
        )

    @classmethod
    def load(cls, path: str | Path) -> VectorQuantizer:
        """Read what `save` wrote.

        Raises:
            ValueError: If the file is missing, is not such a file, or its arrays do not fit together.
        """
        metadata, tensors = read_tensors(path, "the quantizer", framework="numpy")
        if "vector_quantizer" not in metadata:
            raise ValueError(f"{path} holds arrays, but not of a vector quantizer that tokenize wrote.")
        facts = json.loads(metadata["vector_quantizer"])
        if facts["version"] != FORMAT_VERSION:
            raise ValueError(
                f"{path} was written in format {facts['version']}, this version reads {FORMAT_VERSION}: "
                "tokenize again."
            )
        try:
            books, prices = (
                tuple(tensors[f"{name}_{level}"] for level in range(facts["levels"]))
                for name in ("book", "price")
            )
            return cls(tensors["mean"], facts["scale"], tensors["rotation"], books, prices)
        except (KeyError, ValueError) as error:
            raise ValueError(f"{path}: the arrays of the quantizer do not fit together ({error}).") from error
