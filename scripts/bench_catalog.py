"""A catalogue at the size people have it: read, filtered, split and written, and how much memory that takes.

    python scripts/bench_catalog.py            # 10M events of 1M items and 500k users; about 15 minutes
    python scripts/bench_catalog.py --quick    # a hundredth of it

The events are made here (Zipf items, geometric histories), written as CSV and as Parquet; each is read in a
process of its own, so that the peak of memory is its own. Times are of this machine and all it does.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.parquet as parquet

WORDS = 2_000


def make(directory: Path, num_events: int, num_items: int, num_users: int) -> None:
    """Write `items` and `events`, each as .csv and .parquet."""
    rng = np.random.default_rng(0)
    words = np.array([f"word{number}" for number in range(WORDS)])
    drawn = words[rng.integers(WORDS, size=(6, num_items))]
    titles = drawn[0]
    for more in drawn[1:]:
        titles = np.char.add(np.char.add(titles, " "), more)
    ids = np.char.add("B", np.char.zfill(np.arange(num_items).astype(str), 9))
    items = pa.table({"item_id": ids, "title": titles, "brand": words[rng.integers(WORDS, size=num_items)]})
    # Every user has one event at least; the rest go to users by a geometric law, to items by Zipf's.
    users = np.concatenate([np.arange(num_users), _skewed(rng, num_users, num_events - num_users, 0.5)])
    events = pa.table(
        {
            "user_id": pa.array(np.char.add("U", users.astype(str))),
            "item_id": pa.array(ids).take(pa.array(_skewed(rng, num_items, num_events, 0.9))),
            "rating": rng.integers(1, 6, size=num_events),
            "timestamp": rng.integers(1_300_000_000, 1_700_000_000, size=num_events),
        }
    )
    parquet.write_table(items, directory / "items.parquet")
    parquet.write_table(events, directory / "events.parquet")
    arrow_csv.write_csv(items, directory / "items.csv")
    arrow_csv.write_csv(events, directory / "events.csv")


def _skewed(rng: np.random.Generator, num: int, size: int, exponent: float) -> np.ndarray:
    """Draw numbers below `num`, number i with a weight of (i + 1) ** -exponent."""
    summed = np.cumsum((np.arange(num) + 1.0) ** -exponent)
    return np.searchsorted(summed / summed[-1], rng.random(size))


def measure(directory: Path, suffix: str) -> dict[str, float]:
    """Read, filter, split and write the catalogue, and read it again; in this process."""
    from sidrec.catalog import Catalog, CatalogConfig, SplitConfig, read_catalog, split_catalog

    seconds: dict[str, float] = {}

    def timed(name: str, started: float) -> float:
        now = time.monotonic()
        seconds[name] = round(now - started, 1)
        return now

    now = time.monotonic()
    catalog = read_catalog(
        CatalogConfig(
            items=directory / f"items.{suffix}",
            interactions=directory / f"events.{suffix}",
            text="{title} {brand}",
            filters={"min_rating": 2, "deduplicate": "all", "user_core": 3, "item_core": 2},
        )
    )
    now = timed("read and filtered", now)
    split = split_catalog(catalog, SplitConfig())
    now = timed("split", now)
    catalog.sha256  # noqa: B018
    now = timed("hashed", now)
    catalog.save(directory / f"catalog-{suffix}")
    now = timed("written", now)
    events, users = len(catalog.interactions), len(split.test)
    del catalog, split
    now = time.monotonic()
    Catalog.load(directory / f"catalog-{suffix}")
    timed("read again", now)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    return {
        **seconds,
        "all": round(sum(seconds.values()), 1),
        "peak GB": round(peak, 2),
        "events left": events,
        "test users": users,
    }


def main() -> None:
    """Make the data and print a line per form."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--directory", type=Path, help="Where the data lie or go; default: a temporary one.")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.directory, arguments.measure)))
        return
    scale = 100 if arguments.quick else 1
    with tempfile.TemporaryDirectory() as temporary:
        directory = arguments.directory or Path(temporary)
        directory.mkdir(parents=True, exist_ok=True)
        if not (directory / "events.csv").is_file():
            make(directory, 10_000_000 // scale, 1_000_000 // scale, 500_000 // scale)
        for suffix in ("csv", "parquet"):
            command = [sys.executable, __file__, "--directory", str(directory), "--measure", suffix]
            print(
                suffix,
                subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip(),
                flush=True,
            )


if __name__ == "__main__":
    main()
