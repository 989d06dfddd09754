"""scripts/bench_decoding.py runs, and its ways of decoding find the same items."""

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
