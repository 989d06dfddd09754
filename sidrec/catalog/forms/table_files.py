"""CSV, TSV, JSONL and Parquet files as data frames; what a column means is left to `Catalog`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as parquet

from sidrec.catalog.forms.delimited import Dialect, attributes_of, read_separated
from sidrec.catalog.forms.files import reject_lone_surrogates, require_file
from sidrec.catalog.forms.packing import PACKINGS, packing_suffix, unpacked_name
from sidrec.catalog.forms.text_encodings import read_text
from sidrec.catalog.frames import arrow_to_frame
from sidrec.errors import CatalogError

SUFFIXES = ".csv, .tsv, .jsonl, .ndjson (each also with .gz or .zst) or .parquet"
_ONE_PER_LINE = 'Write one object per line, e.g. {"item_id": "7", "title": "Mug"}.'
_SEPARATORS = {".csv": ",", ".tsv": "\t"}


def read_table(path: Path, setting: str, dialect: Dialect | None = None) -> pd.DataFrame:
    """Read one table by its file name's suffix.

    Cells of CSV and TSV are text as written ("007", "1.0" and "NA" stay), and so are numbers with a decimal
    point in JSONL; Parquet keeps its types. The `attrs` of the result are "source", the file's name for
    messages, "form", what it was taken for, such as "CSV, separator ';', Windows-1252", and "notes", a list
    of what a user should know of that.

    Args:
        path: The file.
        setting: The option that named it, e.g. "catalog.items".
        dialect: How text is written; None: as it looks.

    Raises:
        CatalogError: If the file is missing, of unknown form, broken, or has no rows.
    """
    dialect = dialect or Dialect()
    form = Path(unpacked_name(path)).suffix
    if form in _SEPARATORS:
        frame = read_separated(path, setting, usual=_SEPARATORS[form], dialect=dialect)
    elif form in (".jsonl", ".ndjson"):
        frame = _read_json_lines(path, setting, dialect)
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
    packing = PACKINGS.get(packing_suffix(path), "")
    told = [form.removeprefix(".").upper(), packing, frame.attrs.get("form", "")]
    frame.attrs |= {"source": path.name, "form": ", ".join(filter(None, told))}
    return frame


def _no_constant(_: str) -> None:
    """Read NaN and Infinity, which JSON does not have, as missing."""
    return None


def _read_json_lines(path: Path, setting: str, dialect: Dialect) -> pd.DataFrame:
    """Read one JSON object per line; blank lines are skipped, keys may be absent."""
    records: list[dict[str, Any]] = []
    text = read_text(path, setting, dialect.encoding)
    for number, line in enumerate(text.data.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line, parse_float=str, parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            goes_on = line.strip() in (b"[", b"{")
            mend = _ONE_PER_LINE if goes_on else "Mend or remove the line."
            raise CatalogError(
                f"{path}: line {number} is not JSON ({error}): {_start(line)}. {mend}"
            ) from error
        if not isinstance(record, dict):
            raise CatalogError(f"{path}: line {number} is not a JSON object: {_start(line)}. {_ONE_PER_LINE}")
        reject_lone_surrogates(record, line, f"{path}: line {number}")
        records.append(record)
    frame = pd.DataFrame(records, dtype=object)
    frame.attrs |= attributes_of(text, path)
    return frame


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
