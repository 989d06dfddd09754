"""The verbs that all tokenizers share: fit, encode, decode, save, load, clone."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone

from tokenizer.estimator import Estimator
from tokenizer.hybrid import HybridModel, Join
from tokenizer.letter import Letter
from tokenizer.model_file import open_model
from tokenizer.rqkmeans import OPQ, RQKMeans
from tokenizer.rqvae import RQVAE, RQKMeansPlus
from tokenizer.settings import RQVAESettings

SMALL = RQVAESettings(codebook_sizes=(8, 8), latent_dim=4, hidden_dims=(8,), epochs=3)
ESTIMATORS = {
    "RQVAE": lambda: RQVAE(SMALL),
    "RQKMeansPlus": lambda: RQKMeansPlus(SMALL, iterations=5),
    "Letter": lambda: Letter(SMALL, alignment_weight=0.5, clusters=3),
    "RQKMeans": lambda: RQKMeans((8, 8), iterations=5),
    "balanced": lambda: RQKMeans((8, 8), balanced=True, seed=3),
    "OPQ": lambda: OPQ((8, 8)),
}


def vectors(num_items: int = 60, width: int = 12, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(num_items, width)).astype(np.float32)


def fitted(name: str) -> Estimator:
    estimator = ESTIMATORS[name]()
    return (
        estimator.fit(vectors(), vectors(width=5, seed=1)) if name == "Letter" else estimator.fit(vectors())
    )


@pytest.mark.parametrize("name", ESTIMATORS)
def test_all_have_the_same_verbs_and_come_back_from_their_file(name: str, tmp_path: Path) -> None:
    estimator = fitted(name)
    codes = estimator.encode(vectors())
    assert codes.shape == (60, 2)
    assert codes.dtype == np.int64
    assert estimator.decode(codes).shape == (60, 12)
    assert [book.shape[0] for book in estimator.codebooks()] == [8, 8]
    assert estimator.latents(vectors()).shape[1] == estimator.codebooks()[0].shape[1]
    estimator.save(tmp_path / "model.safetensors")
    again = type(estimator).load(tmp_path / "model.safetensors")
    assert again.get_params() == estimator.get_params()
    assert np.array_equal(again.encode(vectors()), codes)
    assert np.array_equal(open_model(tmp_path / "model.safetensors").encode(vectors()), codes)


@pytest.mark.parametrize("name", [name for name in ESTIMATORS if name != "balanced"])
def test_the_codes_of_the_fit_are_those_that_encode_gives(name: str) -> None:
    estimator = fitted(name)
    assert np.array_equal(estimator.codes_, estimator.encode(vectors()))


@pytest.mark.parametrize("name", ESTIMATORS)
def test_scikit_learn_clones_the_settings_and_not_what_was_fitted(name: str) -> None:
    copy = clone(fitted(name))
    assert type(copy) is type(ESTIMATORS[name]())
    assert copy.get_params() == ESTIMATORS[name]().get_params()
    with pytest.raises(ValueError, match=r"has no codes yet: call fit\(vectors\), or load a file"):
        copy.encode(vectors())


def test_settings_can_be_changed_and_unknown_ones_cannot() -> None:
    estimator = fitted("RQKMeans").set_params(seed=7, balanced=True)
    assert estimator.get_params() == {
        "codebook_sizes": (8, 8),
        "balanced": True,
        "iterations": 5,
        "seed": 7,
    }
    assert estimator.codes_ is None
    with pytest.raises(ValueError, match="RQKMeans has no setting sizes; it has codebook_sizes, balanced"):
        estimator.set_params(sizes=(1,))


def test_a_file_of_another_tokenizer_is_refused(tmp_path: Path) -> None:
    fitted("OPQ").save(tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="was made by OPQ, not by RQKMeans; open it with that"):
        RQKMeans.load(tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="there is no such file"):
        open_model(tmp_path / "none.safetensors")


def test_a_file_of_arrays_is_no_tokenizer(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    save_file({"a": np.zeros(2)}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="not of a tokenizer that sidrec wrote"):
        open_model(tmp_path / "model.safetensors")


# RQ-KMeans+


def test_residual_k_means_plus_begins_as_residual_k_means() -> None:
    """One epoch at a rate of nearly 0 leaves the codes as k-means had them."""
    settings = RQVAESettings(codebook_sizes=(8, 8), hidden_dims=(8,), epochs=1, learning_rate=1e-12)
    plus = RQKMeansPlus(settings).fit(vectors())
    plain = RQKMeans((8, 8)).fit(vectors())
    assert np.array_equal(plus.codes_, plain.codes_)
    np.testing.assert_allclose(plus.decode(plus.codes_), plain.decode(plain.codes_), atol=1e-4)


def test_residual_k_means_plus_gets_no_worse_than_it_began() -> None:
    settings = RQVAESettings(codebook_sizes=(8, 8), hidden_dims=(16,), epochs=30, batch_size=16)
    plus, plain = RQKMeansPlus(settings).fit(vectors()), RQKMeans((8, 8)).fit(vectors())
    errors = [np.square(each.decode(each.codes_) - vectors()).mean() for each in (plus, plain)]
    assert errors[0] <= errors[1]


def test_a_training_that_only_spoils_its_start_keeps_the_start() -> None:
    settings = RQVAESettings(
        codebook_sizes=(8, 8), hidden_dims=(8,), epochs=2, learning_rate=1.0, batch_size=10
    )
    plus = RQKMeansPlus(settings).fit(vectors())
    assert plus.best_epoch_ == 0
    assert np.array_equal(plus.codes_, RQKMeans((8, 8)).fit(vectors()).codes_)


# Joined vectors


def test_joined_vectors_share_the_squared_distance_as_the_weight_says() -> None:
    one, other = 30 * vectors(), vectors(width=5, seed=1)
    joined = Join.fit(one, other, weight=0.2)(one, other)
    centred = joined - joined.mean(axis=0)
    assert np.square(centred[:, :12]).sum(axis=1).mean() == pytest.approx(0.8, rel=1e-4)
    assert np.square(centred[:, 12:]).sum(axis=1).mean() == pytest.approx(0.2, rel=1e-4)


def test_a_weight_at_either_end_leaves_one_kind_of_vectors() -> None:
    one, other = vectors(), vectors(width=5, seed=1)
    for weight, alone in ((0.0, one), (1.0, other)):
        joined = Join.fit(one, other, weight=weight)(one, other)
        codes = RQKMeans((8, 8)).fit(joined).codes_
        assert np.array_equal(codes, RQKMeans((8, 8)).fit(alone).codes_)


def test_an_item_nobody_had_gets_the_mean_of_the_collaborative_vectors() -> None:
    one, other = vectors(), vectors(width=5, seed=1)
    join = Join.fit(one, other)
    np.testing.assert_allclose(
        join(one[:3]), join(one[:3], np.tile(other.mean(axis=0), (3, 1))), rtol=1e-5, atol=1e-7
    )


def test_a_hybrid_comes_back_from_its_file_and_encodes_new_items(tmp_path: Path) -> None:
    one, other = vectors(), vectors(width=5, seed=1)
    join = Join.fit(one, other)
    inner = RQKMeans((8, 8)).fit(join(one, other))
    model = HybridModel(inner.fitted, join)
    model.save(tmp_path / "model.safetensors")
    again = open_model(tmp_path / "model.safetensors")
    assert isinstance(again, HybridModel)
    assert np.array_equal(again.encode(one), inner.encode(join(one)))
    assert again.latents(one).shape == (60, 17)
    assert again.decode(inner.codes_).shape == (60, 12)
    errors = np.square(again.decode(inner.codes_) - one).mean(), np.square(one - one.mean(axis=0)).mean()
    assert errors[0] < errors[1]


@pytest.mark.parametrize(
    ("other", "weight", "message"),
    [
        (vectors(59), 0.5, "59 collaborative vectors for 60 items; give one to each"),
        (vectors(), 1.5, "is a share, 0 to 1, got 1.5"),
        (np.full((60, 2), np.nan), 0.5, "row 0 holds a NaN"),
    ],
)
def test_vectors_that_cannot_be_joined_are_refused(other, weight, message) -> None:
    with pytest.raises(ValueError, match=message):
        Join.fit(vectors(), other, weight=weight)
