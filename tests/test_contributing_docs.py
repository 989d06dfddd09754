"""docs/contributing.md: what it adds can be added as it stands, and the tests that it shows pass."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from doc_blocks import DOCS, ROOT, Block, blocks

PAGE = DOCS / "contributing.md"
FILES = [block for block in blocks("python", [PAGE]) if block.text.startswith("# ")]
CHANGES = blocks("diff", [PAGE])


def path_of(block: Block) -> str:
    """The file that a block names in its first line."""
    return block.text.partition("\n")[0].strip().removeprefix("# ")


def changed(text: str, change: Block) -> str:
    """Apply the hunks of a change, each of which must fit one place."""
    for hunk in change.text.partition("\n")[2].split("@@\n"):
        lines = hunk.splitlines(keepends=True)
        old = "".join(line[1:] for line in lines if line[0] in " -")
        assert text.count(old) == 1, f"{change.name}: {path_of(change)} does not have once:\n{old}"
        text = text.replace(old, "".join(line[1:] for line in lines if line[0] in " +"))
    return text


@pytest.mark.parametrize("change", CHANGES, ids=path_of)
def test_a_change_that_is_shown_fits_the_code(change: Block):
    assert changed((ROOT / path_of(change)).read_text(encoding="utf-8"), change)


@pytest.mark.slow
def test_the_examples_pass_their_tests_in_a_copy_of_the_code(tmp_path: Path):
    for package in ("sidrec", "tokenizer"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    for block in FILES:
        target = tmp_path / path_of(block)
        target.parent.mkdir(exist_ok=True)
        target.write_text(block.text, encoding="utf-8")
    for change in CHANGES:
        target = tmp_path / path_of(change)
        target.write_text(changed(target.read_text(encoding="utf-8"), change), encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    }
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout
    shown = len(re.findall(r"^def test_", "".join(block.text for block in FILES), re.MULTILINE))
    assert f"{shown} passed" in ended.stdout
