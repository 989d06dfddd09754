"""Codes that others made: their tables (LC-Rec's index.json, CSV, Parquet), and a quantizer to go on with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tokenizer.collisions.unique import mean_codebooks
from tokenizer.semantic_ids import SemanticIDs
from tokenizer.vector_quantizer import VectorQuantizer

TABLES = (".csv", ".tsv", ".parquet")
SUFFIXES = (".json", *TABLES)


def read_codes(path: str | Path) -> SemanticIDs:
    """Read the codes of items; collisions are allowed.

    * `.json`: `{"<item id>": ["<a_12>", "<b_3>", ...], ...}`, as LC-Rec, LETTER and MiniOneRec write it.
    * `.csv`, `.tsv`: a column `item_id`, and a column of integers for each level, in their order.
    * `.parquet`: the same, or a column `codes` of lists; also what `SemanticIDs.save` wrote.

    Codebook sizes are those of the file, or the largest code of each level plus 1.

    Raises:
        ValueError: If the file is missing or no such table; the message says which item is at fault.
    """
    path = Path(path)
    if path.suffix == ".json":
        return SemanticIDs.read_index(path)
    if path.suffix not in TABLES:
        raise ValueError(f"{path} is none of the tables of codes that can be read: {', '.join(SUFFIXES)}.")
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file, expected a table of codes.")
    if path.suffix == ".parquet" and _is_ours(path):
        return SemanticIDs.load(path)
    return _read_table(path)


def quantizer_of(codes: np.ndarray, vectors: np.ndarray, sizes: Sequence[int]) -> VectorQuantizer:
    """Make a quantizer for codes that came without one, by the means of what the items of a code leave over.

    It need not give those items the codes they have. A code that none of them has is never given to another.

    Args:
        codes: (N, L) integers.
        vectors: (N, D), of the items in the same order.
        sizes: K of each level.
    """
    vectors = np.asarray(vectors, dtype=np.float32)
    mean = vectors.mean(axis=0)
    books = mean_codebooks(codes, vectors - mean, sizes)
    used = [np.bincount(codes[:, level], minlength=size) > 0 for level, size in enumerate(sizes)]
    return VectorQuantizer(
        mean,
        1.0,
        np.eye(len(mean), dtype=np.float32),
        tuple(book.astype(np.float32) for book in books),
        tuple(np.where(each, 0, -np.inf).astype(np.float32) for each in used),
    )


def in_order_of(table: SemanticIDs, item_ids: list[str]) -> SemanticIDs:
    """Give the same table in the order of a catalogue's items.

    Raises:
        ValueError: If the two do not name the same items; the message names some.
    """
    row = {item_id: place for place, item_id in enumerate(table.item_ids)}
    missing = [item_id for item_id in item_ids if item_id not in row]
    unknown = sorted(set(row) - set(item_ids))
    if missing or unknown:
        parts = [
            f'{len(names)} items that only the {whose} has (such as "{names[0]}")'
            for names, whose in ((missing, "catalogue"), (unknown, "index"))
            if names
        ]
        raise ValueError(f"there are {' and '.join(parts)}.")
    codes = table.codes[[row[item_id] for item_id in item_ids]]
    return SemanticIDs(item_ids, codes, table.codebook_sizes)


def _is_ours(path: Path) -> bool:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        return b"codebook_sizes" in (parquet.read_schema(path).metadata or {})
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path} is not a Parquet file, or it is damaged ({error}).") from error


def _read_table(path: Path) -> SemanticIDs:
    import pandas as pd

    if path.suffix == ".parquet":
        table = pd.read_parquet(path)
    else:
        try:
            table = pd.read_csv(path, sep="\t" if path.suffix == ".tsv" else ",", dtype={"item_id": str})
        except (ValueError, UnicodeDecodeError) as error:
            raise ValueError(f"{path} cannot be read as a table ({error}).") from error
    columns = [name for name in table.columns if name != "item_id"]
    if "item_id" not in table.columns or not columns:
        raise ValueError(
            f"{path} needs a column item_id and one of codes for each level; it has {list(table.columns)}."
        )
    item_ids = table["item_id"].astype(str).tolist()
    if columns == ["codes"]:
        codes = _from_lists(path, item_ids, table["codes"].tolist())
    else:
        codes = _from_columns(path, item_ids, table, columns)
    if codes.min() < 0:
        row = int((codes < 0).any(axis=1).argmax())
        raise ValueError(f'{path}: item "{item_ids[row]}" has a code below 0: {codes[row].tolist()}.')
    try:
        return SemanticIDs(item_ids, codes, tuple((codes.max(axis=0) + 1).tolist()))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _from_lists(path: Path, item_ids: list[str], rows: list[object]) -> np.ndarray:
    lengths = {len(row) for row in rows if isinstance(row, (list, tuple, np.ndarray))}
    if len(lengths) != 1 or not all(isinstance(row, (list, tuple, np.ndarray)) for row in rows):
        raise ValueError(f"{path}: the column codes must hold a list of one length for every item.")
    codes = np.array([list(row) for row in rows])  # type: ignore[call-overload]
    if not np.issubdtype(codes.dtype, np.integer):
        raise ValueError(
            f'{path}: codes are integers; those of item "{item_ids[0]}" are {codes[0].tolist()}.'
        )
    return codes


def _from_columns(path: Path, item_ids: list[str], table: object, columns: list[str]) -> np.ndarray:
    import pandas as pd

    assert isinstance(table, pd.DataFrame)
    for name in columns:
        column = table[name]
        if not pd.api.types.is_integer_dtype(column):
            bad = pd.to_numeric(column, errors="coerce")
            row = int(((bad.isna()) | (bad % 1 != 0)).to_numpy().argmax())
            raise ValueError(
                f'{path}: column {name} must hold an integer for every item; item "{item_ids[row]}" has '
                f"{column.iloc[row]}."
            )
    return table[columns].to_numpy(dtype=np.int64)
