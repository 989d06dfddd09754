"""Item texts to vectors, by whatever `embedding` says, and later items into the same space.

Which texts an item has is the catalogue's business; what becomes of the vectors is the tokenizer's.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd

from sidrec.embedding.blocks import row_blocks, write_blocks
from sidrec.embedding.checks import note_duplicates, require_spread
from sidrec.embedding.combine import SCALING_NAMES, Scaling
from sidrec.embedding.config import EmbeddingConfig, SourceConfig
from sidrec.embedding.fitted import Tensors, read_fitted, write_fitted
from sidrec.embedding.source import Source, sources_of
from sidrec.errors import ArtifactError, ConfigError
from sidrec.progress import Advance

VECTORS_FILE = "embeddings.npy"
FITTED_FILE = "embedder.safetensors"


def embed(
    items: pd.DataFrame,
    config: EmbeddingConfig,
    *,
    directory: Path,
    cache: Path | None,
    seed: int,
    progress: Advance | None = None,
) -> np.ndarray:
    """Write one vector per item to `directory`, and what puts later items into the same space.

    Same texts, settings and seed give the same bytes; a model's vectors that come from the cache are the same
    to rounding, as their last bits show which texts were read in one batch. Equal texts get equal vectors.

    Rows are of length 1, except those of a file, which stay as they are, and those of several sources. With
    `tfidf`, D is at most the number of texts and of words, and a text without a word is a row of zeros.

    Args:
        items: N rows with `item_id` and `text`, all ids different.
        config: The method and its settings.
        directory: Gets `embeddings.npy`, and `embedder.safetensors` where something is fitted to the items.
        cache: Directory of vectors computed before; None computes anew.
        seed: Of the randomised SVD.
        progress: Called with (texts done, texts in all) while a model runs.

    Returns:
        (N, D) float32, finite, as a map of the file; what is written into it does not reach the file.

    Raises:
        ConfigError: If a model or a file cannot be read, has not one usable row per item, or tells no item
            from another.
        CatalogError: If no text has a word, or a table of vectors cannot be read.
        ArtifactError: If cached vectors are broken.
    """
    sources = sources_of(config)
    with _directory_of(cache) as cache:
        if config.sources:
            fitted = _embed_all(items, sources, directory, cache=cache, seed=seed, progress=progress)
        else:
            path = directory / VECTORS_FILE
            fitted = _embed_one(items, sources[0], path, cache=cache, seed=seed, progress=progress)
    if fitted:
        write_fitted(directory / FITTED_FILE, fitted)
    vectors = np.load(directory / VECTORS_FILE, mmap_mode="c", allow_pickle=False)
    note_duplicates(vectors, items["item_id"])
    return vectors


def embed_more(
    items: pd.DataFrame,
    config: EmbeddingConfig,
    *,
    fitted: Path,
    cache: Path | None,
    vectors: Path | None = None,
) -> np.ndarray:
    """Return the vectors of further items in the space of those embedded before; nothing is fitted anew.

    Args:
        items: n rows with `item_id` and `text`.
        config: That of the items before.
        fitted: Directory that `embed` wrote: the finished `tokenize/` of the run.
        cache: Directory of vectors that a model computed before; None computes anew.
        vectors: File of the further items' vectors, where the config (or one of its sources, not more) names
            a file; of the same forms and width.

    Returns:
        (n, D) float32, finite, D as in `fitted`.

    Raises:
        ConfigError: If `vectors` is missing, not asked for or unusable, or a model cannot be read.
        CatalogError: If `vectors` is a table that cannot be read.
        ArtifactError: If `fitted` does not hold what the config needs.
    """
    width = _width(fitted)
    sources = _with_file(sources_of(config), vectors)
    if not len(items):
        return np.empty((0, width), dtype=np.float32)
    parts = []
    with _directory_of(cache) as cache:
        for source, ours in zip(
            sources, _fitted_parts(fitted, sources, several=bool(config.sources)), strict=True
        ):
            scaling = Scaling.from_tensors(ours) if config.sources else None
            found = np.concatenate(list(source.blocks(items, ours, cache=cache, progress=None)))
            expected = width if scaling is None else len(scaling.mean)
            if found.shape[1] != expected:
                raise ConfigError(
                    f"{source.setting} gives new items vectors of {found.shape[1]} numbers, but those in "
                    f"{fitted} have {expected}. Use what gave those."
                )
            source.check(found, items)
            parts.append(found if scaling is None else scaling.apply(found))
    return np.concatenate(parts, axis=1)


def _embed_one(
    items: pd.DataFrame, source: Source, path: Path, *, cache: Path, seed: int, progress: Advance | None
) -> Tensors:
    """Write the vectors of a source to `path` and return what was fitted."""
    fitted = source.fit(items, cache=cache, seed=seed)
    blocks = source.blocks(items, fitted, cache=cache, progress=progress)
    vectors = write_blocks(path, blocks, num_rows=len(items))
    source.check(vectors, items)
    require_spread(vectors, source.setting)
    return fitted


def _embed_all(
    items: pd.DataFrame,
    sources: list[Source],
    directory: Path,
    *,
    cache: Path,
    seed: int,
    progress: Advance | None,
) -> Tensors:
    """Write the vectors of all sources side by side and return what was fitted, each under its number."""
    fitted: Tensors = {}
    parts: list[tuple[np.ndarray, Scaling]] = []
    with _fresh(directory / "sources") as beside:
        for number, source in enumerate(sources):
            path = beside / f"{number}.npy"
            ours = _embed_one(items, source, path, cache=cache, seed=seed, progress=progress)
            vectors = np.load(path, mmap_mode="r", allow_pickle=False)
            assert isinstance(source.options, SourceConfig)
            scaling = Scaling.fit(vectors, weight=source.options.weight, setting=source.setting)
            parts.append((vectors, scaling))
            fitted |= {f"{number}.{name}": tensor for name, tensor in (ours | scaling.to_tensors()).items()}
        blocks = (
            np.concatenate([scaling.apply(vectors[rows]) for vectors, scaling in parts], axis=1)
            for rows in row_blocks(len(items))
        )
        write_blocks(directory / VECTORS_FILE, blocks, num_rows=len(items))
    return fitted


def _fitted_parts(fitted: Path, sources: list[Source], *, several: bool) -> list[Tensors]:
    """Return what `embed` has fitted for each source.

    Raises:
        ArtifactError: If that is missing, or of other sources.
    """
    wanted = [source.fitted_names + (SCALING_NAMES if several else ()) for source in sources]
    if not any(wanted):
        return [{}]
    path = fitted / FITTED_FILE
    remedy = "The items before must be embedded again. Rerun: sidrec tokenize"
    tensors = read_fitted(path, remedy=remedy)
    prefixes = [f"{number}." for number in range(len(sources))] if several else [""]
    if set(tensors) != {
        prefix + name for prefix, names in zip(prefixes, wanted, strict=True) for name in names
    }:
        raise ArtifactError(f"{path} was made by another section `embedding` than the config has. {remedy}")
    return [
        {name: tensors[prefix + name] for name in names}
        for prefix, names in zip(prefixes, wanted, strict=True)
    ]


def _with_file(sources: list[Source], vectors: Path | None) -> list[Source]:
    """Let the source that reads a file read this one.

    Raises:
        ConfigError: If there is none, or one and no file is given, or several.
    """
    readers = [source for source in sources if source.options.path is not None]
    if len(readers) > 1:
        raise ConfigError(
            f"New items cannot be embedded where {len(readers)} sources are files ({readers[0].setting}, "
            f"{readers[1].setting}), since one file of vectors is taken. Put them side by side in one file, "
            "name that in embedding.sources, and rerun: sidrec tokenize"
        )
    if not readers and vectors is not None:
        raise ConfigError(
            f"The file of vectors {vectors} is not asked for: {sources[0].setting} embeds the new items' "
            "texts. Leave it out."
        )
    if readers and vectors is None:
        raise ConfigError(
            f"The items before have their vectors from {readers[0].setting}, so the new ones need a file of "
            "vectors too. Name one."
        )
    return [
        Source(source.options.model_copy(update={"path": vectors}), f"The file of vectors {vectors}")
        if source in readers
        else source
        for source in sources
    ]


def _width(fitted: Path) -> int:
    """Return D of the items embedded before."""
    try:
        vectors = np.load(fitted / VECTORS_FILE, mmap_mode="r", allow_pickle=False)
        return int(vectors.shape[1])
    except (OSError, ValueError, EOFError) as error:
        raise ArtifactError(
            f"{fitted} holds no vectors of the items before ({error}). Run first: sidrec tokenize"
        ) from error


@contextmanager
def _fresh(directory: Path) -> Iterator[Path]:
    """Yield an empty directory that is gone afterwards, or when a run that was killed is started again."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    try:
        yield directory
    finally:
        shutil.rmtree(directory)


@contextmanager
def _directory_of(cache: Path | None) -> Iterator[Path]:
    """Yield the cache, or a directory that is gone afterwards."""
    if cache is not None:
        yield Path(cache)
        return
    with tempfile.TemporaryDirectory() as temporary:
        yield Path(temporary)
