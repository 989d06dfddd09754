"""What encodes further items: opened whatever it is, and made for codes that came without one."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from tokenizer.foreign import quantizer_of
from tokenizer.kmeans import fit_opq, fit_rqkmeans
from tokenizer.model_file import open_model
from tokenizer.neural.autoencoder import Autoencoder
from tokenizer.settings import RQVAESettings

VECTORS = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
SMALL = RQVAESettings(codebook_sizes=(4, 4), latent_dim=3, hidden_dims=(8,))


@pytest.mark.parametrize(
    "make",
    [
        lambda: Autoencoder(SMALL, 6),
        lambda: fit_rqkmeans(VECTORS, (4, 4), balanced=True).model,
        lambda: fit_opq(VECTORS, (4, 4)).model,
        lambda: quantizer_of(np.array([[0, 1], [1, 0]] * 20), VECTORS, (2, 2)),
    ],
)
def test_any_saved_tokenizer_comes_back_as_what_it_was(make, tmp_path: Path):
    model = make()
    model.save(tmp_path / "tokenizer.safetensors")
    again = open_model(tmp_path / "tokenizer.safetensors")
    assert type(again) is type(model)
    assert np.array_equal(again.encode(VECTORS), model.encode(VECTORS))


def test_a_file_of_neither_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="no such file, expected a tokenizer that tokenize writes"):
        open_model(tmp_path / "tokenizer.safetensors")
    save_file({"weight": VECTORS}, str(tmp_path / "model.safetensors"))
    with pytest.raises(ValueError, match="holds arrays, but not of a tokenizer that sidrec wrote"):
        open_model(tmp_path / "model.safetensors")


def test_codes_without_a_quantizer_get_one_of_means():
    # Mean of all: 3. Level 0: items 0 and 1 are at -3 and -1, mean -2; item 2 at 4. What is left over: -1, 1
    # and 0.
    model = quantizer_of(np.array([[0, 0], [0, 1], [1, 2]]), np.array([[0.0], [2.0], [7.0]]), (2, 3))
    assert [book.ravel().tolist() for book in model.codebooks()] == [[-2, 4], [-1, 1, 0]]
    assert model.encode(np.array([[0.1], [2.1], [6.9]])).tolist() == [[0, 0], [0, 1], [1, 2]]
    assert model.decode(np.array([[0, 1]])).tolist() == [[2.0]]


def test_a_code_that_no_item_had_is_given_to_no_other():
    # Codes 1 and 3 are free; their means would be 0, which is where the new item is.
    model = quantizer_of(np.array([[0], [2]]), np.array([[-1.0], [1.0]]), (4,))
    assert model.encode(np.array([[0.01]])).tolist() == [[2]]
