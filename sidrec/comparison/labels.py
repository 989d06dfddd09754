"""Name results by what tells their paths apart."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

Parts = tuple[str, ...]


def labels(groups: Sequence[Sequence[Path]]) -> list[str]:
    """Name groups of paths by the fewest parts that tell them apart; equal groups are numbered.

    `runs/a/evaluate/rl` and `runs/a/baselines/sasrec` are "rl" and "sasrec"; where paths of one group differ
    stands a `*`.
    """
    parts = [_common_parts(paths) for paths in groups]
    distinct = list(dict.fromkeys(parts))
    chosen = next(each for each in _candidates(distinct) if len(set(each)) == len(each))
    label_of = dict(zip(distinct, map("/".join, chosen), strict=True))
    result: list[str] = []
    for row, each in enumerate(parts):
        number = parts[: row + 1].count(each)
        result.append(label_of[each] if number == 1 else f"{label_of[each]} ({number})")
    return result


def _common_parts(paths: Sequence[Path]) -> Parts:
    parts = [path.parts or (str(path),) for path in paths]
    if len(set(map(len, parts))) > 1:
        return (*parts[0][:-1], f"{parts[0][-1]} and {len(parts) - 1} more")
    return tuple(
        each[0] if len(set(each)) == 1 else f"{each[0][: _shared(each)]}*"
        for each in zip(*parts, strict=True)
    )


def _candidates(paths: Sequence[Parts]) -> Iterator[list[Parts]]:
    """Yield parts of distinct paths, few before many and late before early; the last tell all apart."""
    if len(paths) == 1:
        yield [paths[0][-1:]]
    elif len(set(map(len, paths))) == 1:
        varying = [place for place, each in enumerate(zip(*paths, strict=True)) if len(set(each)) > 1]
        for size in range(1, len(varying) + 1):
            for places in itertools.combinations(reversed(varying), size):
                yield [tuple(path[place] for place in sorted(places)) for path in paths]
    else:
        start, end = _shared(paths), _shared([path[::-1] for path in paths])
        inner = [path[start : len(path) - end] for path in paths]
        kept = inner if all(inner) else list(paths)
        for size in range(1, max(map(len, kept)) + 1):
            yield [path[-size:] for path in kept]


def _shared(sequences: Sequence[Sequence[str]]) -> int:
    """Count the leading elements that all have in common."""
    places = enumerate(zip(*sequences, strict=False))
    return next((place for place, each in places if len(set(each)) > 1), min(map(len, sequences)))
