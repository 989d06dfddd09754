"""The stages as Python calls them: a config and settings above it as keywords, results that show themselves.

    sidrec.run("books.yaml", sft={"epochs": 2}, seed=1)
    sidrec.tokenize(output="runs/books", catalog=Catalog(items, interactions))

What a stage does is in `sidrec.stages`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sidrec.artifacts import read_json, read_manifest
from sidrec.catalog import Catalog
from sidrec.config import Config, config_with
from sidrec.errors import ArtifactError
from sidrec.results import ResultTable, StageResult

Source = Config | str | os.PathLike[str] | None
Given = Catalog | Mapping[str, Any] | None


def tokenize(config: Source = None, *, catalog: Given = None, **settings: Any) -> StageResult:
    """Give every item a semantic ID of its own.

    Args:
        config: A YAML file, a `Config`, or None for the defaults.
        catalog: A `Catalog`, used instead of the files that the config names; or settings of that section.
        **settings: Above the config: `seed=1`, `sft={"epochs": 2}` or `**{"sft.epochs": 2}`.

    Raises:
        SidrecError: As `sidrec.stages.tokenization.tokenize`, and for a setting that is none.
    """
    from sidrec.stages import tokenization

    made, given = _divide(config, catalog, settings)
    return _result(tokenization.tokenize(made, catalog=given), made)


def sft(config: Source = None, *, catalog: Given = None, **settings: Any) -> StageResult:
    """Align the language model with the semantic IDs that `tokenize` made.

    Args:
        config: As for `tokenize`.
        catalog: As for `tokenize`; a `Catalog` must be the one that was tokenized.
        **settings: As for `tokenize`.

    Raises:
        SidrecError: As `sidrec.stages.sft.sft`, for a setting that is none, or for another catalogue.
    """
    from sidrec.stages import sft as stage

    made = _of_this_catalog(config, catalog, settings)
    return _result(stage.sft(made), made)


def rl(config: Source = None, *, catalog: Given = None, **settings: Any) -> StageResult:
    """Sharpen the model of `sft` by reinforcement learning; arguments and errors as there."""
    from sidrec.stages import rl as stage

    made = _of_this_catalog(config, catalog, settings)
    return _result(stage.rl(made), made)


def evaluate(config: Source = None, *, catalog: Given = None, **settings: Any) -> ResultTable:
    """Rank the catalogue for every test user; arguments and errors as for `sft`.

    Returns:
        The result table of the run: what was evaluated before is in it too.
    """
    from sidrec.stages import evaluation

    made = _of_this_catalog(config, catalog, settings)
    evaluation.evaluate(made)
    return _table(made)


def run_baselines(config: Source = None, *, catalog: Given = None, **settings: Any) -> ResultTable:
    """Evaluate baselines on the same split; arguments and errors as for `sft`, result as of `evaluate`."""
    from sidrec.stages import baselines

    made = _of_this_catalog(config, catalog, settings)
    baselines.run_baselines(made)
    return _table(made)


def run(config: Source = None, *, catalog: Given = None, **settings: Any) -> ResultTable:
    """Run every stage that is not done yet; arguments and errors as for `tokenize`.

    Returns:
        The result table: baselines, SFT, RL and controls.
    """
    from sidrec.stages import pipeline

    made, given = _divide(config, catalog, settings)
    pipeline.run(made, catalog=given)
    return _table(made)


def _divide(config: Source, catalog: Given, settings: dict[str, Any]) -> tuple[Config, Catalog | None]:
    """Return the config of a call, and the catalogue if it was handed over."""
    if isinstance(catalog, Catalog):
        return config_with(config, settings), catalog
    return config_with(config, settings if catalog is None else settings | {"catalog": catalog}), None


def _of_this_catalog(config: Source, catalog: Given, settings: dict[str, Any]) -> Config:
    made, given = _divide(config, catalog, settings)
    if given is None:
        return made
    held = read_manifest(made.output / "tokenize")["inputs"]["catalog"]
    if given.sha256 != held:
        raise ArtifactError(
            f"{made.output} was tokenized from another catalogue (sha256 {held[:8]}) than the one given "
            f"({given.sha256[:8]}). Set another output, or call sidrec.tokenize with this one first."
        )
    return made


def _result(directory: Path, config: Config) -> StageResult:
    return StageResult(directory, read_json(directory / "metrics.json"), config)


def _table(config: Config) -> ResultTable:
    from sidrec.stages.pipeline import notes, result_directories, results

    metrics = {
        label: read_json(directory / "metrics.json") for label, directory in result_directories(config.output)
    }
    return ResultTable(config.output, results(config.output), metrics, notes(config.output), config)
