"""Vectors computed before, text by text: a directory of chunks that several processes may fill at once.

A chunk is a .npy file of records, the hash of a text and its vector. It is written under another name and
then renamed, so a reader sees all of it or nothing, and a kill loses the one being computed.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from sidrec.errors import ArtifactError

KEY = np.dtype(
    "S32"
)  # bytes that end in 0 compare as if they did not, which for equal lengths changes nothing


def keys_of(texts: Iterable[str]) -> np.ndarray:
    """Return the hashes of the texts, (N,) of `KEY`."""
    return np.array([hashlib.sha256(text.encode()).digest() for text in texts], dtype=KEY)


class VectorCache:
    """Hash of text -> vector, on disk; all vectors are of one model with the same settings.

    Attributes:
        directory: Of the chunks; made when the first is added.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._chunks: dict[str, np.ndarray] = {}
        self._keys = np.empty(0, dtype=KEY)
        self._order = np.empty(0, dtype=np.int64)
        self.refresh()

    def refresh(self) -> None:
        """Take note of what other processes have added.

        Raises:
            ArtifactError: If a chunk is broken.
        """
        for path in sorted(self.directory.glob("*.npy")):
            if path.name not in self._chunks:
                self._chunks[path.name] = _open_chunk(path)
        if self._chunks:
            self._keys = np.concatenate([chunk["key"] for chunk in self._chunks.values()])
            self._order = np.argsort(self._keys, kind="stable")

    def has(self, keys: np.ndarray) -> np.ndarray:
        """Say of each key whether its vector is there, (N,) bool."""
        return self._find(keys) >= 0

    def take(self, keys: np.ndarray) -> np.ndarray:
        """Return the vectors of keys that are there, (N, D) float32."""
        places = self._find(keys)
        assert (places >= 0).all()
        starts = np.cumsum([0, *(len(chunk) for chunk in self._chunks.values())])
        numbers = np.searchsorted(starts, places, side="right") - 1
        chunks = list(self._chunks.values())
        vectors = np.empty((len(keys), chunks[0].dtype["vector"].shape[0]), dtype=np.float32)
        for number in np.unique(numbers):
            here = numbers == number
            vectors[here] = chunks[number]["vector"][places[here] - starts[number]]
        return vectors

    def add(self, keys: np.ndarray, vectors: np.ndarray) -> None:
        """Write a chunk of (n,) keys and (n, D) vectors; `refresh` before they are looked for."""
        chunk = np.empty(len(keys), dtype=[("key", KEY), ("vector", "<f4", (vectors.shape[1],))])
        chunk["key"], chunk["vector"] = keys, vectors
        name = hashlib.sha256(keys.tobytes()).hexdigest()[:32]
        self.directory.mkdir(parents=True, exist_ok=True)
        unfinished = self.directory / f"{name}.{os.getpid()}.tmp"
        with unfinished.open("wb") as file:
            np.save(file, chunk, allow_pickle=False)
        unfinished.replace(self.directory / f"{name}.npy")

    def _find(self, keys: np.ndarray) -> np.ndarray:
        """Return where each key is in all chunks one after the other, -1 for one that is not."""
        if not len(self._keys):
            return np.full(len(keys), -1)
        nearest = np.searchsorted(self._keys, keys, sorter=self._order)
        places = self._order[np.minimum(nearest, len(self._keys) - 1)]
        return np.where(self._keys[places] == keys, places, -1)


def _open_chunk(path: Path) -> np.ndarray:
    try:
        chunk = np.load(path, mmap_mode="r", allow_pickle=False)
        if chunk.dtype.names != ("key", "vector"):
            raise ValueError(f"it holds {chunk.dtype}")
    except (ValueError, OSError, EOFError) as error:
        raise ArtifactError(
            f"The cached vectors {path} cannot be read ({error}). Remove the file."
        ) from error
    return chunk
