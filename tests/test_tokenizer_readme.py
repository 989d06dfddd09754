"""tokenizer/README.md: its examples run as they stand, on a matrix and nothing else."""

import re
from pathlib import Path

import numpy as np
import pytest

from tokenizer.kmeans import fit_opq, fit_rqkmeans
from tokenizer.rqvae import RQVAESettings
from tokenizer.train import fit_rqvae

PAGE = Path(__file__).parents[1] / "tokenizer" / "README.md"
SMALL = RQVAESettings(codebook_sizes=(8, 8), latent_dim=4, hidden_dims=(8,), epochs=5)


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
    assert "collision rate 0.000 good " in said
    assert (tmp_path / "tokenizer.safetensors").is_file()


@pytest.mark.parametrize(
    "make",
    [
        lambda data: fit_rqvae(data, SMALL).model,
        lambda data: fit_rqkmeans(data, (8, 8)).model,
        lambda data: fit_rqkmeans(data, (8, 8), balanced=True).model,
        lambda data: fit_opq(data, (8, 8)).model,
    ],
)
def test_all_have_the_same_verbs(make, tmp_path: Path) -> None:
    model = make(vectors())
    codes = model.encode(vectors())
    assert codes.shape == (60, 2)
    assert model.decode(codes).shape == (60, 12)
    assert [book.shape[0] for book in model.codebooks()] == [8, 8]
    assert model.latents(vectors()).shape[1] == model.codebooks()[0].shape[1]
    model.save(tmp_path / "model.safetensors")
    again = type(model).load(tmp_path / "model.safetensors")
    assert np.array_equal(again.encode(vectors()), codes)
