"""Say what a long step does and how far it is: a bar on a terminal, one line otherwise."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

logger = logging.getLogger(__name__)
Advance = Callable[[int, int], None]
WORTH_A_LINE = 1.0
"""Seconds a step must have taken to be told of when it is over."""


@contextmanager
def progress(description: str, unit: str) -> Iterator[Advance]:
    """Yield a function that is told (done, total); show rate and time left while the block runs.

    The line in the end is left out where there was nothing to wait for.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    started = time.monotonic()
    counted = [0]
    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn(unit)]
    with Progress(
        *columns, TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task(description, total=None)

        def advance(done: int, total: int) -> None:
            counted[0] = done
            bar.update(task, completed=done, total=total)

        yield advance
    seconds = time.monotonic() - started
    if counted[0] and seconds >= WORTH_A_LINE:
        logger.info("%s: %s %s in %.1f s", description, f"{counted[0]:,}", unit, seconds)
