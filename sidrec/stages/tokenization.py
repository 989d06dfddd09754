"""Stage `tokenize`: item texts -> vectors -> semantic IDs."""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from sidrec.artifacts import Stage, sha256_of_file, write_json
from sidrec.catalog import Catalog, read_catalog
from sidrec.config import Config
from sidrec.embedding import embed
from sidrec.errors import CatalogError, ConfigError, SidrecError
from sidrec.progress import progress

logger = logging.getLogger(__name__)


def tokenize(config: Config, *, catalog: Catalog | None = None) -> Path:
    """Give every item a semantic ID of its own and write `catalog/` and `tokenize/`.

    Args:
        config: Sections catalog, embedding, tokenizer and seed are read.
        catalog: Used instead of the files that `config.catalog` names.

    Returns:
        The stage's directory; untouched if it already holds this result.

    Raises:
        CatalogError: If the catalogue cannot be read.
        ConfigError: If the code space is smaller than the catalogue, or `output` cannot be written.
    """
    _check_output(config.output)
    catalog = read_catalog(config.catalog) if catalog is None else catalog
    _check_code_space(config, catalog.num_items)
    inputs = {"catalog": catalog.sha256}
    if config.embedding.path is not None and config.embedding.path.is_file():
        inputs["vectors"] = sha256_of_file(config.embedding.path)
    settings = {name: getattr(config, name).model_dump(mode="json") for name in ("embedding", "tokenizer")}
    stage = Stage(config.output / "tokenize", "tokenize", settings, inputs, config.seed)
    logger.info("%s", catalog.describe())
    if stage.is_done():
        if not _holds(config.output / "catalog", catalog):  # tokenizing another one was interrupted
            _write_catalog(catalog, config.output / "catalog")
        logger.info("tokenize: done before, nothing to redo")
        return stage.directory
    with progress("embedding", "texts") as advance:
        vectors = embed(
            catalog.items["text"].tolist(),
            config.embedding,
            cache=config.output / "cache",
            seed=config.seed,
            progress=advance,
        )
    directory = stage.begin()
    np.save(directory / "embeddings.npy", vectors, allow_pickle=False)
    metrics = _fit(config, catalog, vectors, directory)
    write_json(directory / "metrics.json", metrics)
    _write_catalog(catalog, config.output / "catalog")
    stage.finish(config.to_yaml())
    _report(metrics)
    return stage.directory


def _check_output(output: Path) -> None:
    there = next(path for path in (output, *output.parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        kind = "not writable" if there.is_dir() else "a file"
        raise ConfigError(f"output: {output} cannot be written, since {there} is {kind}. Set another output.")


def _check_code_space(config: Config, num_items: int) -> None:
    sizes = config.tokenizer.codebook_sizes
    space = int(np.prod(sizes, dtype=object))
    if space < num_items:
        raise ConfigError(
            f"tokenizer.codebook_sizes: {list(sizes)} names {space:,} items at most, but the catalogue has "
            f"{num_items:,}. Raise a size or add a level."
        )


def _fit(config: Config, catalog: Catalog, vectors: np.ndarray, directory: Path) -> dict[str, Any]:
    """Train the RQ-VAE, resolve collisions, write the stage's files; return its metrics."""
    from tokenizer.collisions import make_unique
    from tokenizer.health import health
    from tokenizer.rqvae import RQVAESettings
    from tokenizer.semantic_ids import SemanticIDs
    from tokenizer.train import fit_rqvae

    settings = RQVAESettings(**config.tokenizer.model_dump(), seed=config.seed)
    with progress("RQ-VAE", "epochs") as advance:
        fitted = fit_rqvae(vectors, settings, on_epoch=lambda epoch, _: advance(epoch, settings.epochs))
    codes = fitted.model.encode(vectors)
    error = float(((fitted.model.decode(codes) - vectors) ** 2).sum(1).mean())
    resolution = make_unique(codes, fitted.model.latents(vectors), fitted.model.codebooks())
    semantic_ids = SemanticIDs(catalog.items["item_id"].tolist(), resolution.codes, settings.codebook_sizes)
    fitted.model.save(directory / "tokenizer.safetensors")
    semantic_ids.save(directory / "semantic_ids.parquet")
    semantic_ids.write_index(directory / "index.json")
    return {
        "items": catalog.num_items,
        "codebook_sizes": list(settings.codebook_sizes),
        "best_epoch": fitted.best_epoch,
        "catalog": catalog.statistics(),
        **health(
            resolution.codes,
            settings.codebook_sizes,
            moved=resolution.moved,
            collision_rate_before=resolution.collision_rate_before,
            reconstruction_error=error,
            variance=float(((vectors - vectors.mean(0)) ** 2).sum(1).mean()),
        ),
    }


def _holds(directory: Path, catalog: Catalog) -> bool:
    try:
        return Catalog.load(directory).sha256 == catalog.sha256
    except SidrecError:
        return False


def _write_catalog(catalog: Catalog, directory: Path) -> None:
    """Write beside, then swap."""
    partial = directory.with_name("catalog.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        catalog.save(partial)
    except OSError as error:
        raise CatalogError(f"{partial} cannot be written ({error}). Check output.") from error
    shutil.rmtree(directory, ignore_errors=True)
    partial.replace(directory)


def _report(metrics: dict[str, Any]) -> None:
    used = ", ".join(f"{level['codes_used']} of {level['codebook_size']}" for level in metrics["levels"])
    logger.info(
        "tokenize: codes used per level %s; collision rate %.3f before, %.3f after moving %d items; "
        "%.0f%% of the variance explained",
        used,
        metrics["collision_rate_before"],
        metrics["collision_rate_after"],
        metrics["items_moved"],
        100 * metrics["explained"],
    )
