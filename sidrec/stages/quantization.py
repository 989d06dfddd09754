"""Item vectors -> codes, by the method that `tokenizer.method` names, and what becomes of collisions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sidrec.catalog import Catalog
from sidrec.config import Config
from sidrec.progress import progress
from sidrec.stages.collaborative import collaborative_vectors
from sidrec.stages.given_codes import read_import, read_source
from tokenizer.arrays import blocks, mean_and_spread
from tokenizer.controls import random_codes, shuffled_codes
from tokenizer.estimator import Estimator
from tokenizer.foreign import quantizer_of
from tokenizer.model import Model
from tokenizer.settings import RQVAESettings

if TYPE_CHECKING:
    from tokenizer.rqvae import RQVAE

CONTROLS = ("shuffled", "random")


@dataclass(frozen=True)
class Quantization:
    """The codes of N items, and where they come from.

    Attributes:
        codes: (N, L) int64.
        sizes: K of each level.
        latents: (N, d) what the codes stand for, and `books`, per level (K, d), how: None for controls.
        model: What encodes other items, if anything does.
        facts: For `health` and metrics.json.
        best_epoch: Of a training.
    """

    codes: np.ndarray
    sizes: tuple[int, ...]
    latents: np.ndarray | None = None
    books: list[np.ndarray] | None = None
    model: Model | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    best_epoch: int | None = None


def quantize(config: Config, catalog: Catalog, vectors: np.ndarray, directory: Path) -> Quantization:
    """Make the codes of every item and resolve collisions as `tokenizer.collisions` says.

    What encodes other items is written to `tokenizer.safetensors` in `directory`.

    Raises:
        ConfigError: If `tokenizer.index` does not fit the catalogue, or `tokenizer.collaborative` has not one
            usable row per item.
    """
    method, seed = config.tokenizer.method, seed_of_tokenizer(config)
    if method == "random":
        sizes = config.tokenizer.codebook_sizes
        return Quantization(random_codes(catalog.num_items, sizes, seed=seed), sizes)
    source = read_source(config, catalog)
    if source is not None:
        return Quantization(shuffled_codes(source.codes, seed=seed), source.codebook_sizes)
    made = _imported(config, catalog, vectors) if method == "import" else _fitted(config, catalog, vectors)
    made = _resolved(made, config.tokenizer.collisions)
    if method == "shuffled":
        return Quantization(shuffled_codes(made.codes, seed=seed), made.sizes)
    if made.model is not None:
        made.model.save(directory / "tokenizer.safetensors", made_by={"name": method})
    return made


def seed_of_tokenizer(config: Config) -> int:
    """Return the seed of everything random in the stage."""
    return config.seed if config.tokenizer.seed is None else config.tokenizer.seed


def _imported(config: Config, catalog: Catalog, vectors: np.ndarray) -> Quantization:
    """Codes of others, with the quantizer that they imply."""
    table = read_import(config, catalog)
    assert table is not None
    model = quantizer_of(table.codes, vectors, table.codebook_sizes)
    return Quantization(
        table.codes,
        table.codebook_sizes,
        model.latents(vectors),
        model.codebooks(),
        model,
        _reconstruction(vectors, lambda rows: model.decode(table.codes[rows])),
    )


def _fitted(config: Config, catalog: Catalog, vectors: np.ndarray) -> Quantization:
    """Codes of a tokenizer that is made here."""
    section, given = config.tokenizer, vectors
    if section.method == "letter":
        estimator = _letter(config, vectors, collaborative_vectors(config, catalog))
        model = estimator.fitted
    elif section.method == "hybrid":
        from tokenizer.hybrid import HybridModel, Join

        collaborative = collaborative_vectors(config, catalog)
        join = Join.fit(vectors, collaborative, weight=section.collaborative_weight)
        given = join(vectors, collaborative)
        estimator = _of_vectors(config, section.quantizer, given)
        model = HybridModel(estimator.fitted, join)
    else:
        method = "rqvae" if section.method == "shuffled" else section.method
        estimator = _of_vectors(config, method, given)
        model = estimator.fitted
    codes, inner = estimator.codes_, estimator.fitted
    assert codes is not None
    return Quantization(
        codes,
        section.codebook_sizes,
        inner.latents(given),
        inner.codebooks(),
        model,
        _reconstruction(vectors, lambda rows: model.decode(codes[rows])),
        getattr(estimator, "best_epoch_", None),
    )


def _of_vectors(config: Config, quantizer: str, vectors: np.ndarray) -> Estimator:
    """Fit what makes codes of vectors alone."""
    section, seed = config.tokenizer, seed_of_tokenizer(config)
    sizes, iterations = section.codebook_sizes, section.iterations
    if quantizer in ("rqvae", "rqkmeans_plus"):
        from tokenizer.rqvae import RQVAE, RQKMeansPlus

        settings = _settings(config)
        network = RQVAE(settings) if quantizer == "rqvae" else RQKMeansPlus(settings, iterations)
        with _epochs(network) as on_epoch:
            return network.fit(vectors, device=section.device, on_epoch=on_epoch)
    from tokenizer.rqkmeans import OPQ, RQKMeans

    if quantizer == "opq":
        return OPQ(sizes, iterations, seed).fit(vectors)
    clusters = RQKMeans(sizes, quantizer == "balanced_rqkmeans", iterations, seed)
    with progress("k-means", "levels") as advance:
        return clusters.fit(vectors, on_level=lambda level: advance(level, len(sizes)))


def _letter(config: Config, vectors: np.ndarray, collaborative: np.ndarray) -> Estimator:
    from tokenizer.letter import Letter

    section = config.tokenizer
    letter = Letter(_settings(config), section.alignment_weight, section.diversity_weight)
    with _epochs(letter) as on_epoch:
        return letter.fit(vectors, collaborative, device=section.device, on_epoch=on_epoch)


def _settings(config: Config) -> RQVAESettings:
    names = RQVAESettings.__dataclass_fields__.keys() - {"seed", "residual"}
    chosen = config.tokenizer.model_dump(include=set(names))
    return RQVAESettings(**chosen, seed=seed_of_tokenizer(config))


@contextmanager
def _epochs(network: RQVAE) -> Iterator[Callable[[int, object], None]]:
    """Show how far a training is."""
    with progress("RQ-VAE", "epochs") as advance:
        yield lambda epoch, _: advance(epoch, network.settings.epochs)


def _reconstruction(vectors: np.ndarray, decode: Callable[[slice], np.ndarray]) -> dict[str, Any]:
    """What `health` is told about how well codes give the vectors back, block by block."""
    _, variance = mean_and_spread(vectors)
    error = 0.0
    for rows in blocks(len(vectors), 8 * vectors.shape[1]):
        error += float(np.square(decode(rows) - vectors[rows], dtype=np.float64).sum())
    return {"reconstruction_error": error / len(vectors), "variance": variance}


def _resolved(made: Quantization, how: str) -> Quantization:
    """Resolve collisions, or leave them."""
    from tokenizer.collisions.sinkhorn import part_by_sinkhorn
    from tokenizer.collisions.unique import add_level, collision_rate, extra_error, make_unique

    assert made.latents is not None
    assert made.books is not None
    given, sizes = made.codes, made.sizes
    codes, cost = given, 0.0
    if how == "reassign":
        resolution = make_unique(given, made.latents, made.books)
        codes, cost = resolution.codes, resolution.extra_error
    elif how == "sinkhorn":
        codes = part_by_sinkhorn(given, made.latents, made.books)
        cost = extra_error(given, codes, made.latents, made.books)
    elif how == "extra_level" and collision_rate(given) > 0:
        codes = add_level(given)
        sizes = (*sizes, int(codes[:, -1].max()) + 1)
    spread = float(made.latents.var(axis=0, dtype=np.float64).sum())
    facts = {
        **made.facts,
        "codes_before": given,
        "extra_error": cost / spread if spread else 0.0,
    }
    return replace(made, codes=codes, sizes=sizes, facts=facts)
