"""The table of semantic IDs, its files, its hash, and the names of tokens."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from tokenizer.semantic_ids import SemanticIDs, level_name, parse_sid_token, sid_token

TABLE = SemanticIDs(["b07", "a é", "z"], np.array([[0, 3], [1, 0], [1, 2]]), (2, 4))


# Tokens


@pytest.mark.parametrize(
    ("level", "name"),
    [(0, "a"), (25, "z"), (26, "aa"), (27, "ab"), (51, "az"), (52, "ba"), (701, "zz"), (702, "aaa")],
)
def test_levels_are_named_like_the_columns_of_a_spreadsheet(level, name):
    assert level_name(level) == name


def test_a_sid_token_names_level_and_code():
    assert sid_token(0, 12) == "<a_12>"
    assert sid_token(26, 0) == "<aa_0>"


@given(st.integers(0, 10_000), st.integers(0, 10**9))
def test_every_sid_token_is_read_back(level, code):
    assert parse_sid_token(sid_token(level, code)) == (level, code)


@pytest.mark.parametrize(
    "text", ["", "a_1", "<a_>", "<_1>", "<a_01>", "<A_1>", "<a_-1>", "<a_1> ", "<a_1>\n", "<a_١>"]
)
def test_texts_that_are_no_sid_tokens_are_refused(text):
    with pytest.raises(ValueError, match="is not a SID token; one looks like <a_12>"):
        parse_sid_token(text)


def test_negative_levels_and_codes_are_refused():
    with pytest.raises(ValueError, match="Levels count from 0, got -1"):
        level_name(-1)
    with pytest.raises(ValueError, match="Codes count from 0, got -2"):
        sid_token(0, -2)


# The table


def test_the_tokens_of_a_row_are_its_codes():
    assert TABLE.tokens(1) == ["<a_1>", "<b_0>"]
    assert len(TABLE) == 3


def test_the_collision_rate_counts_items_beyond_the_first_of_an_id():
    assert TABLE.collision_rate == 0
    assert SemanticIDs(["x", "y"], np.array([[1], [1]]), (2,)).collision_rate == 0.5


def test_the_table_cannot_be_changed_from_outside():
    codes = np.array([[0], [1]], dtype=np.int32)
    table = SemanticIDs(["x", "y"], codes, (2,))
    codes[0, 0] = 1
    assert table.codes.tolist() == [[0], [1]]
    assert table.codes.dtype == np.int64
    with pytest.raises(ValueError, match="read-only"):
        table.codes[0, 0] = 1


def test_the_hash_is_the_same_on_every_platform_and_for_every_integer_type():
    # sha256 of the ASCII bytes of [[2,4],["b07","a \u00e9","z"],[[0,3],[1,0],[1,2]]], by coreutils'
    # sha256sum.
    expected = "b7bc96ec2c585c326940b9a948f8835d835085904f37bd75f01554676ebfe57d"
    assert TABLE.sha256 == expected
    codes = np.asfortranarray(TABLE.codes.astype(np.int16))
    assert SemanticIDs(TABLE.item_ids, codes, [2, 4]).sha256 == expected


@pytest.mark.parametrize(
    "other",
    [
        SemanticIDs(["b07", "a é", "y"], TABLE.codes, (2, 4)),
        SemanticIDs(["a é", "b07", "z"], TABLE.codes, (2, 4)),
        SemanticIDs(TABLE.item_ids, np.array([[0, 3], [1, 0], [1, 1]]), (2, 4)),
        SemanticIDs(TABLE.item_ids, TABLE.codes, (2, 5)),
    ],
)
def test_the_hash_changes_with_ids_order_codes_and_sizes(other):
    assert other.sha256 != TABLE.sha256


@pytest.mark.parametrize(
    ("item_ids", "codes", "sizes", "message"),
    [
        ([], np.zeros((0, 1), int), (2,), "There is no item to have a semantic ID"),
        (["x"], [[0]], (), r"codebook_sizes needs one size of 1 or more per level, got \[\]"),
        (["x"], [[0]], (0,), r"codebook_sizes needs one size of 1 or more per level, got \[0\]"),
        (["x"], [[0]], (2**31,), "codebook_sizes needs one size"),
        (
            ["x", "y"],
            [[0]],
            (2,),
            r"2 items with 1 levels need integer codes of shape \(2, 1\), got int64 of shape",
        ),
        (["x"], [[0.5]], (2,), "need integer codes of shape .* got float64"),
        (["x", ""], [[0], [1]], (2,), "Item ids are texts and not empty, got ''"),
        (["x", 7], [[0], [1]], (2,), "Item ids are texts and not empty, got 7"),
        (["x", "x"], [[0], [1]], (2,), 'Item id "x" has more than one semantic ID'),
        (["x", "y"], [[0, 1], [0, 4]], (1, 4), 'Item "y" has code 4 at level b, whose codes are 0 to 3'),
        (["x"], [[-1]], (4,), 'Item "x" has code -1 at level a, whose codes are 0 to 3'),
    ],
)
def test_a_table_that_does_not_fit_is_refused(item_ids, codes, sizes, message):
    with pytest.raises(ValueError, match=message):
        SemanticIDs(item_ids, np.array(codes), sizes)


# Parquet


def test_a_saved_table_comes_back_exactly(tmp_path):
    TABLE.save(tmp_path / "semantic_ids.parquet")
    loaded = SemanticIDs.load(tmp_path / "semantic_ids.parquet")
    assert loaded.item_ids == TABLE.item_ids
    assert (loaded.codes == TABLE.codes).all()
    assert loaded.codebook_sizes == (2, 4)
    assert loaded.sha256 == TABLE.sha256


def test_the_parquet_file_has_the_columns_of_the_contract(tmp_path):
    TABLE.save(tmp_path / "semantic_ids.parquet")
    schema = parquet.read_schema(tmp_path / "semantic_ids.parquet")
    assert schema.names == ["item_id", "codes"]
    assert schema.types == [pa.string(), pa.list_(pa.int32())]
    assert json.loads(schema.metadata[b"codebook_sizes"]) == [2, 4]


def test_files_that_hold_no_semantic_ids_are_refused(tmp_path):
    path = tmp_path / "semantic_ids.parquet"
    with pytest.raises(ValueError, match="there is no such file, expected semantic IDs"):
        SemanticIDs.load(path)
    path.write_bytes(b"PAR1 or not")
    with pytest.raises(ValueError, match="is not a Parquet file, or it is damaged"):
        SemanticIDs.load(path)
    parquet.write_table(pa.table({"item_id": ["x"], "sid": [[0]]}), path)
    with pytest.raises(
        ValueError, match=r"holds no semantic IDs: .* it has the columns \['item_id', 'sid'\]"
    ):
        SemanticIDs.load(path)


def test_a_parquet_file_with_a_wrong_row_is_refused_with_its_name(tmp_path):
    path = tmp_path / "semantic_ids.parquet"
    metadata = {"codebook_sizes": "[2, 4]"}
    table = pa.table({"item_id": ["x", "y", "z"], "codes": [[0, 0], [0, 1], None]})
    parquet.write_table(table.replace_schema_metadata(metadata), path)
    with pytest.raises(
        ValueError, match=r'parquet: item "z" has another number of codes than the 2 that most'
    ):
        SemanticIDs.load(path)
    table = pa.table({"item_id": ["x", "x"], "codes": [[0, 0], [0, 1]]})
    parquet.write_table(table.replace_schema_metadata(metadata), path)
    with pytest.raises(ValueError, match=r'parquet: Item id "x" has more than one semantic ID'):
        SemanticIDs.load(path)


# The index of LC-Rec


def test_the_index_is_the_json_of_lc_rec(tmp_path):
    TABLE.write_index(tmp_path / "index.json")
    assert json.loads((tmp_path / "index.json").read_text(encoding="utf-8")) == {
        "b07": ["<a_0>", "<b_3>"],
        "a é": ["<a_1>", "<b_0>"],
        "z": ["<a_1>", "<b_2>"],
    }


def test_an_index_comes_back_with_the_sizes_given(tmp_path):
    TABLE.write_index(tmp_path / "index.json")
    assert SemanticIDs.read_index(tmp_path / "index.json", codebook_sizes=(2, 4)).sha256 == TABLE.sha256


def test_sizes_that_are_not_given_are_the_largest_codes_plus_1(tmp_path):
    (tmp_path / "index.json").write_text('{"0": ["<a_5>", "<b_0>"], "1": ["<a_2>", "<b_3>"]}')
    table = SemanticIDs.read_index(tmp_path / "index.json")
    assert table.codebook_sizes == (6, 4)
    assert table.item_ids == ["0", "1"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"{", "is not JSON in UTF-8"),
        (b'{"\xff": ["<a_1>"]}', "is not JSON in UTF-8"),
        (b"{}", "holds no index: expected"),
        (b"3", "holds no index: expected"),
        (b'[["0", ["<a_1>"]]]', "holds no index: expected"),
        (b'{"0": "<a_1>"}', "holds no index: expected"),
        (b'{"0": ["<a_1>"], "0": ["<a_2>"]}', 'Item id "0" has more than one semantic ID'),
        (b'{"0": ["<a1>"]}', 'item "0": "<a1>" is not a SID token'),
        (b'{"0": [1]}', 'item "0": "1" is not a SID token'),
        (b'{"0": ["<b_1>"]}', 'item "0": <b_1> at level a is of another level'),
        (
            b'{"0": ["<a_1>"], "1": ["<a_1>"], "2": []}',
            'item "2" has another number of codes than the 1 that most',
        ),
        (b'{"0": []}', "codebook_sizes needs one size"),
    ],
)
def test_an_index_that_is_none_is_refused(tmp_path, text, message):
    path = Path(tmp_path / "index.json")
    path.write_bytes(text)
    with pytest.raises(ValueError, match=message):
        SemanticIDs.read_index(path)


def test_an_index_that_is_missing_or_too_large_for_its_sizes_is_refused(tmp_path):
    with pytest.raises(ValueError, match="there is no such file, expected semantic IDs"):
        SemanticIDs.read_index(tmp_path / "index.json")
    TABLE.write_index(tmp_path / "index.json")
    with pytest.raises(ValueError, match='Item "b07" has code 3 at level b, whose codes are 0 to 2'):
        SemanticIDs.read_index(tmp_path / "index.json", codebook_sizes=(2, 3))


def test_a_notebook_shows_the_first_items_escaped():
    names = ["<script>alert(1)</script>", *(f"item-{n}" for n in range(11))]
    shown = SemanticIDs(names, np.arange(24).reshape(12, 2), (30, 30))._repr_html_()
    assert "SemanticIDs(12 items, codes 30 x 30), collision rate 0.000" in shown
    assert "<script" not in shown
    assert "&lt;script&gt;" in shown
    assert "&lt;a_0&gt;&lt;b_1&gt;" in shown
    assert "item-8" in shown
    assert "item-9" not in shown
