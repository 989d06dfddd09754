"""Vectors by TF-IDF and truncated SVD (latent semantic analysis): fitted to a corpus, then fixed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from sidrec.errors import CatalogError

TFIDF_NAMES = ("words", "idf", "components")
_SETTINGS: dict[str, Any] = {"sublinear_tf": True, "token_pattern": r"(?u)\b\w+\b"}


@dataclass(frozen=True, eq=False)
class TfidfEmbedder:
    """What turns any text into a vector of the space that a corpus gave.

    Attributes:
        words: The corpus's words, in the order of the columns below.
        idf: (words,) float64 inverse document frequencies.
        components: (D, words) float64 right singular vectors.
    """

    words: list[str]
    idf: np.ndarray
    components: np.ndarray

    @classmethod
    def fit(cls, texts: Iterable[str], *, dim: int, seed: int) -> TfidfEmbedder:
        """Fit to N texts; D is the least of dim, N and the number of words.

        Raises:
            CatalogError: If no text has a word.
        """
        from sklearn.decomposition import TruncatedSVD
        from sklearn.feature_extraction.text import TfidfVectorizer

        vectorizer = TfidfVectorizer(**_SETTINGS)
        try:
            weights = vectorizer.fit_transform(texts)  # (N, words)
        except ValueError as error:
            if "empty vocabulary" not in str(error):
                raise
            raise CatalogError(
                f"embedding.method=tfidf found no word in any item text, the first is "
                f"{next(iter(texts))[:60]!r}. Check catalog.text, or use embedding.method=minilm."
            ) from error
        svd = TruncatedSVD(n_components=min(dim, *weights.shape), n_iter=7, random_state=seed)
        # Texts without any variance: scikit-learn divides by 0 in a statistic.
        with np.errstate(divide="ignore", invalid="ignore"):
            svd.fit(weights)
        return cls(vectorizer.get_feature_names_out().tolist(), vectorizer.idf_, svd.components_)

    def transform(self, texts: Iterable[str]) -> np.ndarray:
        """Return (n, D) float32 rows of length 1, of zeros for a text without a known word."""
        vectors = self._vectorizer.transform(texts) @ self._projection  # (n, D)
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        return np.divide(vectors, norms, out=np.zeros_like(vectors), where=norms > 1e-12).astype(np.float32)

    @cached_property
    def _vectorizer(self) -> Any:
        from sklearn.feature_extraction.text import TfidfVectorizer

        vectorizer = TfidfVectorizer(**_SETTINGS, vocabulary=self.words)
        vectorizer.idf_ = self.idf
        return vectorizer

    @cached_property
    def _projection(self) -> np.ndarray:
        return np.ascontiguousarray(self.components.T)

    def to_tensors(self) -> dict[str, np.ndarray]:
        """Return what `from_tensors` takes; words hold no line end, which so keeps them apart."""
        words = np.frombuffer("\n".join(self.words).encode(), dtype=np.uint8)
        return dict(zip(TFIDF_NAMES, (words, self.idf, self.components), strict=True))

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, np.ndarray]) -> TfidfEmbedder:
        """Return the embedder that `to_tensors` was called on."""
        words = tensors["words"].tobytes().decode().split("\n")
        return cls(words, tensors["idf"], tensors["components"])
