"""Fixtures that several files share: one toy run through every stage."""

import os
from pathlib import Path

import pytest

# Two processes that spin for the same cores are ten times slower than one thread each.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import toy

from sidrec.config import Config, load_config


@pytest.fixture(scope="session")
def toy_config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    return load_config(toy.write(tmp_path_factory.mktemp("toy")))


@pytest.fixture(scope="session")
def toy_run(toy_config: Config) -> Path:
    """The output of a whole run; tests must not change it."""
    from sidrec.stages.pipeline import run

    run(toy_config)
    return toy_config.output
