"""What `sidrec run` is about to do: which stages are there already, and how long the others took before."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sidrec.artifacts import Stage, read_json
from sidrec.catalog import Catalog
from sidrec.config import Config, load_config
from sidrec.errors import SidrecError
from sidrec.stages import baselines, evaluation, sft, tokenization
from sidrec.stages.rl.stage import stage_of as rl_stage_of
from sidrec.stages.run import run_of
from sidrec.text_table import table_lines

Command = Literal["tokenize", "baselines", "sft", "rl", "evaluate"]


@dataclass(frozen=True)
class Step:
    """A stage of the plan.

    Attributes:
        command: That would run it alone.
        done: How many of its parts (models of baselines and evaluate) are there already.
        parts: How many it has.
        begun: Whether a part was interrupted, and may go on from where it was.
        seconds: That what is missing took an earlier run, changed in proportion to the work; None: unknown.
        source: That run's directory.
    """

    command: Command
    done: int
    parts: int
    begun: bool = False
    seconds: float | None = None
    source: Path | None = None

    @property
    def state(self) -> str:
        """What there is to do, in a few words."""
        if self.done == self.parts:
            return "done before"
        some = f"{self.parts - self.done} of {self.parts} to do" if self.done else "to do"
        return f"{some}, was interrupted" if self.begun else some

    @property
    def minutes(self) -> str:
        """How long it may take, and how that is known."""
        if self.done == self.parts:
            return ""
        if self.seconds is None:
            return "unknown"
        rounded = "under 1" if self.seconds < 60 else f"about {math.ceil(self.seconds / 60)}"
        return f"{rounded}, by {self.source}"


def plan(config: Config, catalog: Catalog) -> list[Step]:
    """Return the stages of a run in order; what follows one that is to do is to do.

    Raises:
        SidrecError: As the stages do where a setting cannot be used.
    """
    names = config.baselines.models
    models = evaluation.MODELS
    tokenized = tokenization.stage_of(config, catalog)
    steps = [_step(config, catalog, "tokenize", ["tokenize"], [tokenized])]
    run = run_of(config, catalog) if steps[0].done else None
    if names:
        counted = [baselines.stage_of(config, run, name) for name in names] if run else []
        places = [f"baselines/{name}" for name in names]
        steps.append(_step(config, catalog, "baselines", places, counted))
    aligned = [sft.stage_of(config, run)] if run else []
    steps.append(_step(config, catalog, "sft", ["sft"], aligned))
    sharpened = [rl_stage_of(config, run)] if run and steps[-1].done else []
    steps.append(_step(config, catalog, "rl", ["rl"], sharpened))
    judged = [evaluation.stage_of(config, run, name) for name in models] if run and steps[-1].done else []
    steps.append(_step(config, catalog, "evaluate", [f"evaluate/{name}" for name in models], judged))
    return steps


def describe(steps: list[Step], config: Config) -> str:
    """Say a plan in a table, and what comes after it."""
    rows = [[step.command, step.state, step.minutes] for step in steps]
    lines = [f"plan of {config.output}:", *table_lines(["stage", "state", "minutes"], rows)]
    if config.evaluation.controls:
        lines.append(f"then the controls: {', '.join(config.evaluation.controls)}")
    return "\n".join(line.rstrip() for line in lines)


def _step(config: Config, catalog: Catalog, command: Command, places: list[str], stages: list[Stage]) -> Step:
    """Look at the parts of a stage; `stages` is empty where they cannot be there yet."""
    done = {stage.directory for stage in stages if stage.is_done()}
    missing = [place for place in places if config.output / place not in done]
    begun = any((config.output / f"{place}.partial").is_dir() for place in missing)
    earlier = _earlier(config, catalog, command, missing) if missing else None
    seconds, source = earlier or (None, None)
    return Step(command, len(places) - len(missing), len(places), begun, seconds, source)


def _earlier(
    config: Config, catalog: Catalog, command: Command, places: list[str]
) -> tuple[float, Path] | None:
    """Return seconds and directory of the first run here or beside whose parts were made by like settings."""
    for run in (config.output, *sorted(config.output.parent.glob("*"))):
        seconds = 0.0
        for place in places:
            found = list(_seconds(config, catalog, command, run, place))
            if not found:
                break
            seconds += sum(found)
        else:
            return seconds, run
    return None


def _seconds(config: Config, catalog: Catalog, command: Command, run: Path, place: str) -> Iterator[float]:
    """Yield the seconds that a part took a run of the same catalogue, in proportion to the work."""
    if not (run / place / "manifest.json").is_file():
        return
    try:
        manifest = read_json(run / place / "manifest.json")
        other = load_config(run / place / "config.yaml")
    except SidrecError:  # broken, or of a version that knew other settings
        return
    if manifest["inputs"].get("catalog") != catalog.sha256 or _kind(other, command) != _kind(config, command):
        return
    yield manifest["wall_seconds"] * _work(config, command) / max(_work(other, command), 1)
    trained = run / "sequential" / Path(place).name / "manifest.json"
    if command == "baselines" and trained.is_file():
        yield read_json(trained)["wall_seconds"]


def _kind(config: Config, command: Command) -> object:
    """Return what two runs must have in common for one to say how long the other takes."""
    match command:
        case "tokenize":
            return config.embedding.model_dump(exclude={"cache"}), config.tokenizer.method
        case "baselines":
            return config.baselines
        case _:
            return config.model


def _work(config: Config, command: Command) -> float:
    """Return what the time of a stage grows with, where other settings are alike."""
    match command:
        case "tokenize":
            return config.tokenizer.epochs
        case "baselines":
            return 1
        case "sft":
            return config.sft.epochs
        case "rl":
            return config.rl.steps * config.rl.prompts_per_step * config.rl.num_generations
        case "evaluate":
            return config.evaluation.num_beams
