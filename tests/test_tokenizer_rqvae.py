"""RQVAE and its training, on vectors that take milliseconds."""

import json
import random
import signal
import warnings

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tokenizer.neural.autoencoder import Autoencoder
from tokenizer.neural.train import fit_rqvae
from tokenizer.settings import RQVAESettings

SMALL = RQVAESettings(
    codebook_sizes=(6, 5, 4),
    latent_dim=4,
    hidden_dims=(16,),
    epochs=12,
    batch_size=64,
    dead_code_epochs=2,
    seed=1,
)


def clustered(num_items: int = 150, dim: int = 10) -> np.ndarray:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(12, dim))
    return (centres[np.arange(num_items) % 12] + 0.2 * rng.normal(size=(num_items, dim))).astype(np.float32)


@pytest.fixture(scope="module")
def fitted():
    return fit_rqvae(clustered(), SMALL)


# The model


def test_codes_latents_and_reconstructions_have_the_shapes_and_types_of_the_contract(fitted):
    vectors = clustered()
    codes, latents = fitted.model.encode(vectors), fitted.model.latents(vectors)
    assert (codes.shape, codes.dtype) == ((150, 3), np.int64)
    assert (codes < [6, 5, 4]).all()
    assert (latents.shape, latents.dtype) == ((150, 4), np.float32)
    reconstructed = fitted.model.decode(codes)
    assert (reconstructed.shape, reconstructed.dtype) == ((150, 10), np.float32)
    assert [book.shape for book in fitted.model.codebooks()] == [(6, 4), (5, 4), (4, 4)]


def test_codes_are_the_nearest_code_vectors_of_the_latents_by_brute_force(fitted):
    vectors = clustered()
    residuals = fitted.model.latents(vectors)
    codes = fitted.model.encode(vectors)
    for level, book in enumerate(fitted.model.codebooks()):
        nearest = np.square(residuals[:, None, :] - book[None, :, :]).sum(axis=2).argmin(axis=1)
        assert (nearest == codes[:, level]).all()
        residuals = residuals - book[nearest]


def test_batches_do_not_change_codes(fitted, monkeypatch):
    vectors = clustered()
    codes = fitted.model.encode(vectors)
    monkeypatch.setattr("tokenizer.neural.autoencoder.BATCH_ROWS", 40)
    assert (fitted.model.encode(vectors) == codes).all()
    assert fitted.model.decode(codes).shape == vectors.shape


def test_no_items_give_no_codes(fitted):
    none = np.zeros((0, 10), np.float32)
    assert fitted.model.encode(none).shape == (0, 3)
    assert fitted.model.latents(none).shape == (0, 4)
    assert fitted.model.decode(np.zeros((0, 3), np.int64)).shape == (0, 10)


def test_vectors_that_cannot_be_written_to_are_read_without_a_warning(fitted):
    vectors = clustered()
    vectors.setflags(write=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted.model.encode(vectors)


def test_standardization_gives_mean_0_and_variance_1():
    vectors = clustered() * 7 + 3
    model = Autoencoder(SMALL, 10)
    model.standardize_like(vectors)
    standardized = model.standardize(vectors)
    assert torch.allclose(standardized.mean(dim=0), torch.zeros(10), atol=1e-5)
    assert standardized.square().mean().item() == pytest.approx(1, abs=1e-5)


def test_building_a_model_neither_reads_nor_moves_the_global_random_state():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one = Autoencoder(SMALL, 10)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    other = Autoencoder(SMALL, 10)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (np.zeros((3, 9)), r"takes item embeddings of shape \(items, 10\), got \(3, 9\)"),
        (np.zeros(10), r"takes item embeddings of shape \(items, 10\), got \(10,\)"),
        (np.array([[0.0] * 10, [np.nan] * 10]), "item embedding in row 1 holds a NaN or an infinity"),
    ],
)
def test_vectors_that_do_not_fit_are_refused(fitted, vectors, message):
    with pytest.raises(ValueError, match=message):
        fitted.model.encode(vectors)


def test_codes_that_do_not_fit_are_not_decoded(fitted):
    with pytest.raises(ValueError, match=r"has 3 levels, got codes of shape \(1, 2\)"):
        fitted.model.decode(np.zeros((1, 2), np.int64))
    with pytest.raises(ValueError, match=r"outside the codebook sizes \[6, 5, 4\]"):
        fitted.model.decode(np.array([[0, 5, 0]]))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"codebook_sizes": ()}, r"codebook_sizes needs one size of 1 or more per level, got \[\]"),
        ({"codebook_sizes": (4, 0)}, r"codebook_sizes needs one size of 1 or more per level, got \[4, 0\]"),
        ({"hidden_dims": (0,)}, r"hidden_dims needs widths of 1 or more, got \[0\]"),
        ({"latent_dim": 0}, "latent_dim must be 1 or more, got 0"),
        ({"epochs": 0}, "epochs must be 1 or more, got 0"),
        ({"batch_size": 0}, "batch_size must be 1 or more, got 0"),
        ({"dead_code_epochs": 0}, "dead_code_epochs must be 1 or more, got 0"),
        ({"weight_decay": -1.0}, "weight_decay must be 0 or more, got -1.0"),
        ({"commitment_weight": -0.5}, "commitment_weight must be 0 or more, got -0.5"),
        ({"seed": -1}, "seed must be 0 or more, got -1"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0, got 0.0"),
    ],
)
def test_settings_out_of_range_are_refused(setting, message):
    with pytest.raises(ValueError, match=message):
        RQVAESettings(**setting)


# The file


def test_a_saved_model_comes_back_exactly(fitted, tmp_path):
    fitted.model.save(tmp_path / "tokenizer.safetensors")
    loaded = Autoencoder.load(tmp_path / "tokenizer.safetensors")
    assert loaded.settings == SMALL
    assert bool(loaded.quantizer.initialized)
    vectors = clustered()
    assert loaded.latents(vectors).tobytes() == fitted.model.latents(vectors).tobytes()
    codes = loaded.encode(vectors)
    assert (codes == fitted.model.encode(vectors)).all()
    assert loaded.decode(codes).tobytes() == fitted.model.decode(codes).tobytes()
    loaded.save(tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "tokenizer.safetensors").read_bytes()


def test_files_that_are_no_rqvae_are_refused(tmp_path):
    path = tmp_path / "tokenizer.safetensors"
    with pytest.raises(ValueError, match="there is no such file"):
        Autoencoder.load(path)
    path.write_bytes(b"not weights")
    with pytest.raises(ValueError, match="is not a safetensors file"):
        Autoencoder.load(path)
    save_file({"weight": torch.zeros(2)}, path)
    with pytest.raises(ValueError, match="holds weights, but not of an RQ-VAE"):
        Autoencoder.load(path)


def test_weights_and_formats_that_do_not_fit_are_refused(fitted, tmp_path):
    path = tmp_path / "tokenizer.safetensors"
    fitted.model.save(path)
    tensors = load_file(path)
    facts = {"version": 2, "input_dim": 11, "settings": fitted.model.settings.__dict__}
    save_file(tensors, path, metadata={"rqvae": json.dumps(facts)})
    with pytest.raises(ValueError, match="the weights do not fit the settings"):
        Autoencoder.load(path)
    save_file(tensors, path, metadata={"rqvae": json.dumps({**facts, "version": 99})})
    with pytest.raises(ValueError, match="written in format 99, this version reads 2: tokenize again"):
        Autoencoder.load(path)


# The training


def test_the_same_seed_gives_the_same_bytes_whatever_the_global_random_state(fitted, tmp_path):
    random.seed(99)
    np.random.seed(99)  # noqa: NPY002 (the global state is the point)
    torch.manual_seed(99)
    again = fit_rqvae(clustered(), SMALL)
    fitted.model.save(tmp_path / "first.safetensors")
    again.model.save(tmp_path / "again.safetensors")
    assert (tmp_path / "first.safetensors").read_bytes() == (tmp_path / "again.safetensors").read_bytes()
    assert (again.model.encode(clustered()) == fitted.model.encode(clustered())).all()
    assert again.history == fitted.history


def test_training_does_not_move_the_global_random_state():
    torch.manual_seed(7)
    np.random.seed(7)  # noqa: NPY002
    states = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    fit_rqvae(clustered(40), RQVAESettings(codebook_sizes=(4,), latent_dim=2, hidden_dims=(), epochs=2))
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (np.random.get_state()[1] == states[1]).all()  # noqa: NPY002


def test_training_gives_torch_its_threads_back():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        fit_rqvae(clustered(40), RQVAESettings(codebook_sizes=(4,), latent_dim=2, hidden_dims=(), epochs=1))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_another_seed_gives_another_model(fitted):
    other = fit_rqvae(clustered(), RQVAESettings(**{**SMALL.__dict__, "seed": 2}))
    assert not np.array_equal(other.model.codebooks()[0], fitted.model.codebooks()[0])


def test_the_best_epoch_is_the_one_of_the_least_score_and_its_weights_are_kept(fitted):
    scores = {entry["epoch"]: entry["score"] for entry in fitted.history if "score" in entry}
    assert list(scores) == [5, 10, 12]
    assert fitted.best_epoch == min(scores, key=scores.get)
    best = fitted.history[fitted.best_epoch - 1]
    assert best["score"] == pytest.approx(best["error"] - 0.1 * best["share_used"])
    vectors, codes = clustered(), fitted.model.encode(clustered())
    variance = vectors.var(axis=0).mean()
    error = np.square(fitted.model.decode(codes) - vectors).mean() / variance
    assert error == pytest.approx(best["error"], rel=1e-4)
    used = np.mean(
        [len(np.unique(codes[:, level])) / size for level, size in enumerate(SMALL.codebook_sizes)]
    )
    assert used == pytest.approx(best["share_used"])


def test_every_epoch_is_reported_as_it_stands_in_the_history():
    seen = []
    settings = RQVAESettings(**{**SMALL.__dict__, "epochs": 3})
    result = fit_rqvae(clustered(), settings, on_epoch=lambda epoch, entry: seen.append((epoch, dict(entry))))
    assert [epoch for epoch, _ in seen] == [1, 2, 3]
    assert [entry for _, entry in seen] == result.history


def test_training_lowers_the_error_and_leaves_no_code_dead():
    settings = RQVAESettings(
        codebook_sizes=(12, 12), latent_dim=4, hidden_dims=(32,), epochs=40, batch_size=50, learning_rate=3e-3
    )
    result = fit_rqvae(clustered(), settings)
    scored = [entry for entry in result.history if "score" in entry]
    assert scored[-1]["error"] < 0.6 * scored[0]["error"]
    codes = result.model.encode(clustered())
    assert [len(np.unique(codes[:, level])) for level in range(2)] == [12, 12]


@pytest.mark.parametrize("num_items", [1, 2, 30])
def test_equal_vectors_and_catalogues_smaller_than_a_codebook_can_be_trained_on(num_items):
    vectors = np.full((num_items, 5), 0.3)
    settings = RQVAESettings(
        codebook_sizes=(4, 1), latent_dim=2, hidden_dims=(4,), epochs=3, dead_code_epochs=1
    )
    codes = fit_rqvae(vectors, settings).model.encode(vectors)
    assert (codes == codes[0]).all()


def test_lightning_says_nothing(capfd, recwarn, caplog):
    fit_rqvae(clustered(), SMALL)
    out, err = capfd.readouterr()
    assert (out, err, caplog.text) == ("", "", "")
    assert [str(warning.message) for warning in recwarn] == []


def test_an_interrupt_stays_an_interrupt():
    def interrupt(epoch: int, entry: dict[str, float]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_rqvae(clustered(), SMALL, on_epoch=interrupt)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (5,)])
def test_nothing_to_train_on_is_refused(shape):
    with pytest.raises(ValueError, match="trained on item embeddings of shape"):
        fit_rqvae(np.zeros(shape), SMALL)


def test_a_training_that_diverges_says_so():
    settings = RQVAESettings(**{**SMALL.__dict__, "learning_rate": 1e30})
    with pytest.raises(ValueError, match=r"diverged in epoch \d+ .*Lower tokenizer.learning_rate=1e\+30"):
        fit_rqvae(clustered(), settings)


def test_training_refuses_vectors_that_are_not_finite():
    vectors = clustered()
    vectors[3, 2] = np.inf
    with pytest.raises(ValueError, match="item embedding in row 3 holds a NaN or an infinity"):
        fit_rqvae(vectors, SMALL)
