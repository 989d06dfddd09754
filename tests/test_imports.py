"""Imports run one way, are light where a user waits for them, and never reach a stranger's `tokenizer`."""

import ast
import importlib.metadata
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import sidrec

REPO = Path(__file__).parents[1]

# The floors of the house (DESIGN.md, section 2), top first; a name covers what is below it, unless that has
# a floor of its own. A module imports from floors below its own, or from its own floor without going round.
FLOORS = """
    __main__
    cli
    commands
    printing
    sweep report library recommender
    results
    comparison
    stages.pipeline
    stages inspection demo_config first_config
    health
    trainers baselines item_vectors
    sid_model tasks
    shared_prefix prompts adapters item_rows
    models
    decoding
    decoding.exact decoding.processor decoding.stochastic_beam decoding.path
    decoding.beam_search decoding.sampling
    decoding.causal_lm
    decoding.search decoding.prompts
    decoding.filters
    scoring
    merged_items
    attention output_rows sid_rows depth_model
    config tasks.template
    catalog embedding baselines.config generations moving_average objectives
    item_sum item_positions item_embedding
    vocabulary plain_text trie rewards metrics artifacts
    trie_arrays
    tokenizer_config rl_config
    progress
    logs
    errors sections text_table tasks.wordings recommendation
    processes
"""
FLOOR_OF = {
    f"sidrec.{name}": height
    for height, names in enumerate(reversed(FLOORS.split("\n")))
    for name in names.split()
}
HEAVY = ("torch", "transformers", "pandas", "numpy", "sklearn", "trl", "lightning", "datasets", "pyarrow")
PRELOADED = "; ".join(
    [
        "import torch, pandas, pydantic, scipy.optimize, sklearn.decomposition, pyarrow.parquet, typer, rich",
        "from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer",
        "from trl import GRPOTrainer",
        "import lightning.pytorch",
    ]
)


def module_files() -> dict[str, Path]:
    """Name of each module of ours -> its file."""
    files = {}
    for package in ("sidrec", "tokenizer"):
        for path in sorted((REPO / package).rglob("*.py")):
            parts = path.relative_to(REPO).with_suffix("").parts
            files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return files


MODULES = module_files()


def imports_of(source: str) -> Iterator[str]:
    """Yield the modules of ours that a source imports when it runs, in functions too."""

    def visit(node: ast.AST) -> Iterator[str]:
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            for child in node.orelse:
                yield from visit(child)
            return
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                yield inner if inner in MODULES else base
        for child in ast.iter_child_nodes(node):
            yield from visit(child)

    for name in visit(ast.parse(source)):
        if name.startswith(".") or name.split(".")[0] in ("sidrec", "tokenizer"):
            yield name


def floor(module: str) -> int | None:
    """Return the floor of a module by the longest name that covers it."""
    parts = module.split(".")
    for length in range(len(parts), 1, -1):
        if ".".join(parts[:length]) in FLOOR_OF:
            return FLOOR_OF[".".join(parts[:length])]
    return None


def upward(module: str, source: str) -> list[str]:
    """Return the imports of a module that point to a higher floor."""
    own = floor(module)
    assert own is not None, f"{module} has no floor in FLOORS"
    targets = [name for name in imports_of(source) if name.startswith("sidrec")]
    return [name for name in targets if (height := floor(name)) is None or height > own]


def ours(prefix: str) -> list[str]:
    return [name for name in MODULES if name.split(".")[0] == prefix]


def python(*arguments: str, cwd: Path = REPO, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def children_seconds() -> float:
    """CPU seconds of all processes that this one has started and seen end."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_every_module_has_a_floor():
    assert [name for name in ours("sidrec") if name != "sidrec" and floor(name) is None] == []


def test_every_name_in_the_table_is_a_module():
    assert [name for name in FLOOR_OF if name not in MODULES] == []


@pytest.mark.parametrize("module", [name for name in ours("sidrec") if name != "sidrec"])
def test_no_import_points_upward(module):
    assert upward(module, MODULES[module].read_text(encoding="utf-8")) == []


def test_imports_within_a_floor_go_round_in_no_circle():
    waiting = {name: set(imports_of(path.read_text(encoding="utf-8"))) for name, path in MODULES.items()}
    while free := [name for name, needs in waiting.items() if not needs & set(waiting)]:
        for name in free:
            del waiting[name]
    assert list(waiting) == []


def test_the_package_itself_imports_nothing_of_ours():
    assert list(imports_of(MODULES["sidrec"].read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from sidrec.stages.rl import rl", ["sidrec.stages.rl"]),
        ("from sidrec import cli", ["sidrec.cli"]),
        ("import sidrec.recommender", ["sidrec.recommender"]),
        ("def late():\n    from sidrec.sid_model import SIDModel", ["sidrec.sid_model"]),
        ("try:\n    pass\nexcept ImportError:\n    from sidrec.trainers import sft", ["sidrec.trainers.sft"]),
        ("if TYPE_CHECKING:\n    pass\nelse:\n    import sidrec.cli", ["sidrec.cli"]),
        ("if TYPE_CHECKING:\n    from sidrec.stages.rl import rl", []),
        ("from sidrec.errors import nearest\nimport torch\nfrom tokenizer.rqvae import RQVAE", []),
    ],
)
def test_an_arrow_upward_is_seen_wherever_it_stands_but_for_types(source, found):
    """Negative control: the tests above would notice."""
    assert upward("sidrec.scoring", source) == found


def test_no_import_is_relative():
    sources = {name: path.read_text(encoding="utf-8") for name, path in MODULES.items()}
    relative = [name for name, source in sources.items() if any(n[0] == "." for n in imports_of(source))]
    assert relative == []


@pytest.mark.parametrize("module", ours("tokenizer"))
def test_the_tokenizer_imports_nothing_of_sidrec(module):
    found = imports_of(MODULES[module].read_text(encoding="utf-8"))
    assert [name for name in found if name.startswith("sidrec")] == []


@pytest.mark.parametrize("module", MODULES)
def test_the_tokenizer_is_only_imported_part_by_part(module):
    """`tokenizer` is everyone's variable name: only `from tokenizer.x import y`."""
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            assert not [alias.name for alias in node.names if alias.name.split(".")[0] == "tokenizer"]
        if isinstance(node, ast.ImportFrom):
            assert node.module != "tokenizer"


def test_no_module_of_ours_has_the_name_of_a_library():
    installed = importlib.metadata.packages_distributions()
    theirs = {name for name, owners in installed.items() if set(owners) != {"sidrec"}}
    assert {"torch", "numpy", "yaml", "tokenizers"} <= theirs
    files = [*MODULES.values(), *(REPO / "tests").glob("*.py"), *(REPO / "scripts").glob("*.py")]
    names = {path.parent.name if path.stem == "__init__" else path.stem for path in files}
    assert names & (theirs | set(sys.stdlib_module_names)) == set()


def test_every_module_can_be_the_first_one_imported():
    """A fork for each, of a process that has loaded the libraries and none of our modules."""
    script = f"""
import os, sys
{PRELOADED}
assert not [name for name in sys.modules if name.split(".")[0] in ("sidrec", "tokenizer")]
for module in sys.argv[1:]:
    child = os.fork()
    if child == 0:
        __import__(module)
        os._exit(0)
    if os.waitpid(child, 0)[1] != 0:
        sys.exit(f"{{module}} cannot be imported first")
"""
    done = python("-c", script, *(name for name in MODULES if name != "sidrec.__main__"))
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("module", MODULES)
def test_every_module_imports_in_a_fresh_process(module):
    done = python("-c", f"import {module}")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("statement", ["import sidrec; dir(sidrec)", "import sidrec.cli", "import tokenizer"])
def test_a_light_import_loads_nothing_heavy(statement):
    done = python("-c", f"{statement}\nimport sys\nprint([name for name in {HEAVY} if name in sys.modules])")
    assert done.stdout == "[]\n", done.stderr


def test_help_loads_nothing_heavy():
    script = f"""
import sys
from sidrec.cli import main
sys.argv = ["sidrec", "--help"]
try:
    main()
except SystemExit as end:
    assert end.code == 0
print("heavy:", [name for name in {HEAVY} if name in sys.modules])
"""
    done = python("-c", script)
    assert "recommend" in done.stdout
    assert done.stdout.endswith("heavy: []\n"), done.stderr


def test_help_answers_in_half_a_second():
    """In CPU seconds: the tests beside it take turns on the same cores."""
    best = float("inf")
    for _ in range(3):
        before = children_seconds()
        assert python("-m", "sidrec", "--help").returncode == 0
        best = min(best, children_seconds() - before)
    assert best < 0.5


def test_every_public_name_is_there():
    assert [name for name in sidrec.__all__ if getattr(sidrec, name, None) is None] == []


def test_an_unknown_public_name_lists_those_there_are():
    with pytest.raises(AttributeError, match=r"module 'sidrec' has no attribute 'Tokenizer'; it has .*RQVAE"):
        _ = sidrec.Tokenizer


@pytest.mark.parametrize("stranger", ["tokenizer.py", "tokenizer/__init__.py"])
@pytest.mark.parametrize(
    "entrance", ["import sidrec", "from sidrec.config import Config", "import sidrec.cli"]
)
def test_a_strangers_tokenizer_is_refused_and_not_executed(tmp_path, stranger, entrance):
    (tmp_path / "tokenizer").mkdir()
    (tmp_path / stranger).write_text(f"open({str(tmp_path / 'executed')!r}, 'w')\n")
    done = python("-c", entrance, cwd=tmp_path, PYTHONPATH=f"{tmp_path}{os.pathsep}{REPO}")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        f"ImportError: sidrec needs its own package `tokenizer`, but Python finds {tmp_path / stranger}. "
        "Rename or uninstall that one, or start Python in another directory."
    )
    assert not (tmp_path / "executed").exists()


def test_a_folder_named_tokenizer_does_not_hide_ours(tmp_path):
    """Model directories often hold one; ours comes later on the path, but is a package."""
    (tmp_path / "tokenizer").mkdir()
    (tmp_path / "tokenizer" / "tokenizer.json").write_text("{}")
    done = python("-c", "import sidrec", cwd=tmp_path, PYTHONPATH=f"{tmp_path}{os.pathsep}{REPO}")
    assert done.returncode == 0, done.stderr


def test_without_any_tokenizer_the_same_sentence_says_none(tmp_path):
    (tmp_path / "sidrec").mkdir()
    shutil.copy(MODULES["sidrec"], tmp_path / "sidrec")
    done = python("-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import sidrec")
    assert "sidrec needs its own package `tokenizer`, but Python finds none" in done.stderr


def test_ours_is_taken_from_any_directory(tmp_path):
    done = python("-c", "import sidrec, tokenizer; print(tokenizer.__file__)", cwd=tmp_path)
    assert done.stdout.strip() == str(MODULES["tokenizer"]), done.stderr


def test_a_public_name_stays_what_it_is_when_modules_of_ours_are_loaded():
    """A subpackage becomes an attribute of `sidrec` when it is imported, and would hide a function's name."""
    script = """
import importlib, sidrec, types
first = {name: getattr(sidrec, name) for name in sidrec.__all__}
assert not [name for name, value in first.items() if isinstance(value, types.ModuleType)]
assert [name for name, value in first.items() if getattr(sidrec, name) is not value] == []
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
