"""tokenizer/README.md: its examples run as they stand, on a matrix and nothing else."""

import re
from pathlib import Path

import numpy as np
import pytest

PAGE = Path(__file__).parents[1] / "tokenizer" / "README.md"


def vectors(num_items: int = 60) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(num_items, 12)).astype(np.float32)


def test_the_examples_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("vectors.npy", vectors())
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    exec(compile("\n".join(blocks), str(PAGE), "exec"), {})
    said = capsys.readouterr().out.splitlines()
    assert 0 <= float(said[0]) < 1
    assert "collisions rate 0% good " in said
    assert (tmp_path / "tokenizer.safetensors").is_file()
