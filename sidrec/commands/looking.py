"""`sidrec inspect`, `sidrec report` and `sidrec compare`: look at what stages have made."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from sidrec.commands.settings import listed, numbers
from sidrec.printing import (
    print_comparison,
    print_generations,
    print_health,
    print_rows,
    print_states,
)


def inspect(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="RUN",
            help="A run directory; a table of codes: .json, .csv, .parquet; or a config, .yaml: rows of SFT.",
        ),
    ],
    settings: Annotated[
        list[str] | None,
        typer.Argument(metavar="[section.key=value ...]", help="For a config: settings above it."),
    ] = None,
    rows: Annotated[
        int | None, typer.Option(help="For a config: how many rows of each task to show; default 2.")
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option(
            help="For a table: a run of the same items, whose vectors, events and categories count."
        ),
    ] = None,
    codebook_sizes: Annotated[
        str | None,
        typer.Option(help="For a table: codes per level, such as 256,256,256; else the largest that occurs."),
    ] = None,
    figure: Annotated[Path | None, typer.Option(help="Draw the figures into this .png file.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print all figures of the semantic IDs, unrounded.")
    ] = False,
) -> None:
    """What is in a run, and what its semantic IDs are worth; refuses what does not fit together."""
    from sidrec.errors import ArtifactError, ConfigError
    from sidrec.health import assess_run, assess_table, draw, is_table
    from sidrec.inspection import inspect as look
    from sidrec.inspection import inspect_generations

    if path.suffix in (".yaml", ".yml"):
        if run is not None or codebook_sizes is not None or figure is not None or as_json:
            raise ConfigError(
                f"--run, --codebook-sizes, --figure and --json are for a run or a table, and {path} is a "
                "config."
            )
        _show_rows(path, settings or [], 2 if rows is None else rows)
        return
    if rows is not None or settings:
        raise ConfigError(
            f"--rows and settings are for a config, a .yaml, and {path} is none. Give that of the run, such "
            f"as {path / 'tokenize' / 'config.yaml'}."
        )
    sizes = numbers("--codebook-sizes", codebook_sizes)
    if not is_table(path) and (run is not None or sizes is not None):
        raise ConfigError(f"--run and --codebook-sizes are for a table of codes, and {path} is none.")
    states = [] if is_table(path) else look(path)
    generations = [] if is_table(path) else inspect_generations(path)
    found = assess_table(path, run=run, codebook_sizes=sizes) if is_table(path) else assess_run(path)
    if figure is not None:
        draw(found, figure, title=str(path))
    if as_json:
        typer.echo(json.dumps(None if found is None else found.as_json(), indent=1, allow_nan=False))
        return
    print_states(states)
    print_generations(generations)
    if found is not None:
        print_health(found)
    problems = [problem for state in states for problem in state.problems]
    problems += [problem for state in generations for problem in state.problems]
    if problems:
        raise ArtifactError(" ".join(problems))


def report(
    directory: Annotated[Path, typer.Argument(metavar="RUN", help="A run, at least after tokenize.")],
    output: Annotated[
        Path | None, typer.Option(help="The .html file to write; default: report.html in the run.")
    ] = None,
) -> None:
    """One HTML file to look at and to hand on: sidrec report runs/demo --output demo.html."""
    from sidrec.report import write_report

    print(write_report(directory, output))


def compare(
    results: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RESULT",
            help="RUN/evaluate/rl, RUN/baselines/sasrec; the others are compared with the first. Several "
            "seeds of one model: a quoted pattern, 'runs/sweep/seed=*/evaluate/rl', or paths with commas.",
        ),
    ] = None,
    metrics: Annotated[
        str | None, typer.Option(help="Such as hr@10,ndcg@10 (the default), or all that all report.")
    ] = None,
    names: Annotated[str | None, typer.Option(help="Names for the tables, one per result: a,b,c.")] = None,
    slices: Annotated[
        str | None, typer.Option(help="Compare in slices of users too, such as popularity.")
    ] = None,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print a table to paste.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything, unrounded.")] = False,
    samples: Annotated[int, typer.Option(help="Resamples behind every interval.")] = 2000,
    seed: Annotated[int, typer.Option(help="Of the resampling.")] = 0,
    pair_seeds: Annotated[
        bool,
        typer.Option("--pair-seeds", help="Equal seeds belong together: SFT's, and those of RL from it."),
    ] = False,
) -> None:
    """Paired differences with intervals: sidrec compare runs/a/evaluate/sft runs/a/evaluate/rl."""
    from sidrec.comparison import compare as find
    from sidrec.comparison import table
    from sidrec.errors import ConfigError

    if as_markdown and as_json:
        raise ConfigError("--markdown and --json are two forms of one answer. Choose one.")
    found = find(
        results or [],
        metrics=listed(metrics),
        names=listed(names),
        slices=listed(slices) or (),
        samples=samples,
        seed=seed,
        pair_seeds=pair_seeds,
    )
    if as_json:
        print(json.dumps(table.as_json(found), ensure_ascii=False, indent=1))
        return
    if as_markdown:
        print(table.markdown(found))
        return
    print_comparison(found)


def _show_rows(path: Path, settings: list[str], num_rows: int) -> None:
    """Print the first rows of each task of SFT."""
    from sidrec.config import load_config
    from sidrec.stages.preview import preview

    in_colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    print_rows(preview(load_config(path, settings), num_rows), in_colour=in_colour)
