"""scripts/write_scaling.py: a law that is known comes out of a sweep that obeys it."""

import json
import re
from pathlib import Path

import pytest
import studies


def write_size(sweep: Path, width: int, layers: int, *, seeds: tuple[float, ...] = (-0.01, 0.01)) -> None:
    """Two seeds of one size, as far apart as `seeds` says, on loss = 3 + 0.5 (N / 1M)^-0.4."""
    trunk = 13 * width**2 * layers
    for seed, off in enumerate(seeds):
        directory = sweep / f"model.hidden_size={width}" / f"seed={seed}" / "sft"
        directory.mkdir(parents=True)
        (directory / "manifest.json").write_text("{}")
        config = {"hidden_size": width, "num_hidden_layers": layers, "vocab_size": 1768}
        (directory / "config.json").write_text(json.dumps(config))
        metrics = {
            "parameters": trunk + 1768 * width,
            "valid_loss": 3 + 0.5 * (trunk / 1e6) ** -0.4 + off,
            "valid": {"ndcg@10": 0.07 + off},
            "best_step": 300,
            "steps": 600,
            "epochs": 30,
            "seconds": 120,
        }
        (directory / "metrics.json").write_text(json.dumps(metrics))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return studies.write_page(tmp_path, "scaling.md", "scaling")


def test_the_law_of_a_sweep_is_found_and_drawn(folder: Path) -> None:
    for width, layers in ((32, 2), (64, 2), (96, 3), (128, 4), (256, 8)):
        write_size(folder / "sweep", width, layers)
    ended = studies.run("write_scaling.py", folder, "sweep")
    assert ended.returncode == 0, ended.stderr
    text = (folder / "docs" / "scaling.md").read_text()
    assert text.startswith("Before.\n")
    assert text.endswith("After.\n")
    numbers = re.search(r"loss = (\S+) \+ (\S+) \(N / 1M\)\^-(\S+);", text)
    assert [float(number) for number in numbers.groups()] == pytest.approx([3, 0.5, 0.4], abs=2e-3)
    rows = [line.split(" | ") for line in text.splitlines() if "layers" in line]
    assert [row[0] for row in rows][::4] == ["| 32 x 2 layers", "| 256 x 8 layers"]
    assert rows[0][1:4] == ["83,200", "26,624", "2"]
    assert rows[0][6:] == ["0.0700 (0.0600 to 0.0800)", "15", "2 |"]
    assert "<svg" in (folder / "docs" / "scaling.svg").read_text()


def test_too_few_sizes_are_refused(folder: Path) -> None:
    for width in (32, 64, 96):
        write_size(folder / "sweep", width, 2)
    ended = studies.run("write_scaling.py", folder, "sweep")
    assert ended.returncode != 0
    assert "holds 3 finished sizes, expected 4 or more" in ended.stderr
    assert (folder / "docs" / "scaling.md").read_text() == studies.page_of("scaling")
