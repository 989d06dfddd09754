"""Time every metric of an evaluation on invented lists, and report the peak memory.

The lists are distinct items in no order, the target stands in three lists of ten, one item in five shares its
semantic ID, and histories hold 1 to 39 items. Making the data is not timed, but counts in the peak memory.
Where the wall time is well above that of the processor, other processes had the core.

    python scripts/bench_metrics.py [--users 1000000] [--items 100000] [--depth 50] [--seed 0]
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from sidrec import metrics as m

KS = (1, 3, 5, 10, 20, 50)
DIM = 64
LIST_K = 10
SAMPLES = 1000


@dataclass(frozen=True, eq=False)
class Data:
    """Of U users and N items: (U, M) items and (U,) targets; (N,) SIDs and counts, (N, D) vectors."""

    items: np.ndarray
    targets: np.ndarray
    histories: list[np.ndarray]
    sid_of_item: np.ndarray
    train_counts: np.ndarray
    vectors: np.ndarray


def make_data(num_users: int, num_items: int, depth: int, seed: int) -> Data:
    """Invent lists without duplicates, and what belongs to them."""
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(num_items).astype(np.int32)
    items = np.empty((num_users, depth), dtype=np.int32)
    start, step = rng.integers(num_items, size=num_users), rng.integers(1, num_items // depth, size=num_users)
    for place in range(depth):
        items[:, place] = shuffled[(start + place * step) % num_items]
    listed = items[np.arange(num_users), rng.integers(depth, size=num_users)]
    targets = np.where(rng.random(num_users) < 0.3, listed, rng.integers(num_items, size=num_users))
    ends = np.cumsum(rng.integers(1, 40, size=num_users))
    events = rng.integers(num_items, size=ends[-1])
    return Data(
        items=items,
        targets=targets,
        histories=[events[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)],
        sid_of_item=rng.permutation(np.arange(num_items) * 9 // 10),
        train_counts=np.bincount(events, minlength=num_items),
        vectors=rng.standard_normal((num_items, DIM)).astype(np.float32),
    )


@contextmanager
def timed(part: str) -> Iterator[None]:
    """Print the wall time and the processor time of a part."""
    started, cpu_started = time.perf_counter(), time.process_time()
    yield
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
    print(f"{part:<32}{seconds:8.2f} s{cpu_seconds:8.2f} s of processor", flush=True)


def measure(data: Data, seed: int) -> None:
    """Compute all figures once."""
    items, num_items = data.items, len(data.train_counts)
    ks = [k for k in KS if k <= items.shape[1]]
    k = min(LIST_K, items.shape[1])
    with timed("target_ranks"):
        ranks = m.target_ranks(items, data.targets)
    with timed("sid_ranks"):
        sid_ranks = m.sid_ranks(items, data.targets, data.sid_of_item)
    with timed("metrics_at_k, item and SID"):
        for each in (ranks, sid_ranks):
            m.metrics_at_k(each, ks)
    with timed(f"rank_intervals, {SAMPLES} resamples"):
        for each in (ranks, sid_ranks):
            m.rank_intervals(each, ks, seed=seed, samples=SAMPLES)
    with timed("invalid, padded, duplicates"):
        m.count_invalid(items, num_items), m.count_padded(items), m.count_duplicates(items)
    with timed(f"coverage, Gini, novelty at {k}"):
        m.coverage_at_k(items, num_items, k), m.gini_at_k(items, num_items, k)
        m.novelty_at_k(items, data.train_counts, k)
    with timed(f"intra-list diversity at {k}"):
        m.intra_list_diversity_at_k(items, data.vectors, k)
    with timed(f"share of the history at {k}"):
        m.history_share_at_k(items, data.histories, k)
    with timed("slices, four ways"):
        m.popularity_slices(data.targets, data.train_counts)
        m.history_length_slices(np.fromiter(map(len, data.histories), dtype=np.int64))
        m.arrival_slices(data.targets, num_items)
        m.collision_slices(data.targets, data.sid_of_item)


def main() -> None:
    """Read the options, run, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--depth", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print(
        f"{options.users} users, {options.items} items, lists of {options.depth}, seed {options.seed}; "
        f"Python {platform.python_version()}, numpy {np.__version__}, {platform.machine()}, "
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    )
    data = make_data(options.users, options.items, options.depth, options.seed)
    with timed("total"):
        measure(data, options.seed)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # Linux counts in KiB
    print(f"peak memory, with the data: {peak:.0f} MiB")


if __name__ == "__main__":
    main()
