"""`sidrec demo`: what a newcomer types first."""

from __future__ import annotations

from typing import Annotated

import typer

from sidrec.commands.running import run_stage


def demo(
    settings: Annotated[
        list[str] | None,
        typer.Argument(metavar="[section.key=value ...]", help="Settings above those of the demo."),
    ] = None,
) -> None:
    """All stages on the catalogue that comes with sidrec, in runs/demo below this directory."""
    from sidrec.demo_config import demo_config

    run_stage("pipeline", "run", demo_config(settings or []), table=True)
