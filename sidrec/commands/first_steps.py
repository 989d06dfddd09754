"""`sidrec demo` and `sidrec init`: what a newcomer types first."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sidrec.commands.running import run_all
from sidrec.printing import print_table

if TYPE_CHECKING:
    from sidrec.catalog.tables import Tables
    from sidrec.first_config import Columns, Question


def demo(
    settings: Annotated[
        list[str] | None,
        typer.Argument(metavar="[section.key=value ...]", help="Settings above those of the demo."),
    ] = None,
) -> None:
    """All stages on the catalogue that comes with sidrec, in runs/demo below this directory."""
    from sidrec.demo_config import demo_config

    run_all(demo_config(settings or []))


def init(
    items: Annotated[
        Path | None,
        typer.Option(help="Table with one row per item, or a directory that holds both tables."),
    ] = None,
    interactions: Annotated[
        Path | None, typer.Option(help="Table with one row per event: who had what, when.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="The config to write; default: named after the items.")
    ] = None,
    item_id: Annotated[str | None, typer.Option(help="Column of the item id, in both tables.")] = None,
    user_id: Annotated[str | None, typer.Option(help="Column of the user id.")] = None,
    timestamp: Annotated[
        str | None,
        typer.Option(help="Column of the time; none: the order of the rows is that of the events."),
    ] = None,
    time_format: Annotated[
        str | None,
        typer.Option(help='How its dates are written, where the cells leave it open: "%d/%m/%Y %H:%M".'),
    ] = None,
    text: Annotated[
        str | None, typer.Option(help='An item\'s text over its columns, such as "{title}, by {author}".')
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing: write what was guessed.")] = False,
) -> None:
    """A first config from two tables, whose columns are guessed: sidrec init --items F --interactions F."""
    from sidrec import first_config as first
    from sidrec.errors import CatalogError

    items, interactions = _files(items, interactions, asking=not yes)
    path = output or Path(f"{items.resolve().name.partition('.')[0]}.yaml")
    if path.exists():
        raise first.exists(path)
    config, tables = first.find_tables(items, interactions)
    columns = first.Columns(item_id, user_id, timestamp, None, text, time_format)
    while isinstance(found := first.guess(tables, columns), first.Question):
        if yes:
            raise found.refusal()
        _show_rows(tables)
        columns = _answered(found, columns)
    _show_rows(tables)
    _show_columns(found, tables, form=first.form_of_times(found, tables))
    if not yes and not typer.confirm(f"Write {path}?", default=True):
        print("Nothing is written. Name what was guessed wrong: sidrec init --help shows the options.")
        return
    config = first.settings_of(config, found, tables)
    first.write_new(path, first.config_yaml(config, Path("runs") / path.stem))
    print(f"\n{path} is written:\n\n{path.read_text(encoding='utf-8')}")
    try:
        print(first.check(config, tables).describe())
    except CatalogError as error:
        raise CatalogError(f"{path} is written, but its catalogue cannot be used yet. {error}") from error
    print(f"\nNext: sidrec catalog {path}    what was understood, and what looks wrong")
    print(f"      sidrec run {path}        semantic IDs, training, evaluation")


def _files(items: Path | None, interactions: Path | None, *, asking: bool) -> tuple[Path, Path | None]:
    """Return the two files, asked for where they are not given and someone is there to answer."""
    from sidrec.errors import ConfigError

    if asking and not sys.stdin.isatty():
        raise ConfigError(
            "`sidrec init` asks before it writes, and nobody is there to answer: standard input is no "
            "terminal. Add --yes: sidrec init --items FILE --interactions FILE --yes"
        )
    if items is None:
        if not asking:
            raise ConfigError(
                "--items is missing, expected a table with one row per item, or a directory with two tables. "
                "Write: sidrec init --items FILE --interactions FILE --yes"
            )
        items = Path(typer.prompt("Table of the items, or a directory with both tables").strip())
    if not items.exists():
        raise ConfigError(f"--items: there is no {items}. Check the path (it is relative to {Path.cwd()}).")
    if interactions is None and not items.is_dir():
        if not asking:
            raise ConfigError(
                "--interactions is missing, expected a table of events. Add --interactions FILE"
            )
        interactions = Path(typer.prompt("Table of the events (who had what, when)").strip())
    if interactions is not None and not interactions.exists():
        raise ConfigError(
            f"--interactions: there is no {interactions}. Check the path (it is relative to {Path.cwd()})."
        )
    return items, interactions


def _answered(question: Question, columns: Columns) -> Columns:
    """Ask which something is, until the answer is one of those that may be."""
    print()
    answer = ""
    while answer not in question.answers:
        told = ", ".join(question.answers)
        answer = typer.prompt(
            f"Which {question.kind} of {question.table} is {question.what}? ({told})"
        ).strip()
    return replace(columns, **{question.option.removeprefix("--").replace("-", "_"): answer})


def _show_rows(tables: Tables) -> None:
    """Print three rows of each table, as many columns as fit."""
    from sidrec.catalog.columns import as_strings, source_of

    for frame, what in ((tables.items, "items"), (tables.interactions, "interactions")):
        head = frame.head(3)
        cells = {str(name): as_strings(head[name]).tolist() for name in head.columns}
        shown: list[list[str]] = []
        width = 0
        for name, column in cells.items():
            cut = [" ".join(cell.split()) for cell in (name, *column)]
            cut = [cell if len(cell) <= 30 else f"{cell[:27]}..." for cell in cut]
            width += max(map(len, cut)) + 2
            if shown and width > 100:
                break
            shown.append(cut)
        some = f"{len(shown)} of " if len(shown) < len(cells) else ""
        print(f"\n{what}: {source_of(frame, what)}, {len(frame):,} rows, {some}{len(cells)} columns")
        header, *rows = (list(row) for row in zip(*shown, strict=True))
        print_table(header, rows)


def _show_columns(columns: Columns, tables: Tables, *, form: str) -> None:
    """Print what was understood, with the form of the dates."""
    print()
    note = form if columns.timestamp else "the order of the rows counts"
    rows = [
        ["item id", columns.item_id or "", f"{tables.items[columns.item_id].nunique():,} different"],
        ["user id", columns.user_id or "", f"{tables.interactions[columns.user_id].nunique():,} different"],
        ["time", columns.timestamp or "none", note],
        ["title", columns.title or "none", "" if columns.title else "the beginning of the text is shown"],
        ["text", columns.text or "all columns of words", ""],
    ]
    print_table(["understood as", "column", "note"], rows)
    print()
