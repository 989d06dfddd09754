"""Make codebooks by k-means (faiss): residual k-means, the same with equal cluster sizes, and OPQ.

All in one thread and from a seed: the same vectors give the same bytes, whatever the number of cores.
faiss imports in a fifth of a second: import this module only where codebooks are made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import faiss
import numpy as np

from tokenizer.arrays import checked_vectors
from tokenizer.collisions.prefix_search import squared_distances
from tokenizer.vector_quantizer import VectorQuantizer

ROWS_PER_CODE = 256
"""k-means looks at no more than this many vectors per code: more change the centres little and cost much."""

JITTER = 1e-3
"""Noise on the copies of code vectors where a level has fewer distinct residuals than codes."""

BALANCING_ROUNDS = 10
"""Times that balanced centres are moved to the means of their items."""

PRICE_ROUNDS = 80
"""Times that prices are changed at most; while centres still move, a quarter of that is enough."""

BLOCK_ROWS = 16_384
OnLevel = Callable[[int], None]


@dataclass(frozen=True)
class KMeansFit:
    """Codebooks, and the codes of the vectors they were made from.

    Attributes:
        model: Encodes other vectors.
        codes: (N, L) int64. With balanced codebooks no code of a level has more than N / K items, rounded up;
            `model.encode` comes near that by prices alone.
    """

    model: VectorQuantizer
    codes: np.ndarray


def fit_rqkmeans(
    vectors: np.ndarray,
    codebook_sizes: Sequence[int],
    *,
    balanced: bool = False,
    iterations: int = 25,
    seed: int = 0,
    on_level: OnLevel | None = None,
) -> KMeansFit:
    """Cluster the vectors, then what the centres leave over, level by level.

    Args:
        vectors: (N, D) finite numbers.
        codebook_sizes: K of each level.
        balanced: Let all codes of a level have the same number of items, give or take one.
        iterations: Of k-means.
        seed: Of the sample and the first centres.
        on_level: Called with the number of levels done after each.

    Raises:
        ValueError: If there are no vectors, they are not a finite (N, D) array, or a size is below 1.

    Source: residual quantization by k-means as in Chen, Guan and Wang, "Approximate nearest neighbor search
        by
    residual vector quantization" (Sensors 10, 2010).
    """
    mean, scale, latents = _standardized(vectors, codebook_sizes)
    books, prices, codes = [], [], []
    residuals = latents
    with _one_thread():
        for level, size in enumerate(codebook_sizes):
            book = _centres(residuals, size, iterations=iterations, seed=seed + level)
            price = np.zeros(size, np.float32)
            if balanced:
                book, price = _balanced_centres(residuals, book, seed=seed + level)
                assigned = balanced_assignment(squared_distances(residuals, book), price)[0]
            else:
                assigned = nearest(residuals, book)
            books.append(book)
            prices.append(price)
            codes.append(assigned)
            residuals = residuals - book[assigned]
            if on_level is not None:
                on_level(level + 1)
    identity = np.eye(latents.shape[1], dtype=np.float32)
    model = VectorQuantizer(mean, scale, identity, tuple(books), tuple(prices))
    return KMeansFit(model, np.stack(codes, axis=1))


def fit_opq(
    vectors: np.ndarray, codebook_sizes: Sequence[int], *, iterations: int = 25, seed: int = 0
) -> KMeansFit:
    """Rotate the vectors, cut them into L parts, and cluster each part: codes whose order means nothing.

    Args:
        vectors: (N, D) finite numbers, D at least the number of levels.
        codebook_sizes: K of each level.
        iterations: Of k-means.
        seed: Of the sample and the first centres.

    Raises:
        ValueError: As `fit_rqkmeans`, or if there are more levels than dimensions.

    Source: Ge, He, Ke and Sun, "Optimized product quantization" (CVPR 2013), as faiss has it.
    """
    mean, scale, latents = _standardized(vectors, codebook_sizes)
    levels, width = len(codebook_sizes), latents.shape[1]
    if levels > width:
        raise ValueError(f"OPQ cuts vectors of {width} dimensions into parts; {levels} levels are too many.")
    part = width // levels
    with _one_thread():
        rotation = _opq_rotation(latents, levels, part * levels, seed=seed)
        rotated = latents @ rotation
        books = []
        for level, size in enumerate(codebook_sizes):
            own = slice(level * part, (level + 1) * part)
            book = np.zeros((size, part * levels), np.float32)
            book[:, own] = _centres(
                np.ascontiguousarray(rotated[:, own]), size, iterations=iterations, seed=seed + level
            )
            books.append(book)
    model = VectorQuantizer(mean, scale, rotation, tuple(books))
    return KMeansFit(model, model.encode(vectors))


def _standardized(vectors: np.ndarray, sizes: Sequence[int]) -> tuple[np.ndarray, float, np.ndarray]:
    """Give mean, scale and the (N, D) vectors with mean 0, and variance 1 on average over D."""
    vectors = checked_vectors(vectors)
    if not len(vectors):
        raise ValueError("Codebooks are made from item embeddings, and there are none.")
    if not len(sizes) or min(sizes) < 1:
        raise ValueError(f"codebook_sizes needs one size of 1 or more per level, got {list(sizes)}.")
    mean = vectors.mean(axis=0, dtype=np.float64).astype(np.float32)
    centred = vectors - mean
    scale = float(np.sqrt(np.square(centred, dtype=np.float64).mean())) or 1.0  # all equal: nothing to scale
    return mean, scale, centred / np.float32(scale)


def _sample(rows: np.ndarray, size: int, seed: int) -> np.ndarray:
    """Give at most `ROWS_PER_CODE` rows per code, in their order."""
    limit = ROWS_PER_CODE * size
    if len(rows) <= limit:
        return np.ascontiguousarray(rows)
    chosen = np.random.default_rng(seed).choice(len(rows), limit, replace=False)
    return np.ascontiguousarray(rows[np.sort(chosen)])


def _centres(rows: np.ndarray, size: int, *, iterations: int, seed: int) -> np.ndarray:
    """Give (K, d) k-means centres; of fewer distinct rows, all of them and copies with a little noise."""
    sample = _sample(rows, size, seed)
    distinct = np.unique(sample, axis=0) if len(sample) <= 4 * ROWS_PER_CODE * size else sample
    if len(distinct) <= size:
        rng = np.random.default_rng(seed)
        copies = rng.integers(len(distinct), size=size - len(distinct))
        noise = rng.normal(scale=JITTER * (float(rows.std()) or 1.0), size=(len(copies), rows.shape[1]))
        return np.concatenate([distinct, distinct[copies] + noise]).astype(np.float32)
    clustering = faiss.Kmeans(
        rows.shape[1],
        size,
        niter=iterations,
        seed=seed,
        min_points_per_centroid=1,
        max_points_per_centroid=ROWS_PER_CODE,
    )
    clustering.train(sample)
    return np.array(clustering.centroids, dtype=np.float32).reshape(size, rows.shape[1])


def nearest(rows: np.ndarray, book: np.ndarray) -> np.ndarray:
    """Give the (N,) int64 codes of the nearest code vectors."""
    index = faiss.IndexFlatL2(book.shape[1])
    index.add(np.ascontiguousarray(book))
    return index.search(np.ascontiguousarray(rows, dtype=np.float32), 1)[1][:, 0].astype(np.int64)


def _balanced_centres(rows: np.ndarray, book: np.ndarray, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Move k-means centres to the means of equally large clusters; give them and their prices."""
    sample = _sample(rows, len(book), seed)
    price = np.zeros(len(book), np.float32)
    for _ in range(BALANCING_ROUNDS):
        codes, price = balanced_assignment(squared_distances(sample, book), price, rounds=PRICE_ROUNDS // 4)
        counts = np.bincount(codes, minlength=len(book))
        sums = np.zeros_like(book, dtype=np.float64)
        np.add.at(sums, codes, sample)
        moved = np.where(counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None], book).astype(np.float32)
        if np.array_equal(moved, book):
            break
        book = moved
    return book, balanced_assignment(squared_distances(sample, book), price)[1]


def balanced_assignment(
    distances: np.ndarray, prices: np.ndarray, *, rounds: int = PRICE_ROUNDS
) -> tuple[np.ndarray, np.ndarray]:
    """Assign items to near codes so that none has more than its share, N / K rounded up.

    A code in demand gets dearer until hardly any has too many items; those over are then moved, the ones that
    lose least by it. Every pass is one look at the distances; there is no flow over N x K edges.

    Args:
        distances: (N, K), at least 0.
        prices: (K,), what codes count as nearer for a start.
        rounds: Times that prices are changed at most.

    Returns:
        (N,) int64 codes and (K,) float32 prices.
    """
    num_items, size = distances.shape
    capacity = -(-num_items // size)
    if size == 1:
        return np.zeros(num_items, np.int64), np.zeros(1, np.float32)
    two = np.partition(distances[:: max(1, num_items // BLOCK_ROWS)], 1, axis=1)[:, :2]
    step = float((two[:, 1] - two[:, 0]).mean()) or float(distances.mean()) or 1.0
    prices = prices.astype(distances.dtype)
    best, best_over = prices, num_items + 1
    for _ in range(rounds):
        counts = np.bincount(_cheapest(distances, prices), minlength=size)
        over = int(np.maximum(counts - capacity, 0).sum())
        if over < best_over:
            best, best_over = prices, over
        if over == 0:
            break
        prices = prices - distances.dtype.type(step) * np.clip(
            (counts * size - num_items) / num_items, -1, 1
        ).astype(distances.dtype)
        step *= 0.96
    prices = best - best.mean()
    return _within_capacity(distances, prices, capacity), prices.astype(np.float32)


def _cheapest(distances: np.ndarray, prices: np.ndarray) -> np.ndarray:
    """Give (N,) codes, block by block: a copy of all distances would be the largest array of the fit."""
    blocks = range(0, len(distances), BLOCK_ROWS)
    return np.concatenate([(distances[row : row + BLOCK_ROWS] - prices).argmin(axis=1) for row in blocks])


def _within_capacity(distances: np.ndarray, prices: np.ndarray, capacity: int) -> np.ndarray:
    """Give each item its cheapest code, but move those over a code's capacity who lose least by it."""
    size = len(prices)
    codes = _cheapest(distances, prices)
    while len(over := np.flatnonzero(np.bincount(codes, minlength=size) > capacity)):
        room = np.flatnonzero(np.bincount(codes, minlength=size) < capacity)
        leaving = []
        for code in over.tolist():
            members = np.flatnonzero(codes == code)
            costs = distances[members] - prices
            loss = costs[:, room].min(axis=1) - costs[:, code]
            leaving.append(members[np.argsort(loss, kind="stable")[: len(members) - capacity]])
        rows = np.sort(np.concatenate(leaving))
        costs = distances[rows][:, room] - prices[room]
        wanted = room[costs.argmin(axis=1)]
        order = np.lexsort((costs.min(axis=1), wanted))  # the nearest first, code by code
        rows, wanted = rows[order], wanted[order]
        rank = np.arange(len(rows)) - np.searchsorted(wanted, wanted)
        free = capacity - np.bincount(codes, minlength=size)
        enters = rank < free[wanted]
        codes[rows[enters]] = wanted[enters]
    return codes.astype(np.int64)


def _opq_rotation(latents: np.ndarray, levels: int, width: int, *, seed: int) -> np.ndarray:
    """Give the (D, width) rotation that makes L parts easy to quantize."""
    matrix = faiss.OPQMatrix(latents.shape[1], levels, width)
    matrix.niter = 20
    sample = _sample(latents, 256, seed)
    # faiss 1.15 writes beyond its memory when there are fewer rows than dimensions: repeat them.
    sample = np.tile(sample, (-(-max(latents.shape[1], 256) // len(sample)), 1))
    quantizer = faiss.ProductQuantizer(width, levels, 8)
    quantizer.cp.min_points_per_centroid = 1
    matrix.pq = quantizer
    matrix.train(sample)
    return faiss.vector_to_array(matrix.A).reshape(width, latents.shape[1]).T.copy()


@contextmanager
def _one_thread() -> Iterator[None]:
    num_threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(num_threads)
