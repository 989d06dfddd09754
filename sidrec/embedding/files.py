"""Vectors of one's own, from an array in the order of the items or a table with their ids."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from sidrec.catalog.columns import as_strings, require_column
from sidrec.catalog.forms.table_files import read_table
from sidrec.embedding.blocks import row_blocks
from sidrec.embedding.checks import require_usable, some
from sidrec.errors import ConfigError

logger = logging.getLogger(__name__)


def read_vectors(path: Path, item_ids: pd.Series, *, column: str, setting: str) -> Iterator[np.ndarray]:
    """Yield the vectors of the items in blocks, (rows, D) float32.

    Args:
        path: .npy, or a table of any kind that a catalogue may be.
        item_ids: N ids.
        column: Where a table has its ids.
        setting: What named the file, for messages.

    Raises:
        ConfigError: If the file is missing or broken, holds no numbers, or not one row per item.
        CatalogError: If a table cannot be read.
    """
    if not path.is_file():
        raise ConfigError(f"{setting}: there is no such file. Check the path.")
    if path.suffix == ".npy":
        return _blocks_of(_read_array(path, len(item_ids), setting), np.arange(len(item_ids)))
    table = read_table(path, setting)
    ids = as_strings(require_column(table, column, setting="embedding.item_id", default=path.name))
    return _blocks_of(_numbers(table.drop(columns=column), ids, setting), _rows_of(item_ids, ids, setting))


def vectors_of_file(path: Path, item_ids: pd.Series, *, setting: str) -> np.ndarray:
    """Return the vectors of the items that a file holds, (N, D) float32, finite and not zero.

    Raises:
        ConfigError: As `read_vectors`, or for rows that nothing can be told from.
        CatalogError: If a table cannot be read.
    """
    blocks = read_vectors(path, item_ids, column="item_id", setting=setting)
    vectors = np.concatenate(list(blocks))
    require_usable(vectors, item_ids, setting)
    return vectors


def _blocks_of(vectors: np.ndarray, order: np.ndarray) -> Iterator[np.ndarray]:
    """Yield rows of the vectors in that order."""
    for rows in row_blocks(len(order)):
        with np.errstate(over="ignore"):  # too large for a float32: refused as infinity
            yield vectors[order[rows]].astype(np.float32)


def _read_array(path: Path, num_items: int, setting: str) -> np.ndarray:
    """Open one array, never a pickle."""
    try:
        vectors = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise ConfigError(
            f"{setting} is not a readable .npy file ({error}). Write it with numpy.save, from floats."
        ) from error
    if not isinstance(vectors, np.ndarray):
        vectors.close()
        raise ConfigError(f"{setting} is an .npz archive, expected one array. Write it with numpy.save.")
    if vectors.ndim != 2 or vectors.dtype.kind not in "fiu" or vectors.shape[1] < 1:
        raise ConfigError(
            f"{setting} holds {vectors.dtype} of shape {vectors.shape}, expected numbers of shape "
            f"({num_items}, D). Save it with numpy.save('{path.name}', vectors.astype('float32'))."
        )
    if len(vectors) != num_items:
        raise ConfigError(
            f"{setting} has {len(vectors)} rows, but there are {num_items} items. "
            "Write one row per item, in the order of the items table."
        )
    return vectors


def _rows_of(item_ids: pd.Series, ids: pd.Series, setting: str) -> np.ndarray:
    """Return the row of each item in a table with those ids; rows of other items are left out."""
    repeated = ids[ids.duplicated()].unique()
    if len(repeated):
        raise ConfigError(
            f"{setting} has {len(repeated)} items in more than one row: {some(repeated)}. "
            "Keep one row per item."
        )
    rows = pd.Index(ids).get_indexer(pd.Index(item_ids))
    missing = item_ids[rows < 0]
    if len(missing):
        raise ConfigError(
            f"{setting} has no vector for {len(missing)} of {len(item_ids)} items: {some(missing)}. "
            "Add a row for each."
        )
    unknown = ids[~ids.isin(item_ids)]
    if len(unknown):
        logger.warning(
            "%s: %d rows are left out, since there are no such items: %s",
            setting,
            len(unknown),
            some(unknown),
        )
    return rows


def _numbers(table: pd.DataFrame, ids: pd.Series, setting: str) -> np.ndarray:
    """Return the numbers of a table without its ids, (rows, D) float64 or float32."""
    if table.shape[1] == 0:
        raise ConfigError(f"{setting} has no column beside the item ids, expected numbers. Add them.")
    if table.shape[1] == 1 and isinstance(table.iloc[0, 0], list | np.ndarray):
        return _from_lists(table.iloc[:, 0], ids, setting)
    columns = [_from_column(table[name], ids, setting) for name in table.columns]
    return np.stack(columns, axis=1)


def _from_lists(column: pd.Series, ids: pd.Series, setting: str) -> np.ndarray:
    """Return a column of lists as rows."""
    width = len(column.iloc[0])
    for item_id, cell in zip(ids, column, strict=True):
        if not isinstance(cell, list | np.ndarray) or len(cell) != width or width == 0:
            found = f"{len(cell)} numbers" if isinstance(cell, list | np.ndarray) else repr(cell)
            raise ConfigError(
                f"{setting}: item {item_id} has {found} in column {column.name}, item {ids.iloc[0]} "
                f"{width}. Give every item as many numbers, at least one."
            )
    try:
        stacked = np.stack(column.tolist())
        return stacked if stacked.dtype.kind in "fiu" else stacked.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"{setting}: the lists in column {column.name} do not hold numbers only ({error})."
        ) from error


def _from_column(column: pd.Series, ids: pd.Series, setting: str) -> np.ndarray:
    """Return a column as numbers; an empty cell becomes NaN, which is refused with the item's id."""
    if pd.api.types.is_numeric_dtype(column):
        return column.to_numpy(dtype=np.float32, na_value=np.nan)
    cells = as_strings(column)
    numbers = pd.to_numeric(cells, errors="coerce")
    wrong = np.flatnonzero(numbers.isna() & (cells.str.strip() != "") & (cells.str.lower() != "nan"))
    if len(wrong):
        raise ConfigError(
            f'{setting}: item {ids.iloc[wrong[0]]} has "{cells.iloc[wrong[0]][:40]}" in column '
            f"{column.name}, expected a number. Leave out columns that hold none."
        )
    return numbers.to_numpy(dtype=np.float64)
