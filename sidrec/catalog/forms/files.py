"""Files to checked bytes: existence, gzip, UTF-8. What the bytes mean is left to `tables` and `lcrec`."""

from __future__ import annotations

import gzip
import json
import zlib
from pathlib import Path

from sidrec.errors import CatalogError

_GZIP_MAGIC = b"\x1f\x8b"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_LONGEST_HEADER = 1 << 16


def require_file(path: Path, setting: str) -> None:
    """Raise unless `path` is a file; `setting` is the option that named it, e.g. "catalog.items"."""
    if path.is_dir():
        raise CatalogError(f"{setting}: {path} is a directory, expected a file. Name the file inside it.")
    if not path.exists():
        raise CatalogError(
            f"{setting}: there is no file {path}. Check the path (it is relative to {Path.cwd()})."
        )


def read_utf8(path: Path, setting: str) -> bytes:
    """Read a text file, unzipped when its name ends in .gz, without byte order mark, known to be UTF-8.

    Raises:
        CatalogError: If the file is missing, empty, cut short, not UTF-8, or named .gz and not gzip.
    """
    require_file(path, setting)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CatalogError(
            f"{setting}: {path} cannot be read ({error.strerror}). Check its permissions."
        ) from error
    if path.suffix == ".gz" and data:
        data = _gunzip(data, path)
    elif data.startswith(_GZIP_MAGIC):
        raise CatalogError(f"{path} is compressed with gzip. Rename it to {path.name}.gz or unpack it.")
    data = data.removeprefix(_BYTE_ORDER_MARK)
    if not data.strip():
        raise CatalogError(f"{path} is empty, expected data. Check what wrote it.")
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise CatalogError(
            f"{path} is not UTF-8: byte 0x{data[error.start]:02x} at position {error.start} (line {line}). "
            f"Save it as UTF-8, e.g. iconv -f latin1 -t utf-8 {path.name}"
        ) from error
    return data


def first_line(path: Path) -> str:
    """Return the first line of a text file, to tell its form by; no more than the beginning is read."""
    try:
        with path.open("rb") as file:
            line = file.readline(_LONGEST_HEADER)
    except OSError:
        return ""
    return line.removeprefix(_BYTE_ORDER_MARK).decode("utf-8", errors="replace").rstrip("\r\n")


def read_lines(path: Path, setting: str) -> list[tuple[int, str]]:
    """Read the lines of a text file that are not blank, each with its number from 1.

    Raises:
        CatalogError: As `read_utf8`.
    """
    lines = read_utf8(path, setting).decode().split("\n")  # not splitlines: a title may hold U+2028
    numbered = enumerate((line.rstrip("\r") for line in lines), start=1)
    return [(number, line) for number, line in numbered if line.strip()]


def reject_lone_surrogates(parsed: object, raw: bytes, where: str) -> None:
    """Raise if JSON spelled half a character (a lone escape \\ud800), which no text file can hold."""
    if b"\\ud" in raw.lower():
        try:
            json.dumps(parsed, ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError as error:
            raise CatalogError(
                f"{where} has half a character, the escape \\u{ord(error.object[error.start]):04x} "
                "without its partner. Remove it, or write the character itself."
            ) from error


def _gunzip(data: bytes, path: Path) -> bytes:
    """Unpack gzip bytes."""
    if not data.startswith(_GZIP_MAGIC):
        raise CatalogError(
            f"{path} is not gzip: it begins with {data[:4]!r}. Compress it, or rename it to {path.stem}"
        )
    try:
        return gzip.decompress(data)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise CatalogError(
            f"{path} is a broken gzip file ({error}). Copy it or compress it again."
        ) from error
