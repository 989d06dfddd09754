"""Files to checked bytes: existence, packing, UTF-8. What the bytes mean is left to the forms."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sidrec.catalog.forms.packing import open_unpacked
from sidrec.errors import CatalogError

BLOCK_BYTES = 16 << 20
_FIRST_LINE_BYTES = 1 << 20
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def require_file(path: Path, setting: str) -> None:
    """Raise unless `path` is a file; `setting` is the option that named it, e.g. "catalog.items"."""
    if path.is_dir():
        raise CatalogError(f"{setting}: {path} is a directory, expected a file. Name the file inside it.")
    if not path.exists():
        raise CatalogError(
            f"{setting}: there is no file {path}. Check the path (it is relative to {Path.cwd()})."
        )


@dataclass(frozen=True)
class Block:
    """Some whole lines of a text file.

    Attributes:
        first_line: Number of the first of them in the file, from 1.
        data: The lines, in UTF-8; only the last of a file may have no line end.
    """

    first_line: int
    data: bytes


def read_bytes(path: Path, setting: str) -> bytes:
    """Read a whole file that is not empty, unpacked when its name ends in .gz or .zst.

    Raises:
        CatalogError: If the file is missing, empty, cut short, or not packed as its name says.
    """
    require_file(path, setting)
    with open_unpacked(path, setting) as stream:
        data = stream.read()
    require_data(data, path)
    return data


def read_utf8(path: Path, setting: str) -> bytes:
    """Read a text file, unpacked when it is packed, without byte order mark, known to be UTF-8.

    Raises:
        CatalogError: If the file is missing, empty, cut short, not UTF-8, or not packed as its name says.
    """
    data = read_bytes(path, setting).removeprefix(_BYTE_ORDER_MARK)
    _require_utf8(data, path)
    return data


def read_utf8_or_latin1(path: Path, setting: str) -> str:
    """Read a text file of before UTF-8 was usual: as UTF-8, or as Latin-1 if it is not that.

    Raises:
        CatalogError: If the file is missing, empty, cut short, or not packed as its name says.
    """
    data = read_bytes(path, setting).removeprefix(_BYTE_ORDER_MARK)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def read_blocks(path: Path, setting: str, *, block_bytes: int = BLOCK_BYTES) -> Iterator[Block]:
    """Read a text file as `read_utf8` does, but some lines at a time, for files larger than the memory.

    Args:
        path: The file.
        setting: The option that named it.
        block_bytes: What a block holds, about; a longer line makes a longer block.

    Raises:
        CatalogError: As `read_utf8`.
    """
    require_file(path, setting)
    first_line, position, kept, has_data = 1, 0, b"", False
    with open_unpacked(path, setting) as stream:
        while chunk := stream.read(block_bytes):
            lines, line_end, rest = chunk.rpartition(b"\n")
            kept, data = (rest, kept + lines + line_end) if line_end else (kept + rest, b"")
            if data:
                if first_line == 1:
                    data = data.removeprefix(_BYTE_ORDER_MARK)
                has_data = has_data or not data.isspace()
                _require_utf8(data, path, first_line=first_line, position=position)
                yield Block(first_line, data)
                first_line += data.count(b"\n")
                position += len(data)
    if first_line == 1:
        kept = kept.removeprefix(_BYTE_ORDER_MARK)
    if not has_data:
        require_data(kept, path)
    if kept:
        _require_utf8(kept, path, first_line=first_line, position=position)
        yield Block(first_line, kept)


def read_first_line(path: Path) -> str:
    """Return the first line of a file, unpacked, to recognise its form by; "" where there is none to read.

    What is wrong with the file is left to its reader to say.
    """
    try:
        with open_unpacked(path, "") as stream:
            line = stream.readline(_FIRST_LINE_BYTES).removeprefix(_BYTE_ORDER_MARK)
    except CatalogError:
        return ""
    return line.decode("utf-8", errors="replace").strip()


def read_lines(path: Path, setting: str) -> list[tuple[int, str]]:
    """Read the lines of a text file that are not blank, each with its number from 1.

    Raises:
        CatalogError: As `read_utf8`.
    """
    lines = read_utf8(path, setting).decode().split("\n")  # not splitlines: a title may hold U+2028
    numbered = enumerate((line.rstrip("\r") for line in lines), start=1)
    return [(number, line) for number, line in numbered if line.strip()]


def require_data(data: bytes, path: Path) -> None:
    """Raise for a file without anything but a byte order mark and white space."""
    content = data.removeprefix(_BYTE_ORDER_MARK)
    if not content or content.isspace():
        raise CatalogError(f"{path} is empty, expected data. Check what wrote it.")


def require_no_nul(data: bytes, path: Path, *, first_line: int = 1, position: int = 0) -> None:
    """Raise for a NUL byte, which no text has; the line and the position are where in the file they begin."""
    place = data.find(b"\0")
    if place >= 0:
        line = first_line + data[:place].count(b"\n")
        raise CatalogError(
            f"{path} has a NUL byte at position {position + place} (line {line}), which no text has. If it "
            "was damaged, copy it again; if it is UTF-16, save it as UTF-8 or set catalog.encoding=utf-16"
        )


def not_utf8(
    error: UnicodeDecodeError, path: Path, remedy: str, *, first_line: int = 1, position: int = 0
) -> CatalogError:
    """Say which byte of a file is not UTF-8, and what to do; the bytes begin in that line and position."""
    line = first_line + error.object[: error.start].count(b"\n")
    return CatalogError(
        f"{path} is not UTF-8: byte 0x{error.object[error.start]:02x} at position {position + error.start} "
        f"(line {line}). {remedy}"
    )


def how_to_mend(is_unfinished: bool) -> str:
    """Say what to do about a broken line; `is_unfinished` says that the file has no line end after it."""
    if is_unfinished:
        return "It is the last line and has no line end, so the file may have been cut short: copy it again."
    return "Mend or remove the line."


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


def _require_utf8(data: bytes, path: Path, *, first_line: int = 1, position: int = 0) -> None:
    """Raise for bytes that are not UTF-8 text; the line and the position are where in the file they begin."""
    require_no_nul(data, path, first_line=first_line, position=position)
    if data.isascii():
        return
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        remedy = f"Save it as UTF-8, e.g. iconv -f latin1 -t utf-8 {path.name}"
        raise not_utf8(error, path, remedy, first_line=first_line, position=position) from error
