"""Say what is in a run directory, and what in it does not fit together."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from sidrec.adapters import Base
from sidrec.artifacts import (
    check_outputs,
    load_semantic_ids,
    partial_of,
    read_json,
    read_manifest,
)
from sidrec.catalog import Catalog
from sidrec.errors import ArtifactError
from sidrec.generations import FIRST, Generation, directory_of, numbers_of, origin, read_generation
from sidrec.stages.run import weights_hash

STAGES = ("tokenize", "sequential/*", "baselines/*", "sft", "rl", "evaluate/*")
EXPECTED = ("tokenize", "sft", "rl", "evaluate/sft", "evaluate/rl")
"""What a whole run has, whatever its settings."""


@dataclass(frozen=True)
class StageState:
    """One stage of a run: `state` is done, interrupted or missing; `problems` are sentences."""

    stage: str
    state: str
    seconds: float | None
    inputs: dict[str, str]
    problems: list[str]


@dataclass(frozen=True)
class GenerationState:
    """One generation of a run's items after the first: its size, what it changed, what it was made from."""

    number: int
    items: int
    added: int
    retired: int
    made_at: str
    inputs: dict[str, str]
    problems: list[str]


def inspect(output: Path) -> list[StageState]:
    """Return the state of every stage of a run, with hashes that must match and where they do not.

    Raises:
        ArtifactError: If the directory holds no stage at all.
    """
    stages = _stages(output)
    if not any((output / stage).exists() or partial_of(output / stage).exists() for stage in stages):
        raise ArtifactError(f"{output} is no run directory: it holds no stage. Run first: sidrec tokenize")
    held = _held(output)
    return [_state(output, stage, held) for stage in stages]


def inspect_generations(output: Path) -> list[GenerationState]:
    """Return the state of every generation that `add-items` made of a run's items, each against the last."""
    numbers = numbers_of(output)[1:]
    if not numbers:
        return []
    states = []
    before = Generation(FIRST, output / "tokenize", load_semantic_ids(output / "tokenize"))
    for number in numbers:
        directory = directory_of(output, number)
        manifest, metrics = read_manifest(directory), read_json(directory / "metrics.json")
        problems = check_outputs(directory)
        if not problems:
            generation = read_generation(output, number)
            problems = _breaks(before, generation, manifest["inputs"])
            before = generation
        states.append(
            GenerationState(
                number,
                metrics["items"],
                metrics["added"],
                metrics["retired"],
                metrics["made_at"],
                manifest["inputs"],
                problems,
            )
        )
    return states


def _breaks(before: Generation, after: Generation, inputs: dict[str, str]) -> list[str]:
    """Say where a generation does not continue the one before it."""
    if after.number != before.number + 1:
        return [f"{after.directory} has no generation {after.number - 1} before it that can be read."]
    held = before.hashes()
    problems = [
        f"{after.directory} was made from other {name} (sha256 {inputs[name][:8]}) than {before.directory} "
        f"holds now ({sha[:8]}). Delete {after.directory.parent} and add the items again: sidrec add-items"
        for name, sha in held.items()
        if inputs[name] != sha
    ]
    if not problems and origin(after.semantic_ids, len(before.semantic_ids)) != held["semantic_ids"]:
        problems.append(f"{after.directory} gives items of {before.directory} other semantic IDs.")
    return problems


def _stages(output: Path) -> list[str]:
    """Name the stages of a run in order: those there, begun, and expected."""
    names: list[str] = []
    for pattern in STAGES:
        there = {str(path.relative_to(output)) for path in output.glob(pattern) if path.is_dir()}
        begun = {str(path.relative_to(output)) for path in output.glob(f"{pattern}.partial")}
        found = {name.removesuffix(".partial").removesuffix(".old") for name in there | begun}
        expected = [name for name in EXPECTED if fnmatch(name, pattern)]
        names += [*expected, *sorted(found - set(expected))]
    return names


def _held(output: Path) -> dict[str, str]:
    """Hashes of what the run holds now."""
    held = {}
    if (output / "catalog" / "items.parquet").is_file():
        held["catalog"] = Catalog.load(output / "catalog").sha256
    if (output / "tokenize" / "semantic_ids.parquet").is_file():
        held["semantic_ids"] = load_semantic_ids(output / "tokenize").sha256
    return held


def _state(output: Path, stage: str, held: dict[str, str]) -> StageState:
    directory = output / stage
    if not (directory / "manifest.json").is_file():
        state = "interrupted" if partial_of(directory).exists() else "missing"
        return StageState(stage, state, None, {}, [])
    manifest = read_manifest(directory)
    inputs: dict[str, str] = manifest["inputs"]
    problems = check_outputs(directory)
    if (base := Base.read(directory)) is not None and (problem := base.problem(directory)):
        problems.append(problem)
    now = dict(held)
    source = {"rl": "sft", "evaluate/sft": "sft", "evaluate/rl": "rl"}.get(stage)
    if source is not None and (output / source).is_dir():
        now["weights"] = weights_hash(output / source)
    for name, expected in inputs.items():
        if name in now and now[name] != expected:
            problems.append(
                f"{directory} was made from other {name} (sha256 {expected[:8]}) than the run holds now "
                f"({now[name][:8]}). Rerun: sidrec {manifest['stage']}"
            )
    return StageState(stage, "done", manifest["wall_seconds"], inputs, problems)
