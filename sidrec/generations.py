"""Generations of a run's items: as they were tokenized, and as `sidrec add-items` left them each time.

Generation 1 is the run itself. `RUN/generations/2`, `3` and so on each hold the whole table: the items of the
one before, in their rows and with their semantic IDs, then the new ones. None is written to once it is there.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sidrec.artifacts import check_outputs, load_semantic_ids, read_json, sha256_of_json
from sidrec.errors import ArtifactError
from tokenizer.semantic_ids import SemanticIDs

FIRST = 1


@dataclass(frozen=True)
class Generation:
    """The items of a run at one time.

    Attributes:
        number: 1 as tokenized.
        directory: Where its `semantic_ids.parquet` lies.
        semantic_ids: Of all items, retired ones too.
        retired: Ids of the items that may stand in a history, but are not recommended any more.
    """

    number: int
    directory: Path
    semantic_ids: SemanticIDs
    retired: tuple[str, ...] = ()

    def titles(self) -> list[str]:
        """Read the titles of all items, from the table beside their semantic IDs."""
        import pandas as pd

        table = pd.read_parquet(self.directory / "items.parquet", columns=["title"])
        return table["title"].tolist()

    def hashes(self) -> dict[str, str]:
        """Return what the manifest of the next generation names this one by."""
        return {"semantic_ids": self.semantic_ids.sha256, "retired_before": sha256_of_json(self.retired)}

    def remaining(self) -> np.ndarray:
        """Return the rows of the items that are not retired."""
        retired = set(self.retired)
        kept = [row for row, item_id in enumerate(self.semantic_ids.item_ids) if item_id not in retired]
        return np.array(kept, dtype=np.int64)


def directory_of(run: Path, number: int) -> Path:
    """Return where a generation after the first lies."""
    return run / "generations" / str(number)


def numbers_of(run: Path) -> list[int]:
    """Return the numbers of all generations of a run, ascending; those half-written are none."""
    found = [path.parent.name for path in (run / "generations").glob("*/manifest.json")]
    return [FIRST, *sorted(int(name) for name in found if name.isdigit())]


def read_generation(run: Path, number: int) -> Generation:
    """Read a generation after the first as it lies there.

    Raises:
        ArtifactError: If a file is missing or is not the one that was written.
    """
    directory = directory_of(run, number)
    if problems := check_outputs(directory):
        raise ArtifactError(" ".join(problems) + f" Delete {directory} and add its items again.")
    return Generation(
        number, directory, load_semantic_ids(directory), tuple(read_json(directory / "retired.json"))
    )


def open_generation(directory: Path, number: int | None = None) -> Generation:
    """Open a generation of the run that a `tokenize` or model directory lies in.

    Args:
        directory: Its own semantic IDs are generation 1. Outside a run that is the only one.
        number: None: the newest.

    Raises:
        ArtifactError: If there is no such generation, if one of its files is not the one that was written, or
            if it was made from other semantic IDs than those of `directory`.
    """
    first = Generation(FIRST, directory, load_semantic_ids(directory))
    run = Path(os.path.abspath(directory)).parent  # of "." too
    numbers = numbers_of(run)
    number = numbers[-1] if number is None else number
    if number not in numbers:
        known = ", ".join(map(str, numbers))
        raise ArtifactError(f"{directory} has no generation {number} of items beside it. There are: {known}.")
    if number == FIRST:
        return first
    found = read_generation(run, number)
    root = origin(found.semantic_ids, len(first.semantic_ids))
    if root != first.semantic_ids.sha256:
        raise ArtifactError(
            f"{found.directory} adds items to other semantic IDs (sha256 {root[:8]}) than {directory} has "
            f"({first.semantic_ids.sha256[:8]}). Delete {found.directory.parent}, and add the items again: "
            f"sidrec add-items {run} --items FILE"
        )
    return found


def origin(semantic_ids: SemanticIDs, num_items: int) -> str:
    """Return the hash of the table that the first `num_items` rows are."""
    return SemanticIDs(
        semantic_ids.item_ids[:num_items], semantic_ids.codes[:num_items], semantic_ids.codebook_sizes
    ).sha256
