"""Vectors of one's own, from a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sidrec.embedding.checks import require_usable_rows
from sidrec.errors import ConfigError


def read_vectors(path: Path, num_items: int) -> np.ndarray:
    """Read the user's own vectors."""
    setting = f"embedding.path={path}"
    vectors = load_array(path, setting)
    if vectors.ndim != 2 or vectors.dtype.kind not in "fiu" or vectors.shape[1] < 1:
        raise ConfigError(
            f"{setting} holds {vectors.dtype} of shape {vectors.shape}, expected numbers of shape "
            f"({num_items}, D). Save it with numpy.save('{path.name}', vectors.astype('float32'))."
        )
    if len(vectors) != num_items:
        raise ConfigError(
            f"{setting} has {len(vectors)} rows, but the catalogue has {num_items} items. "
            "Write one row per item, in the order of the items table."
        )
    vectors = vectors.astype(np.float32)
    require_usable_rows(vectors, setting)
    return vectors


def load_array(path: Path, setting: str) -> np.ndarray:
    """Load one array, never a pickle."""
    if not path.is_file():
        raise ConfigError(f"{setting}: there is no such file. Check the path.")
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise ConfigError(
            f"{setting} is not a readable .npy file ({error}). Write it with numpy.save, from floats."
        ) from error
    if not isinstance(array, np.ndarray):
        array.close()
        raise ConfigError(f"{setting} is an .npz archive, expected one array. Write it with numpy.save.")
    return array
