"""scripts/bench_*.py run, and the ways of decoding they compare find the same items."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).parents[1]


@pytest.mark.slow
def test_the_ways_of_decoding_agree(tmp_path: Path) -> None:
    report = tmp_path / "bench.json"
    command = [
        sys.executable,
        "scripts/bench_decoding.py",
        "--quick",
        "--repeats",
        "1",
        "--json",
        str(report),
    ]
    ended = subprocess.run(command, cwd=REPO, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    cases = json.loads(report.read_text(encoding="utf-8"))["cases"]
    assert [case["agree"] for case in cases] == [True, True]
    assert all(case["ms"]["ours"] < case["ms"]["dict"] for case in cases)


@pytest.mark.slow
@pytest.mark.parametrize("options", [[], ["--rows", "prefix", "--item-dropout", "0.2"], ["--reference"]])
def test_rows_are_written_planned_and_read(options: list[str]) -> None:
    command = [sys.executable, "scripts/bench_rows.py", "--events", "5000", *options]
    ended = subprocess.run(command, cwd=REPO, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert "ms a batch" in ended.stdout
