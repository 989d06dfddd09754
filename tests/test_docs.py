"""docs/: every page is found, every link leads somewhere, and what is shown to be typed can be typed."""

import ast
import contextlib
import importlib.util
import io
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.etree import ElementTree

import pytest
import typer
import yaml
from doc_blocks import DOCS, PAGES, READMES, ROOT, Block, blocks

import sidrec
from sidrec.cli import app
from sidrec.commands.global_options import moved_to_front
from sidrec.config import Config, load_config
from sidrec.errors import ConfigError

LINK = re.compile(r"\]\(([^)\s]+)\)")
SETTING = re.compile(r"[a-z_]+(\.\w+)*=")
COMMANDS = typer.main.get_command(app)


def script(name: str) -> ModuleType:
    """Import a script that mkdocs calls, with what lies beside it."""
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(ROOT / "scripts"))


def places_of(page: Path) -> set[str]:
    """Anchors of a page as mkdocs makes them: of headings, and those written out."""
    text = page.read_text(encoding="utf-8")
    if "<!-- generated: settings -->" in text:
        text = script("docs_hooks").fill(text)
    text = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    plain = [re.sub(r"[^\w\s-]", "", heading).strip().lower() for heading in headings]
    return {re.sub(r"[\s-]+", "-", heading) for heading in plain} | set(re.findall(r'<a id="([^"]+)"', text))


def names_in(navigation: Any) -> Iterator[str]:
    """Yield the files of a navigation."""
    if isinstance(navigation, str):
        yield navigation
        return
    for inner in navigation.values() if isinstance(navigation, dict) else navigation:
        yield from names_in(inner)


def test_every_page_is_in_the_navigation_once():
    written = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    assert sorted(names_in(written["nav"])) == [page.name for page in PAGES]


@pytest.mark.parametrize("page", [*PAGES, *READMES], ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path):
    broken = []
    for link in LINK.findall(re.sub(r"`[^`\n]*`", "", page.read_text(encoding="utf-8"))):
        if link.startswith(("https://", "http://")):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.is_file() or (anchor and anchor not in places_of(target)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("block", blocks("yaml", [*PAGES, *READMES]), ids=lambda block: block.name)
def test_a_config_that_is_shown_is_one(block: Block, tmp_path: Path):
    (tmp_path / "shown.yaml").write_text(block.text, encoding="utf-8")
    assert block.reason or load_config(tmp_path / "shown.yaml")


def typed(block: Block) -> list[str]:
    """What is typed in a block: the lines after a `$`, with those that go on after a backslash."""
    return re.findall(r"^\$ (.*)$", block.text.replace("\\\n", " "), re.MULTILINE)


@pytest.mark.parametrize("block", blocks("console", [*PAGES, *READMES]), ids=lambda block: block.name)
def test_a_command_that_is_shown_can_be_typed(block: Block):
    assert typed(block) or block.reason
    for line in typed(block) if not block.reason else []:
        words = shlex.split(line, comments=True)
        known = {"sidrec": check_sidrec, "python": check_script, "make": check_target, "pip": list}
        known |= {"torchrun": check_launched, "accelerate": check_launched}
        assert Path(words[0]).name in known, line
        known[Path(words[0]).name](words[1:])


def check_sidrec(words: list[str]) -> None:
    """Check command, options and settings."""
    name, *rest = [word for word in moved_to_front(words) if word not in global_options()] or ["run"]
    command = COMMANDS.commands[name]
    options = {option for parameter in command.params for option in parameter.opts}
    given = [word for word in rest if re.match(r"--?[a-z]", word)]
    assert set(given) <= options, f"{name} has no {sorted(set(given) - options)}"
    load_config(None, [word for word in rest if SETTING.match(word) and name not in ("compare", "sweep")])


def global_options() -> set[str]:
    """Those that stand before any command."""
    return {option for parameter in COMMANDS.params for option in parameter.opts}


def check_launched(words: list[str]) -> None:
    """Check what several processes are asked to run, and the file that says how."""
    assert all((ROOT / word).is_file() for word in words if word.endswith(".yaml"))
    start = words.index("-m")
    assert words[start + 1] == "sidrec"
    check_sidrec(words[start + 2 :])


def check_script(words: list[str]) -> None:
    """Check that a script, and each option that is named for it, is there."""
    text = (ROOT / words[0]).read_text(encoding="utf-8")
    assert [word for word in words if word.startswith("--") and f'"{word}"' not in text] == []


def check_target(words: list[str]) -> None:
    """Check that the Makefile has a target."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert all(re.search(rf"^{word}:", makefile, re.MULTILINE) for word in words)


ELSEWHERE = re.compile(r"here; (tests/\w+\.py) runs it")


def test_a_block_that_another_test_runs_is_on_a_page_that_it_reads():
    for block in blocks("python", PAGES):
        if elsewhere := ELSEWHERE.match(block.reason):
            assert block.page.name in (ROOT / elsewhere[1]).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "block",
    [block for block in blocks("python", [*PAGES, *READMES]) if not ELSEWHERE.match(block.reason)],
    ids=lambda block: block.name,
)
def test_python_that_is_shown_compiles_and_imports_what_there_is(block: Block):
    for node in ast.walk(ast.parse(block.text)):
        if isinstance(node, ast.Import):
            assert all(importlib.util.find_spec(alias.name.split(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            known = names_of(str(node.module))
            assert known is None or {alias.name for alias in node.names} <= known


def names_of(module: str) -> set[str] | None:
    """Names at the top of a module of ours, which is not run for it; None of another that is installed."""
    package = module.split(".")[0]
    if package not in ("sidrec", "tokenizer"):
        return None if importlib.util.find_spec(package) else set()
    if module == "sidrec":
        return set(sidrec.__all__)
    path = ROOT.joinpath(*module.split("."))
    source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    names = set()
    for node in ast.parse(source.read_text(encoding="utf-8")).body:
        names |= {alias.asname or alias.name for alias in getattr(node, "names", [])}
        names |= {each.id for each in getattr(node, "targets", []) if isinstance(each, ast.Name)}
        names |= {node.name} if isinstance(node, ast.FunctionDef | ast.ClassDef) else set()
    return names


@pytest.mark.parametrize(
    "block", [each for each in blocks("python", PAGES) if not each.reason], ids=lambda block: block.name
)
def test_python_that_is_shown_runs(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(compile(block.text, block.name, "exec"), {"__name__": "shown"})
    text = block.page.read_text(encoding="utf-8")
    promised = re.match(
        r"```\n\nprints\n\n```text\n(.*?)```", text[text.index(block.text) + len(block.text) :], re.S
    )
    if promised is not None:
        shown = re.escape(promised[1].strip()).replace(r"\.\.\.", ".*")
        assert re.fullmatch(shown, said.getvalue().strip(), re.DOTALL)


def test_every_setting_stands_in_the_page_of_settings_with_its_default():
    page = script("docs_settings").settings_page()
    for name, value in leaves(Config().model_dump(mode="json")):
        row = re.search(
            rf'^\| <a id="{re.escape(name)}"></a>`{re.escape(name)}` \| (.*?) \|', page, re.MULTILINE
        )
        assert row is not None, name
        shown = yaml.safe_load(row[1].strip("`"))
        if not isinstance(value, dict):  # tasks are shortened to what was set
            assert (None if shown == "absent" else shown) == value, name


SECTIONS = "|".join(name for name, value in Config().model_dump().items() if isinstance(value, dict))
NAMED = re.compile(rf"`((?:{SECTIONS})\.[a-z_]+(?:\.[a-z_]+)*)(?:[=`]| )")
FILES = (".py", ".sh", ".safetensors", ".parquet", ".json", ".csv", ".png")
"""Ends of what begins as a setting and is a file."""


@pytest.mark.parametrize("page", [*PAGES, READMES[0]], ids=lambda page: page.name)
def test_every_setting_that_is_named_exists(page: Path):
    known = set(re.findall(r'<a id="([^"]+)"', script("docs_settings").settings_page()))
    known |= {name.rpartition(".")[0] for name in known}
    named = {name for name in NAMED.findall(page.read_text(encoding="utf-8")) if not name.endswith(FILES)}
    modules = {
        name for name in named if name.startswith("tokenizer.") and (ROOT / name.replace(".", "/")).is_dir()
    }
    free = {
        name for name in named if name.startswith(("sft.tasks.", "sft.trainer.", "rl.trainer.", "rl.tasks."))
    }
    assert named - known - modules - free == set()


def leaves(settings: dict[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield all settings but sections, by their whole names."""
    for name, value in settings.items():
        if isinstance(value, dict) and value and name not in ("tasks", "rewards"):
            yield from leaves(value, f"{path}{name}.")
        else:
            yield f"{path}{name}", value


def test_a_sentence_on_the_page_of_errors_is_the_one_that_is_said():
    found = script("docs_errors").sentences()
    assert all(each.text and each.doing and each.kind.endswith("Error") for each in found)
    with pytest.raises(ConfigError) as said:
        load_config(Path("none.yaml"))
    (written,) = [
        each
        for each in found
        if each.text == "The config {path} does not exist. Check the path, or write one."
    ]
    assert re.fullmatch(re.escape(written.text).replace(r"\{path\}", "none.yaml"), str(said.value))
    assert f"`{written.text}`" in script("docs_errors").in_tables(found)


def test_every_picture_is_shown_and_is_a_picture():
    text = "".join(page.read_text(encoding="utf-8") for page in [*PAGES, *READMES])
    pictures = sorted(DOCS.rglob("*.svg"))
    assert [path.name for path in pictures if f"{path.relative_to(DOCS)})" not in text] == []
    assert {ElementTree.parse(path).getroot().tag for path in pictures} == {"{http://www.w3.org/2000/svg}svg"}


@pytest.mark.slow
def test_the_site_is_built_strictly_and_loads_nothing_from_the_network(tmp_path: Path):
    pytest.importorskip("mkdocs", reason="mkdocs is not installed: pip install sidrec[docs]")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    ended = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
    for page in PAGES:
        html = (tmp_path / page.with_suffix(".html").name).read_text(encoding="utf-8")
        assert (
            re.findall(
                r'<(?:script|img|iframe)[^>]* src="(?:https?:)?//|<link[^>]* href="(?:https?:)?//', html
            )
            == []
        )
        assert "<!-- generated" not in html
