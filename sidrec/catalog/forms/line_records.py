"""Files with a JSON object or a Python literal per line, as Arrow tables of the few keys that are needed.

Millions of lines, most of their bytes in keys that nobody asks for: JSON goes through Arrow's parser block by
block. A block that it refuses, or that is Python, is read line by line, which also finds the line to name.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.json as arrow_json

from sidrec.catalog.forms.files import (
    BLOCK_BYTES,
    Block,
    how_to_mend,
    read_blocks,
    read_first_line,
    reject_lone_surrogates,
)
from sidrec.catalog.forms.literals import parse_literal
from sidrec.errors import CatalogError


def first_keys(path: Path) -> frozenset[str]:
    """Return the keys of the object in a file's first line, to recognise its form by; none if it has none."""
    line = read_first_line(path)
    try:
        record = _parse(line) if line.startswith("{") and line.endswith("}") else None
    except (ValueError, RecursionError):
        record = None
    return frozenset(map(str, record)) if isinstance(record, dict) else frozenset()


def read_line_records(
    path: Path,
    setting: str,
    schema: pa.Schema,
    *,
    required: Collection[str] = (),
    block_bytes: int = BLOCK_BYTES,
) -> pa.Table:
    """Read one object per line; keys outside of the schema are skipped, and so are blank lines.

    A line that is no JSON may be a Python literal, as in the Amazon reviews of 2014: parsed, never executed.
    Numbers in place of a string become text, one value in place of a list a list of one. A timestamp is
    written as ISO date, in UTC unless it says otherwise.

    Args:
        path: The file.
        setting: The option that named it, e.g. "catalog.items".
        schema: The keys to read and their types.
        required: Keys that no line may lack.
        block_bytes: What is parsed at a time, about.

    Returns:
        One row per line, with the columns of `schema`.

    Raises:
        CatalogError: If the file is missing or broken; names the line.
    """
    tables = []
    for block in read_blocks(path, setting, block_bytes=block_bytes):
        table = _read_with_arrow(block, schema, required)
        tables.append(_read_line_by_line(block, path, schema, required) if table is None else table)
    return pa.concat_tables(tables)


def _read_with_arrow(block: Block, schema: pa.Schema, required: Collection[str]) -> pa.Table | None:
    """Return the rows of a block of JSON; None if anything in it is not as it should be."""
    # Arrow also takes two objects in a line, or one over two lines; only a line each is a row each. Where
    # the first value is null, it does not refuse but crash (pyarrow 26.0.1)
    if not block.data.startswith(b"{"):
        return None
    num_lines = block.data.count(b"\n") + (not block.data.endswith(b"\n"))
    if block.data.count(b"}\n{") + block.data.count(b"}\r\n{") != num_lines - 1:
        return None
    try:
        table = arrow_json.read_json(
            pa.BufferReader(block.data),
            read_options=arrow_json.ReadOptions(use_threads=False, block_size=len(block.data) + 1),
            parse_options=arrow_json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore"),
        )
    except pa.ArrowException:
        return None
    is_whole = table.num_rows == num_lines and not any(table[name].null_count for name in required)
    return table.select(schema.names) if is_whole else None


def _read_line_by_line(block: Block, path: Path, schema: pa.Schema, required: Collection[str]) -> pa.Table:
    """Read a block line by line, and name the first line that cannot be read."""
    columns: dict[str, list[Any]] = {name: [] for name in schema.names}
    lines = block.data.decode("utf-8").split("\n")
    for place, line in enumerate(lines):
        if not line.strip():
            continue
        where = f"{path}: line {block.first_line + place}"
        record = _read_record(line, where, is_unfinished=place == len(lines) - 1)
        for field in schema:
            columns[field.name].append(_read_value(record, field, where, required))
    return pa.table(columns, schema=schema)


def _read_record(line: str, where: str, *, is_unfinished: bool) -> dict[str, Any]:
    """Parse one line as an object; `is_unfinished` says that the file has no line end after it."""
    try:
        record = _parse(line)
    except (ValueError, RecursionError) as error:
        problem = getattr(error, "msg", "") or str(error).partition(" on line ")[0] or type(error).__name__
        raise CatalogError(
            f"{where} is neither JSON nor a Python literal ({problem}): {line.strip()[:60]!r}. "
            f"{how_to_mend(is_unfinished)}"
        ) from error
    if not isinstance(record, dict):
        raise CatalogError(
            f"{where} is not an object: {line.strip()[:60]!r}. Expected one object per line, such as "
            '{"asin": "B0001", "title": "Mug"}. Write it so.'
        )
    return record


def _parse(line: str) -> Any:
    """Parse JSON, or a Python literal if it begins as one; neither can run code."""
    try:
        return json.loads(line, parse_constant=lambda _: None)
    except ValueError:
        if line.lstrip().startswith(("{'", '{u"', "{u'")):
            return parse_literal(line.strip())
        raise


def _read_value(record: dict[str, Any], field: pa.Field, where: str, required: Collection[str]) -> Any:
    """Return the value of one key as the type that it should have."""
    value = record.get(field.name)
    if value is None:
        if field.name in required:
            keys = ", ".join(map(str, record)) or "none"
            raise CatalogError(
                f'{where} has no value for "{field.name}", expected one in every line. Keys: {keys}. '
                "Add it or remove the line."
            )
        return None
    try:
        converted = _as_type(value, field.type)
    except (TypeError, ValueError, OverflowError) as error:
        raise CatalogError(
            f"{where} has {json.dumps(value, ensure_ascii=False, default=str)[:60]} as {field.name}, "
            f"expected {_in_words(field.type)}. Mend or remove the line."
        ) from error
    reject_lone_surrogates(value, json.dumps(value, default=str).encode(), where)
    return converted


def _as_type(value: Any, kind: pa.DataType) -> Any:
    """Return a value in an Arrow type, or raise TypeError or ValueError."""
    if pa.types.is_list(kind):
        if value is None or value == "":
            return []
        return [_as_type(part, kind.value_type) for part in (value if isinstance(value, list) else [value])]
    if value is None:
        return None
    if pa.types.is_string(kind):
        if isinstance(value, str):
            return value
        if isinstance(value, int | float) and not isinstance(value, bool):
            return str(value)
    elif pa.types.is_timestamp(kind):
        moment = datetime.fromisoformat(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC).replace(tzinfo=None)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        if pa.types.is_floating(kind):
            return float(value)
        if value == int(value) and abs(value) < 1 << 63:
            return int(value)
    raise TypeError(f"{value!r} is no {kind}")


def _in_words(kind: pa.DataType) -> str:
    """Name a type as a message does."""
    if pa.types.is_list(kind):
        return f"a list, each part {_in_words(kind.value_type)}"
    if pa.types.is_string(kind):
        return "a text"
    if pa.types.is_timestamp(kind):
        return "an ISO date such as 2018-07-07 22:09:11"
    return "a number" if pa.types.is_floating(kind) else "a whole number"
