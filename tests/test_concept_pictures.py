"""The pictures of docs/concepts.md can be drawn anew from a run of the demo, no text over another."""

import subprocess
import sys
from pathlib import Path

import pytest
from doc_blocks import DOCS, ROOT


def run(*arguments: object) -> None:
    """Run Python where the demo's tables are."""
    command = [sys.executable, *map(str, arguments)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.slow
def test_a_short_run_of_the_demo_gives_the_six_pictures(tmp_path: Path):
    settings = ["sidrec/demo/demo.yaml", f"output={tmp_path / 'run'}", "tokenizer.epochs=20", "sft.epochs=4"]
    for stage in ("tokenize", "sft"):
        run("-m", "sidrec", stage, *settings)
    run("scripts/draw_concepts.py", tmp_path / "run", tmp_path / "pictures")
    drawn = sorted(path.name for path in (tmp_path / "pictures").iterdir())
    assert drawn == sorted(path.name for path in (DOCS / "concepts").iterdir())
