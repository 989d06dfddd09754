"""Vectors of a corpus by TF-IDF and truncated SVD."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sidrec.errors import CatalogError


def tfidf_vectors(texts: Sequence[str], *, dim: int, seed: int) -> np.ndarray:
    """Return (N, min(dim, N, words)) float32 vectors, as latent semantic analysis makes them."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(sublinear_tf=True, token_pattern=r"(?u)\b\w+\b")
    try:
        weights = vectorizer.fit_transform(texts)  # (N, words)
    except ValueError as error:
        if "empty vocabulary" not in str(error):
            raise
        raise CatalogError(
            f"embedding.method=tfidf found no word in any of the {len(texts)} item texts, the first is "
            f"{texts[0][:60]!r}. Check catalog.text, or use embedding.method=minilm."
        ) from error
    svd = TruncatedSVD(n_components=min(dim, *weights.shape), n_iter=7, random_state=seed)
    with np.errstate(
        invalid="ignore"
    ):  # texts without any variance: scikit-learn divides 0 by 0 in a statistic
        vectors = svd.fit_transform(weights)  # (N, D)
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, norms, out=np.zeros_like(vectors), where=norms > 1e-12).astype(np.float32)
