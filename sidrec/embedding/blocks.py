"""Vectors a block of rows at a time, so that a million of them need not be in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

ROWS_PER_BLOCK = 1 << 16


def row_blocks(num_rows: int) -> Iterator[slice]:
    """Yield the rows 0..num_rows - 1 in consecutive slices."""
    for start in range(0, num_rows, ROWS_PER_BLOCK):
        yield slice(start, min(start + ROWS_PER_BLOCK, num_rows))


def write_blocks(path: Path, blocks: Iterable[np.ndarray], *, num_rows: int) -> np.ndarray:
    """Write consecutive blocks of rows as one .npy file and return it, memory-mapped.

    Args:
        path: The file; an older one gives way, but stays whole for those who have it mapped.
        blocks: (rows, D) float32 each, num_rows rows in all, at least one.
        num_rows: N.

    Returns:
        (N, D) float32. What is written into it stays in memory: the file is not touched.
    """
    path.unlink(missing_ok=True)
    out, done = None, 0
    for block in blocks:
        if out is None:
            shape = (num_rows, block.shape[1])
            out = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
        out[done : done + len(block)] = block
        done += len(block)
    assert out is not None, "there is at least one item"
    assert done == num_rows
    out.flush()
    return np.load(path, mmap_mode="c", allow_pickle=False)
