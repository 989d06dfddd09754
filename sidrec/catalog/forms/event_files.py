"""Delimited files of events, many millions of rows, as the four columns that are needed of them."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.csv as arrow_csv

from sidrec.catalog.forms.files import BLOCK_BYTES, Block, how_to_mend, read_blocks
from sidrec.errors import CatalogError

_TYPES = {
    "user_id": pa.string(),
    "item_id": pa.string(),
    "rating": pa.float64(),
    "timestamp": pa.int64(),
}


@dataclass(frozen=True)
class EventColumns:
    """How the rows of a file are written.

    Attributes:
        names: Column of the file -> `user_id`, `item_id`, `rating` or `timestamp`; in a file without a
            header in the order of its cells.
        delimiter: Between two cells; of more than one character, no cell may hold a tab.
        has_header: Whether the first line names the columns. Others may be there; they are not read.
    """

    names: Mapping[str, str]
    delimiter: str = ","
    has_header: bool = True


def read_events(
    path: Path, setting: str, columns: EventColumns, *, block_bytes: int = BLOCK_BYTES
) -> pd.DataFrame:
    """Read a file of events block by block; ids are text as written.

    Raises:
        CatalogError: If the file is missing or broken, or lacks a column; names the line.
    """
    tables: list[pa.Table] = []
    header: list[str] = [] if columns.has_header else list(columns.names)
    for block in read_blocks(path, setting, block_bytes=block_bytes):
        if not header:
            line, _, rest = block.data.partition(b"\n")
            header = _read_header(line, path, columns)
            block = Block(block.first_line + 1, rest)
        if block.data.strip():
            tables.append(_read_block(block, path, header, columns))
    if not tables:
        raise CatalogError(f"{path} has a header but no rows, expected one at least. Check what wrote it.")
    frame = pa.concat_tables(tables).to_pandas()
    frame.attrs["source"] = path.name
    return frame


def _read_header(line: bytes, path: Path, columns: EventColumns) -> list[str]:
    """Return the names in the first line; all that are read must be there."""
    header = _cells(line.decode("utf-8").rstrip("\r"), columns, f"{path}: line 1")
    missing = [name for name in columns.names if header.count(name) != 1]
    if missing:
        raise CatalogError(
            f'{path}: the header "{", ".join(header)[:100]}" does not name "{missing[0]}" once, expected '
            f"{', '.join(columns.names)} in the first line. Write it, or copy the file again."
        )
    return header


def _read_block(block: Block, path: Path, header: Sequence[str], columns: EventColumns) -> pa.Table:
    """Parse a block with Arrow; let a slow reading find the line if that does not work."""
    data, delimiter = block.data, columns.delimiter
    if len(delimiter) > 1:
        data, delimiter = data.replace(delimiter.encode(), b"\t"), "\t"
    try:
        table = arrow_csv.read_csv(
            pa.BufferReader(data),
            read_options=arrow_csv.ReadOptions(
                use_threads=False, block_size=len(data) + 1, column_names=list(header)
            ),
            parse_options=arrow_csv.ParseOptions(
                delimiter=delimiter, quote_char='"' if columns.has_header else False
            ),
            convert_options=arrow_csv.ConvertOptions(
                column_types={name: _TYPES[read_as] for name, read_as in columns.names.items()},
                include_columns=list(columns.names),
                null_values=[],
                strings_can_be_null=False,
            ),
        )
    except pa.ArrowInvalid as error:
        _raise_for_first_line(block, path, header, columns)
        raise CatalogError(
            f"{path}: the lines from {block.first_line} on cannot be read ({error}). Copy the file again."
        ) from error
    return table.rename_columns([columns.names[name] for name in table.column_names])


def _raise_for_first_line(block: Block, path: Path, header: Sequence[str], columns: EventColumns) -> None:
    """Name the first line of a block that has too few cells, or one of the wrong kind."""
    lines = block.data.decode("utf-8").split("\n")
    for place, line in enumerate(lines):
        if not line.strip():
            continue
        where = f"{path}: line {block.first_line + place}"
        cells = _cells(line.rstrip("\r"), columns, where)
        mend = how_to_mend(place == len(lines) - 1)
        if len(cells) != len(header):
            raise CatalogError(
                f"{where} has {len(cells)} cells, expected {len(header)} ({', '.join(header)}): "
                f"{line[:80]!r}. {mend}"
            )
        for name, cell in zip(header, cells, strict=True):
            kind = _TYPES[columns.names[name]] if name in columns.names else pa.string()
            if kind == pa.string():
                continue
            try:
                float(cell) if kind == pa.float64() else int(cell)
            except ValueError as error:
                expected = "a number" if kind == pa.float64() else "a whole number"
                raise CatalogError(
                    f'{where} has "{cell[:60]}" as {name}, expected {expected}. {mend}'
                ) from error


def _cells(line: str, columns: EventColumns, where: str) -> list[str]:
    """Split one line."""
    if not columns.has_header:
        return line.split(columns.delimiter)
    try:
        return next(csv.reader([line], delimiter=columns.delimiter), [])
    except csv.Error as error:  # a carriage return within it, or a cell of more than 128 KB
        raise CatalogError(
            f"{where} cannot be divided into cells ({error}): {line[:80]!r}. Mend it, or copy the file again."
        ) from error
