"""Many runs of one config: every seed with every cell of a grid, what they have in common made once.

A cell is an ordinary run in a directory of its own, made by the ordinary commands in processes of their own.
Stages go in waves over all cells. Before a wave, every cell says by fingerprint what it would make; of the
cells that would make the same, the first does and the others take it over.
"""

from __future__ import annotations

import itertools
import logging
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from sidrec.artifacts import Stage, read_json
from sidrec.catalog import read_catalog
from sidrec.comparison import Comparison, compare
from sidrec.config import Config, load_config
from sidrec.errors import ConfigError, SidrecError
from sidrec.stages import baselines, rl, sft, tokenization
from sidrec.stages.pipeline import result_directories
from sidrec.stages.run import load_run

logger = logging.getLogger(__name__)
MAX_AXES = 4
PLANS: dict[str, Callable[[Config], list[Stage]]] = {
    "tokenize": lambda config: tokenization.stages_of(config, read_catalog(config.catalog)),
    "baselines": lambda config: baselines.stages_of(config, load_run(config)),
    "sft": lambda config: [sft.stage_of(config, load_run(config))],
    "rl": lambda config: rl.stages_of(config, load_run(config)),
    "evaluate": lambda _: [],
}
"""Command -> what it would make that other cells could share, in the order of the waves."""


@dataclass(frozen=True)
class Cell:
    """One run of a sweep.

    Attributes:
        directory: Of the sweep. All runs in it share what they can, those of an earlier sweep too.
        group: Name of the cell of the grid, the same for all seeds; empty without a grid.
        config: Of the run.
    """

    directory: Path
    group: str
    config: Config

    @property
    def name(self) -> str:
        """Path of the run below the sweep's directory."""
        return "/".join(filter(None, [self.group, f"seed={self.config.seed}"]))

    @property
    def title(self) -> str:
        """The group as tables show it: the last part of each key, and the value."""
        parts = (part.partition("=") for part in self.group.split("/") if part)
        return ",".join(f"{key.rpartition('.')[2]}={value}" for key, _, value in parts)


@dataclass(frozen=True)
class Ended:
    """How a command ended in a cell: its exit status, the last thing it said, and wall seconds."""

    status: int
    said: str
    seconds: float


Runner = Callable[[str, Cell, int], Ended]
"""Runs a command in a cell, with that many threads."""


@dataclass(frozen=True)
class Failure:
    """A cell that did not get through: the command that failed and the last thing it said."""

    cell: str
    command: str
    reason: str


def plan(
    path: Path | None,
    overrides: Sequence[str],
    *,
    seeds: Sequence[int],
    grid: Sequence[str],
    output: Path | None,
) -> list[Cell]:
    """Read the config once per cell.

    Args:
        path: Of the config.
        overrides: `section.key=value`, for all cells.
        seeds: Of the runs, all different.
        grid: `section.key=value,value`; several are combined.
        output: Directory of the sweep; left out, the config's with `-sweep` appended.

    Raises:
        ConfigError: If seeds repeat, a grid is malformed, or a cell's config has a fault. Nothing runs then.
    """
    if not seeds or len(set(seeds)) < len(seeds):
        raise ConfigError(f"--seeds needs one or more seeds, all different, got {list(seeds)}.")
    if len(grid) > MAX_AXES:
        raise ConfigError(f"--grid is given {len(grid)} times, expected {MAX_AXES} at most.")
    axes = [_axis(entry) for entry in grid]
    # With the first choice of each: without any the config may be none, such as an import without its table.
    base = load_config(path, [*overrides, *(f"{key}={value}" for (key, value), *_ in axes)])
    directory = output or base.output.with_name(base.output.name + "-sweep")
    cells = []
    for values in itertools.product(*axes):
        group = "/".join(_directory_name(key, value) for key, value in values)
        for seed in seeds:
            ours = [f"{key}={value}" for key, value in values] + [f"seed={seed}"]
            ours.append(f"output={directory / group / f'seed={seed}'}")
            if base.embedding.cache is None:
                ours.append(f"embedding.cache={directory / 'cache'}")
            cells.append(Cell(directory, group, load_config(path, [*overrides, *ours])))
    return cells


def _axis(entry: str) -> list[tuple[str, str]]:
    """Read `key=a,b` as [(key, a), (key, b)]; brackets hold commas together."""
    key, separator, values = entry.partition("=")
    try:
        parsed = yaml.safe_load(f"[{values}]") if key and separator else None
    except yaml.YAMLError:
        parsed = None
    if not parsed:
        raise ConfigError(
            f"--grid: {entry!r} is no choice. Write section.key=value,value, such as rl.beta=0,0.04."
        )
    texts = [yaml.safe_dump(value, default_flow_style=True).removesuffix("...\n").strip() for value in parsed]
    if len(set(texts)) < len(texts):
        raise ConfigError(f"--grid: {entry!r} names a value twice. Name each once.")
    return [(key, text) for text in texts]


def run_command(command: str, cell: Cell, threads: int) -> Ended:
    """Run one command of ours in a process of its own; what it says goes to `log.txt` of the cell."""
    started = time.monotonic()
    arguments = [sys.executable, "-m", "sidrec", command, str(cell.config.output / "config.yaml")]
    log = cell.config.output / "log.txt"
    with log.open("a", encoding="utf-8") as stream:
        stream.write(f"$ sidrec {command}\n")
        stream.flush()
        done = subprocess.run(
            arguments,
            stdout=subprocess.DEVNULL,
            stderr=stream,
            env={"OMP_NUM_THREADS": str(threads), **os.environ},
            check=False,
        )
    said = log.read_text(encoding="utf-8").strip().splitlines()
    return Ended(done.returncode, said[-1].removeprefix("sidrec: "), time.monotonic() - started)


def _directory_name(key: str, value: str) -> str:
    """Name a choice so that neither a shell nor a pattern stumbles over it: [64, 64] becomes 64-64."""
    return f"{key}={re.sub(r'[^a-zA-Z0-9_.+-]+', '-', value).strip('-')}"


def sweep(
    cells: Sequence[Cell],
    *,
    stages: Sequence[str] = tuple(PLANS),
    jobs: int = 1,
    runner: Runner = run_command,
) -> list[Failure]:
    """Run the stages of all cells; what is done is not redone, and no cell stops for another that fails.

    Args:
        cells: As `plan` made them.
        stages: Which ones; they run in the order of `PLANS`.
        jobs: Cells at work at the same time, each with its share of the cores (or OMP_NUM_THREADS if set).
        runner: What runs a command in a cell.

    Returns:
        The cells that failed, and why.

    Raises:
        ConfigError: If `jobs` is below 1, or a stage is none.
    """
    if jobs < 1:
        raise ConfigError(f"--jobs is {jobs}, expected 1 or more.")
    unknown = [name for name in stages if name not in PLANS]
    if unknown or not stages:
        raise ConfigError(f"--stages {','.join(unknown)!r}: expected some of {','.join(PLANS)}.")
    failures: list[Failure] = []
    for cell in cells:
        cell.config.output.mkdir(parents=True, exist_ok=True)
        (cell.config.output / "config.yaml").write_text(cell.config.to_yaml(), encoding="utf-8")
    for command in (name for name in PLANS if name in stages):
        failed = {failure.cell for failure in failures}
        failures += _wave(command, [cell for cell in cells if cell.name not in failed], jobs, runner)
    return failures


def _wave(command: str, cells: Sequence[Cell], jobs: int, runner: Runner) -> list[Failure]:
    """Run one command in every cell: first where something new is to be made, then where it is taken over."""
    failures: list[Failure] = []
    claimed: set[str] = set()
    first: list[Cell] = []
    second: list[Cell] = []
    for cell in cells:
        try:
            missing = {stage.fingerprint for stage in _take_over(command, cell)}
        except SidrecError as error:
            failures.append(Failure(cell.name, command, str(error)))
            continue
        (second if missing & claimed else first).append(cell)
        claimed |= missing
    failures += _run_all(command, first, jobs, runner)
    for cell in second:
        _take_over(command, cell)
    return failures + _run_all(command, second, jobs, runner)


def _take_over(command: str, cell: Cell) -> list[Stage]:
    """Take over what other runs of the sweep's directory have made; return what is still to be made."""
    missing = []
    runs = [run for depth in range(MAX_AXES + 1) for run in cell.directory.glob("*/" * depth + "seed=*")]
    for stage in PLANS[command](cell.config):
        place = stage.directory.relative_to(cell.config.output)
        others = sorted(run / place for run in runs if run != cell.config.output)
        if not stage.adopt(others, cell.config.to_yaml()):
            missing.append(stage)
    return missing


def _run_all(command: str, cells: Sequence[Cell], jobs: int, runner: Runner) -> list[Failure]:
    failures = []
    threads = max(1, (os.cpu_count() or 1) // jobs)
    with ThreadPoolExecutor(max_workers=jobs) as pool:
        running = {pool.submit(runner, command, cell, threads): cell for cell in cells}
        for number, future in enumerate(as_completed(running), start=1):
            cell, ended = running[future], future.result()
            outcome = "done" if ended.status == 0 else f"FAILED: {ended.said}"
            place = f"{number} of {len(cells)}"
            logger.info("sweep: %s, %s: %s in %.0f s: %s", command, place, cell.name, ended.seconds, outcome)
            if ended.status:
                failures.append(Failure(cell.name, command, ended.said))
    return failures


def write_csv(cells: Sequence[Cell]) -> Path:
    """Write `results.csv` into the sweep's directory: a row per run and model, a column per metric."""
    rows = []
    for cell in cells:
        for label, directory in result_directories(cell.config.output):
            metrics = read_json(directory / "metrics.json")
            rows.append(
                {
                    "group": cell.group,
                    "seed": cell.config.seed,
                    "model": label,
                    "users": metrics["users"],
                    **{name: figure["value"] for name, figure in metrics["item_level"].items()},
                    **{name: value for name, value in metrics.items() if re.fullmatch(r"[a-z_]+@\d+", name)},
                    "invalid_items": metrics["invalid_items"],
                    "parameters": metrics.get("parameters"),
                    "training_cpu_seconds": metrics.get("training_cpu_seconds"),
                }
            )
    path = cells[0].directory / "results.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


def compare_groups(cells: Sequence[Cell], failures: Sequence[Failure]) -> Comparison | None:
    """Compare every model of every group over its seeds with SASRec, or else with the first baseline.

    A baseline that the grid does not touch stands there once. None where there are not two to compare.
    """
    failed = {failure.cell for failure in failures}
    found: dict[tuple[str, str], list[Path]] = {}
    for cell in cells:
        for label, directory in result_directories(cell.config.output) if cell.name not in failed else ():
            found.setdefault((label, cell.title), []).append(directory)
    named: dict[str, list[Path]] = {}
    for (label, title), directories in found.items():
        first = next(earlier for (name, _), earlier in found.items() if name == label)
        is_baseline = directories[0].parent.name == "baselines"
        if is_baseline and directories is not first and _figures(directories) == _figures(first):
            continue
        is_plain = is_baseline and directories is first
        named[label if is_plain else f"{title} {label}".strip()] = directories
    if len(named) < 2:
        return None
    order = sorted(named, key=lambda name: (name != "sasrec", list(named).index(name)))
    arguments = [",".join(map(str, named[name])) for name in order]
    return compare(arguments, names=order, samples=max(2000, 40 * len(order)))


def _figures(directories: Sequence[Path]) -> list[Any]:
    return [read_json(directory / "metrics.json")["item_level"] for directory in directories]
