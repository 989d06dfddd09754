"""One table out of several files, one below the other: those of a list, or that a pattern names."""

from __future__ import annotations

import glob
import os
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from sidrec.catalog.tables import ReadFile, read_file
from sidrec.errors import CatalogError


@dataclass(frozen=True, eq=False)
class Joined:
    """A table, the files it was read from, and what a user should know of the reading."""

    frame: pd.DataFrame
    files: tuple[ReadFile, ...]
    notes: tuple[str, ...]


def read_files(
    named: Path | Sequence[Path], setting: str, read_one: Callable[[Path], pd.DataFrame]
) -> Joined:
    """Read one file, or all of several.

    Args:
        named: As `find_files` takes them.
        setting: The option that named them.
        read_one: Reads a file; what it leaves in `attrs` is as `read_table` says.

    Raises:
        CatalogError: If a file is not there or cannot be read, or two have other columns.
    """
    paths = find_files(named, setting)
    frames = [read_one(path) for path in paths]
    files = tuple(read_file(frame, path) for frame, path in zip(frames, paths, strict=True))
    notes = tuple(note for frame in frames for note in frame.attrs.get("notes", []))
    if len(frames) == 1:
        return Joined(frames[0], files, notes)
    for path, frame in zip(paths[1:], frames[1:], strict=True):
        _require_alike(frame, frames[0], f"{setting}: {path}", paths[0])
    joined = pd.concat(frames, ignore_index=True)
    joined.attrs = frames[0].attrs | {
        "source": f"{paths[0].name} and {len(paths) - 1} more (rows counted through)"
    }
    return Joined(joined, files, notes)


def find_files(named: Path | Sequence[Path], setting: str) -> list[Path]:
    """Return files in the order of a list, and those of a pattern in that of their names: 2 before 10.

    A file that is there by this very name is no pattern.

    Args:
        named: A file; a pattern with *, ? or [] in it; or a list of them.
        setting: The option that named them.

    Raises:
        CatalogError: If the list is empty, a pattern names no file, or a file is named twice.
    """
    if isinstance(named, Path):
        return _matching(named, setting)
    paths = [path for each in named for path in _matching(each, setting)]
    if not paths:
        raise CatalogError(f"{setting} is an empty list, expected a file or several. Name one.")
    twice = [path for path, count in Counter(path.resolve() for path in paths).items() if count > 1]
    if twice:
        raise CatalogError(f"{setting} names {twice[0]} twice, expected each file once. Remove one of them.")
    return paths


def _matching(path: Path, setting: str) -> list[Path]:
    """Return the file itself, or those that it is a pattern of."""
    pattern = str(path)
    if not glob.has_magic(pattern) or os.path.exists(pattern):
        return [path]
    found = [Path(name) for name in glob.glob(pattern, recursive=True)]
    files = [each for each in found if each.is_file()]
    if not files:
        raise CatalogError(
            f"{setting}: no file matches {path}. Check the pattern (it is relative to {Path.cwd()})."
        )
    return sorted(files, key=_by_numbers)


def _by_numbers(path: Path) -> list[str | int]:
    """Return what to sort a path by: its words, and its numbers as such."""
    return [int(part) if place % 2 else part for place, part in enumerate(re.split(r"([0-9]+)", str(path)))]


def _require_alike(frame: pd.DataFrame, first: pd.DataFrame, what: str, first_path: Path) -> None:
    """Raise for a table whose columns are not those of the first one, or hold something else."""
    lacks = [str(name) for name in first.columns if name not in frame.columns]
    adds = [str(name) for name in frame.columns if name not in first.columns]
    if lacks or adds:
        differs = [f"lacks {', '.join(lacks)}"] * bool(lacks) + [f"adds {', '.join(adds)}"] * bool(adds)
        raise CatalogError(
            f"{what} does not have the columns of {first_path.name}: it {' and '.join(differs)}. "
            "Give all files the same columns, or leave this one out."
        )
    for name in first.columns:
        kinds = [_kind(column) for column in (first[name], frame[name])]
        if first[name].dtype != frame[name].dtype and kinds[0] != kinds[1] and "empty" not in kinds:
            raise CatalogError(
                f'{what} has {kinds[1]} values in the column "{name}", but {first_path.name} has {kinds[0]} '
                "ones. Write the column in one type in all files."
            )


def _kind(column: pd.Series) -> str:
    """Say what the cells that are not missing are."""
    return pd.api.types.infer_dtype(column, skipna=True)
