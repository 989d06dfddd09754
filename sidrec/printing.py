"""What the command line prints: plain text in columns, readable on a terminal and the same in a file."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sidrec.results import result_cells
from sidrec.text_table import in_one_line, table_lines

if TYPE_CHECKING:
    from sidrec.catalog.overview import Overview
    from sidrec.comparison import Comparison
    from sidrec.health import Assessment
    from sidrec.inspection import GenerationState, StageState
    from sidrec.stages.pipeline import ResultRow
    from sidrec.stages.preview import ShownRow


def print_table(header: list[str], rows: list[list[str]]) -> None:
    """Print aligned plain text."""
    print("\n".join(table_lines(header, rows)))


def print_results(found: Sequence[ResultRow], notes: Sequence[str] = ()) -> None:
    """Print the result table of a run and what must be said beside it; nothing where there is none."""
    if not found:
        return
    print_table(*result_cells(found))
    for note in notes:
        print(textwrap.fill(note, 100, subsequent_indent="  "))


def print_states(states: Sequence[StageState]) -> None:
    """Print a row per stage of a run; nothing where there is none."""
    if not states:
        return
    rows = [
        [
            state.stage,
            state.state,
            "" if state.seconds is None else f"{state.seconds:.0f} s",
            _hashes(state.inputs),
        ]
        for state in states
    ]
    print_table(["stage", "state", "took", "made from (sha256)"], rows)
    print()


def print_generations(generations: Sequence[GenerationState]) -> None:
    """Print a row per generation of a run's items; nothing where none was added."""
    if not generations:
        return
    rows = []
    for state in generations:
        counts = [f"{count:,}" for count in (state.items, state.added, state.retired)]
        rows.append([str(state.number), *counts, state.made_at, _hashes(state.inputs)])
    print_table(["generation", "items", "added", "retired", "made at", "made from (sha256)"], rows)
    print()


def print_comparison(found: Comparison) -> None:
    """Print the tables of a comparison, and the notes that belong to them."""
    from sidrec.comparison import table

    for each in table.tables(found):
        if each.title:
            print(each.title)
        print_table(each.header, each.rows)
        print()
    print("\n".join(textwrap.fill(note, 100) for note in table.notes(found)))


def print_health(found: Assessment) -> None:
    """Print the verdicts in 100 columns, then what to do about those that are not good."""
    from tokenizer.health.verdicts import CAVEAT

    verdicts = found.verdicts()
    rows = []
    for each in verdicts:
        first, *more = textwrap.wrap(each.value, 70)
        rows += [[each.figure, first, each.verdict], *(["", line, ""] for line in more)]
    print(found.summary())
    print_table(["semantic IDs", "figure", "verdict"], rows)
    for each in verdicts:
        if each.advice:
            told = f"{each.figure} ({each.verdict}): {each.advice}"
            print(textwrap.fill(told, 100, subsequent_indent="  "))
    print(CAVEAT)


def print_overview(found: Overview) -> None:
    """Print what was understood of a catalogue, in 100 columns."""
    from sidrec.catalog.catalog import describe_statistics

    if found.files:
        rows = [[str(each.path), f"{each.rows:,}", each.form] for each in found.files]
        print_table(["read", "rows", "as"], rows)
    for note in found.notes:
        print(
            textwrap.fill(note, 100, subsequent_indent="  ", break_on_hyphens=False, break_long_words=False)
        )
    print()
    print_table(["item", "title", "text"], [[in_one_line(cell, 30) for cell in row] for row in found.items])
    print()
    print_table(
        ["user", "item", "title", "when"], [[in_one_line(cell, 40) for cell in row] for row in found.events]
    )
    if found.filters:
        first = found.filters[0]
        whole = [
            left + gone
            for left, gone in zip(first.left, (first.users, first.items, first.events), strict=True)
        ]
        rows = [["as read", "", *(f"{count:,}" for count in whole)]]
        for step in found.filters:
            counts = {"users": step.users, "items": step.items, "events": step.events}
            gone = ", ".join(f"{count:,} {what}" for what, count in counts.items() if count) or "nothing"
            rows.append([step.name, gone, *(f"{count:,}" for count in step.left)])
        print()
        print_table(["filter", "removes", "users", "items", "events"], rows)
    print()
    print(describe_statistics(found.statistics))
    texts = found.texts
    print(
        f"characters of a text: min {texts['min']:,}, median {texts['median']:,}, 95% {texts['p95']:,}, "
        f"max {texts['max']:,}; items that share their text with another: {texts['shared']:,}"
    )
    if found.times["first"]:
        print(
            f"time: {found.times['first']} to {found.times['last']} (UTC), in {found.times['unit']} since "
            "1970"
        )
    if found.weights is not None:
        print(f"weights of events: {found.weights['min']:g} to {found.weights['max']:g}")
    print("\nThe most frequent items and their share of the events:")
    for share, events in found.tail:
        print(f"  {share:>5.0%}  {'#' * round(50 * events):<50}  {events:.0%}")
    print()
    _print_split(found.split)
    print()
    if not found.doubts:
        print("Nothing looks wrong.")
    for doubt in found.doubts:
        print(
            textwrap.fill(
                f"Look: {doubt.what}. {doubt.advice[0].upper()}{doubt.advice[1:]}.",
                100,
                subsequent_indent="  ",
            )
        )


def _print_split(parts: dict[str, Any]) -> None:
    if "error" in parts:
        print(textwrap.fill(f"No split: {parts['error']}", 100, subsequent_indent="  "))
        return
    print(
        f"split {parts['method']}: {parts['train_events']:,} train events of {parts['train_users']:,} users, "
        f"{parts['valid_targets']:,} valid and {parts['test_targets']:,} test targets of "
        f"{parts['test_users']:,} users,\n{parts['cold_test_targets']:,} of them items without a train event"
    )


def print_rows(rows: Sequence[ShownRow], *, in_colour: bool) -> None:
    """Print rows of SFT: what is supervised in green, or between [[ and ]] where there are no colours."""
    begin, end = ("\x1b[32m", "\x1b[0m") if in_colour else ("[[", "]]")
    for row in rows:
        print(f"{row.task}: {row.tokens} tokens, {row.supervised} supervised")
        print("".join(f"{begin}{text}{end}" if supervised else text for text, supervised in row.parts))
        print()


def _hashes(inputs: dict[str, str]) -> str:
    return ", ".join(f"{name} {sha[:8]}" for name, sha in inputs.items())
