"""The demo, whose config and catalogue lie in `sidrec/demo/` and travel with the package."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sidrec.config import Config, load_config
from sidrec.errors import ConfigError

DIRECTORY = Path(__file__).resolve().parent / "demo"


def demo_config(overrides: Sequence[str] = ()) -> Config:
    """Read the demo's config, its tables where this package is installed rather than below here.

    Raises:
        ConfigError: For a setting that is none, or that asks for another catalogue.
    """
    for override in overrides:
        if "=" not in override:
            raise ConfigError(
                f"`sidrec demo` has a config of its own, so {override!r} is one too many. For a config of "
                f"yours: sidrec run {override}"
            )
        if override.split("=")[0] in ("catalog", "catalog.items", "catalog.interactions", "catalog.format"):
            raise ConfigError(
                f"{override!r}: `sidrec demo` is of the catalogue that comes with it. For one of yours, "
                "write a config with sidrec init, and give it to sidrec run."
            )
    config = load_config(DIRECTORY / "demo.yaml", overrides)
    tables = {name: DIRECTORY / f"{name}.csv" for name in ("items", "interactions")}
    return config.model_copy(update={"catalog": config.catalog.model_copy(update=tables)})
