"""Open what `tokenize` left to encode more items with, whichever tokenizer that is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tokenizer.arrays import read_tensors
from tokenizer.vector_quantizer import VectorQuantizer

if TYPE_CHECKING:
    from tokenizer.rqvae import RQVAE


def load_quantizer(path: str | Path) -> RQVAE | VectorQuantizer:
    """Read a `tokenizer.safetensors`; the file itself says what it is.

    Raises:
        ValueError: If the file is missing or damaged, or is of neither.
    """
    metadata, _ = read_tensors(path, "the quantizer", framework="numpy")
    if "vector_quantizer" in metadata:
        return VectorQuantizer.load(path)
    from tokenizer.rqvae import RQVAE  # torch, which codebooks alone do not need

    return RQVAE.load(path)
