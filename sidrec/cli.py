"""The command line: parse, call a stage, print. Everything heavy is imported inside the commands."""

from __future__ import annotations

import json
import shlex
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from sidrec.commands.first_steps import demo, init
from sidrec.commands.global_options import moved_to_front
from sidrec.commands.looking import compare, inspect, report
from sidrec.commands.running import run_all, run_stage
from sidrec.commands.settings import Settings, config_of, listed, split_settings
from sidrec.logs import quiet_libraries, set_up, tell
from sidrec.printing import print_comparison, print_overview, print_table

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Generative recommendation with semantic IDs: tokenize a catalogue, align a language model, "
    "sharpen it with reinforcement learning.",
)
FOR_THE_MAIN_PROCESS = 30.0
"""Seconds that the others leave to the main process to say what it too has found wrong: it ends them then."""


def show_version(asked: bool) -> None:
    """Print the version and end, if it was asked for."""
    from importlib.metadata import version

    if asked:
        print(f"sidrec {version('sidrec')}")
        raise typer.Exit


@app.callback()
def alone(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=show_version, is_eager=True)
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Say warnings and errors alone.")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Say also how long steps take, and what libraries say.")
    ] = False,
    json_logs: Annotated[
        bool, typer.Option("--json-logs", help="Write what is said on standard error as lines of JSON.")
    ] = False,
) -> None:
    """Set up what is said; refuse several processes where they would all write the same."""
    from sidrec.errors import ConfigError
    from sidrec.processes import num_processes

    set_up(quiet=quiet, verbose=verbose, json_logs=json_logs)
    command = context.invoked_subcommand
    if num_processes() > 1 and command not in ("sft", "rl"):
        raise ConfigError(
            f"`sidrec {command}` works in one process, but {num_processes()} were launched: of all commands "
            f"only sft and rl train in several. Run it by itself: sidrec {command} ..."
        )


@app.command()
def tokenize(settings: Settings = None) -> None:
    """Item texts -> semantic IDs."""
    run_stage("tokenization", "tokenize", config_of(settings))


@app.command()
def sft(settings: Settings = None) -> None:
    """Align the language model with the semantic IDs."""
    run_stage("sft", "sft", config_of(settings))


@app.command()
def rl(settings: Settings = None) -> None:
    """ReRe: reinforcement learning on constrained beams."""
    run_stage("rl", "rl", config_of(settings))


@app.command()
def evaluate(settings: Settings = None) -> None:
    """Full ranking on the test users, item-level."""
    run_stage("evaluation", "evaluate", config_of(settings), table=True)


@app.command()
def baselines(settings: Settings = None) -> None:
    """The same split and metrics for the baselines."""
    run_stage("baselines", "run_baselines", config_of(settings), table=True)


@app.command()
def run(settings: Settings = None) -> None:
    """All stages in order; what is done is not redone."""
    run_all(config_of(settings))


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

    try:
        numbers = [int(seed) for seed in seeds.split(",")]
    except ValueError:
        raise ConfigError(f"--seeds {seeds!r}: expected whole numbers with commas, such as 0,1,2.") from None
    path, overrides = split_settings(settings or [])
    cells = plan(path, overrides, seeds=numbers, grid=grid or [], output=output)
    failures = run_all(cells, stages=listed(stages) or (), jobs=jobs)
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

    writers = {"recbole": write_recbole, "lcrec": write_lcrec}
    if form not in writers:
        raise ConfigError(f"--form {form}: expected one of {', '.join(writers)}.")
    config = config_of(settings)
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
    rerank: Annotated[float, typer.Option(help="Order the list as evaluation.rerank does.")] = 0.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Recommend items after a history: sidrec recommend runs/demo --history A B C -k 10."""
    from sidrec.recommender import Recommender

    history_ids = [item for item in [history, *(more or [])] if item]
    recommender = Recommender.from_pretrained(directory, generation=generation, rerank=rerank)
    found = recommender.recommend(history_ids, k=k, exclude_history=exclude_history)
    if as_json:
        print(json.dumps([vars(each) for each in found], ensure_ascii=False, indent=1))
        return
    rows = [[str(each.rank), each.item_id, each.title, f"{each.score:.3f}"] for each in found]
    print_table(["rank", "item id", "title", "score"], rows)


app.command()(inspect)
app.command()(report)
app.command()(compare)
app.command()(init)
app.command()(demo)


def main() -> None:
    """Run the command line; what a user can mend ends in one sentence and status 2."""
    from sidrec.errors import SidrecError
    from sidrec.processes import is_main

    quiet_libraries()
    try:
        app(moved_to_front(sys.argv[1:]), standalone_mode=True)
    except SidrecError as error:
        if not is_main():
            time.sleep(FOR_THE_MAIN_PROCESS)
        tell(str(error))
        sys.exit(2)
