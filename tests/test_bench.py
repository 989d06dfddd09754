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
def test_a_search_over_a_depth_head_finds_the_best_of_all_items() -> None:
    command = [sys.executable, "scripts/bench_depth.py", "--quick", "--repeats", "1"]
    ended = subprocess.run(command, cwd=REPO, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert "OTHER ITEMS" not in ended.stdout
    assert "128x4, B=8" in ended.stdout


@pytest.mark.slow
@pytest.mark.parametrize("options", [[], ["--rows", "prefix", "--item-dropout", "0.2"], ["--reference"]])
def test_rows_are_written_planned_and_read(options: list[str]) -> None:
    command = [sys.executable, "scripts/bench_rows.py", "--events", "5000", *options]
    ended = subprocess.run(command, cwd=REPO, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert "ms a batch" in ended.stdout


@pytest.mark.slow
def test_both_losses_of_sft_are_one_and_cost_is_said() -> None:
    """The script itself compares the two losses before it times them."""
    sizes = ["--vocabulary", "3000", "--rows", "2", "--tokens", "32", "--repeats", "1"]
    command = [sys.executable, "scripts/bench_sft.py", "loss", *sizes]
    ended = subprocess.run(command, cwd=REPO, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert "ratio: time" in ended.stdout


@pytest.mark.slow
def test_rows_of_sft_are_made_once(toy_run: Path) -> None:
    command = [sys.executable, "scripts/bench_sft.py", "tokens", str(toy_run / "sft" / "config.yaml")]
    ended = subprocess.run(command, cwd=REPO, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert [line.split("  ")[0] for line in ended.stdout.splitlines()] == ["first start", "second start"]


@pytest.mark.slow
def test_both_kinds_of_rows_reach_a_bar(toy_run: Path) -> None:
    command = [sys.executable, "scripts/bench_sft.py", "rows", str(toy_run / "sft" / "config.yaml")]
    ended = subprocess.run(
        [*command, "--epochs", "2", "--ndcg", "0.01"], cwd=REPO, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
    assert "to NDCG@10 0.01: user" in ended.stdout


@pytest.mark.slow
def test_the_ways_of_a_step_of_rl_agree(tmp_path: Path) -> None:
    report = tmp_path / "bench.json"
    command = [sys.executable, "scripts/bench_rl.py", "--quick", "--repeats", "1", "--json", str(report)]
    ended = subprocess.run(command, cwd=REPO, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    (case,) = json.loads(report.read_text(encoding="utf-8"))
    assert case["differences"]["rollouts"] == 0
    assert case["differences"]["gradients"] < 1e-4
    assert case["steps"]["ours"] < case["steps"]["decoder"]
