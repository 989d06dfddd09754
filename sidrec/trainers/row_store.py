"""SFT rows on disk: made once, then memory-mapped, so that a training holds only what it reads.

`cache/rows/<fingerprint>/` of a run holds `rows.arrow`, a stream that `datasets.Dataset.from_file` opens too,
and `facts.json` with its hash. It is written under another name and renamed, whole or not at all. Arrow is
called directly: `Dataset.from_generator` took 40 times as long to write 30k rows, and its numpy format 18
times as long to read 520 of them.
"""

from __future__ import annotations

import fcntl
import logging
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from sidrec.artifacts import read_json, sha256_of_file, sha256_of_json, write_json
from sidrec.errors import ArtifactError
from sidrec.tasks.rows import IGNORED, Row
from sidrec.trainers.flat_rows import FlatRows

logger = logging.getLogger(__name__)
FORMAT = 1
"""Of the files and of how rows are made; raised when either changes, so that older ones are not used."""
CHUNK_ROWS = 4096
SCHEMA = pa.schema(
    {
        "input_ids": pa.list_(pa.int32()),
        "kinds": pa.list_(pa.int8()),
        "items": pa.list_(pa.int32()),
        "task": pa.int16(),
        "supervised": pa.int32(),
        "supervised_items": pa.int32(),
    }
)
WEIGHTED_SCHEMA = SCHEMA.append(pa.field("weights", pa.list_(pa.float32())))


class RowStore:
    """R rows in a file, fetched a batch at a time.

    Attributes:
        lengths: (R,) int32, tokens of each row.
        tasks: (R,) int16, the place of its task in the list of tasks.
        supervised: (R,) int32, tokens with a loss.
        supervised_items: (R,) int32, items with a loss on their SIDs.
        truncated: Task -> rows that were cut to fit, as their maker counted.
    """

    def __init__(self, path: Path, truncated: Mapping[str, int], schema: pa.Schema) -> None:
        """Map a file that `write_rows` wrote; nothing of it is read but the numbers of each row."""
        with pa.memory_map(str(path)) as file, pa.ipc.open_stream(file) as stream:
            table = stream.read_all()
        if table.schema != schema:
            raise pa.ArrowInvalid(f"its columns are {', '.join(table.column_names)}")
        batches = table.to_batches()
        self._offsets = [batch.column("input_ids").offsets.to_numpy() for batch in batches]
        self._tokens = {
            name: [batch.column(name).values.to_numpy() for batch in batches] for name in _of_tokens(schema)
        }
        lengths = [np.diff(offsets) for offsets in self._offsets]
        self.lengths = np.concatenate([np.empty(0, dtype=np.int32), *lengths])
        self.tasks, self.supervised, self.supervised_items = (
            table.column(name).to_numpy() for name in ("task", "supervised", "supervised_items")
        )
        self.truncated = dict(truncated)

    def __len__(self) -> int:
        return len(self.lengths)

    def take(self, rows: np.ndarray) -> FlatRows:
        """Return the rows of these (B,) numbers, in their order."""
        chunks, places = np.divmod(rows, CHUNK_ROWS)
        where = [
            (chunk, *self._offsets[chunk][place : place + 2].tolist())
            for chunk, place in zip(chunks.tolist(), places.tolist(), strict=True)
        ]
        flat = {
            name: np.concatenate([chunks_of[chunk][start:end] for chunk, start, end in where])
            for name, chunks_of in self._tokens.items()
        }
        return FlatRows(lengths=self.lengths[rows], tasks=self.tasks[rows], **flat)


def open_rows(
    directory: Path,
    made_from: object,
    rows: Iterable[Row],
    truncated: Mapping[str, int],
    *,
    weighted: bool = False,
) -> RowStore:
    """Open the rows of an earlier start, or make and write them; what else lies in `directory` is deleted.

    Of several processes one writes, and the others wait for it.

    Args:
        directory: Of the run's rows, and of nothing else.
        made_from: JSON value that is another one whenever the rows are.
        rows: Not touched if they are there already.
        truncated: Task -> rows cut to fit, as `rows` count them; read when the last one has come.
        weighted: Whether the rows have weights.
    """
    schema = WEIGHTED_SCHEMA if weighted else SCHEMA
    directory.mkdir(parents=True, exist_ok=True)
    home = directory / sha256_of_json([FORMAT, made_from])[:16]
    with _lock(directory):
        store = _open(home, schema)
        if store is not None:
            logger.info("sft: %s rows are there from an earlier start (%s)", f"{len(store):,}", home)
            return store
        started = time.monotonic()
        with tempfile.TemporaryDirectory(dir=directory) as folder:
            partial = Path(folder) / "rows"
            partial.mkdir()
            count = write_rows(partial / "rows.arrow", rows, schema)
            sha256 = sha256_of_file(partial / "rows.arrow")
            write_json(partial / "facts.json", {"sha256": sha256, "truncated": dict(truncated)})
            for stale in directory.iterdir():
                if stale.is_dir() and stale != Path(folder):
                    shutil.rmtree(stale)
            partial.replace(home)
        logger.info("sft: %s rows made in %.1f s (%s)", f"{count:,}", time.monotonic() - started, home)
        return RowStore(home / "rows.arrow", truncated, schema)


def write_rows(path: Path, rows: Iterable[Row], schema: pa.Schema) -> int:
    """Write rows chunk by chunk, so that memory does not grow with their number; return how many."""
    count = 0
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, schema) as stream:
        for chunk in _chunks(rows):
            stream.write_batch(_record_batch(FlatRows.of(chunk), schema))
            count += len(chunk)
    return count


def _chunks(rows: Iterable[Row]) -> Iterator[list[Row]]:
    waiting = iter(rows)
    while chunk := list(islice(waiting, CHUNK_ROWS)):
        yield chunk


def _of_tokens(schema: pa.Schema) -> list[str]:
    """Return the columns that have a value for each token."""
    return [field.name for field in schema if pa.types.is_list(field.type)]


def _record_batch(rows: FlatRows, schema: pa.Schema) -> pa.RecordBatch:
    offsets = pa.array(rows.offsets)
    columns = {
        name: pa.ListArray.from_arrays(offsets, pa.array(getattr(rows, name))) for name in _of_tokens(schema)
    }
    columns["task"] = pa.array(rows.tasks)
    columns["supervised"] = pa.array(rows.count(rows.kinds != IGNORED))
    columns["supervised_items"] = pa.array(rows.count(rows.kinds == 0))  # one first code of every such item
    return pa.record_batch(columns, schema=schema)


def _open(home: Path, schema: pa.Schema) -> RowStore | None:
    """Open a finished store; None where there is none, or not the one that was written."""
    if not home.is_dir():
        return None
    path = home / "rows.arrow"
    try:
        facts: dict[str, Any] = read_json(home / "facts.json")
        if sha256_of_file(path) != facts["sha256"]:
            raise ArtifactError(f"{path} has changed since it was written.")
        return RowStore(path, facts["truncated"], schema)
    except (OSError, KeyError, TypeError, ValueError) as error:  # those of ours and of Arrow are ValueErrors
        logger.info("sft: the rows of an earlier start are broken and made again (%s)", error)
        return None


@contextmanager
def _lock(directory: Path) -> Iterator[None]:
    """Wait until no other process works in the directory; the system unlocks it when a process is killed."""
    with (directory / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
