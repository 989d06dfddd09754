"""How item texts become vectors, as the section `embedding` of a config says it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from sidrec.sections import Section


class EmbeddingConfig(Section):
    """How item texts become vectors."""

    method: Literal["tfidf", "minilm", "sentence_transformer", "file"] = Field(
        "tfidf",
        description="tfidf: TF-IDF and truncated SVD, no download; minilm: all-MiniLM-L6-v2 of the extra "
        "sidrec[minilm], no network; sentence_transformer: embedding.model; file: embedding.path. "
        "Absent: what embedding.path or embedding.model implies, else tfidf.",
    )
    model: str | None = Field(None, description="Name or directory of a sentence-transformers model.")
    path: Path | None = Field(
        None,
        description=".npy file of floats, one row per item in the order of the items table; used as it is.",
    )
    dim: int = Field(128, ge=1, description="Dimensions that tfidf keeps (fewer for a tiny catalogue).")
    batch_size: int = Field(64, ge=1, description="Texts per batch of a sentence-transformers model.")
    cache: Path | None = Field(
        None,
        description="Directory of vectors computed before, by hash of settings and texts; several runs may "
        "share it. Absent: `cache` in the run's output.",
    )

    @model_validator(mode="before")
    @classmethod
    def _infer_method(cls, values: Any) -> Any:
        """Let a path or a model speak for the method when that is absent."""
        if isinstance(values, dict) and "method" not in values:
            if values.get("path") is not None:
                return {**values, "method": "file"}
            if values.get("model") is not None:
                return {**values, "method": "sentence_transformer"}
        return values

    @model_validator(mode="after")
    def _check_method(self) -> EmbeddingConfig:
        """Refuse settings that the method would ignore, or lacks."""
        owners = {"path": ("file", self.path), "model": ("sentence_transformer", self.model)}
        for name, (method, value) in owners.items():
            if self.method == method and value is None:
                raise ValueError(f"embedding.method={method} needs embedding.{name}. Set it.")
            if self.method != method and value is not None:
                raise ValueError(
                    f"embedding.{name}={value} is read by embedding.method={method} only, but "
                    f"embedding.method={self.method}. Remove one of the two."
                )
        return self
