"""Fixtures that several files share: one toy run through every stage, and the command line in-process."""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

# Two processes that spin for the same cores are ten times slower than one thread each.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import toy

from sidrec.cli import main
from sidrec.config import Config, load_config


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    status: int
    out: str
    err: str


@pytest.fixture(scope="session")
def toy_config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    return load_config(toy.write(tmp_path_factory.mktemp("toy")))


@pytest.fixture(scope="session")
def toy_run(toy_config: Config) -> Path:
    """The output of a whole run; tests must not change it."""
    from sidrec.stages.pipeline import run

    run(toy_config)
    return toy_config.output


@pytest.fixture(scope="session")
def tokenized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of semantic IDs alone; tests must not change it."""
    import sidrec

    config = load_config(toy.write(tmp_path_factory.mktemp("tokenized")))
    sidrec.tokenize(config)
    return config.output


@pytest.fixture(scope="session")
def young_config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """SFT ends so early that there is something left for RL."""
    folder = tmp_path_factory.mktemp("young")
    return load_config(toy.write(folder, **toy.YOUNG))


@pytest.fixture(scope="session")
def young_run(young_config: Config) -> Path:
    """The output of a whole run in which RL was kept; tests must not change it."""
    from sidrec.stages.pipeline import run

    run(young_config)
    return young_config.output


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """`command("tokenize", path)` is `sidrec tokenize PATH`, without a new process."""

    def run(*arguments: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["sidrec", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main()
        said = capsys.readouterr()
        return Ended(int(stop.value.code or 0), said.out, said.err)

    return run
