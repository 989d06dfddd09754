"""CSV, TSV, JSONL and Parquet files as data frames; what a column means is left to `Catalog`."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.parquet as parquet

from sidrec.catalog.forms.files import read_utf8, reject_lone_surrogates, require_file
from sidrec.catalog.forms.packing import unpacked_name
from sidrec.catalog.frames import arrow_to_frame, require_distinct
from sidrec.errors import CatalogError

SUFFIXES = ".csv, .tsv, .jsonl, .ndjson (each also with .gz or .zst) or .parquet"
_MAX_BLOCK_BYTES = 1 << 30


def read_table(path: Path, setting: str) -> pd.DataFrame:
    """Read one table by its file name's suffix.

    Cells of CSV and TSV are text as written ("007", "1.0" and "NA" stay), and so are numbers with a decimal
    point in JSONL; Parquet keeps its types. `attrs["source"]` of the result is the file's name, for messages.

    Args:
        path: The file.
        setting: The option that named it, e.g. "catalog.items".

    Raises:
        CatalogError: If the file is missing, of unknown form, broken, or has no rows.
    """
    form = Path(unpacked_name(path)).suffix
    if form in (".csv", ".tsv"):
        frame = read_delimited(path, setting, delimiter="," if form == ".csv" else "\t")
    elif form in (".jsonl", ".ndjson"):
        frame = _read_json_lines(path, setting)
    elif path.suffix.lower() == ".parquet":
        frame = _read_parquet(path, setting)
    else:
        require_file(path, setting)
        raise CatalogError(
            f"{setting}: {path} has an unknown extension, expected {SUFFIXES}. Convert it to one."
        )
    if not len(frame):
        raise CatalogError(
            f"{path} has a header but no rows, expected one row at least. Check what wrote it."
        )
    frame.attrs |= {"source": path.name, "form": form.removeprefix(".").upper()}
    return frame


def read_delimited(path: Path, setting: str, *, delimiter: str, quoted: bool = True) -> pd.DataFrame:
    """Read a delimited text file, all cells as text; every row must have as many cells as the header.

    Args:
        path: The file; its suffix does not matter, but for .gz and .zst.
        setting: The option that named it.
        delimiter: One character.
        quoted: Whether double quotes hold a cell together; else they are characters like any other, and a
            cell can hold neither the delimiter nor a line end.

    Raises:
        CatalogError: If the file is missing or broken, or a column name occurs twice.
    """
    data = read_utf8(path, setting)
    text = io.TextIOWrapper(io.BytesIO(data), encoding="utf-8", newline="")
    lines = csv.reader(text, delimiter=delimiter, quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE)
    columns = next(cells for cells in lines if cells)
    require_distinct(columns, str(path))
    bad_rows: list[arrow_csv.InvalidRow] = []

    def keep_bad_row(row: arrow_csv.InvalidRow) -> str:
        bad_rows.append(row)
        return "error"

    block_size = min(max(len(data), 1 << 20), _MAX_BLOCK_BYTES)  # one block: a cell may span lines
    try:
        table = arrow_csv.read_csv(
            pa.BufferReader(data),
            read_options=arrow_csv.ReadOptions(use_threads=False, block_size=block_size),
            parse_options=arrow_csv.ParseOptions(
                delimiter=delimiter,
                quote_char='"' if quoted else False,
                newlines_in_values=quoted,
                invalid_row_handler=keep_bad_row,
            ),
            convert_options=arrow_csv.ConvertOptions(
                column_types={name: pa.string() for name in columns}, strings_can_be_null=False
            ),
        )
    except pa.ArrowInvalid as error:
        if not bad_rows:
            raise CatalogError(f"{path} cannot be read as a table: {error}. Check its quotes.") from error
        row = bad_rows[0]
        mend = "put double quotes around" if quoted else "mend"
        raise CatalogError(
            f"{path}: row {row.number} (the header is row 1) has {row.actual_columns} cells, expected "
            f"{row.expected_columns}: {row.text[:80]!r}. "
            f"Complete the row, or {mend} a cell that contains the separator."
        ) from error
    return table.to_pandas()


def _no_constant(_: str) -> None:
    """Read NaN and Infinity, which JSON does not have, as missing."""
    return None


def _read_json_lines(path: Path, setting: str) -> pd.DataFrame:
    """Read one JSON object per line; blank lines are skipped, keys may be absent."""
    records: list[dict[str, Any]] = []
    for number, line in enumerate(read_utf8(path, setting).split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line, parse_float=str, parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            raise CatalogError(
                f"{path}: line {number} is not JSON ({error}): {_start(line)}. Mend or remove the line."
            ) from error
        if not isinstance(record, dict):
            raise CatalogError(
                f"{path}: line {number} is not a JSON object: {_start(line)}. "
                'Write one object per line, e.g. {"item_id": "7", "title": "Mug"}.'
            )
        reject_lone_surrogates(record, line, f"{path}: line {number}")
        records.append(record)
    return pd.DataFrame(records, dtype=object)


def _start(line: bytes) -> str:
    """Quote the beginning of a line."""
    return repr(line.decode("utf-8").strip()[:60])


def _read_parquet(path: Path, setting: str) -> pd.DataFrame:
    """Read Parquet; an index that pandas stored comes back as a column."""
    require_file(path, setting)
    if path.stat().st_size == 0:
        raise CatalogError(f"{path} is empty, expected data. Check what wrote it.")
    try:
        table = parquet.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise CatalogError(
            f"{path} is not a readable Parquet file ({str(error).splitlines()[0]}). "
            "It may have been cut short: write or copy it again."
        ) from error
    return arrow_to_frame(table, str(path))
