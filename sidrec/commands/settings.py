"""What commands are given: a config and settings above it, lists with commas."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sidrec.config import Config

Settings = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[CONFIG.yaml] [section.key=value ...]", help="A config file, then settings above it."
    ),
]


def config_of(settings: list[str] | None) -> Config:
    """Read the config that a command was given."""
    from sidrec.config import load_config

    return load_config(*split_settings(settings or []))


def split_settings(settings: list[str]) -> tuple[Path | None, list[str]]:
    """Tell the config file from the settings above it: an argument without "=", or one that is a file."""
    path = Path(settings[0]) if settings and ("=" not in settings[0] or Path(settings[0]).is_file()) else None
    return path, settings[1:] if path is not None else settings


def listed(text: str | None) -> list[str] | None:
    """Divide what an option gives with commas between."""
    return None if text is None else [part.strip() for part in text.split(",")]


def numbers(option: str, text: str | None) -> tuple[int, ...] | None:
    """Divide whole numbers with commas between."""
    from sidrec.errors import ConfigError

    try:
        return None if text is None else tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"{option} {text!r}: expected whole numbers with commas, such as 1,2,3.") from None
