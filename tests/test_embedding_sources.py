"""Own vectors from files, what is checked of them, and several sources side by side."""

import gzip
import json
import logging

import numpy as np
import pandas as pd
import pytest
import toy

import sidrec
from sidrec.config import load_config
from sidrec.embedding import EmbeddingConfig, embed, embed_more
from sidrec.errors import ArtifactError, CatalogError, ConfigError

IDS = ["a", "b", "c"]
ROWS = [[3.0, 4.0], [1.0, 0.0], [0.5, 2.0]]


def items_of(ids) -> pd.DataFrame:
    return pd.DataFrame({"item_id": ids, "text": [f"thing {item}" for item in ids]}, dtype=str)


@pytest.fixture
def own(tmp_path):
    """`own(path, ids, **settings)` embeds the items with the vectors of a file."""

    def run(path=None, ids=IDS, **settings) -> np.ndarray:
        (tmp_path / "out").mkdir(exist_ok=True)
        if path is not None:
            settings["path"] = path
        config = EmbeddingConfig(**settings)
        return embed(items_of(ids), config, directory=tmp_path / "out", cache=None, seed=0)

    return run


def save(path, array):
    np.save(path, np.array(array))
    return path


def more(vectors, fitted, ids=("d",), **settings) -> np.ndarray:
    config = EmbeddingConfig(**settings)
    return embed_more(items_of(list(ids)), config, fitted=fitted, cache=None, vectors=vectors)


def test_own_vectors_are_used_as_they_are(own, tmp_path):
    vectors = own(save(tmp_path / "my.npy", [[3, 4], [1, 0], [0, 2]]))
    assert vectors.tolist() == [[3, 4], [1, 0], [0, 2]]
    assert vectors.dtype == np.float32


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.ones((2, 2)), r"my\.npy has 2 rows, but there are 3 items\. Write one row per item"),
        (np.ones(3), r"holds float64 of shape \(3,\), expected numbers of shape \(3, D\)"),
        (np.ones((3, 0)), r"holds float64 of shape \(3, 0\)"),
        (np.array([["a", "b"]] * 3), r"holds <U1 of shape \(3, 2\)"),
        (np.array([[1, 2], [np.nan, 1], [2, 2]]), r"gives NaN or infinity to 1 of 3 items: b; expected"),
        (np.array([[np.inf, 2], [1, 1], [1e300, 1]]), r"gives NaN or infinity to 2 of 3 items: a, c; "),
        (np.array([[0, 0], [0, 1], [0, 0]]), r"gives only zeros to 2 of 3 items: a, c; "),
        (np.ones((3, 2)), r"my\.npy gives all 3 items the same vector, so none can be told from another"),
    ],
)
def test_unusable_own_vectors_are_refused(own, tmp_path, array, message):
    with pytest.raises(ConfigError, match=message):
        own(save(tmp_path / "my.npy", array))


def test_of_many_unusable_rows_the_first_few_are_named(own, tmp_path):
    with pytest.raises(ConfigError, match=r"to 7 of 8 items: a, b, c, d, e, \.\.\.; "):
        own(save(tmp_path / "my.npy", np.eye(8)[-1:].T * np.ones((8, 2))), ids=list("abcdefgh"))


def test_rows_are_checked_in_every_block(own, tmp_path, monkeypatch):
    monkeypatch.setattr("sidrec.embedding.blocks.ROWS_PER_BLOCK", 2)
    np.testing.assert_array_equal(own(save(tmp_path / "my.npy", ROWS)), ROWS)
    with pytest.raises(ConfigError, match=r"NaN or infinity to 1 of 3 items: c"):
        own(save(tmp_path / "my.npy", [[1, 2], [3, 4], [5, np.nan]]))


def test_a_single_number_may_be_zero(own, tmp_path):
    assert own(save(tmp_path / "my.npy", [[0], [1], [2]])).tolist() == [[0], [1], [2]]


def test_constant_columns_are_warned_of(own, tmp_path, caplog):
    own(save(tmp_path / "my.npy", [[1, 5, 1], [2, 5, 1], [2, 5, 1]]))
    warnings = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert [warning.partition(": ")[2] for warning in warnings] == [
        "2 of 3 columns are the same for all items"
    ]


def test_a_missing_file_of_vectors_is_refused(own, tmp_path):
    with pytest.raises(ConfigError, match=r"embedding\.path=.*my\.npy: there is no such file"):
        own(tmp_path / "my.npy")


def test_pickled_and_archived_arrays_are_refused(own, tmp_path):
    path = tmp_path / "my.npy"
    np.save(path, np.array([{"a": 1}]), allow_pickle=True)
    with pytest.raises(ConfigError, match=r"my\.npy is not a readable \.npy file \("):
        own(path)
    np.savez(tmp_path / "my.npz", vectors=np.ones((1, 2)))
    (tmp_path / "my.npz").rename(path)
    with pytest.raises(ConfigError, match=r"my\.npy is an \.npz archive, expected one array"):
        own(path)


def write_table(path, ids, rows, *, column="item_id", lists=False):
    """Write ids and vectors in the form that the path's extension names."""
    if lists:
        table = pd.DataFrame({column: ids, "vector": rows})
    else:
        table = pd.DataFrame(rows, columns=[f"x{n}" for n in range(len(rows[0]))])
        table.insert(1, column, ids)
    if path.suffix == ".parquet":
        table.to_parquet(path)
    elif path.suffix == ".jsonl":
        path.write_text("\n".join(json.dumps(row) for row in table.to_dict("records")))
    else:
        text = table.to_csv(index=False)
        path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


@pytest.mark.parametrize(
    ("name", "lists"),
    [
        ("my.parquet", False),
        ("my.parquet", True),
        ("my.csv", False),
        ("my.csv.gz", False),
        ("my.jsonl", False),
        ("my.jsonl", True),
    ],
)
def test_the_rows_of_a_table_are_found_by_item_id(own, tmp_path, name, lists):
    path = write_table(tmp_path / name, ["c", "a", "b"], [ROWS[2], ROWS[0], ROWS[1]], lists=lists)
    np.testing.assert_array_equal(own(path), ROWS)


def test_ids_that_are_numbers_are_found_as_they_are_written(own, tmp_path):
    path = write_table(tmp_path / "my.parquet", [12, 7, 101], ROWS)
    np.testing.assert_array_equal(own(path, ids=["101", "12", "7"]), [ROWS[2], ROWS[0], ROWS[1]])


def test_the_column_of_ids_may_have_another_name(own, tmp_path):
    path = write_table(tmp_path / "my.csv", IDS, ROWS, column="isbn")
    np.testing.assert_array_equal(own(path, item_id="isbn"), ROWS)
    with pytest.raises(CatalogError, match=r'no column "item_id" \(embedding\.item_id\).*isbn'):
        own(path)


def test_items_without_a_vector_are_named(own, tmp_path):
    path = write_table(tmp_path / "my.csv", IDS, ROWS)
    with pytest.raises(ConfigError, match=r"my\.csv has no vector for 2 of 3 items: x, y\. Add a row"):
        own(path, ids=["a", "x", "y"])


def test_vectors_of_items_that_are_not_there_are_left_out_with_a_warning(own, tmp_path, caplog):
    path = write_table(tmp_path / "my.csv", IDS, ROWS)
    np.testing.assert_array_equal(own(path, ids=["c", "a"]), [ROWS[2], ROWS[0]])
    assert caplog.messages[0].endswith("my.csv: 1 rows are left out, since there are no such items: b")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("item_id,x\na,1\nb,2\na,3\nb,3\nc,1\n", r"my\.csv has 2 items in more than one row: a, b"),
        ("item_id,x,title\na,1,Mug\nb,2,\nc,3,\n", r'item a has "Mug" in column title, expected a number'),
        ("item_id,x\na,1\nb,\nc,3\n", r"gives NaN or infinity to 1 of 3 items: b"),
        ("item_id\na\nb\nc\n", r"has no column beside the item ids"),
    ],
)
def test_tables_that_hold_no_vectors_are_refused(own, tmp_path, table, message):
    (tmp_path / "my.csv").write_text(table)
    with pytest.raises(ConfigError, match=message):
        own(tmp_path / "my.csv")


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        ([[1, 2], [3], [4, 5]], r"item b has 1 numbers in column vector, item a 2\. Give every item as many"),
        ([[1, 2], [3, 4], None], r"item c has None in column vector, item a 2"),
        ([[], [], []], r"item a has 0 numbers in column vector"),
        ([["x"], ["y"], ["z"]], r"the lists in column vector do not hold numbers only"),
        ([[1.5], [None], [2.5]], r"gives NaN or infinity to 1 of 3 items: b"),
    ],
)
def test_lists_that_are_no_vectors_are_refused(own, tmp_path, lists, message):
    path = write_table(tmp_path / "my.jsonl", IDS, lists, lists=True)
    with pytest.raises(ConfigError, match=message):
        own(path)


def test_later_items_bring_a_file_of_their_own(own, tmp_path):
    path = save(tmp_path / "my.npy", ROWS)
    own(path)
    new = save(tmp_path / "new.npy", [[5, 6]])
    assert more(new, tmp_path / "out", path=path).tolist() == [[5, 6]]
    table = write_table(tmp_path / "new.csv", ["e", "d"], [[7, 8], [5, 6]])
    assert more(table, tmp_path / "out", ("d", "e"), path=path).tolist() == [[5, 6], [7, 8]]


def test_later_items_without_a_file_or_of_another_width_are_refused(own, tmp_path):
    path = save(tmp_path / "my.npy", ROWS)
    own(path)
    with pytest.raises(ConfigError, match=r"from embedding\.path=.*my\.npy, so the new ones need a file of"):
        more(None, tmp_path / "out", path=path)
    wide = save(tmp_path / "new.npy", [[5, 6, 7]])
    with pytest.raises(ConfigError, match=r"The file of vectors .*new\.npy gives .* 3 numbers, .* have 2"):
        more(wide, tmp_path / "out", path=path)
    bad = save(tmp_path / "new.npy", [[5, np.nan]])
    with pytest.raises(ConfigError, match=r"The file of vectors .*new\.npy gives NaN .* 1 of 1 items: d"):
        more(bad, tmp_path / "out", path=path)


def test_sources_are_centred_scaled_weighted_and_put_side_by_side(own, tmp_path):
    images = save(tmp_path / "images.npy", [[1, 0], [3, 0], [5, 3]])
    prices = write_table(tmp_path / "prices.csv", ["c", "b", "a"], [[30], [20], [10]])
    found = own(sources=[{"path": images, "weight": 2}, {"path": prices}])
    # images: mean (3, 1); centred (-2, -1), (0, -1), (2, 2); squared norms 5, 1, 8, mean 14/3
    # prices: mean 20; centred -10, 0, 10; squared norms 100, 0, 100, mean 200/3
    i, p = 2 / np.sqrt(14 / 3), 1 / np.sqrt(200 / 3)
    expected = [[-2 * i, -1 * i, -10 * p], [0, -1 * i, 0], [2 * i, 2 * i, 10 * p]]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "embedder.safetensors",
        "embeddings.npy",
    ]


def test_sources_are_scaled_over_all_blocks(own, tmp_path, monkeypatch):
    sources = [{"path": save(tmp_path / "my.npy", ROWS)}, {"method": "tfidf", "weight": 0.5}]
    whole = own(sources=sources)
    monkeypatch.setattr("sidrec.embedding.blocks.ROWS_PER_BLOCK", 2)
    np.testing.assert_allclose(own(sources=sources), whole, rtol=1e-6)


def test_later_items_are_centred_and_scaled_as_the_first_were(own, tmp_path):
    sources = [{"path": save(tmp_path / "my.npy", ROWS), "weight": 3}, {"method": "tfidf", "dim": 2}]
    vectors = own(sources=sources)
    again = save(tmp_path / "again.npy", ROWS[::-1])
    found = more(again, tmp_path / "out", IDS[::-1], sources=sources)
    np.testing.assert_allclose(found, vectors[::-1], atol=1e-6)
    one = more(save(tmp_path / "one.npy", ROWS[:1]), tmp_path / "out", IDS[:1], sources=sources)
    np.testing.assert_allclose(one, vectors[:1], atol=1e-6)


def test_a_source_that_does_not_vary_is_refused(own, tmp_path):
    sources = [{"method": "tfidf"}, {"path": save(tmp_path / "my.npy", np.ones((3, 2)))}]
    with pytest.raises(
        ConfigError, match=r"embedding\.sources\[1\]\.path=.*my\.npy gives all 3 items the sa"
    ):
        own(sources=sources)
    with pytest.raises(ConfigError, match=r"sources\[0\]\.method=tfidf does not vary over the 1 items"):
        own(ids=["a"], sources=[{"method": "tfidf"}])


def test_later_items_have_one_file_of_vectors_at_most(own, tmp_path):
    sources = [{"path": save(tmp_path / f"{name}.npy", ROWS)} for name in ("one", "two")]
    own(sources=sources)
    with pytest.raises(
        ConfigError, match=r"2 sources are files \(.*one\.npy, .*two\.npy\).* side by side in"
    ):
        more(tmp_path / "one.npy", tmp_path / "out", sources=sources)


def test_a_source_of_other_width_than_the_first_items_had_is_refused(own, tmp_path):
    sources = [{"path": save(tmp_path / "my.npy", ROWS)}, {"method": "tfidf"}]
    own(sources=sources)
    narrow = save(tmp_path / "new.npy", [[5]])  # numpy would spread it over both columns
    with pytest.raises(ConfigError, match=r"new\.npy gives .* 1 numbers, but those in .* have 2"):
        more(narrow, tmp_path / "out", sources=sources)


def test_sources_that_were_not_fitted_are_refused_for_later_items(own, tmp_path):
    own(method="tfidf")
    with pytest.raises(
        ArtifactError,
        match=r"embedder\.safetensors was made by another section `embedding`.* sidrec tokenize",
    ):
        more(None, tmp_path / "out", sources=[{"method": "tfidf"}])


def test_tokenize_takes_sources_and_notices_when_a_file_of_them_changes(tmp_path):
    path = toy.write(tmp_path, tokenizer={"epochs": 1})
    sources = f"embedding.sources=[{{method: tfidf, dim: 4}}, {{path: {tmp_path / 'own.npy'}, weight: 2}}]"
    config = load_config(path, [sources])
    lengths = []
    for seed in (0, 1):
        save(tmp_path / "own.npy", np.random.default_rng(seed).normal(size=(24, 6)))
        sidrec.tokenize(config)
        vectors = np.load(config.output / "tokenize" / "embeddings.npy")
        lengths.append((vectors[:, 4:] ** 2).sum(1).mean())
        assert vectors.shape == (24, 10)
    np.testing.assert_allclose(lengths, 4, rtol=1e-6)  # the square of the weight
    again = load_config(config.output / "tokenize" / "config.yaml")
    assert again.embedding == config.embedding.model_copy(update={"cache": again.embedding.cache})
