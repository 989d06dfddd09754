"""Item vectors -> codes, by the method that `tokenizer.method` names, and what becomes of collisions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from sidrec.artifacts import load_semantic_ids
from sidrec.catalog import Catalog
from sidrec.config import Config
from sidrec.errors import ConfigError
from sidrec.progress import progress
from tokenizer.controls import random_codes, shuffled_codes
from tokenizer.foreign import in_order_of, read_codes
from tokenizer.semantic_ids import SemanticIDs

CONTROLS = ("shuffled", "random")
KMEANS = ("rqkmeans", "balanced_rqkmeans", "opq")


@dataclass(frozen=True)
class Quantization:
    """The codes of N items, and where they come from.

    Attributes:
        codes: (N, L) int64.
        sizes: K of each level.
        latents: (N, d) what the codes stand for, and `books`, per level (K, d), how: None for controls.
        save: Writes what encodes other items, if anything does.
        facts: For `health` and metrics.json.
    """

    codes: np.ndarray
    sizes: tuple[int, ...]
    latents: np.ndarray | None = None
    books: list[np.ndarray] | None = None
    save: Callable[[Path], None] | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    best_epoch: int | None = None


def quantize(config: Config, catalog: Catalog, vectors: np.ndarray) -> Quantization:
    """Make the codes of every item and resolve collisions as `tokenizer.collisions` says.

    Raises:
        ConfigError: If `tokenizer.index` does not fit the catalogue.
    """
    method, seed = config.tokenizer.method, seed_of_tokenizer(config)
    if method == "random":
        sizes = config.tokenizer.codebook_sizes
        return Quantization(random_codes(catalog.num_items, sizes, seed=seed), sizes)
    source = read_source(config, catalog)
    if source is not None:
        return Quantization(shuffled_codes(source.codes, seed=seed), source.codebook_sizes)
    if method == "import":
        made = _imported(config, catalog, vectors)
    elif method in KMEANS:
        made = _clustered(config, vectors)
    else:
        made = _trained(config, vectors)
    made = _resolved(made, config.tokenizer.collisions)
    if method == "shuffled":
        return Quantization(shuffled_codes(made.codes, seed=seed), made.sizes)
    return made


def seed_of_tokenizer(config: Config) -> int:
    """Return the seed of everything random in the stage."""
    return config.seed if config.tokenizer.seed is None else config.tokenizer.seed


def read_source(config: Config, catalog: Catalog) -> SemanticIDs | None:
    """Load the semantic IDs that `tokenizer.source` names, which must be of the same items."""
    if config.tokenizer.source is None:
        return None
    source = load_semantic_ids(config.tokenizer.source / "tokenize")
    if source.item_ids != catalog.items["item_id"].tolist():
        raise ConfigError(
            f"tokenizer.source: {config.tokenizer.source} has semantic IDs of {len(source)} other items than "
            f"the {catalog.num_items} of this catalogue. Name a run of the same catalogue."
        )
    return source


def read_import(config: Config, catalog: Catalog) -> SemanticIDs | None:
    """Load the table that `tokenizer.index` names, in the order of the catalogue.

    Raises:
        ConfigError: If it cannot be read, or names other items than the catalogue has.
    """
    path = config.tokenizer.index
    if path is None:
        return None
    try:
        table = read_codes(path)
    except ValueError as error:
        raise ConfigError(f"tokenizer.index: {error}") from error
    try:
        return in_order_of(table, catalog.items["item_id"].tolist())
    except ValueError as error:
        raise ConfigError(
            f"tokenizer.index: {path} is not of this catalogue: {error} Both must name the same."
        ) from error


def _imported(config: Config, catalog: Catalog, vectors: np.ndarray) -> Quantization:
    """Codes of others; code vectors are the means of what the items of a code leave over."""
    from tokenizer.collisions import mean_codebooks

    table = read_import(config, catalog)
    assert table is not None
    latents = vectors.astype(np.float64) - vectors.mean(0)
    books = mean_codebooks(table.codes, latents, table.codebook_sizes)
    sums = sum(book[table.codes[:, level]] for level, book in enumerate(books))
    facts = _reconstruction(latents, np.asarray(sums))
    return Quantization(table.codes, table.codebook_sizes, latents, books, facts=facts)


def _clustered(config: Config, vectors: np.ndarray) -> Quantization:
    from tokenizer.kmeans import fit_opq, fit_rqkmeans

    section, seed = config.tokenizer, seed_of_tokenizer(config)
    if section.method == "opq":
        fit = fit_opq(vectors, section.codebook_sizes, iterations=section.iterations, seed=seed)
    else:
        with progress("k-means", "levels") as advance:
            fit = fit_rqkmeans(
                vectors,
                section.codebook_sizes,
                balanced=section.method == "balanced_rqkmeans",
                iterations=section.iterations,
                seed=seed,
                on_level=lambda level: advance(level, len(section.codebook_sizes)),
            )
    facts = _reconstruction(vectors, fit.model.decode(fit.codes))
    return Quantization(
        fit.codes,
        section.codebook_sizes,
        fit.model.latents(vectors),
        fit.model.codebooks(),
        fit.model.save,
        facts,
    )


def _trained(config: Config, vectors: np.ndarray) -> Quantization:
    from tokenizer.rqvae import RQVAESettings
    from tokenizer.train import fit_rqvae

    names = RQVAESettings.__dataclass_fields__.keys() - {"seed"}
    settings = RQVAESettings(
        **config.tokenizer.model_dump(include=set(names)), seed=seed_of_tokenizer(config)
    )
    with progress("RQ-VAE", "epochs") as advance:
        fitted = fit_rqvae(vectors, settings, on_epoch=lambda epoch, _: advance(epoch, settings.epochs))
    model = fitted.model
    codes = model.encode(vectors)
    return Quantization(
        codes,
        settings.codebook_sizes,
        model.latents(vectors),
        model.codebooks(),
        model.save,
        _reconstruction(vectors, model.decode(codes)),
        fitted.best_epoch,
    )


def _reconstruction(vectors: np.ndarray, decoded: np.ndarray) -> dict[str, Any]:
    """What `health` is told about how well codes give the vectors back."""
    return {
        "reconstruction_error": float(((decoded - vectors) ** 2).sum(1).mean()),
        "variance": float(((vectors - vectors.mean(0)) ** 2).sum(1).mean()),
    }


def _resolved(made: Quantization, how: str) -> Quantization:
    """Resolve collisions, or leave them."""
    from tokenizer.collisions import add_level, collision_rate, make_unique

    facts = {**made.facts, "codes_before": made.codes, "extra_error": 0.0}
    if how == "keep" or (how == "extra_level" and collision_rate(made.codes) == 0):
        return replace(made, facts=facts)
    if how == "extra_level":
        codes = add_level(made.codes)
        return replace(made, codes=codes, sizes=(*made.sizes, int(codes[:, -1].max()) + 1), facts=facts)
    assert made.latents is not None
    assert made.books is not None
    resolution = make_unique(made.codes, made.latents, made.books)
    spread = float(made.latents.var(axis=0, dtype=np.float64).sum())
    facts["extra_error"] = resolution.extra_error / spread if spread else 0.0
    return replace(made, codes=resolution.codes, facts=facts)
