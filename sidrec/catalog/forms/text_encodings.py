"""Text files in UTF-8 whatever they were in: told by a byte order mark, by the setting, or by their letters.

Bytes that are not UTF-8 are taken for Windows-1252, and so for Latin-1, only where that can hardly be wrong:
almost any bytes are some text in it, and a title that was read wrong is noticed late or never. Letters of
Western Europe among plain ones are it. Cyrillic, Greek, Polish, Czech, Turkish, Chinese, or UTF-8 that is
broken in one place, are refused with the setting that reads them. Since one byte can tell, all are looked at.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from pathlib import Path

from sidrec.catalog.forms.files import not_utf8, read_bytes, require_data, require_no_nul
from sidrec.errors import CatalogError

_MARKS = {
    codecs.BOM_UTF8: ("utf-8", "UTF-8"),
    codecs.BOM_UTF16_LE: ("utf-16-le", "UTF-16"),
    codecs.BOM_UTF16_BE: ("utf-16-be", "UTF-16"),
}
_PLACES = re.compile(rb"[\x80-\xff]+")
_LETTERS = "ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØÙÚÛÜßàáâãäåæçèéêëìíîïñòóôõöøùúûüŒœ"
_IN_WORDS = "’·\N{NO-BREAK SPACE}–—"  # what may stand between two letters
_AROUND_WORDS = _IN_WORDS + "‚„…‹›‘“”•™«®»"
_SIGNS = _AROUND_WORDS + "€†‡‰¡¢£¥§©ª°±²³´¶º¼½¾¿×÷"
_OTHER_ENCODING = re.compile(
    "|".join(
        [
            f"[^\0-\x7f{_LETTERS}{_SIGNS}]",
            f"[^\0-\x7f{_AROUND_WORDS}]{{3}}",  # words without plain letters: another script
            f"[A-Za-z{_LETTERS}][^\0-\x7f{_LETTERS}{_IN_WORDS}][A-Za-z{_LETTERS}]",  # Polish: "wêz³a"
            f"[A-Za-z{_LETTERS}][‚„]",  # DOS: "Caf‚"
            "[Õõ](?![EeÕõ])|ì(?=[a-z])",  # Hungarian and Czech: "nõ", "mìsto"
            f"[À-Þ][^\0-\x7f]|[à-ï][{_SIGNS}Œœ]{{2}}",  # UTF-8 that is broken elsewhere: "Ã©", "â€œ"
        ]
    )
)


@dataclass(frozen=True)
class Text:
    """What a text file holds.

    Attributes:
        data: In UTF-8, without byte order mark.
        encoding: What the file was in, for people: "UTF-8", "UTF-16", "Windows-1252".
        is_guessed: Whether neither the bytes nor the setting prove the encoding.
    """

    data: bytes
    encoding: str
    is_guessed: bool = False


def read_text(path: Path, setting: str, encoding: str | None = None) -> Text:
    """Read a text file, unpacked when it is packed.

    Args:
        path: The file.
        setting: The option that named it.
        encoding: Python's name of it, for files without a byte order mark; None: UTF-8 or, where it is safe,
            Windows-1252.

    Raises:
        CatalogError: If the file is missing, empty, cut short, not in its encoding, or holds a NUL byte.
    """
    text = _decode(read_bytes(path, setting), path, encoding)
    require_data(text.data, path)
    require_no_nul(text.data, path)
    return text


def is_windows_1252(data: bytes) -> bool:
    """Say whether bytes that are not UTF-8 can hardly be but Windows-1252."""
    # With a byte on either side, which tells a letter from a sign in a word
    places = (match.span() for match in _PLACES.finditer(data))
    pieces = {data[max(start - 1, 0) : end + 1] for start, end in places}
    try:
        texts = [piece.decode("cp1252") for piece in pieces]  # five bytes are undefined
    except UnicodeDecodeError:
        return False
    return not any(_OTHER_ENCODING.search(text) for text in texts)


def _decode(data: bytes, path: Path, encoding: str | None) -> Text:
    """Return the bytes of a file as UTF-8."""
    for mark, (codec, name) in _MARKS.items():
        if data.startswith(mark):
            return Text(_as_utf8(data.removeprefix(mark), path, codec), name)
    if encoding is not None:
        return Text(_as_utf8(data, path, encoding), encoding)
    try:
        if not data.isascii():
            data.decode("utf-8")
    except UnicodeDecodeError as error:
        is_cut = error.reason == "unexpected end of data"
        if not is_cut and is_windows_1252(data):
            return Text(_as_utf8(data, path, "cp1252"), "Windows-1252", is_guessed=True)
        cut = "If it is UTF-8, it was cut short: copy it again. If not, set" if is_cut else "Set"
        raise not_utf8(
            error,
            path,
            f"{cut} catalog.encoding to what it is in (cp1252 for Western Europe, cp1250, cp1251, gbk, ...), "
            f"or save it as UTF-8, e.g. iconv -f cp1251 -t utf-8 {path.name}",
        ) from error
    return Text(data, "UTF-8")


def _as_utf8(data: bytes, path: Path, codec: str) -> bytes:
    """Recode bytes."""
    try:
        return data.decode(codec).encode("utf-8")
    except UnicodeError as error:
        start = error.start if isinstance(error, UnicodeDecodeError) else 0
        line = data[:start].decode(codec, errors="ignore").count("\n") + 1
        raise CatalogError(
            f"{path}: line {line} is not {codec} ({error}), which its first bytes or catalog.encoding say "
            "that it is. Set catalog.encoding to what it is in, or copy or write the file again."
        ) from error
