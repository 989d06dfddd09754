"""What is built from this checkout: small, whole, and enough to begin with in an empty directory."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
import toy

import sidrec
from sidrec.demo_config import DIRECTORY, demo_config
from sidrec.errors import ConfigError
from sidrec.stages.pipeline import results

ROOT = Path(__file__).resolve().parent.parent
NOT_SOURCE = (
    ".git",
    ".venv",
    ".*_cache",
    "__pycache__",
    "*.egg-info",
    "build",
    "data",
    "dist",
    "runs",
    "site",
)


def call(*arguments: object, cwd: Path, environment: dict[str, str] | None = None) -> str:
    """Run a program to its good end; return what it printed."""
    done = subprocess.run(
        [str(each) for each in arguments],
        cwd=cwd,
        env=os.environ | (environment or {}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"status {done.returncode}: {done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout to build in, which leaves directories of its own."""
    copy = tmp_path_factory.mktemp("packaging") / "source"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*NOT_SOURCE))
    return copy


@pytest.fixture(scope="module")
def built(source: Path) -> tuple[Path, Path]:
    """The wheel and the sdist, by the call of `make wheel`."""
    call(sys.executable, "-m", "build", "--no-isolation", cwd=source)
    (wheel,), (sdist,) = ((source / "dist").glob(form) for form in ("*.whl", "*.tar.gz"))
    return wheel, sdist


def names_in(wheel: Path) -> set[str]:
    return set(zipfile.ZipFile(wheel).namelist())


def test_the_wheel_holds_every_module_the_demo_and_the_marks_of_types(built):
    modules = {
        str(path.relative_to(ROOT))
        for name in ("sidrec", "tokenizer")
        for path in (ROOT / name).rglob("*.py")
    }
    others = {"sidrec/py.typed", "tokenizer/py.typed"}
    others |= {"sidrec/stages/templates/model_card.md", "sidrec/report/templates/page.html"}
    others |= {f"sidrec/demo/{name}" for name in ("demo.yaml", "items.csv", "interactions.csv")}
    assert modules | others <= names_in(built[0])


def test_the_wheel_holds_nothing_that_is_for_developers_alone(built):
    tops = {name.split("/")[0] for name in names_in(built[0])}
    assert tops == {"sidrec", "tokenizer", f"sidrec-{sidrec.__version__}.dist-info"}
    assert not [name for name in names_in(built[0]) if "test" in Path(name).name or name.endswith(".pyc")]


def test_the_wheel_is_under_two_megabytes(built):
    assert built[0].stat().st_size < 2_000_000


def test_the_sdist_has_what_the_tests_of_it_need(built):
    with tarfile.open(built[1]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    tests = {f"tests/{path.name}" for path in (ROOT / "tests").glob("*.py")}
    others = {"Makefile", "constraints.txt", "sidrec/demo/items.csv", "configs/titles.yaml"}
    assert tests | others | {"examples/quickstart.ipynb"} <= names


def test_the_project_and_the_package_are_of_one_version_and_have_the_extras():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == sidrec.__version__
    assert set(project["optional-dependencies"]) >= {"minilm", "ray", "dev"}


def test_version_is_that_of_the_package(command):
    ended = command("--version")
    assert (ended.status, ended.out, ended.err) == (0, f"sidrec {sidrec.__version__}\n", "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_is_told_the_commands(shell):
    asked = {
        "_SIDREC_COMPLETE": f"complete_{shell}",
        "COMP_WORDS": "sidrec tok",
        "COMP_CWORD": "1",
        "_TYPER_COMPLETE_ARGS": "sidrec tok",
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }
    script = "import sys; from sidrec.cli import main; sys.argv = ['sidrec']; main()"
    printed = subprocess.run(
        [sys.executable, "-c", script], env=os.environ | asked, capture_output=True, text=True, check=False
    ).stdout
    assert "tokenize" in printed
    assert "evaluate" not in printed


def test_the_demo_finds_its_tables_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = demo_config(["sft.epochs=1"])
    assert (config.output, config.sft.epochs) == (Path("runs/demo"), 1)
    assert config.catalog.items == DIRECTORY / "items.csv"
    assert config.catalog.items.is_file()
    assert config.catalog.interactions == DIRECTORY / "interactions.csv"


def test_the_paths_in_the_config_of_the_demo_are_those_of_a_clone():
    text = (DIRECTORY / "demo.yaml").read_text(encoding="utf-8")
    named = re.findall(r"(?:items|interactions): (.*)", text)
    assert [(ROOT / path).is_file() for path in named] == [True, True]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("books.yaml", r"has a config of its own, so 'books\.yaml' is one too many.*sidrec run books\.yaml"),
        ("catalog.items=a.csv", r"is of the catalogue that comes with it.*sidrec init"),
        ("catalog={items: a.csv}", r"is of the catalogue that comes with it"),
        ("sft.epoch=3", r'sft\.epoch is not an option\. Did you mean "epochs"\?'),
    ],
)
def test_the_demo_refuses_what_would_not_be_the_demo(override, message):
    with pytest.raises(ConfigError, match=message):
        demo_config([override])


@pytest.fixture(scope="module")
def installed(built: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a fresh environment with the wheel; the libraries are those that run this test."""
    home = tmp_path_factory.mktemp("installed")
    venv.create(home, with_pip=True)
    python = home / "bin" / "python"
    call(python, "-m", "pip", "install", "--no-deps", "--no-index", built[0], cwd=home)
    where = call(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=home).strip()
    libraries = [path for path in sys.path if path.endswith("site-packages")]
    (Path(where) / "libraries.pth").write_text("\n".join(libraries), encoding="utf-8")
    return home / "bin"


@pytest.mark.slow
def test_the_wheel_answers_in_a_fresh_environment(installed, tmp_path):
    assert call(installed / "sidrec", "--version", cwd=tmp_path) == f"sidrec {sidrec.__version__}\n"
    assert "recommend" in call(installed / "sidrec", "--help", cwd=tmp_path)
    where = call(installed / "python", "-c", "import sidrec; print(sidrec.__file__)", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(installed.parent)


@pytest.mark.slow
def test_the_demo_of_the_wheel_is_that_of_the_clone(installed, tmp_path):
    few = ["sft.epochs=1", "rl.steps=2", "sft.evaluations=1"]  # evaluations take longest
    empty, clone = tmp_path / "empty", tmp_path / "clone"
    empty.mkdir()
    printed = call(installed / "sidrec", "demo", *few, cwd=empty)
    assert [row.model for row in results(empty / "runs" / "demo")] == ["popularity", "item_knn", "sft", "rl"]
    config = "sidrec/demo/demo.yaml"
    call(sys.executable, "-m", "sidrec", "run", config, *few, f"output={clone}", cwd=ROOT)
    for model in ("sft", "rl"):
        there, here = (run / "evaluate" / model for run in (empty / "runs" / "demo", clone))
        assert toy.contents(there)["predictions.parquet"] == toy.contents(here)["predictions.parquet"]
    assert "item_knn" in printed
