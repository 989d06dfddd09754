"""SemanticIDs: the table item id <-> codes, its files and its hash; the names of levels and SID tokens.

Whether the IDs are any good is for `health.py`; which of them are tokens of a language model, for sidrec.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from tokenizer.collisions.unique import collision_rate
from tokenizer.html_table import html_table

_SID_TOKEN = re.compile(r"<([a-z]+)_(0|[1-9][0-9]*)>")
_LARGEST_SIZE = 2**31 - 1
"""Codes are stored as int32."""
_SHOWN = 10
"""Items that a notebook shows."""


def level_name(level: int) -> str:
    """Name a level, 0-based: a to z, then aa, ab, ... like the columns of a spreadsheet."""
    if level < 0:
        raise ValueError(f"Levels count from 0, got {level}.")
    name = ""
    level += 1
    while level:
        level, letter = divmod(level - 1, 26)
        name = chr(ord("a") + letter) + name
    return name


def sid_token(level: int, code: int) -> str:
    """Write a code as a SID token: level 0, code 12 is `<a_12>`."""
    if code < 0:
        raise ValueError(f"Codes count from 0, got {code}.")
    return f"<{level_name(level)}_{code}>"


def parse_sid_token(token: str) -> tuple[int, int]:
    """Read the level and code of a SID token.

    Raises:
        ValueError: If the text is no SID token. Code numbers have no leading zeros, so each token has one
            spelling.
    """
    match = _SID_TOKEN.fullmatch(token)
    if match is None:
        raise ValueError(f'"{token}" is not a SID token; one looks like <a_12>.')
    level = 0
    for letter in match[1]:
        level = level * 26 + ord(letter) - ord("a") + 1
    return level - 1, int(match[2])


@dataclass(frozen=True, eq=False, repr=False)
class SemanticIDs:
    """The semantic ID of every item. Two tables are the same when their `sha256` is.

    Attributes:
        item_ids: N distinct ids, in the order of the catalogue's rows.
        codes: (N, L) int64, not writable. Collisions are allowed here.
        codebook_sizes: K of each level.

    Raises:
        ValueError: If there is no item, an id is double, empty or no text, or codes and sizes do not fit.
    """

    item_ids: list[str]
    codes: np.ndarray
    codebook_sizes: tuple[int, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "item_ids", list(self.item_ids))
        object.__setattr__(self, "codebook_sizes", tuple(int(size) for size in self.codebook_sizes))
        codes = np.asarray(self.codes)
        _check_table(self.item_ids, codes, self.codebook_sizes)
        codes = np.array(codes, dtype=np.int64, order="C")
        codes.setflags(write=False)
        object.__setattr__(self, "codes", codes)

    def __len__(self) -> int:
        return len(self.item_ids)

    @cached_property
    def sha256(self) -> str:
        """Hash of item ids, codes and sizes, as hexadecimal; the same on every platform."""
        table = [list(self.codebook_sizes), self.item_ids, self.codes.tolist()]
        return hashlib.sha256(json.dumps(table, separators=(",", ":")).encode("ascii")).hexdigest()

    @property
    def collision_rate(self) -> float:
        """1 - distinct semantic IDs / N."""
        return collision_rate(self.codes)

    def tokens(self, row: int) -> list[str]:
        """Give the L SID tokens of the item in a row."""
        return [sid_token(level, code) for level, code in enumerate(self.codes[row].tolist())]

    def __repr__(self) -> str:
        sizes = " x ".join(map(str, self.codebook_sizes))
        return f"SemanticIDs({len(self):,} items, codes {sizes})"

    def _repr_html_(self) -> str:
        """Show the first items in a notebook."""
        rows = [[item, "".join(self.tokens(row))] for row, item in enumerate(self.item_ids[:_SHOWN])]
        more = [["...", "..."]] if len(self) > _SHOWN else []
        caption = f"{self!r}, collision rate {self.collision_rate:.3f}"
        return html_table(["item id", "semantic ID"], [*rows, *more], caption=caption)

    def save(self, path: str | Path) -> None:
        """Write Parquet: `item_id` string, `codes` list of int32, `codebook_sizes` in the metadata."""
        import pyarrow as pa
        from pyarrow import parquet

        schema = pa.schema(
            [pa.field("item_id", pa.string()), pa.field("codes", pa.list_(pa.int32()))],
            metadata={"codebook_sizes": json.dumps(self.codebook_sizes)},
        )
        table = pa.table({"item_id": self.item_ids, "codes": self.codes.tolist()}, schema=schema)
        parquet.write_table(table, path)

    @classmethod
    def load(cls, path: str | Path) -> SemanticIDs:
        """Read what `save` wrote.

        Raises:
            ValueError: If the file is missing, is not such a file, or holds no valid table.
        """
        import pyarrow as pa
        from pyarrow import parquet

        _check_is_file(path)
        try:
            table = parquet.read_table(path, partitioning=None)
        except (pa.ArrowException, OSError) as error:
            raise ValueError(f"{path} is not a Parquet file, or it is damaged ({error}).") from error
        metadata = table.schema.metadata or {}
        if b"codebook_sizes" not in metadata or not {"item_id", "codes"} <= set(table.column_names):
            raise ValueError(
                f"{path} holds no semantic IDs: expected the columns item_id and codes, and codebook_sizes "
                f"in the metadata; it has the columns {table.column_names}."
            )
        return _table_of(
            path,
            item_ids=table.column("item_id").to_pylist(),
            rows=table.column("codes").to_pylist(),
            codebook_sizes=tuple(json.loads(metadata[b"codebook_sizes"])),
        )

    def write_index(self, path: str | Path) -> None:
        """Write the JSON of LC-Rec and MiniOneRec, `{"<item id>": ["<a_1>", ...]}`, one item per line."""
        lines = [
            f"{json.dumps(item)}: {json.dumps(self.tokens(row))}" for row, item in enumerate(self.item_ids)
        ]
        Path(path).write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")

    @classmethod
    def read_index(cls, path: str | Path, *, codebook_sizes: tuple[int, ...] | None = None) -> SemanticIDs:
        """Read such a JSON file. Rows are in the order of the file, which need not be that of a catalogue.

        Args:
            path: Of the file.
            codebook_sizes: K of each level. The file does not say; left out, each is the largest code plus 1.

        Raises:
            ValueError: If the file is missing, is no such JSON, names an item twice, or holds no valid table.
        """
        _check_is_file(path)
        try:
            items = json.loads(Path(path).read_text(encoding="utf-8"), object_pairs_hook=list)
        except ValueError as error:
            raise ValueError(f"{path} is not JSON in UTF-8 ({error}).") from error
        rows = [_codes_of(item, path) for item in items] if isinstance(items, list) else []
        if not rows:
            raise ValueError(
                f'{path} holds no index: expected {{"<item id>": ["<a_1>", "<b_2>", ...], ...}}.'
            )
        if codebook_sizes is None:
            codebook_sizes = tuple(max(level) + 1 for level in zip(*rows, strict=False))
        return _table_of(path, item_ids=[item[0] for item in items], rows=rows, codebook_sizes=codebook_sizes)


def _codes_of(item: Any, path: str | Path) -> list[int]:
    """Read the codes of one `(item id, tokens)` pair of an index."""
    # A JSON list where an object should be has come through as a list, too; its entries are no pairs.
    if not isinstance(item, tuple) or not isinstance(item[1], list):
        raise ValueError(f'{path} holds no index: expected {{"<item id>": ["<a_1>", "<b_2>", ...], ...}}.')
    codes = []
    for position, token in enumerate(item[1]):
        try:
            level, code = parse_sid_token(str(token))
        except ValueError as error:
            raise ValueError(f'{path}, item "{item[0]}": {error}') from error
        if level != position:
            raise ValueError(
                f'{path}, item "{item[0]}": {token} at level {level_name(position)} is of another level.'
            )
        codes.append(code)
    return codes


def _table_of(
    path: str | Path, *, item_ids: list[str], rows: list[list[int]], codebook_sizes: tuple[int, ...]
) -> SemanticIDs:
    """Build the table of a file; what is wrong with it is said with the file's name."""
    lengths = Counter(len(row or []) for row in rows)
    if len(lengths) > 1:
        usual = lengths.most_common(1)[0][0]
        odd = next(item for item, row in zip(item_ids, rows, strict=True) if len(row or []) != usual)
        raise ValueError(
            f'{path}: item "{odd}" has another number of codes than the {usual} that most items have.'
        )
    try:
        return SemanticIDs(item_ids, np.array(rows), codebook_sizes)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _check_is_file(path: str | Path) -> None:
    if not Path(path).is_file():
        raise ValueError(f"{path}: there is no such file, expected semantic IDs.")


def _check_table(item_ids: list[str], codes: np.ndarray, codebook_sizes: tuple[int, ...]) -> None:
    if not item_ids:
        raise ValueError("There is no item to have a semantic ID.")
    if not codebook_sizes or not all(1 <= size <= _LARGEST_SIZE for size in codebook_sizes):
        raise ValueError(f"codebook_sizes needs one size of 1 or more per level, got {list(codebook_sizes)}.")
    if codes.shape != (len(item_ids), len(codebook_sizes)) or not np.issubdtype(codes.dtype, np.integer):
        raise ValueError(
            f"{len(item_ids)} items with {len(codebook_sizes)} levels need integer codes of shape "
            f"({len(item_ids)}, {len(codebook_sizes)}), got {codes.dtype} of shape {codes.shape}."
        )
    bad_ids = [item for item in item_ids if not isinstance(item, str) or not item]
    if bad_ids:
        raise ValueError(f"Item ids are texts and not empty, got {bad_ids[0]!r}.")
    doubled = [item for item, count in Counter(item_ids).items() if count > 1]
    if doubled:
        raise ValueError(f'Item id "{doubled[0]}" has more than one semantic ID.')
    outside = (codes < 0) | (codes >= np.array(codebook_sizes))
    if outside.any():
        row, level = np.argwhere(outside)[0].tolist()
        raise ValueError(
            f'Item "{item_ids[row]}" has code {codes[row, level]} at level {level_name(level)}, '
            f"whose codes are 0 to {codebook_sizes[level] - 1}."
        )
