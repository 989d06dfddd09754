"""What a table of semantic IDs is worth to a catalogue: a run's own, or anyone's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sidrec.artifacts import load_semantic_ids, read_json
from sidrec.catalog import Catalog
from sidrec.errors import ArtifactError, ConfigError
from sidrec.metrics import popularity_slices
from tokenizer.foreign import SUFFIXES, in_order_of, read_codes
from tokenizer.health.figure import draw_health
from tokenizer.health.measures import health
from tokenizer.health.verdicts import CAVEAT, Verdict, judge
from tokenizer.semantic_ids import SemanticIDs


@dataclass(frozen=True)
class Assessment:
    """Semantic IDs, and what `tokenizer.health.measures.health` says of them."""

    table: SemanticIDs
    report: dict[str, Any]

    def verdicts(self) -> list[Verdict]:
        """Judge the figures that there are."""
        return judge(self.report)

    def summary(self) -> str:
        """Say in a line what there is."""
        levels = self.report["levels"]
        told = (
            f"{self.report['items']:,} items with {self.report['distinct']:,} distinct semantic IDs of "
            f"{len(levels)} level{'s' * (len(levels) > 1)}"
        )
        return told + (f"; level {levels[-1]['level']} only numbers items" if self.report["numbered"] else "")

    def as_json(self) -> dict[str, Any]:
        """Return the report, its verdicts, and what they cannot say."""
        return {**self.report, "verdicts": [vars(each) for each in self.verdicts()], "caveat": CAVEAT}


def is_table(path: Path) -> bool:
    """Say whether a path is meant as a table of codes, not as a run."""
    return path.is_file() or path.suffix in SUFFIXES


def health_in(
    catalog: Catalog, codes: np.ndarray, sizes: tuple[int, ...], vectors: np.ndarray, **facts: Any
) -> dict[str, Any]:
    """Report on codes with all that a catalogue knows: events, categories, head and tail.

    Head, mid, tail and cold are those of `popularity_slices`, by all events of the catalogue: the semantic
    IDs know no split.

    Args:
        catalog: N items.
        codes: (N, L).
        sizes: K of each level.
        vectors: (N, D).
        facts: The rest of what `health` takes.
    """
    events = np.bincount(catalog.sequences().items, minlength=catalog.num_items)
    slices = popularity_slices(np.arange(catalog.num_items), events)
    return health(
        codes,
        sizes,
        vectors=vectors,
        events=events,
        categories=catalog.categories(),
        groups={name: each.mask for name, each in slices.items()},
        **facts,
    )


def assess_run(run: Path) -> Assessment | None:
    """Return a run's semantic IDs and the report that `tokenize` wrote; None for a run without them.

    The report of a run that was made before there was as much to say is made anew.

    Raises:
        ArtifactError: If a file of the run is missing or broken.
    """
    if not (run / "tokenize" / "metrics.json").is_file():
        return None
    table = load_semantic_ids(run / "tokenize")
    report = read_json(run / "tokenize" / "metrics.json")
    if "levels_explained" not in report:
        known = {name: report.get(name) for name in ("reconstruction_error", "variance")}
        report |= _in_run(run, Catalog.load(run / "catalog"), table, **known)
    return Assessment(table, report)


def assess_table(
    path: Path, *, run: Path | None = None, codebook_sizes: tuple[int, ...] | None = None
) -> Assessment:
    """Report on a table of codes that anyone made.

    Args:
        path: As `read_codes` takes it.
        run: A run of the same items, whose vectors, events and categories are used; without one, what asks
            for them stays None.
        codebook_sizes: K of each level, where the file does not say.

    Raises:
        ArtifactError: If a file is missing or broken, the sizes do not fit, or the items are not the run's.
    """
    try:
        table = read_codes(path)
        if codebook_sizes is not None:
            table = SemanticIDs(table.item_ids, table.codes, codebook_sizes)
    except ValueError as error:
        raise ArtifactError(str(error)) from error
    if run is None:
        return Assessment(table, health(table.codes, table.codebook_sizes))
    catalog = Catalog.load(run / "catalog")
    try:
        table = in_order_of(table, catalog.items["item_id"].tolist())
    except ValueError as error:
        raise ArtifactError(
            f"{path} is not of the items of {run}: {error} Both must name the same."
        ) from error
    return Assessment(table, _in_run(run, catalog, table))


def draw(found: Assessment | None, path: Path, *, title: str) -> None:
    """Draw an assessment into a PNG file; it is there whole or not at all.

    Raises:
        ArtifactError: If there are no semantic IDs to draw.
        ConfigError: If the file cannot be written.
    """
    if found is None:
        raise ArtifactError("--figure: there are no semantic IDs to draw. Run first: sidrec tokenize")
    if path.suffix != ".png":
        raise ConfigError(f"--figure {path}: expected a file name that ends in .png.")
    partial = path.with_name(f"{path.name}.part")
    try:
        draw_health(found.report, found.table.codes, partial, title=title)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise ConfigError(f"--figure {path} cannot be written ({error.strerror}).") from error


def _in_run(run: Path, catalog: Catalog, table: SemanticIDs, **facts: Any) -> dict[str, Any]:
    """Report on codes in the order of a run's catalogue."""
    path = run / "tokenize" / "embeddings.npy"
    if not path.is_file():
        raise ArtifactError(f"There is no {path}. Make it again: sidrec tokenize CONFIG.yaml")
    try:
        vectors = np.load(path, allow_pickle=False)
    except (ValueError, OSError) as error:
        raise ArtifactError(f"{path} cannot be read ({error}). Make it again: sidrec tokenize.") from error
    if len(vectors) != catalog.num_items:
        raise ArtifactError(
            f"{path} has {len(vectors)} rows, but the catalogue beside it has {catalog.num_items} items. "
            "Rerun: sidrec tokenize CONFIG.yaml"
        )
    return health_in(catalog, table.codes, table.codebook_sizes, vectors, **facts)
