"""What lies beside a catalogue and is no part of it: said in a sentence, with the setting that takes it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

_SHOWN = 5


def note_codes_and_vectors(*directories: Path) -> tuple[str, ...]:
    """Say which semantic IDs (`*.index.json`) and vectors of items (`*.emb*.npy`) directories hold."""
    indexes, vectors = (
        [path for directory in directories for path in sorted(directory.glob(pattern))]
        for pattern in ("*.index.json", "*.emb*.npy")
    )
    notes = []
    if indexes:
        notes.append(
            f"Semantic IDs left unread: {len(indexes)} file(s), {shown(path.name for path in indexes)}. "
            f"To use them, set tokenizer.method=import tokenizer.index={indexes[0]}"
        )
    if vectors:
        notes.append(
            f"Vectors of items left unread: {len(vectors)} file(s), {shown(path.name for path in vectors)}. "
            f"To use them, their rows in the order of the items, set embedding.path={vectors[0]}"
        )
    return tuple(notes)


def note_columns(names: Sequence[str], where: str) -> tuple[str, ...]:
    """Say which columns or fields of a file are left unread, if any are."""
    if not names:
        return ()
    return (f"Columns left unread: {len(names)} of {where} ({shown(names)}).",)


def shown(names: Iterable[str]) -> str:
    """List names, the first five."""
    listed = list(names)
    return ", ".join(listed[:_SHOWN]) + (", ..." if len(listed) > _SHOWN else "")
