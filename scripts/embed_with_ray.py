"""Embed a catalogue, and encode items, on the workers of a Ray cluster; the results are those of one process.

    pip install "sidrec[ray]"
    python scripts/embed_with_ray.py embed CONFIG.yaml --workers 2    # fills the cache of sidrec tokenize
    sidrec tokenize CONFIG.yaml                                       # reads no text any more
    python scripts/embed_with_ray.py encode RUN ITEMS --out codes.parquet --workers 2

`embed` reads the texts that the cache lacks, in the very chunks that `sidrec tokenize` reads: the same bytes,
by however many workers. `encode` embeds the items of a table in the space of a finished run and writes
`item_id`, `code_0`, `code_1`, ... as the run's tokenizer gives them, before collisions are resolved. Workers
need the model, not the files of the catalogue.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sidrec.catalog import read_catalog
from sidrec.catalog.more_items import read_new_items
from sidrec.config import Config, load_config
from sidrec.embedding.blocks import row_blocks
from sidrec.embedding.cache import VectorCache, keys_of
from sidrec.embedding.checks import require_usable
from sidrec.embedding.config import VectorOptions
from sidrec.embedding.reading import chunks_to_read, fingerprint, load_encoder, location_of
from sidrec.embedding.source import sources_of
from sidrec.embedding.vectors import embed_more
from sidrec.errors import SidrecError


class Reader:
    """A worker that holds the model: the texts of a chunk -> their vectors."""

    def __init__(self, options: VectorOptions) -> None:
        self._encoder = load_encoder(location_of(options), options)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        vectors = self._encoder.vectors_of(list(row["texts"]))
        return {"chunk": row["chunk"], "bytes": vectors.tobytes(), "width": vectors.shape[1]}


class Encoder:
    """A worker that holds a tokenizer: a block of vectors -> their codes."""

    def __init__(self, path: str) -> None:
        from tokenizer.model_file import open_model

        self._model = open_model(path)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        vectors = np.frombuffer(row["bytes"], dtype=np.float32).reshape(-1, row["width"])
        codes = self._model.encode(vectors)
        return {"block": row["block"], "bytes": codes.astype("<i8").tobytes(), "width": codes.shape[1]}


def spread(
    rows: Iterable[dict[str, Any]], worker: type, argument: object, workers: int
) -> Iterator[dict[str, Any]]:
    """Yield what `workers` processes, each with a `worker(argument)`, make of the rows, in any order."""
    import ray

    ray.init(ignore_reinit_error=True, include_dashboard=False, log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    dataset = ray.data.from_items(list(rows))
    made = dataset.map(
        worker,
        fn_constructor_args=(argument,),
        compute=ray.data.ActorPoolStrategy(size=workers),
        num_cpus=1,
    )
    yield from made.iter_rows()


def embed(items: pd.DataFrame, config: Config, workers: int) -> int:
    """Fill the cache of `config` with the vectors of the items' texts; return how many were read."""
    read = 0
    for source in sources_of(config.embedding):
        options = source.options
        if options.method == "tfidf" or options.path is not None:
            continue  # fitted or given: nothing that a model reads
        directory = config.embedding.cache or config.output / "cache"
        cache = VectorCache(directory / fingerprint(location_of(options), options))
        keys = keys_of(items["text"])
        chunks = chunks_to_read(items["text"], keys, cache, options)
        rows = [{"chunk": n, "texts": items["text"].iloc[chunk].tolist()} for n, chunk in enumerate(chunks)]
        for made in spread(rows, Reader, options, workers) if rows else ():
            chunk = chunks[made["chunk"]]
            vectors = np.frombuffer(made["bytes"], dtype=np.float32).reshape(-1, made["width"])
            require_usable(vectors, items["item_id"].iloc[chunk], source.setting)
            cache.add(keys[chunk], vectors)
            read += len(chunk)
    return read


def encode(run: Path, table: Path, workers: int) -> pd.DataFrame:
    """Return `item_id` and a column per level: the codes of the items of a table, in its order."""
    config = load_config(run / "tokenize" / "config.yaml")
    known = pd.read_parquet(run / "catalog" / "items.parquet")
    items = read_new_items(table, config.catalog, known)
    embed(items, config, workers)
    vectors = embed_more(
        items[["item_id", "text"]],
        config.embedding,
        fitted=run / "tokenize",
        cache=config.embedding.cache or run / "cache",
    )
    blocks = list(row_blocks(len(vectors)))
    rows = [
        {"block": n, "bytes": vectors[block].astype(np.float32).tobytes(), "width": vectors.shape[1]}
        for n, block in enumerate(blocks)
    ]
    found: dict[int, np.ndarray] = {}
    for made in spread(rows, Encoder, str(run / "tokenize" / "tokenizer.safetensors"), workers):
        found[made["block"]] = np.frombuffer(made["bytes"], dtype="<i8").reshape(-1, made["width"])
    codes = np.concatenate([found[n] for n in range(len(blocks))])
    return pd.DataFrame(
        {"item_id": items["item_id"], **{f"code_{level}": codes[:, level] for level in range(codes.shape[1])}}
    )


def main() -> None:
    """Run one of the two commands."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("embed", help="Fill the cache of vectors that sidrec tokenize reads.")
    one.add_argument("config", type=Path)
    one.add_argument("settings", nargs="*", help="section.key=value")
    two = commands.add_parser("encode", help="Write the codes of the items of a table.")
    two.add_argument("run", type=Path)
    two.add_argument("items", type=Path)
    two.add_argument("--out", type=Path, required=True)
    for each in (one, two):
        each.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    try:
        if arguments.command == "embed":
            config = load_config(arguments.config, arguments.settings)
            count = embed(read_catalog(config.catalog).items, config, arguments.workers)
            print(f"{count:,} texts read. Next: sidrec tokenize {arguments.config}")
        else:
            codes = encode(arguments.run, arguments.items, arguments.workers)
            codes.to_parquet(arguments.out, index=False)
            print(f"{len(codes):,} items encoded into {arguments.out}")
    except SidrecError as error:
        print(f"embed_with_ray: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
