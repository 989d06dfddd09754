"""Open a run to report on: what all sections read, and what stands in the place of what is not there."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from sidrec.artifacts import load_semantic_ids, read_json, read_manifest
from sidrec.catalog import Catalog, Split, split_catalog
from sidrec.catalog.config import SplitConfig
from sidrec.errors import ArtifactError, CatalogError
from sidrec.inspection import StageState, inspect
from sidrec.stages.evaluation import MODELS
from sidrec.stages.pipeline import result_directories
from tokenizer.semantic_ids import SemanticIDs


@dataclass(frozen=True)
class Absent:
    """A part that a run does not have; `why` is the sentence that stands in its place."""

    why: str


@dataclass(frozen=True)
class Measured:
    """A finished evaluation: its name in the tables, where it lies, and its metrics.json."""

    label: str
    directory: Path
    metrics: dict[str, Any]

    @property
    def depth(self) -> int:
        """Length of its lists; results of old have `num_beams` alone."""
        depth: int = self.metrics.get("depth") or self.metrics["num_beams"]
        return depth


@dataclass(frozen=True, eq=False)
class OpenRun:
    """A run in which tokenize is done.

    Attributes:
        directory: As the user named it.
        config_yaml: Of the newest stage that is reported on.
        seed: Of the run.
        split_config: How the catalogue is divided.
        catalog: Items and events as the run has them.
        semantic_ids: Those of tokenize.
        split: Train, valid and test; absent where the catalogue cannot be divided.
        results: All finished evaluations: baselines, models, files, controls.
    """

    directory: Path
    config_yaml: str
    seed: int
    split_config: SplitConfig
    catalog: Catalog
    semantic_ids: SemanticIDs
    split: Split | Absent
    results: list[Measured]

    @property
    def baselines(self) -> list[Measured]:
        """The evaluations of baselines."""
        return [each for each in self.results if each.directory.parent == self.directory / "baselines"]

    @property
    def shown(self) -> Measured | None:
        """The model that is reported on: that of RL, else of SFT, else predictions from a file."""
        own = [each for each in self.results if each.directory.parent == self.directory / "evaluate"]
        found = {each.label: each for each in own}
        return next((found[name] for name in (*reversed(MODELS), *found) if name in found), None)

    @cached_property
    def stages(self) -> list[StageState]:
        """Every stage of the run, its files checked against what its manifest says."""
        return inspect(self.directory)

    @cached_property
    def titles(self) -> list[str]:
        """Of all items, in catalogue order."""
        return self.catalog.items["title"].tolist()

    @cached_property
    def events(self) -> np.ndarray:
        """(N,) int64: events of each item."""
        return np.bincount(self.catalog.sequences().items, minlength=self.catalog.num_items)


def open_run(directory: Path) -> OpenRun:
    """Read what the sections have in common.

    Raises:
        ArtifactError: If the directory is no run, or its tokenize is not done or broken.
    """
    if not directory.is_dir():
        raise ArtifactError(f"{directory} is no directory. Give the output of a run, such as runs/demo.")
    if not (directory / "tokenize").is_dir():
        raise ArtifactError(
            f"{directory} is no run directory: it holds no tokenize. Run first: sidrec tokenize CONFIG.yaml"
        )
    read_manifest(directory / "tokenize")
    catalog = Catalog.load(directory / "catalog")
    results = [
        Measured(label, path, read_json(path / "metrics.json"))
        for label, path in result_directories(directory)
    ]
    config_yaml = _newest_config(directory)
    config = yaml.safe_load(config_yaml)
    split_config = SplitConfig.model_validate(config.get("split", {}))
    split: Split | Absent
    try:
        split = split_catalog(catalog, split_config)
    except CatalogError as error:
        split = Absent(f"The catalogue cannot be divided: {error}")
    semantic_ids = load_semantic_ids(directory / "tokenize")
    seed = int(config.get("seed", 0))
    return OpenRun(directory, config_yaml, seed, split_config, catalog, semantic_ids, split, results)


def _newest_config(directory: Path) -> str:
    """Return the settings of the last stage that is done."""
    for stage in ("evaluate/rl", "evaluate/sft", "rl", "sft", "tokenize"):
        path = directory / stage / "config.yaml"
        if path.is_file():
            return path.read_text(encoding="utf-8")
    raise ArtifactError(f"{directory / 'tokenize'} has no config.yaml. Delete it and rerun: sidrec tokenize")
