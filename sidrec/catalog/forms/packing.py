"""Packed files as what is in them: gzip, and zstd through the codec that pyarrow brings."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

import pyarrow as pa

from sidrec.errors import CatalogError

PACKINGS = {".gz": "gzip", ".zst": "zstd"}
"""Suffix of a file's name -> what packed it."""

_BEGINNINGS = {".gz": b"\x1f\x8b", ".zst": b"\x28\xb5\x2f\xfd"}


def packing_suffix(path: Path) -> str:
    """Return .gz or .zst if the file's name ends so, else ""."""
    suffix = path.suffix.lower()
    return suffix if suffix in PACKINGS else ""


def unpacked_name(path: Path) -> str:
    """Return a file's name in lower case without .gz or .zst, for what is in it to be told by."""
    return path.name.lower().removesuffix(packing_suffix(path))


@contextmanager
def open_unpacked(path: Path, setting: str) -> Iterator[BinaryIO]:
    """Open a file; one whose name ends in .gz or .zst gives what is packed in it.

    Raises:
        CatalogError: Also while it is read: if the system does not give it, it is broken, it is packed and
            not named so, or it is named so and not packed.
    """
    suffix = packing_suffix(path)
    try:
        with path.open("rb") as stream:
            _require_packing(stream.read(4), path, suffix)
        with _open(path, suffix) as stream:
            yield stream
    except (EOFError, zlib.error, OSError, pa.ArrowException) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise CatalogError(
                f"{setting}: {path} cannot be read ({error.strerror}). Check its permissions."
            ) from error
        raise CatalogError(
            f"{path} is a broken {PACKINGS[suffix]} file ({error}). Copy it or compress it again."
        ) from error


def _open(path: Path, suffix: str) -> BinaryIO:
    """Open a file, to read what is packed in it."""
    if suffix == ".gz":
        return cast(BinaryIO, gzip.open(path, "rb"))
    if suffix == ".zst" and path.stat().st_size:  # some versions of Arrow take an empty file for a broken one
        return io.BufferedReader(pa.input_stream(path, compression="zstd"))
    return path.open("rb")


def _require_packing(beginning: bytes, path: Path, suffix: str) -> None:
    """Raise unless the first bytes of a file are as its suffix says; an empty file is left to its reader."""
    if suffix and beginning and not beginning.startswith(_BEGINNINGS[suffix]):
        raise CatalogError(
            f"{path} is not {PACKINGS[suffix]}: it begins with {beginning!r}. "
            f"Compress it, or rename it to {path.stem}"
        )
    if not suffix:
        for other, magic in _BEGINNINGS.items():
            if beginning.startswith(magic):
                raise CatalogError(
                    f"{path} is compressed with {PACKINGS[other]}. "
                    f"Rename it to {path.name}{other} or unpack it."
                )
