"""How item texts become vectors, as the section `embedding` of a config says it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from sidrec.sections import Section

_MODELS = ("minilm", "sentence_transformer", "transformer")
_READ_BY = {
    "path": ("file",),
    "item_id": ("file",),
    "model": ("sentence_transformer", "transformer"),
    "pooling": ("transformer",),
    "prefix": _MODELS,
    "max_length": _MODELS,
    "sources": ("sources",),
}
"""Option -> the methods that read it."""
_NEEDED = ("path", "model", "sources")


class VectorOptions(Section):
    """Where vectors come from; the section itself and each of its sources say this."""

    section: ClassVar[str] = ""
    """What stands before the name of an option."""

    method: str
    model: str | None = Field(
        None,
        description="Name or directory of a sentence-transformers model, or with method transformer of any "
        "Hugging Face text encoder or causal LM with safetensors weights.",
    )
    path: Path | None = Field(
        None,
        description="Your own vectors, used as they are: a .npy file of floats, one row per item in the "
        "order of the items table; or .parquet, .csv, .tsv or .jsonl in any order, with a column of item "
        "ids and columns of numbers, or one column of lists of numbers (not in .csv and .tsv).",
    )
    item_id: str | None = Field(
        None, description="Column of item ids in the table that path names. Absent: item_id."
    )
    dim: int = Field(128, ge=1, description="Dimensions that tfidf keeps (fewer for a tiny catalogue).")
    batch_size: int = Field(64, ge=1, description="Texts that a model reads at once.")
    pooling: Literal["mean", "last", "cls"] | None = Field(
        None,
        description="With method transformer, which hidden states of the last layer become the vector: mean "
        "over all tokens (absent: this); last token, as causal LMs need; cls: first token.",
    )
    prefix: str | None = Field(
        None,
        description="Put before each text that a model reads, and before each window of a long one. Absent: "
        "none, or the default prompt of a sentence-transformers model.",
    )
    max_length: int | None = Field(
        None,
        ge=1,
        description="Tokens that a model reads at once, prefix and special tokens included. A longer text is "
        "cut into windows, whose vectors are averaged by their number of tokens. Absent: the model's own.",
    )

    @model_validator(mode="before")
    @classmethod
    def _infer_method(cls, values: Any) -> Any:
        """Let another option speak for the method when that is absent."""
        if isinstance(values, dict) and "method" not in values:
            implied = (("path", "file"), ("pooling", "transformer"), ("model", "sentence_transformer"))
            for name, method in (*implied, ("sources", "sources")):
                if values.get(name):
                    return {**values, "method": method}
        return values

    @model_validator(mode="after")
    def _check_method(self) -> VectorOptions:
        """Refuse settings that the method would ignore, or lacks."""
        for name, methods in _READ_BY.items():
            value = getattr(self, name, None)
            is_set = value is not None and value != ()
            if name in _NEEDED and self.method in methods and not is_set:
                raise ValueError(f"{self.section}method={self.method} needs {self.section}{name}. Set it.")
            if is_set and self.method not in methods:
                shown = name if name == "sources" else f"{name}={value}"
                raise ValueError(
                    f"{self.section}{shown} is read by {self.section}method={' or '.join(methods)} only, but "
                    f"{self.section}method={self.method}. Remove one of the two."
                )
        if self.path is not None and self.path.suffix == ".npy" and self.item_id is not None:
            raise ValueError(
                f"{self.section}item_id={self.item_id} names a column, but {self.section}path={self.path} is "
                f"an array: its rows are in the order of the items. Remove {self.section}item_id."
            )
        return self


class SourceConfig(VectorOptions):
    """One of several sources of vectors."""

    method: Literal["tfidf", "minilm", "sentence_transformer", "transformer", "file"] = Field(
        "tfidf", description="As embedding.method."
    )
    weight: float = Field(
        1.0, gt=0, description="How much the source counts: its root mean squared length in the whole."
    )


class EmbeddingConfig(VectorOptions):
    """How item texts become vectors."""

    section: ClassVar[str] = "embedding."

    method: Literal["tfidf", "minilm", "sentence_transformer", "transformer", "file", "sources"] = Field(
        "tfidf",
        description="tfidf: TF-IDF and truncated SVD, no download; minilm: all-MiniLM-L6-v2 of the extra "
        "sidrec[minilm], no network; sentence_transformer or transformer: embedding.model; file: "
        "embedding.path; sources: several of these. Absent: what path, pooling, model or sources implies, "
        "else tfidf.",
    )
    sources: tuple[SourceConfig, ...] = Field(
        (),
        description="Several sources of vectors, put side by side: a list of the options above, and a weight "
        "each. A source is centred and divided by its root mean squared distance from the mean, so that all "
        "have mean squared norm 1, then multiplied by its weight. In place of method, model and path.",
    )
    cache: Path | None = Field(
        None,
        description="Directory of vectors computed before, by hash of settings and texts: a model reads only "
        "texts that are new. Several runs may share it. Absent: `cache` in the run's output.",
    )

    @property
    def paths(self) -> list[Path]:
        """The files of vectors that are read, in the order of the sources."""
        return [source.path for source in (self.sources or (self,)) if source.path is not None]
