"""What a user of sidrec can cause and mend, as exceptions; the command line prints them, exit status 2."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class SidrecError(ValueError):
    """Something the user asked for or handed over cannot work; the message says what to do."""


class ConfigError(SidrecError):
    """A setting is unknown, of the wrong type, or contradicts another."""


class CatalogError(SidrecError):
    """The items or the interactions cannot be read, or do not fit together."""


class ArtifactError(SidrecError):
    """What an earlier stage wrote is missing, broken, or belongs to something else."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ' Did you mean "title"?' for the known name most like `name`, or '' when none is alike."""
    lowered = {candidate.lower(): candidate for candidate in known}
    matches = difflib.get_close_matches(name.lower(), list(lowered), n=1, cutoff=0.6)
    return f' Did you mean "{lowered[matches[0]]}"?' if matches else ""
