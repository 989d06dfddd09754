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
from sidrec.health import health_in
from sidrec.progress import progress, working
from sidrec.stages.collaborative import collaborative_input, collaborative_stages
from sidrec.stages.given_codes import read_import, read_source
from sidrec.stages.quantization import CONTROLS, quantize, seed_of_tokenizer
from tokenizer.health.figure import draw_health
from tokenizer.semantic_ids import SemanticIDs

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
    _check_device(config)
    stage = stage_of(config, catalog)
    logger.info("%s", catalog.describe())
    if stage.is_done():
        if not _holds(config.output / "catalog", catalog):  # tokenizing another one was interrupted
            _write_catalog(catalog, config.output / "catalog")
        logger.info("tokenize: done before, nothing to redo")
        return stage.directory
    directory = stage.begin()
    try:
        vectors = _embed(config, catalog, directory)
        semantic_ids, metrics = _make_semantic_ids(config, catalog, vectors, directory)
    except SidrecError:  # refused, vectors leave nothing behind
        shutil.rmtree(directory)
        raise
    semantic_ids.save(directory / "semantic_ids.parquet")
    semantic_ids.write_index(directory / "index.json")
    title = f"Semantic IDs of {catalog.num_items:,} items by {config.tokenizer.method}"
    draw_health(metrics, semantic_ids.codes, directory / "health.png", title=title)
    write_json(directory / "metrics.json", metrics)
    _write_catalog(catalog, config.output / "catalog")
    stage.finish(config.to_yaml(), {"catalog": provenance} if (provenance := catalog.provenance()) else None)
    _report(metrics)
    return stage.directory


def stage_of(config: Config, catalog: Catalog) -> Stage:
    """Return what this stage is made from and where it lies.

    Raises:
        ArtifactError: If `tokenizer.source` holds no semantic IDs.
        ConfigError: If they are of other items.
    """
    inputs = {"catalog": catalog.sha256}
    for path in config.embedding.paths:
        if path.is_file():
            inputs[f"vectors {path}"] = sha256_of_file(path)
    for name, table in (("source", read_source(config, catalog)), ("index", read_import(config, catalog))):
        if table is not None:
            inputs[name] = table.sha256
    inputs |= collaborative_input(config, catalog)
    settings: dict[str, object] = {
        "embedding": config.embedding.model_dump(mode="json", exclude={"cache"}),
        "tokenizer": config.tokenizer.model_dump(
            mode="json", exclude={"seed", "source", "index", "collaborative"}
        ),
    }
    if config.catalog.category is not None:  # else as it was before there was this setting
        settings["category"] = config.catalog.category
    return Stage(config.output / "tokenize", "tokenize", settings, inputs, seed_of_tokenizer(config))


def stages_of(config: Config, catalog: Catalog) -> list[Stage]:
    """Return all that this stage makes, and what it trains for that, in the order in which it is made."""
    return [*collaborative_stages(config, catalog), stage_of(config, catalog)]


def _check_output(output: Path) -> None:
    there = next(path for path in (output, *output.parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        kind = "not writable" if there.is_dir() else "a file"
        raise ConfigError(f"output: {output} cannot be written, since {there} is {kind}. Set another output.")


def _check_code_space(config: Config, num_items: int) -> None:
    if config.tokenizer.method == "import":
        return
    sizes = config.tokenizer.codebook_sizes
    space = int(np.prod(sizes, dtype=object))
    if space < num_items:
        raise ConfigError(
            f"tokenizer.codebook_sizes: {list(sizes)} names {space:,} items at most, but the catalogue has "
            f"{num_items:,}. Raise a size or add a level."
        )


def _check_device(config: Config) -> None:
    if config.tokenizer.device == "cpu":
        return
    import torch

    if not torch.cuda.is_available():
        raise ConfigError("tokenizer.device=cuda: PyTorch finds no GPU here. Leave it out, or set it to cpu.")


def _embed(config: Config, catalog: Catalog, directory: Path) -> np.ndarray:
    """Write the items' vectors."""
    with progress("embedding", "texts") as advance:
        return embed(
            catalog.items,
            config.embedding,
            directory=directory,
            cache=config.embedding.cache or config.output / "cache",
            seed=seed_of_tokenizer(config),
            progress=advance,
        )


def _make_semantic_ids(
    config: Config, catalog: Catalog, vectors: np.ndarray, directory: Path
) -> tuple[SemanticIDs, dict[str, Any]]:
    """Make the table that the config asks for, and the stage's metrics."""
    made = quantize(config, catalog, vectors, directory)
    with working("measuring the semantic IDs"):
        health = health_in(catalog, made.codes, made.sizes, vectors, **made.facts)
    metrics = {
        "method": config.tokenizer.method,
        "collisions": config.tokenizer.collisions,
        "items": catalog.num_items,
        "codebook_sizes": list(made.sizes),
        "best_epoch": made.best_epoch,
        "catalog": catalog.statistics(),
        **health,
    }
    return SemanticIDs(catalog.items["item_id"].tolist(), made.codes, made.sizes), metrics


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
    fitted = ""
    if metrics["explained"] is not None:
        fitted = (
            f"; collision rate {metrics['collision_rate_before']:.3f} before, "
            f"{metrics['collision_rate_after']:.3f} after moving {metrics['items_moved']} items; "
            f"{100 * metrics['explained']:.0f}% of the variance explained"
        )
    elif metrics["method"] in CONTROLS:
        fitted = f"; {metrics['method']} semantic IDs, a control"
    logger.info("tokenize: codes used per level %s%s", used, fitted)
