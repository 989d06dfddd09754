"""Time what lies between histories and batches on invented events, and report the peak memory.

Rows are written to disk, opened again as a second start does, planned into the batches of an epoch, and read.
A user has 2 to 18 events. Peaks are those of the process so far; the one of the start counts the imports.
With `--reference` the rows stay in a list and are padded one by one, as a plain Dataset would do it.

    python scripts/bench_rows.py [--events 1000000] [--levels 3] [--tokens-per-batch 16384] [--item-dropout 0]
        [--rows user|prefix] [--read 1000] [--seed 0] [--reference]
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch

from sidrec.artifacts import peak_memory_mb
from sidrec.tasks.rows import IGNORED, NO_ITEM, Row
from sidrec.trainers.batches import BatchDataset, BatchPlan, BatchSize, Share
from sidrec.trainers.mixing import Mixture
from sidrec.trainers.row_store import RowStore, open_rows

BOS, CODES, ITEMS = 1, 256, 100_000


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Print how long a block took, what of it the processor worked, and the most memory held so far."""
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(f"{what:<32}{wall:8.2f} s{cpu:8.2f} s of CPU{peak_memory_mb():8,} MiB", flush=True)


def make_rows(num_events: int, levels: int, kind: str, seed: int) -> Iterator[Row]:
    """Yield rows as templates make them, from lists of tokens, without holding the events."""
    rng = np.random.default_rng(seed)
    tokens = rng.integers(CODES, size=(ITEMS, levels)) + CODES * np.arange(levels) + 3
    item_tokens: list[list[int]] = tokens.tolist()
    every = list(range(levels))
    block: list[int] = []
    done = 0
    while done < num_events:
        if len(block) < 18:
            block = rng.integers(ITEMS, size=100_000).tolist()
        items = [block.pop() for _ in range(2 + block[-1] % 17)]
        done += len(items)
        for last in [len(items)] if kind == "user" else range(2, len(items) + 1):
            seen = items[:last]
            learned = last if kind == "user" else 1
            yield Row(
                [BOS, *(token for item in seen for token in item_tokens[item])],
                [IGNORED, *([IGNORED] * levels * (last - learned)), *(every * learned)],
                [NO_ITEM, *(item for item in seen for _ in every)],
            )


def read(store: RowStore, options: argparse.Namespace) -> None:
    """Plan an epoch and read batches of it."""
    size = BatchSize(128, options.tokens_per_batch)
    with timed("plan an epoch"):
        mixture = Mixture(store.tasks, [Fraction(1)], options.seed)
        plan = BatchPlan(store.lengths, mixture, size, seed=options.seed, epochs=1)
        batches = plan.batches(0)
    dataset = BatchDataset(
        store,
        plan,
        pad_id=0,
        num_levels=options.levels,
        item_dropout=options.item_dropout,
        seed=options.seed,
    )
    some = batches[: options.read]
    started = time.process_time()
    with timed(f"read {len(some):,} of {len(batches):,} batches"):
        tokens = sum(dataset.__getitems__(Share(0, sights))["attention_mask"].sum().item() for sights in some)
    seconds = time.process_time() - started
    padded = sum(len(batch) * int(store.lengths[plan.rows_of(batch)].max()) for batch in batches)
    print(f"{tokens / seconds:,.0f} tokens per second of CPU, {1000 * seconds / len(some):.2f} ms a batch")
    print(f"padding: {1 - store.lengths.sum(dtype=np.int64) / padded:.2%} of the tokens of an epoch")


def pad_one_by_one(rows: Sequence[Row]) -> dict[str, torch.Tensor]:
    """Pad lists, as a collate function of lists does."""
    width = max(len(row.input_ids) for row in rows)

    def padded(values: Iterable[list[int]], fill: int) -> torch.Tensor:
        return torch.tensor([value + [fill] * (width - len(value)) for value in values])

    return {
        "input_ids": padded((row.input_ids for row in rows), 0),
        "attention_mask": padded(([1] * len(row.input_ids) for row in rows), 0),
        "kinds": padded((row.kinds for row in rows), IGNORED),
        "items": padded((row.items for row in rows), NO_ITEM),
    }


def reference(rows: Iterable[Row], options: argparse.Namespace) -> None:
    """Hold all rows in a list and pad batches of it."""
    with timed("hold rows in a list"):
        held = list(rows)
    lengths = np.array([len(row.input_ids) for row in held])
    mixture = Mixture(np.zeros(len(held), dtype=np.int16), [Fraction(1)], options.seed)
    size = BatchSize(128, options.tokens_per_batch)
    some = BatchPlan(lengths, mixture, size, seed=options.seed, epochs=1).batches(0)[: options.read]
    started = time.process_time()
    with timed(f"pad {len(some):,} batches of lists"):
        for sights in some:
            pad_one_by_one([held[row] for row in sights])
    print(f"{1000 * (time.process_time() - started) / len(some):.2f} ms a batch")


def main() -> None:
    """Parse the options and print the times."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--levels", type=int, default=3)
    parser.add_argument("--tokens-per-batch", type=int, default=16_384)
    parser.add_argument("--item-dropout", type=float, default=0.0)
    parser.add_argument("--rows", choices=["user", "prefix"], default="user")
    parser.add_argument("--read", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--reference", action="store_true")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    rows = make_rows(options.events, options.levels, options.rows, options.seed)
    with timed("start"):
        pass
    if options.reference:
        reference(rows, options)
        return
    with tempfile.TemporaryDirectory() as folder:
        with timed("make and write rows"):
            open_rows(Path(folder), vars(options), rows, {})
        with timed("open them again"):
            store = open_rows(Path(folder), vars(options), rows, {})
        size = sum(path.stat().st_size for path in Path(folder).rglob("*.arrow"))
        print(f"{len(store):,} rows, {store.lengths.sum(dtype=np.int64):,} tokens, {size / 2**20:,.0f} MiB")
        read(store, options)


if __name__ == "__main__":
    main()
