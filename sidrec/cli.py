"""The command line: parse, call a stage, print. Everything heavy is imported inside the commands."""

from __future__ import annotations

import json
import logging
import os
import shlex
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sidrec.printing import (
    print_comparison,
    print_generations,
    print_health,
    print_overview,
    print_results,
    print_rows,
    print_states,
    print_table,
)

if TYPE_CHECKING:
    from sidrec.config import Config

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Generative recommendation with semantic IDs: tokenize a catalogue, align a language model, "
    "sharpen it with reinforcement learning.",
)
FOR_THE_MAIN_PROCESS = 30.0
"""Seconds that the others leave to the main process to say what it too has found wrong: it ends them then."""
Settings = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[CONFIG.yaml] [section.key=value ...]", help="A config file, then settings above it."
    ),
]


@app.callback()
def alone(context: typer.Context) -> None:
    """Refuse several processes where they would all write the same."""
    from sidrec.errors import ConfigError
    from sidrec.processes import num_processes

    command = context.invoked_subcommand
    if num_processes() > 1 and command not in ("sft", "rl"):
        raise ConfigError(
            f"`sidrec {command}` works in one process, but {num_processes()} were launched: of all commands "
            f"only sft and rl train in several. Run it by itself: sidrec {command} ..."
        )


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
    _stage("baselines", "run_baselines", settings, table=True)


@app.command()
def run(settings: Settings = None) -> None:
    """All stages in order; what is done is not redone."""
    _stage("pipeline", "run", settings, table=True)


@app.command()
def sweep(
    settings: Settings = None,
    seeds: Annotated[str, typer.Option(help="Seeds of the runs, such as 0,1,2.")] = "0,1,2",
    grid: Annotated[
        list[str] | None,
        typer.Option(help="section.key=value,value: one run per value and seed; several are combined."),
    ] = None,
    stages: Annotated[
        str, typer.Option(help="Which stages to run, with commas.")
    ] = "tokenize,baselines,sft,rl,evaluate",
    jobs: Annotated[int, typer.Option(help="Runs at work at the same time.")] = 1,
    output: Annotated[
        Path | None, typer.Option(help="Directory of the sweep; default: the config's output with -sweep.")
    ] = None,
) -> None:
    """Many runs, what they share made once, one table: sidrec sweep CONFIG.yaml --seeds 0,1,2."""
    from sidrec.errors import ConfigError, SidrecError
    from sidrec.sweep import compare_groups, plan, write_csv
    from sidrec.sweep import sweep as run_all

    _show_progress()
    try:
        numbers = [int(seed) for seed in seeds.split(",")]
    except ValueError:
        raise ConfigError(f"--seeds {seeds!r}: expected whole numbers with commas, such as 0,1,2.") from None
    path, overrides = _split(settings or [])
    cells = plan(path, overrides, seeds=numbers, grid=grid or [], output=output)
    failures = run_all(cells, stages=_listed(stages) or (), jobs=jobs)
    found = compare_groups(cells, failures)
    if found is not None:
        print_comparison(found)
    print(f"\nA row per run and model: {write_csv(cells)}")
    if failures:
        told = "; ".join(f"{each.cell} in {each.command}: {each.reason}" for each in failures)
        raise SidrecError(f"{len(failures)} of {len(cells)} runs of the sweep failed: {told}")


@app.command("catalog")
def show_catalog(
    settings: Settings = None,
    figure: Annotated[Path | None, typer.Option(help="Draw the long tails into this .png file.")] = None,
    export: Annotated[
        Path | None, typer.Option(help="Write the catalogue, as filtered, into this directory, in --form.")
    ] = None,
    form: Annotated[str, typer.Option(help="Of --export: recbole or lcrec.")] = "recbole",
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """What was understood of the data, before any training: sidrec catalog CONFIG.yaml."""
    from sidrec.catalog import read_catalog
    from sidrec.catalog.overview import draw_long_tail, look_at
    from sidrec.catalog.writers import write_lcrec, write_recbole
    from sidrec.errors import ConfigError

    _show_progress()
    writers = {"recbole": write_recbole, "lcrec": write_lcrec}
    if form not in writers:
        raise ConfigError(f"--form {form}: expected one of {', '.join(writers)}.")
    config = _config(settings or [])
    found = read_catalog(config.catalog)
    overview = look_at(found, config.split)
    if figure is not None:
        draw_long_tail(found, figure, title=str(config.catalog.items))
    written = None if export is None else writers[form](found, export, export.name)
    if as_json:
        print(json.dumps(overview.as_json(), ensure_ascii=False, indent=1))
        return
    print_overview(overview)
    if written is not None:
        print("\n".join([f"Written: {', '.join(map(str, written.files))}", *written.notes]))


@app.command("add-items")
def add_items(
    directory: Annotated[Path, typer.Argument(metavar="RUN", help="A run in which tokenize is done.")],
    items: Annotated[
        Path | None, typer.Option(help="New items: a table with the columns that catalog.items had.")
    ] = None,
    retire: Annotated[
        Path | None,
        typer.Option(help="Items to recommend no more: a table with their ids, or one id per line of text."),
    ] = None,
    vectors: Annotated[
        Path | None,
        typer.Option(help="For a run with embedding.path: a file of the new items' vectors."),
    ] = None,
) -> None:
    """New items can be recommended, others no more; nothing is trained: sidrec add-items RUN --items FILE."""
    from sidrec.stages.addition import add_items as add

    _show_progress()
    made = add(directory, items, retire=retire, vectors=vectors)
    print(made.describe())
    has_model = any((directory / name / "manifest.json").is_file() for name in ("sft", "rl"))
    item_id = made.generation.semantic_ids.item_ids[-1]
    command = (
        f"recommend {directory} --history {shlex.quote(item_id)}" if has_model else f"inspect {directory}"
    )
    print(f"Try: sidrec {command}")


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
    generation: Annotated[
        int | None, typer.Option(help="Of the run's items: 1 as trained on; default: the newest.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Recommend items after a history: sidrec recommend runs/demo --history A B C -k 10."""
    from sidrec.recommender import Recommender

    history_ids = [item for item in [history, *(more or [])] if item]
    found = Recommender.from_pretrained(directory, generation=generation).recommend(
        history_ids, k=k, exclude_history=exclude_history
    )
    if as_json:
        print(json.dumps([vars(each) for each in found], ensure_ascii=False, indent=1))
        return
    rows = [[str(each.rank), each.item_id, each.title, f"{each.score:.3f}"] for each in found]
    print_table(["rank", "item id", "title", "score"], rows)


@app.command()
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
    sizes = _numbers("--codebook-sizes", codebook_sizes)
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


@app.command()
def report(
    directory: Annotated[Path, typer.Argument(metavar="RUN", help="A run, at least after tokenize.")],
    output: Annotated[
        Path | None, typer.Option(help="The .html file to write; default: report.html in the run.")
    ] = None,
) -> None:
    """One HTML file to look at and to hand on: sidrec report runs/demo --output demo.html."""
    from sidrec.report import write_report

    _show_progress()
    print(write_report(directory, output))


@app.command()
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
) -> None:
    """Paired differences with intervals: sidrec compare runs/a/evaluate/sft runs/a/evaluate/rl."""
    from sidrec.comparison import compare as find
    from sidrec.comparison import table
    from sidrec.errors import ConfigError

    if as_markdown and as_json:
        raise ConfigError("--markdown and --json are two forms of one answer. Choose one.")
    found = find(
        results or [],
        metrics=_listed(metrics),
        names=_listed(names),
        slices=_listed(slices) or (),
        samples=samples,
        seed=seed,
    )
    if as_json:
        print(json.dumps(table.as_json(found), ensure_ascii=False, indent=1))
        return
    if as_markdown:
        print(table.markdown(found))
        return
    print_comparison(found)


def main() -> None:
    """Run the command line; what a user can mend ends in one sentence and status 2."""
    from sidrec.errors import SidrecError
    from sidrec.processes import is_main

    _quiet_libraries()
    try:
        app(standalone_mode=True)
    except SidrecError as error:
        if not is_main():
            time.sleep(FOR_THE_MAIN_PROCESS)
        print(f"sidrec: {error}", file=sys.stderr)
        sys.exit(2)


def _stage(module: str, function: str, settings: list[str] | None, *, table: bool = False) -> None:
    import importlib

    from sidrec.processes import is_main, leave

    _show_progress()
    config = _config(settings or [])
    stage: Callable[[Config], object] = getattr(importlib.import_module(f"sidrec.stages.{module}"), function)
    try:
        stage(config)
    except KeyboardInterrupt:
        if is_main():
            print("sidrec: interrupted. The same command goes on from the last checkpoint.", file=sys.stderr)
        raise  # typer ends it with status 130
    leave()
    if table:
        from sidrec.stages.pipeline import notes, results

        print_results(results(config.output), notes(config.output))


def _show_rows(path: Path, settings: list[str], num_rows: int) -> None:
    """Print the first rows of each task of SFT."""
    from sidrec.config import load_config
    from sidrec.stages.preview import preview

    in_colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    print_rows(preview(load_config(path, settings), num_rows), in_colour=in_colour)


def _show_progress() -> None:
    from sidrec.processes import is_main

    level = logging.WARNING if is_main() else logging.CRITICAL
    logging.basicConfig(level=level, format="%(message)s", stream=sys.stderr)
    logging.getLogger("sidrec").setLevel(logging.INFO if is_main() else level)


def _config(settings: list[str]) -> Config:
    from sidrec.config import load_config

    return load_config(*_split(settings))


def _split(settings: list[str]) -> tuple[Path | None, list[str]]:
    """Tell the config file from the settings above it: an argument without "=", or one that is a file."""
    path = Path(settings[0]) if settings and ("=" not in settings[0] or Path(settings[0]).is_file()) else None
    return path, settings[1:] if path is not None else settings


def _listed(text: str | None) -> list[str] | None:
    """Divide what an option gives with commas between."""
    return None if text is None else [part.strip() for part in text.split(",")]


def _numbers(option: str, text: str | None) -> tuple[int, ...] | None:
    """Divide whole numbers with commas between."""
    from sidrec.errors import ConfigError

    try:
        return None if text is None else tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"{option} {text!r}: expected whole numbers with commas, such as 1,2,3.") from None


def _quiet_libraries() -> None:
    """Switch off, one by one, what libraries print that a user cannot act on."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # it warns when a process forks
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    warnings.filterwarnings("ignore", message=".*gradient_checkpointing. is deprecated")  # TRL sets it
    warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.")  # Lightning asks torch so
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
