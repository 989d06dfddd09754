"""Run a stage from the command line."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from sidrec.logs import show_progress
from sidrec.printing import print_results

if TYPE_CHECKING:
    from sidrec.config import Config


def run_stage(module: str, function: str, config: Config, *, table: bool = False) -> None:
    """Call `function` of `sidrec.stages.<module>` , and print the result table if asked to."""
    from sidrec.processes import is_main, leave

    show_progress()
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
