"""What a run knows of its catalogue: the overview of `sidrec catalog`, and what reading it said then."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from sidrec.artifacts import read_manifest
from sidrec.catalog.overview import Overview, look_at
from sidrec.report.opening import OpenRun


@dataclass(frozen=True, eq=False)
class CatalogFacts:
    """The catalogue of a run.

    Attributes:
        overview: As `sidrec catalog` prints it.
        files: What tokenize read: path, rows and form; empty for tables handed over.
        filters: What was left out, step by step; empty without filters.
        notes: What the reader said.
        counts: (N,) events of the items, most frequent first.
        lengths: (U,) events of the users.
    """

    overview: Overview
    files: list[dict[str, Any]]
    filters: list[dict[str, Any]]
    notes: list[str]
    counts: np.ndarray
    lengths: np.ndarray


def gather_catalog(run: OpenRun) -> CatalogFacts:
    """Look at the catalogue anew; files and filters are told by the manifest of tokenize."""
    read = read_manifest(run.directory / "tokenize").get("catalog", {})
    return CatalogFacts(
        overview=look_at(run.catalog, run.split_config),
        files=read.get("files", []),
        filters=read.get("filters", []),
        notes=read.get("notes", []),
        counts=np.sort(run.events)[::-1],
        lengths=np.diff(run.catalog.sequences().offsets),
    )
