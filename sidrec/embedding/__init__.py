"""Item texts to vectors: by TF-IDF, by a model, from a file of one's own, or by several of these."""

from sidrec.embedding.config import EmbeddingConfig, SourceConfig
from sidrec.embedding.files import vectors_of_file
from sidrec.embedding.vectors import embed, embed_more

__all__ = ["EmbeddingConfig", "SourceConfig", "embed", "embed_more", "vectors_of_file"]
