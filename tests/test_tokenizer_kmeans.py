"""Codebooks by k-means: deterministic, balanced where asked, healthy on hard inputs, kept in files."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from tokenizer.collisions.unique import collision_rate, make_unique
from tokenizer.kmeans import KMeansFit, balanced_assignment, fit_opq, fit_rqkmeans
from tokenizer.vector_quantizer import VectorQuantizer

SIZES = (8, 8, 8)
METHODS = {
    "rqkmeans": lambda vectors, sizes=SIZES, seed=0: fit_rqkmeans(vectors, sizes, seed=seed),
    "balanced": lambda vectors, sizes=SIZES, seed=0: fit_rqkmeans(vectors, sizes, balanced=True, seed=seed),
    "opq": lambda vectors, sizes=SIZES, seed=0: fit_opq(vectors, sizes, seed=seed),
}


def clustered(num_items: int = 300, width: int = 12, seed: int = 0) -> np.ndarray:
    """Vectors around 20 centres, some of them with many more items than others."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(20, width))
    share = 1 / np.arange(1, 21)
    return (
        centres[rng.choice(20, num_items, p=share / share.sum())] + 0.3 * rng.normal(size=(num_items, width))
    ).astype(np.float32)


def error(fit: KMeansFit, vectors: np.ndarray) -> float:
    return float(
        np.square(fit.model.decode(fit.codes) - vectors).sum() / np.square(vectors - vectors.mean(0)).sum()
    )


@pytest.mark.parametrize("method", METHODS)
def test_the_same_seed_gives_the_same_bytes(method):
    first, again, other = (METHODS[method](clustered(), seed=seed) for seed in (0, 0, 1))
    assert np.array_equal(first.codes, again.codes)
    for one, two in zip(first.model.codebooks(), again.model.codebooks(), strict=True):
        assert one.tobytes() == two.tobytes()
    assert not np.array_equal(first.codes, other.codes)


@pytest.mark.parametrize("method", METHODS)
def test_all_codes_are_used_and_most_of_the_variance_is_explained(method):
    fit = METHODS[method](clustered())
    assert [len(np.unique(level)) for level in fit.codes.T] == list(SIZES)
    assert error(fit, clustered()) < 0.35


@pytest.mark.parametrize("method", METHODS)
def test_what_was_saved_encodes_the_same(method, tmp_path: Path):
    fit = METHODS[method](clustered())
    fit.model.save(tmp_path / "tokenizer.safetensors")
    loaded = VectorQuantizer.load(tmp_path / "tokenizer.safetensors")
    other = clustered(50, seed=5)
    assert np.array_equal(loaded.encode(other), fit.model.encode(other))
    assert np.array_equal(loaded.decode(fit.codes), fit.model.decode(fit.codes))
    assert loaded.codebook_sizes == SIZES


@pytest.mark.parametrize("method", ["rqkmeans", "opq"])
def test_the_codes_of_the_fit_are_those_of_the_model(method):
    fit = METHODS[method](clustered())
    assert np.array_equal(fit.codes, fit.model.encode(clustered()))


def test_residual_k_means_equals_a_search_level_by_level():
    """The slow way: every distance by itself."""
    vectors = clustered(40)
    model = fit_rqkmeans(vectors, (4, 4)).model
    for row, codes in zip(vectors, model.encode(vectors).tolist(), strict=True):
        left = (row - model.mean) / model.scale
        for code, book in zip(codes, model.codebooks(), strict=True):
            distances = [float(((left - centre) ** 2).sum()) for centre in book]
            assert distances[code] == pytest.approx(min(distances), rel=1e-4)
            left = left - book[code]


def test_the_latents_are_approximated_by_the_sum_of_the_code_vectors():
    """What `make_unique` relies on, for OPQ as well: (latent - sum)² times scale² is the error."""
    vectors = clustered()
    for fit in (METHODS["rqkmeans"](vectors), METHODS["opq"](vectors)):
        sums = sum(book[fit.codes[:, level]] for level, book in enumerate(fit.model.codebooks()))
        inside = np.square(fit.model.latents(vectors) - sums).sum(1) * fit.model.scale**2
        outside = np.square(vectors - fit.model.decode(fit.codes)).sum(1)
        np.testing.assert_allclose(inside, outside, rtol=1e-3, atol=1e-4)


def test_balanced_codes_have_equally_many_items():
    vectors = clustered()
    fit, plain = METHODS["balanced"](vectors), METHODS["rqkmeans"](vectors)
    for level in fit.codes.T:
        assert np.bincount(level, minlength=8).max() <= 38  # 300 / 8 = 37.5
    assert np.bincount(plain.codes[:, 0]).max() > 60  # the vectors are not balanced themselves
    assert collision_rate(fit.codes) <= collision_rate(plain.codes)


def test_a_balanced_model_encodes_new_items_nearly_balanced():
    fit = METHODS["balanced"](clustered())
    for level in fit.model.encode(clustered(800, seed=0)).T:
        assert np.bincount(level, minlength=8).max() <= 2 * 100


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 60), st.integers(1, 9), st.integers(0, 10**6))
def test_a_balanced_assignment_keeps_the_capacity(num_items, size, seed):
    distances = np.random.default_rng(seed).random((num_items, size))
    codes, prices = balanced_assignment(distances, np.zeros(size))
    assert np.bincount(codes, minlength=size).max() <= -(-num_items // size)
    assert prices.shape == (size,)


def test_a_balanced_assignment_costs_little_more_than_the_best():
    ratios = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        num_items, size = int(rng.integers(1, 60)), int(rng.integers(1, 9))
        distances = rng.random((num_items, size))
        codes, _ = balanced_assignment(distances, np.zeros(size))
        rows, slots = linear_sum_assignment(np.repeat(distances, -(-num_items // size), axis=1))
        best = distances[rows, slots // -(-num_items // size)].sum()
        found = distances[np.arange(num_items), codes].sum()
        assert found >= best - 1e-9
        ratios.append(found / best)
    assert np.mean(ratios) < 1.05
    assert max(ratios) < 1.5


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "vectors",
    [
        np.ones((5, 6), np.float32),  # all equal
        np.repeat(np.eye(6, dtype=np.float32), 3, axis=0),  # six distinct ones, each three times
        np.eye(6, dtype=np.float32)[:1],  # a single item
    ],
    ids=["equal", "duplicates", "one"],
)
def test_hard_inputs_get_codes_that_can_be_made_unique(method, vectors):
    fit = METHODS[method](vectors, (4, 4, 4))
    assert fit.codes.shape == (len(vectors), 3)
    unique = make_unique(fit.codes, fit.model.latents(vectors), fit.model.codebooks())
    assert collision_rate(unique.codes) == 0


def test_levels_may_differ_in_size():
    fit = fit_rqkmeans(clustered(), (16, 4, 1))
    assert fit.model.codebook_sizes == (16, 4, 1)
    assert (fit.codes[:, 2] == 0).all()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("vectors", "sizes", "message"),
    [
        (np.zeros((0, 3)), SIZES, "there are none"),
        (np.zeros(3), SIZES, r"must be of shape \(items, dimensions\), got \(3,\)"),
        (np.array([[0.0, np.nan, 1.0]]), SIZES, "row 0 holds a NaN"),
        (np.zeros((4, 3)), (), "one size of 1 or more per level"),
        (np.zeros((4, 3)), (4, 0), "one size of 1 or more per level"),
    ],
)
def test_what_cannot_be_clustered_is_refused(method, vectors, sizes, message):
    with pytest.raises(ValueError, match=message):
        METHODS[method](vectors, sizes)


def test_more_parts_than_dimensions_are_refused():
    with pytest.raises(ValueError, match="vectors of 2 dimensions into parts; 3 levels are too many"):
        fit_opq(np.eye(2), SIZES)


def test_codes_and_vectors_that_do_not_fit_are_refused():
    model = METHODS["rqkmeans"](clustered()).model
    with pytest.raises(ValueError, match=r"has 3 levels, got codes of shape \(2, 2\)"):
        model.decode(np.zeros((2, 2), int))
    with pytest.raises(ValueError, match="outside the codebook sizes"):
        model.decode(np.full((2, 3), 8))
    with pytest.raises(ValueError, match=r"shape \(items, 12\), got \(4, 5\)"):
        model.encode(np.zeros((4, 5)))


def test_files_of_something_else_are_refused(tmp_path: Path):
    from safetensors.numpy import save_file

    with pytest.raises(ValueError, match="there is no such file"):
        VectorQuantizer.load(tmp_path / "absent")
    (tmp_path / "text").write_text("no tensors")
    with pytest.raises(ValueError, match="is not a safetensors file"):
        VectorQuantizer.load(tmp_path / "text")
    save_file({"mean": np.zeros(3)}, str(tmp_path / "other"))
    with pytest.raises(ValueError, match="not of a vector quantizer"):
        VectorQuantizer.load(tmp_path / "other")
    save_file({"mean": np.zeros(3)}, str(tmp_path / "old"), metadata={"vector_quantizer": '{"version": 0}'})
    with pytest.raises(ValueError, match="was written in format 0, this version reads 1"):
        VectorQuantizer.load(tmp_path / "old")
    facts = '{"version": 1, "levels": 1, "scale": 1.0}'
    save_file({"mean": np.zeros(3)}, str(tmp_path / "part"), metadata={"vector_quantizer": facts})
    with pytest.raises(ValueError, match="do not fit together"):
        VectorQuantizer.load(tmp_path / "part")
