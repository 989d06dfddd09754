"""The command line: parse, call a stage, print. Everything heavy is imported inside the commands."""

from __future__ import annotations

import json
import logging
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sidrec.config import Config

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Generative recommendation with semantic IDs: tokenize a catalogue, align a language model, "
    "sharpen it with reinforcement learning.",
)
Settings = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[CONFIG.yaml] [section.key=value ...]", help="A config file, then settings above it."
    ),
]


@app.command()
def tokenize(settings: Settings = None) -> None:
    """Item texts -> semantic IDs."""
    _stage("tokenization", "tokenize", settings)


@app.command()
def sft(settings: Settings = None) -> None:
    """Align the language model with the semantic IDs."""
    _stage("sft", "sft", settings)


@app.command()
def rl(settings: Settings = None) -> None:
    """ReRe: reinforcement learning on constrained beams."""
    _stage("rl", "rl", settings)


@app.command()
def evaluate(settings: Settings = None) -> None:
    """Full ranking on the test users, item-level."""
    _stage("evaluation", "evaluate", settings, table=True)


@app.command()
def baselines(settings: Settings = None) -> None:
    """The same split and metrics for the baselines."""
    _stage("baselines", "baselines", settings, table=True)


@app.command()
def run(settings: Settings = None) -> None:
    """All stages in order; what is done is not redone."""
    _stage("pipeline", "run", settings, table=True)


@app.command()
def recommend(
    directory: Annotated[Path, typer.Argument(metavar="RUN", help="A run, or its sft or rl directory.")],
    history: Annotated[str, typer.Option(help="First item id; more may follow it, oldest first.")],
    more: Annotated[
        list[str] | None, typer.Argument(metavar="[ITEM ...]", help="The rest of the history.")
    ] = None,
    k: Annotated[int, typer.Option("-k", help="Length of the list.")] = 10,
    exclude_history: Annotated[
        bool, typer.Option("--exclude-history", help="Leave out items of the history.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Recommend items after a history: sidrec recommend runs/demo --history A B C -k 10."""
    from sidrec.recommender import Recommender

    history_ids = [item for item in [history, *(more or [])] if item]
    found = Recommender.from_pretrained(directory).recommend(
        history_ids, k=k, exclude_history=exclude_history
    )
    if as_json:
        print(json.dumps([vars(each) for each in found], ensure_ascii=False, indent=1))
        return
    rows = [[str(each.rank), each.item_id, each.title, f"{each.score:.3f}"] for each in found]
    _print_table(["rank", "item id", "title", "score"], rows)


@app.command()
def inspect(directory: Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")]) -> None:
    """What is in a run; refuses what does not fit together."""
    from sidrec.errors import ArtifactError
    from sidrec.inspection import inspect as look

    states = look(directory)
    rows = [
        [
            state.stage,
            state.state,
            "" if state.seconds is None else f"{state.seconds:.0f} s",
            ", ".join(f"{name} {sha[:8]}" for name, sha in state.inputs.items()),
        ]
        for state in states
    ]
    _print_table(["stage", "state", "took", "made from (sha256)"], rows)
    problems = [problem for state in states for problem in state.problems]
    if problems:
        raise ArtifactError(" ".join(problems))


def main() -> None:
    """Run the command line; what a user can mend ends in one sentence and status 2."""
    from sidrec.errors import SidrecError

    _quiet_libraries()
    try:
        app(standalone_mode=True)
    except SidrecError as error:
        print(f"sidrec: {error}", file=sys.stderr)
        sys.exit(2)


def _stage(module: str, function: str, settings: list[str] | None, *, table: bool = False) -> None:
    import importlib

    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("sidrec").setLevel(logging.INFO)
    config = _config(settings or [])
    stage: Callable[[Config], object] = getattr(importlib.import_module(f"sidrec.stages.{module}"), function)
    try:
        stage(config)
    except KeyboardInterrupt:
        print("sidrec: interrupted. The same command goes on from the last checkpoint.", file=sys.stderr)
        raise  # typer ends it with status 130
    if table:
        from sidrec.stages.pipeline import results

        found = results(config.output)
        rows = [
            [
                row.model,
                _interval(row.hit_rate),
                _interval(row.ndcg),
                str(row.invalid),
                str(row.duplicates),
                "-" if row.coverage is None else f"{row.coverage:.3f}",
            ]
            for row in found
        ]
        k = found[0].k
        _print_table(["model", f"HR@{k}", f"NDCG@{k}", "invalid", "duplicate", f"coverage@{k}"], rows)


def _config(settings: list[str]) -> Config:
    from sidrec.config import load_config

    path = Path(settings[0]) if settings and "=" not in settings[0] else None
    return load_config(path, settings[1:] if path is not None else settings)


def _interval(value: tuple[float, float, float]) -> str:
    return "{:.4f} [{:.4f}, {:.4f}]".format(*value)


def _print_table(header: list[str], rows: list[list[str]]) -> None:
    """Print aligned plain text: readable on a terminal, and the same in a file."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    for row in [header, ["-" * width for width in widths], *rows]:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _quiet_libraries() -> None:
    """Switch off, one by one, what libraries print that a user cannot act on."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # it warns when a process forks
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    warnings.filterwarnings("ignore", message=".*gradient_checkpointing. is deprecated")  # TRL sets it
    warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.")  # Lightning asks torch so
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
