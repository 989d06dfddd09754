#!/usr/bin/env python3
"""Time `sidrec add-items` on synthetic vectors, from reading the new items to the generation on disk.

The vectors come from a file, so that embedding texts does not count.

Usage: python scripts/bench_add_items.py [--items 100000] [--new 10000] [--codebook-sizes 256,256,256 ...]
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from sidrec.catalog import Catalog
from sidrec.config import load_config
from sidrec.stages.addition import add_items
from sidrec.stages.tokenization import tokenize

CLUSTERS, DIMENSIONS = 2000, 32


def make_vectors(number: int, *, seed: int) -> np.ndarray:
    """Draw items around clusters of very unequal sizes, the same for every seed."""
    centres = np.random.default_rng(0).normal(size=(CLUSTERS, DIMENSIONS))
    rng = np.random.default_rng(seed)
    weights = 1 / np.arange(1, CLUSTERS + 1)
    members = rng.choice(CLUSTERS, size=number, p=weights / weights.sum())
    return (centres[members] + 0.3 * rng.normal(size=(number, DIMENSIONS))).astype(np.float32)


def make_items(first: int, last: int) -> pd.DataFrame:
    """Name and describe items by their numbers."""
    ids = [f"item-{number}" for number in range(first, last)]
    return pd.DataFrame({"item_id": ids, "title": ids, "text": [f"Text of {item_id}" for item_id in ids]})


def measure(folder: Path, num_items: int, num_new: int, sizes: str) -> str:
    """Tokenize, add, and return a row of the table."""
    np.save(folder / "old.npy", make_vectors(num_items, seed=1))
    np.save(folder / "new.npy", make_vectors(num_new, seed=2))
    items = make_items(0, num_items)
    events = pd.DataFrame({"user_id": "u", "item_id": items["item_id"][:3]})
    settings = [
        f"output={folder / 'run'}",
        f"embedding.path={folder / 'old.npy'}",
        "tokenizer.method=rqkmeans",
        f"tokenizer.codebook_sizes=[{sizes}]",
        "tokenizer.iterations=5",
    ]
    started = time.perf_counter()
    tokenize(load_config(None, settings), catalog=Catalog(items, events))
    before = time.perf_counter() - started
    make_items(num_items, num_items + num_new).to_csv(folder / "new.csv", index=False)
    started = time.perf_counter()
    made = add_items(folder / "run", folder / "new.csv", vectors=folder / "new.npy")
    seconds = time.perf_counter() - started
    return f"{sizes:>14} {before:9.1f} {seconds:7.1f} {len(made.moved):7} {len(made.left_prefix):12}"


def main() -> None:
    """Print a row per choice of codebook sizes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--new", type=int, default=10_000)
    parser.add_argument("--codebook-sizes", nargs="+", default=["256,256,256", "64,64,64"])
    arguments = parser.parse_args()
    print(f"{arguments.items:,} items, {arguments.new:,} new")
    print(f"{'sizes':>14} {'tokenize':>9} {'add':>7} {'moved':>7} {'left prefix':>12}")
    for sizes in arguments.codebook_sizes:
        with tempfile.TemporaryDirectory() as folder:
            print(measure(Path(folder), arguments.items, arguments.new, sizes), flush=True)


if __name__ == "__main__":
    main()
