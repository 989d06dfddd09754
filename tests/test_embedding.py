"""Texts to vectors: TF-IDF, determinism, its cache, later items, and which settings go together."""

import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from sidrec.config import load_config
from sidrec.embedding import EmbeddingConfig, embed, embed_more
from sidrec.errors import ArtifactError, CatalogError, ConfigError

TEXTS = ["blue mug", "red mug", "steel pot with lid", "blue mug", "size L pot"]


def items_of(texts) -> pd.DataFrame:
    return pd.DataFrame({"item_id": [f"i{n}" for n in range(len(texts))], "text": texts}, dtype=str)


@pytest.fixture
def tfidf(tmp_path):
    """`tfidf(texts, **settings)` embeds into tmp_path / "out"."""

    def run(texts=TEXTS, *, seed=0, cache=None, **settings) -> np.ndarray:
        (tmp_path / "out").mkdir(exist_ok=True)
        config = EmbeddingConfig(**settings)
        return embed(items_of(texts), config, directory=tmp_path / "out", cache=cache, seed=seed)

    return run


def test_tfidf_rows_are_float32_of_length_one(tfidf):
    vectors = tfidf(dim=2)
    assert vectors.shape == (5, 2)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_the_vectors_are_a_file_that_stays_as_it_is_when_the_array_is_written_to(tfidf, tmp_path):
    vectors = tfidf(dim=2)
    written = (tmp_path / "out" / "embeddings.npy").read_bytes()
    np.testing.assert_array_equal(np.load(tmp_path / "out" / "embeddings.npy", allow_pickle=False), vectors)
    vectors[:] = 7
    assert (tmp_path / "out" / "embeddings.npy").read_bytes() == written


def test_tfidf_is_what_scikit_learn_gives(tfidf):
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    weights = TfidfVectorizer(sublinear_tf=True, token_pattern=r"(?u)\b\w+\b").fit_transform(TEXTS)
    expected = TruncatedSVD(n_components=3, n_iter=7, random_state=4).fit_transform(weights)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(tfidf(dim=3, seed=4), expected, atol=1e-6)


def test_tfidf_puts_texts_that_share_words_closer(tfidf):
    vectors = tfidf(dim=4)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2]


def test_equal_texts_get_equal_vectors(tfidf):
    vectors = tfidf(dim=3)
    assert vectors[0].tobytes() == vectors[3].tobytes()


def test_tfidf_gives_the_same_bytes_for_the_same_seed(tfidf):
    assert tfidf(dim=2, seed=7).tobytes() == tfidf(dim=2, seed=7).tobytes()


def test_vectors_are_the_same_whatever_the_size_of_a_block(tfidf, monkeypatch):
    whole = tfidf(dim=3).tobytes()
    monkeypatch.setattr("sidrec.embedding.blocks.ROWS_PER_BLOCK", 2)
    assert tfidf(dim=3).tobytes() == whole


def test_tfidf_lowers_the_dimension_of_a_tiny_catalogue(tfidf):
    # words: a, b; 3 texts; so at most 2 dimensions
    assert tfidf(["a b", "a", "b"], dim=128).shape == (3, 2)
    assert tfidf(["only one text"], dim=128).shape == (1, 1)


def test_tfidf_keeps_zeros_for_a_text_without_words(tfidf):
    vectors = tfidf(["a mug", "!!!", "a pot"], dim=2)
    assert vectors[1].tolist() == [0, 0]


def test_tfidf_refuses_a_catalogue_without_words(tfidf):
    with pytest.raises(CatalogError, match=r"found no word in any item text, the first is '!!!'"):
        tfidf(["!!!", "???"])


def test_tfidf_refuses_a_catalogue_of_equal_texts(tfidf):
    with pytest.raises(ConfigError, match=r"embedding\.method=tfidf gives all 3 items the same vector"):
        tfidf(["a mug"] * 3)


def test_items_of_equal_vectors_are_counted(tfidf, caplog):
    with caplog.at_level(logging.INFO, "sidrec"):
        tfidf(dim=3)
    assert caplog.messages == ["embedding: 2 of 5 items have the same vector as another, such as i0 and i3"]


def test_the_fit_comes_from_the_cache_when_texts_and_settings_are_the_same(tfidf, tmp_path, monkeypatch):
    first = tfidf(dim=2, cache=tmp_path / "new")
    monkeypatch.setattr("sklearn.decomposition.TruncatedSVD.fit", None)  # would be a TypeError
    assert tfidf(dim=2, cache=tmp_path / "new").tobytes() == first.tobytes()


@pytest.mark.parametrize("change", [{"dim": 3}, {"seed": 1}, {"texts": [*TEXTS[:4], "other pot"]}])
def test_the_cache_tells_settings_and_texts_apart(tfidf, tmp_path, change):
    tfidf(**{"dim": 2, "cache": tmp_path / "cache"})
    tfidf(**{"dim": 2, "cache": tmp_path / "cache", **change})
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_a_broken_cache_is_named(tfidf, tmp_path):
    tfidf(dim=2, cache=tmp_path / "cache")
    (file,) = (tmp_path / "cache").iterdir()
    file.write_bytes(file.read_bytes()[:-4])
    with pytest.raises(ArtifactError, match=r"tfidf-.* is not a safetensors file, .* Remove the file"):
        tfidf(dim=2, cache=tmp_path / "cache")


def more(texts, fitted: Path, vectors: Path | None = None, **settings) -> np.ndarray:
    config = EmbeddingConfig(**settings)
    return embed_more(items_of(texts), config, fitted=fitted, cache=None, vectors=vectors)


def test_later_items_get_the_vectors_that_their_texts_had_before(tfidf, tmp_path):
    vectors = tfidf(dim=3)
    found = more(TEXTS[::-1], tmp_path / "out", dim=3)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, vectors[::-1], atol=1e-6)


def test_a_later_item_lies_beside_those_that_share_its_words(tfidf, tmp_path):
    vectors = tfidf(dim=4)
    (found,) = more(["red mug unheard of"], tmp_path / "out", dim=4)
    assert int(np.argmax(vectors @ found)) == 1


def test_no_later_items_get_no_vectors(tfidf, tmp_path):
    tfidf(dim=3)
    assert more([], tmp_path / "out", dim=3).shape == (0, 3)


def test_later_items_need_what_was_fitted(tfidf, tmp_path):
    with pytest.raises(ArtifactError, match=r"holds no vectors of the items before .* sidrec tokenize"):
        more(TEXTS, tmp_path)
    tfidf(dim=3)
    (tmp_path / "out" / "embedder.safetensors").unlink()
    with pytest.raises(
        ArtifactError, match=r"embedder\.safetensors: there is no such file.* sidrec tokenize"
    ):
        more(TEXTS, tmp_path / "out", dim=3)


def test_a_file_of_vectors_is_refused_where_texts_are_embedded(tfidf, tmp_path):
    tfidf(dim=3)
    with pytest.raises(ConfigError, match=r"more\.npy is not asked for: embedding\.method=tfidf embeds"):
        more(TEXTS, tmp_path / "out", tmp_path / "more.npy", dim=3)


@pytest.mark.parametrize(
    ("settings", "method"),
    [
        ({}, "tfidf"),
        ({"path": "my.npy"}, "file"),
        ({"model": "some/model"}, "sentence_transformer"),
        ({"model": "some/model", "pooling": "last"}, "transformer"),
        ({"sources": [{"path": "my.npy"}]}, "sources"),
    ],
)
def test_the_method_follows_from_other_options(settings, method):
    config = EmbeddingConfig(**settings)
    assert config.method == method
    assert EmbeddingConfig(**config.model_dump(mode="json")) == config


def test_sources_are_set_on_the_command_line():
    config = load_config(None, ["embedding.sources=[{method: minilm}, {path: my.npy, weight: 0.5}]"])
    assert [(source.method, source.weight) for source in config.embedding.sources] == [
        ("minilm", 1),
        ("file", 0.5),
    ]


def test_an_unknown_option_of_a_source_is_named_with_a_near_one():
    with pytest.raises(ConfigError, match=r'sources\.0\.wieght is not an option\. Did you mean "weight"\?'):
        load_config(None, ["embedding.sources=[{path: my.npy, wieght: 0.5}]"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"method": "tfidf", "path": "my.npy"},
            r"embedding\.path=my\.npy is read by embedding\.method=file only, but embedding\.method=tfidf",
        ),
        (
            {"method": "minilm", "model": "x"},
            r"embedding\.model=x is read by embedding\.method=sentence_transformer or transformer only",
        ),
        ({"path": "my.npy", "model": "x"}, r"embedding\.model=x is read by .* but embedding\.method=file"),
        ({"prefix": "query: "}, r"embedding\.prefix=query:  is read by embedding\.method=minilm or sent"),
        ({"path": "my.npy", "max_length": 3}, r"embedding\.max_length=3 is read by embedding\.method=minilm"),
        (
            {"method": "minilm", "pooling": "cls"},
            r"pooling=cls is read by embedding\.method=transformer only",
        ),
        ({"item_id": "isbn"}, r"embedding\.item_id=isbn is read by embedding\.method=file only"),
        ({"path": "my.npy", "item_id": "isbn"}, r"item_id=isbn names a column, but .*my\.npy is an array"),
        ({"method": "file"}, r"embedding\.method=file needs embedding\.path"),
        (
            {"method": "sentence_transformer"},
            r"embedding\.method=sentence_transformer needs embedding\.model",
        ),
        ({"pooling": "mean"}, r"embedding\.method=transformer needs embedding\.model"),
        ({"method": "sources"}, r"embedding\.method=sources needs embedding\.sources"),
        (
            {"path": "my.npy", "sources": [{"method": "tfidf"}]},
            r"embedding\.sources is read by embedding\.method=sources only, but embedding\.method=file",
        ),
        ({"sources": [{"method": "file"}]}, r"method=file needs path"),
        ({"sources": [{"path": "my.npy", "weight": 0}]}, r"greater than 0"),
        ({"sources": [{"path": "my.npy", "cache": "x"}]}, r"Extra inputs are not permitted"),
        ({"dim": 0}, r"greater than or equal to 1"),
        ({"dims": 3}, r"Extra inputs are not permitted"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        EmbeddingConfig(**settings)
