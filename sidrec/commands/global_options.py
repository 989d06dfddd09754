"""Options of all commands, which may stand before the command or anywhere after it."""

from __future__ import annotations

from collections.abc import Sequence

GLOBAL = ("--quiet", "--verbose", "--json-logs")


def moved_to_front(arguments: Sequence[str]) -> list[str]:
    """Let `sidrec run books.yaml --quiet` be `sidrec --quiet run books.yaml`.

    What follows `--` stays what it is.
    """
    end = list(arguments).index("--") if "--" in arguments else len(arguments)
    before = arguments[:end]
    chosen = [argument for argument in before if argument in GLOBAL]
    return [*chosen, *(argument for argument in before if argument not in GLOBAL), *arguments[end:]]
