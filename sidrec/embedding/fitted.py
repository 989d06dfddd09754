"""What was fitted to the first items, as a file: it puts later ones into the same space."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from sidrec.errors import ArtifactError
from tokenizer.arrays import read_tensors

Tensors = dict[str, np.ndarray]


def write_fitted(path: Path, tensors: Mapping[str, np.ndarray]) -> None:
    """Write arrays of any layout under their names."""
    from safetensors.numpy import save_file

    save_file({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}, path)


def read_fitted(path: Path, *, remedy: str) -> Tensors:
    """Read what `write_fitted` wrote.

    Raises:
        ArtifactError: If it is missing or damaged; `remedy` says what to do.
    """
    try:
        return read_tensors(path, "fitted vectors", framework="numpy")[1]
    except ValueError as error:
        raise ArtifactError(f"{error} {remedy}") from error
