"""Item texts to vectors: by TF-IDF, by a model, or from a file of one's own."""

from sidrec.embedding.config import EmbeddingConfig
from sidrec.embedding.vectors import embed

__all__ = ["EmbeddingConfig", "embed"]
