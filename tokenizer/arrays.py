"""What every tokenizer asks of arrays: embeddings that are a finite table, files that can be read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

BLOCK_BYTES = 1 << 26
"""What a computation over all items may hold at a time besides its input: 64 MB."""


def blocks(num_rows: int, row_bytes: int) -> Iterator[slice]:
    """Divide rows into slices of at most `BLOCK_BYTES`, or of one row where that is larger."""
    size = max(1, BLOCK_BYTES // row_bytes)
    for start in range(0, num_rows, size):
        yield slice(start, min(start + size, num_rows))


def mean_and_spread(vectors: np.ndarray) -> tuple[np.ndarray, float]:
    """Give the (D,) float64 mean of (N, D) vectors, and the mean of their squared distances to it."""
    mean = vectors.mean(axis=0, dtype=np.float64)
    parts = blocks(len(vectors), 8 * vectors.shape[1])
    total = sum(float(np.square(vectors[rows] - mean).sum()) for rows in parts)
    return mean, total / len(vectors)


def checked_vectors(vectors: np.ndarray, width: int | None = None) -> np.ndarray:
    """Give the vectors as float32, (N, D), or say what is wrong with them.

    Raises:
        ValueError: If they are no table of that width, or hold a NaN or an infinity.
    """
    vectors = np.asarray(vectors)
    wanted = "dimensions" if width is None else str(width)
    if vectors.ndim != 2 or (width is not None and vectors.shape[1] != width) or vectors.shape[1] == 0:
        raise ValueError(f"Item embeddings must be of shape (items, {wanted}), got {vectors.shape}.")
    vectors = np.ascontiguousarray(vectors, dtype=np.float32)
    finite = np.isfinite(vectors).all(axis=1)
    if not finite.all():
        raise ValueError(f"The item embedding in row {int(np.argmin(finite))} holds a NaN or an infinity.")
    return vectors


def read_tensors(path: str | Path, what: str, *, framework: str) -> tuple[dict[str, str], dict[str, Any]]:
    """Read a safetensors file: its metadata, and its arrays as `framework` has them (`numpy` or `pt`).

    Raises:
        ValueError: If the file is missing or damaged; `what` says what was expected.
    """
    with _opened(path, what, framework=framework) as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        return file.metadata() or {}, tensors


def read_metadata(path: str | Path, what: str) -> dict[str, str]:
    """Read the metadata of a safetensors file alone.

    Raises:
        ValueError: As `read_tensors`.
    """
    with _opened(path, what, framework="numpy") as file:
        return file.metadata() or {}


@contextmanager
def _opened(path: str | Path, what: str, *, framework: str) -> Iterator[Any]:
    from safetensors import SafetensorError, safe_open

    if not Path(path).is_file():
        raise ValueError(f"{path}: there is no such file, expected {what} that tokenize writes.")
    try:
        with safe_open(str(path), framework=framework) as file:
            yield file
    except SafetensorError as error:
        raise ValueError(f"{path} is not a safetensors file, or it is damaged ({error}).") from error
