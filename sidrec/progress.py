"""Say what a long step does and how far it is: a bar on a terminal, one line otherwise."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, TextIO

from sidrec.logs import shows_bars

logger = logging.getLogger(__name__)
Advance = Callable[[int, int], None]
WORTH_A_LINE = 1.0
"""Seconds a step must have taken to be told of when it is over."""


class Bar(Protocol):
    """An `Advance` that can be told something to show beside the count."""

    def __call__(self, done: int, total: int, note: str | None = None, /) -> None:
        """Show `done` of `total`; a note stays until there is another."""


@contextmanager
def progress(description: str, unit: str) -> Iterator[Bar]:
    """Yield a function that is told (done, total); show rate and time left while the block runs.

    Of several processes only the main one shows anything. What is logged meanwhile stands above the bar.
    Off a terminal nothing is shown before the end, and the line in the end is left out where there was
    nothing to wait for. What comes after done = total is another part and added: two models, one after the
    other, read twice as many texts.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    started, plain = time.monotonic(), sys.stderr
    finished, counted = 0, 0
    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn(unit)]
    with (
        Progress(
            *columns,
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=console,
            transient=True,
            disable=not (console.is_terminal and shows_bars()),
        ) as bar,
        _logging_above(plain),
    ):
        task = bar.add_task(description, total=None, rate="", note="")

        def advance(done: int, total: int, note: str | None = None, /) -> None:
            nonlocal finished, counted
            counted = finished + done
            rate = _per_second(counted, time.monotonic() - started)
            bar.update(task, completed=counted, total=finished + total, rate=rate)
            if note is not None:
                bar.update(task, note=note)
            if done == total:
                finished = counted

        yield advance
    seconds = time.monotonic() - started
    if counted and seconds >= WORTH_A_LINE:
        rate = _per_second(counted, seconds)
        logger.info("%s: %s %s in %.1f s, %s", description, f"{counted:,}", unit, seconds, rate)


@contextmanager
def working(description: str) -> Iterator[None]:
    """Show on a terminal that something is done whose length is not known, and how long it has taken.

    Off a terminal nothing is said, but for `--verbose`. No bar may be shown within the block.
    """
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    started, plain = time.monotonic(), sys.stderr
    with (
        Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not (console.is_terminal and shows_bars()),
        ) as bar,
        _logging_above(plain),
    ):
        bar.add_task(description, total=None)
        yield
    logger.debug("%s: %.1f s", description, time.monotonic() - started)


@contextmanager
def _logging_above(plain: TextIO) -> Iterator[None]:
    """Move handlers that write to `plain` to what a bar has put in the place of standard error."""
    moved = [
        handler
        for handler in logging.getLogger().handlers
        if isinstance(handler, logging.StreamHandler) and handler.stream is plain
    ]
    for handler in moved:
        handler.setStream(sys.stderr)
    try:
        yield
    finally:
        for handler in moved:
            handler.setStream(plain)


def _per_second(count: int, seconds: float) -> str:
    """Say a rate with two digits at least."""
    rate = count / max(seconds, 1e-9)
    return f"{rate:,.0f}/s" if rate >= 10 else f"{rate:.2g}/s"
