"""Open the file of a fitted tokenizer, whichever made it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenizer.arrays import read_metadata
from tokenizer.hybrid import HybridModel, Join
from tokenizer.model import Model
from tokenizer.vector_quantizer import VectorQuantizer


def open_model(path: str | Path) -> Model:
    """Read what any tokenizer saved.

    Raises:
        ValueError: If the file is missing, damaged, or of no tokenizer.
    """
    kinds = read_metadata(path, "a tokenizer")
    model: Model
    if "rqvae" in kinds:
        from tokenizer.neural.autoencoder import Autoencoder  # torch: only where a file has networks

        model = Autoencoder.load(path)
    elif "vector_quantizer" in kinds:
        model = VectorQuantizer.load(path)
    else:
        raise ValueError(f"{path} holds arrays, but not of a tokenizer that sidrec wrote.")
    join = maker_of(path).get("join")
    return model if join is None else HybridModel(model, Join(**join))


def maker_of(path: str | Path) -> dict[str, Any]:
    """Return what was said about a file's maker, empty if nothing."""
    metadata = read_metadata(path, "a tokenizer")
    facts: dict[str, Any] = next((json.loads(value) for value in metadata.values()), {})
    return facts.get("made_by") or {}
