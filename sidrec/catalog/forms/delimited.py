"""Text files of rows and cells as data frames, every cell as text: CSV, TSV and what is like them."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.csv as arrow_csv

from sidrec.catalog.forms.files import how_to_mend, read_utf8
from sidrec.catalog.forms.quotes import holds_quoted_cells
from sidrec.catalog.forms.separators import detect_separator, show_separator
from sidrec.catalog.forms.text_encodings import Text, read_text
from sidrec.catalog.frames import require_distinct
from sidrec.errors import CatalogError

_MAX_BLOCK_BYTES = 1 << 30


@dataclass(frozen=True)
class Dialect:
    """How text files are written.

    Attributes:
        separator: Of cells, one character; None: told by the first rows.
        quoting: Whether double quotes hold a cell together; else they are characters like any other, and a
            cell can hold neither the separator nor a line end.
        encoding: Python's name of it; None: told by the bytes.
    """

    separator: str | None = None
    quoting: bool = True
    encoding: str | None = None


def read_delimited(path: Path, setting: str, *, delimiter: str, quoted: bool = True) -> pd.DataFrame:
    """Read a delimited text file in UTF-8, all cells as text; every row must have as many as the header.

    Args:
        path: The file; its suffix does not matter, but for .gz and .zst.
        setting: The option that named it.
        delimiter: One character.
        quoted: As `Dialect.quoting`.

    Raises:
        CatalogError: If the file is missing or broken, or a column name occurs twice.
    """
    return _parse(read_utf8(path, setting), path, delimiter=delimiter, quoted=quoted)


def read_separated(path: Path, setting: str, *, usual: str, dialect: Dialect) -> pd.DataFrame:
    """Read a delimited text file, told by looking at it how it is written.

    `attrs["form"]` of the result says what was found: "separator ';', quoted, Windows-1252".

    Args:
        path: The file.
        setting: The option that named it.
        usual: The separator that goes with the file's name.
        dialect: What is not to be looked for.

    Raises:
        CatalogError: If the file is missing or broken, its separator could be several, its quotes do not
            close, or a column name occurs twice.
    """
    text = read_text(path, setting, dialect.encoding)
    quoted = dialect.quoting
    separator = dialect.separator or detect_separator(text.data, path, usual=usual, quoted=quoted)
    told = [f"separator {show_separator(separator)}"]
    if not quoted:
        told.append("quotes as characters")
    elif holds_quoted_cells(text.data, path, separator=separator):
        told.append("quoted")
    frame = _parse(text.data, path, delimiter=separator, quoted=quoted)
    frame.attrs |= attributes_of(text, path)
    frame.attrs["form"] = ", ".join([*told, text.encoding])
    return frame


def attributes_of(text: Text, path: Path) -> dict[str, object]:
    """Return what to say of a text that was read: for the `attrs` of the frame that is made of it."""
    note = (
        f"{path.name} is not UTF-8 and was read as {text.encoding}, which is what its letters look like. If "
        "they look wrong here, set catalog.encoding to what the file is in."
    )
    return {"form": text.encoding, "notes": [note] if text.is_guessed else []}


def _parse(data: bytes, path: Path, *, delimiter: str, quoted: bool) -> pd.DataFrame:
    """Make a table of UTF-8 bytes."""
    columns = _header(data, path, delimiter=delimiter, quoted=quoted)
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
        raise _wrong_width(bad_rows[0], data, path, delimiter=delimiter) from error
    return table.to_pandas()


def _header(data: bytes, path: Path, *, delimiter: str, quoted: bool) -> list[str]:
    """Return the cells of the first row that is not blank."""
    text = io.TextIOWrapper(io.BytesIO(data), encoding="utf-8", newline="")
    lines = csv.reader(text, delimiter=delimiter, quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE)
    try:
        return next(cells for cells in lines if cells)
    except csv.Error as error:
        raise CatalogError(
            f"{path} begins with no row of column names ({error}). Write them into its first line."
        ) from error


def _wrong_width(row: arrow_csv.InvalidRow, data: bytes, path: Path, *, delimiter: str) -> CatalogError:
    """Say that a row has not as many cells as the header, and in which line it begins."""
    found = re.search(rb"(?<![^\r\n])%b(?![^\r\n])" % re.escape(row.text.encode()), data)
    start, end = found.span() if found else (0, 0)
    line = data[:start].count(b"\n") + 1
    is_unfinished = end == len(data) and row.actual_columns < row.expected_columns
    mend = "Complete the row, or mend a cell that contains the separator."
    return CatalogError(
        f"{path}: line {line} has {row.actual_columns} cells, expected {row.expected_columns} "
        f"as the header has (the separator is {show_separator(delimiter)}): {row.text[:80]!r}. "
        f"{how_to_mend(is_unfinished) if is_unfinished else mend}"
    )
