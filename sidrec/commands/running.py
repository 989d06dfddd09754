"""Run a stage from the command line."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from sidrec.logs import tell
from sidrec.printing import print_results

if TYPE_CHECKING:
    from sidrec.config import Config

logger = logging.getLogger(__name__)


def run_stage(module: str, function: str, config: Config, *, table: bool = False) -> None:
    """Call `function` of `sidrec.stages.<module>` with the config, and print the result table if asked to."""
    from sidrec.processes import is_main, leave
    from sidrec.progress import working

    with working("loading libraries"):
        found = importlib.import_module(f"sidrec.stages.{module}")
    stage: Callable[[Config], object] = getattr(found, function)
    try:
        stage(config)
    except KeyboardInterrupt:
        if is_main():
            tell("interrupted. The same command goes on from the last checkpoint.")
        raise  # typer ends it with status 130
    leave()
    if table:
        from sidrec.stages.pipeline import notes, results

        print_results(results(config.output), notes(config.output))


def run_all(config: Config) -> None:
    """Run all stages, print the table, and say where the files are and what to type next."""
    run_stage("pipeline", "run", config, table=True)
    from sidrec.stages.pipeline import closing

    logger.info("%s", closing(config.output))
