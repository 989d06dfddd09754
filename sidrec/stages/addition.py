"""Add items to a run that is trained, and retire others: a new generation of its items, nothing retrained."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd

from sidrec.artifacts import (
    Stage,
    check_outputs,
    sha256_of_file,
    sha256_of_json,
    write_json,
)
from sidrec.catalog.catalog import read_stored
from sidrec.catalog.forms.files import require_file
from sidrec.catalog.more_items import SHOWN, append_items, read_new_items, read_retired
from sidrec.config import Config, load_config
from sidrec.embedding import embed_more
from sidrec.errors import ArtifactError, ConfigError
from sidrec.generations import FIRST, Generation, directory_of, open_generation
from sidrec.stages.quantization import CONTROLS, seed_of_tokenizer
from tokenizer.collisions.placement import Placement, next_numbers, place_new
from tokenizer.collisions.unique import CodeSpaceError
from tokenizer.model_file import open_model
from tokenizer.semantic_ids import SemanticIDs


@dataclass(frozen=True)
class Addition:
    """A generation that was made, and what became of the new items.

    Attributes:
        generation: The whole table.
        added: Ids of the new items.
        moved: Those of them that got another last code, since theirs was taken.
        left_prefix: Those that went to another prefix, since theirs was full.
        retired: Ids of the items that were retired with it.
    """

    generation: Generation
    added: list[str]
    moved: list[str]
    left_prefix: list[str]
    retired: list[str]

    def describe(self) -> str:
        """Return a few lines to print."""
        table = self.generation.semantic_ids
        lines = [f"items added: {len(self.added):,}"] if self.added else []
        if self.moved:
            lines.append(f"  with another last code, since theirs was taken: {len(self.moved):,}")
        if self.left_prefix:
            rows = [table.item_ids.index(item_id) for item_id in self.left_prefix[:SHOWN]]
            named = ", ".join(f'"{table.item_ids[row]}" is {"".join(table.tokens(row))}' for row in rows)
            more = ", ..." if len(self.left_prefix) > SHOWN else ""
            lines.append(
                f"  with another prefix, since theirs is full: {len(self.left_prefix):,} ({named}{more})"
            )
        if self.retired:
            lines.append(f"items retired: {len(self.retired):,}")
        remaining = len(table) - len(self.generation.retired)
        return "\n".join([*lines, f"generation {self.generation.number}: {remaining:,} items to recommend"])


def add_items(
    run: str | Path,
    items: pd.DataFrame | str | Path | None = None,
    *,
    retire: Sequence[str] | str | Path | None = None,
    vectors: str | Path | None = None,
) -> Addition:
    """Make a new generation of a run's items, from which its models recommend without being trained again.

    New items are embedded and encoded as the run's were and get semantic IDs of their own; those of the items
    that are there stay. Retired items are not recommended any more, may stand in histories, and keep their
    semantic IDs. The generation is written to `RUN/generations`, whole or not at all; those before it stay.

    Args:
        run: Directory of a run in which `tokenize` is done.
        items: New items: a table with the columns of the run's, or a file of one.
        retire: Ids of items; or a file: a table with them, or text with one on each line.
        vectors: For a run whose vectors came from a file: a file of those of the new items.

    Raises:
        ArtifactError: If something in the run is missing, has changed, or does not fit together.
        CatalogError: If the items cannot be read or are there already, or those to retire are not.
        ConfigError: If there is nothing to do, or the run's semantic IDs leave no room or mean nothing.
    """
    items = Path(items) if isinstance(items, str) else items
    retire = Path(retire) if isinstance(retire, str) else retire
    vectors = Path(vectors) if isinstance(vectors, str) else vectors
    if items is None and not retire:
        raise ConfigError(
            "There is nothing to do. Give new items (--items FILE), items to --retire, or both."
        )
    if items is None and vectors is not None:
        raise ConfigError("--vectors are those of new items, and there are none. Give --items FILE too.")
    run = Path(run)
    config = _config_of(run)
    before = open_generation(run / "tokenize")
    known = _items_of(run, before)
    new, leaving = known.iloc[:0], []
    if items is not None:
        new = read_new_items(items, config.catalog, known, retired=before.retired)
    if retire is not None:
        leaving = read_retired(retire, config.catalog, before.semantic_ids.item_ids, retired=before.retired)
    if len(before.retired) + len(leaving) == len(known) + len(new):
        raise ConfigError(
            f"Retiring {len(leaving)} items would leave none to recommend. Retire fewer, or add others."
        )
    stage = _stage_of(run, config, before, items=items, retire=retire, vectors=vectors)
    placed = _place(run, config, before.semantic_ids, new, vectors)
    made = _extend(before, new, placed, leaving, stage.directory)
    _write(made, append_items(known, new), stage, config)
    return made


def _stage_of(
    run: Path, config: Config, before: Generation, **given: pd.DataFrame | Sequence[str] | Path | None
) -> Stage:
    """Return what the next generation is made from and where it will lie."""
    found = {name: _sha256(name, value) for name, value in given.items() if value is not None}
    number = before.number + 1
    settings = {"generation": number, "tokenizer": config.tokenizer.model_dump(mode="json")}
    return Stage(
        directory_of(run, number), "add-items", settings, before.hashes() | found, seed_of_tokenizer(config)
    )


def _sha256(name: str, given: pd.DataFrame | Sequence[str] | Path) -> str:
    """Hash what was handed over: a file by its bytes, else the values."""
    if isinstance(given, Path):
        require_file(given, f"--{name}")
        return sha256_of_file(given)
    return sha256_of_json(given.to_dict("list") if isinstance(given, pd.DataFrame) else list(given))


def _extend(
    before: Generation, new: pd.DataFrame, placed: Placement, leaving: list[str], directory: Path
) -> Addition:
    """Put the new items below those that are there."""
    there = before.semantic_ids
    ids = new["item_id"].tolist()
    semantic_ids = SemanticIDs(
        [*there.item_ids, *ids], np.concatenate([there.codes, placed.codes]), there.codebook_sizes
    )
    return Addition(
        Generation(before.number + 1, directory, semantic_ids, (*before.retired, *leaving)),
        ids,
        new["item_id"][placed.moved & ~placed.left_prefix].tolist(),
        new["item_id"][placed.left_prefix].tolist(),
        leaving,
    )


def _config_of(run: Path) -> Config:
    """Return the config of a run's `tokenize` stage, whose files must be those that were written."""
    directory = run / "tokenize"
    if problems := check_outputs(directory):
        raise ArtifactError(" ".join(problems) + f" Delete {directory} and rerun: sidrec tokenize")
    return load_config(directory / "config.yaml")


def _items_of(run: Path, generation: Generation) -> pd.DataFrame:
    """Read the table of items of a generation."""
    directory = run / "catalog" if generation.number == FIRST else generation.directory
    items = read_stored(directory / "items.parquet").to_pandas()
    if items["item_id"].tolist() != generation.semantic_ids.item_ids:
        raise ArtifactError(
            f"{directory}/items.parquet has other items than {generation.directory}/semantic_ids.parquet. "
            "Rerun: sidrec tokenize"
        )
    return items


def _place(
    run: Path, config: Config, there: SemanticIDs, new: pd.DataFrame, own_vectors: Path | None
) -> Placement:
    """Encode new items and give them codes that nobody has, or, with tokenizer.collisions=keep, their own."""
    if not len(new):
        nobody = np.zeros(0, dtype=bool)
        return Placement(there.codes[:0], nobody, nobody)
    codes, latents, books = _encode(run, config, new, own_vectors)
    sizes = there.codebook_sizes
    assert tuple(map(len, books)) in (sizes, sizes[:-1])  # both files are those that tokenize wrote
    if config.tokenizer.collisions == "keep":
        stays = np.zeros(len(codes), dtype=bool)
        return Placement(codes, stays, stays)
    if len(books) < len(sizes):  # of tokenizer.collisions=extra_level, which numbers items
        codes = np.column_stack([codes, next_numbers(there.codes, codes, sizes[-1])])
        books = [*books, np.zeros((sizes[-1], latents.shape[1]))]
    try:
        return place_new(there.codes, codes, latents, books)
    except CodeSpaceError as error:
        raise ConfigError(str(error)) from error


def _encode(
    run: Path, config: Config, new: pd.DataFrame, own_vectors: Path | None
) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Return (n, L) codes and (n, d) latents of new items by the run's tokenizer, and its codebooks."""
    if config.tokenizer.method in CONTROLS:
        raise ConfigError(
            f"{run} was made with tokenizer.method={config.tokenizer.method}, a control: its semantic IDs do "
            "not come from the items, so new items have none. Add them to a run of another method."
        )
    path = run / "tokenize" / "tokenizer.safetensors"
    if not path.is_file():
        raise ArtifactError(
            f"There is no {path}, which new items are encoded with: an earlier version kept none of imported "
            f"semantic IDs. Delete {path.parent} and rerun: sidrec tokenize"
        )
    vectors = embed_more(
        new[["item_id", "text"]],
        config.embedding,
        fitted=path.parent,
        cache=config.embedding.cache or run / "cache",
        vectors=own_vectors,
    )
    try:
        model = open_model(path)
        return model.encode(vectors), model.latents(vectors), model.codebooks()
    except ValueError as error:
        raise ArtifactError(f"The new items cannot be encoded with {path}: {error}") from error


def _write(made: Addition, items: pd.DataFrame, stage: Stage, config: Config) -> None:
    """Put the generation into its place, which must still be free."""
    after = made.generation
    directory = stage.begin()
    items.to_parquet(directory / "items.parquet", index=False)
    after.semantic_ids.save(directory / "semantic_ids.parquet")
    after.semantic_ids.write_index(directory / "index.json")
    write_json(directory / "retired.json", list(after.retired))
    metrics = {
        "generation": after.number,
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "items": len(after.semantic_ids),
        "added": len(made.added),
        "moved": len(made.moved),
        "left_prefix": made.left_prefix,
        "retired": len(made.retired),
        "retired_in_all": len(after.retired),
        "collision_rate": after.semantic_ids.collision_rate,
    }
    write_json(directory / "metrics.json", metrics)
    if after.directory.exists():  # of a command beside this one
        shutil.rmtree(directory)
        raise ArtifactError(
            f"{after.directory} has come to be while this was at work. Nothing was changed: look at it with "
            f"sidrec inspect {after.directory.parents[1]}, and add what it lacks."
        )
    stage.finish(config.to_yaml())
