"""Item texts to vectors: by TF-IDF, by a model, from a file of one's own, or by several of these."""

from sidrec.embedding.config import EmbeddingConfig, SourceConfig
from sidrec.embedding.vectors import embed, embed_more

__all__ = ["EmbeddingConfig", "SourceConfig", "embed", "embed_more"]
