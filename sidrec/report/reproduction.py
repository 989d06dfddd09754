"""What it takes to get the same figures again: settings, seed, hashes, versions, commands."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from sidrec.artifacts import read_manifest
from sidrec.inspection import GenerationState, StageState, inspect_generations
from sidrec.report.opening import Absent, OpenRun


@dataclass(frozen=True)
class Command:
    """A line for a shell, and what it does."""

    line: str
    does: str


@dataclass(frozen=True)
class Reproduction:
    """All of it.

    Attributes:
        config_yaml: Fully resolved; feeding it back repeats the run.
        seed: Of the run.
        split_sha256: Of the split; absent without one.
        stages: Each with the hashes of what it was made from, and what does not fit.
        generations: Of items that were added since.
        versions: Package -> the versions that the stages were made with.
        commands: To type.
    """

    config_yaml: str
    seed: int
    split_sha256: str | Absent
    stages: list[StageState]
    generations: list[GenerationState]
    versions: dict[str, list[str]]
    commands: list[Command]


def gather_reproduction(run: OpenRun) -> Reproduction:
    """Read the manifests of all stages."""
    versions: dict[str, list[str]] = {}
    for state in run.stages:
        if state.state == "done":
            for package, version in read_manifest(run.directory / state.stage).get("versions", {}).items():
                known = versions.setdefault(package, [])
                if version not in known:
                    known.append(version)
    split = run.split
    return Reproduction(
        run.config_yaml,
        run.seed,
        split if isinstance(split, Absent) else split.sha256,
        run.stages,
        inspect_generations(run.directory),
        versions,
        _commands(run),
    )


def _commands(run: OpenRun) -> list[Command]:
    where = shlex.quote(str(run.directory))
    found = [Command(f"sidrec inspect {where}", "checks every file against the hash it was written with")]
    if run.shown is not None:
        config = shlex.quote(str(run.shown.directory / "config.yaml"))
        found.append(Command(f"sidrec run {config} output=runs/again", "makes the same run anew"))
    if any((run.directory / name / "prompts.json").is_file() for name in ("sft", "rl")):
        item = shlex.quote(run.semantic_ids.item_ids[0])
        found.append(
            Command(f"sidrec recommend {where} --history {item} -k 10", "recommends after a history")
        )
    found.append(Command(f"sidrec add-items {where} --items NEW.csv", "adds items without any training"))
    return found
