"""`tokenizer.method` and `tokenizer.collisions`: every way to make codes, and foreign tables."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import toy
from conftest import Ended

import sidrec
from sidrec.config import load_config
from tokenizer.collisions.unique import add_level, mean_codebooks
from tokenizer.foreign import read_codes
from tokenizer.semantic_ids import SemanticIDs

Command = Callable[..., Ended]
CHEAP: dict[str, Any] = {"sft": {"epochs": 1, "evaluations": 1}}
DATA = Path(__file__).parents[1] / "data"
# Items 0 and 1, and items 2, 3 and 4, share an ID.
COLLIDING = [[0, 1], [0, 1], [2, 0], [2, 0], [2, 0], *([3, n] for n in range(toy.NUM_ITEMS - 5))]


def tokenized(folder: Path, *overrides: str) -> tuple[SemanticIDs, dict[str, Any]]:
    config = load_config(toy.write(folder, **CHEAP), list(overrides))
    directory = sidrec.tokenize(config)
    return SemanticIDs.load(directory / "semantic_ids.parquet"), json.loads(
        (directory / "metrics.json").read_text()
    )


def index_of(folder: Path, rows: list[list[int]], item_ids: list[str] | None = None) -> Path:
    item_ids = toy.items()["item_id"].tolist() if item_ids is None else item_ids
    sizes = tuple(max(level) + 1 for level in zip(*rows, strict=True))
    SemanticIDs(item_ids, np.array(rows), sizes).write_index(folder / "theirs.index.json")
    return folder / "theirs.index.json"


METHODS = ["rqvae", "rqkmeans", "balanced_rqkmeans", "rqkmeans_plus", "opq", "letter", "hybrid"]


@pytest.mark.parametrize("method", METHODS)
def test_every_method_gives_unique_ids_and_says_how_good_they_are(tmp_path: Path, method: str) -> None:
    ids, metrics = tokenized(tmp_path, f"tokenizer.method={method}")
    assert ids.collision_rate == 0
    assert ids.codes.shape == (toy.NUM_ITEMS, 3)
    assert metrics["method"] == method
    assert 0 < metrics["explained"] <= 1
    assert metrics["collision_rate_after"] == 0
    assert (tmp_path / "run" / "tokenize" / "tokenizer.safetensors").is_file()


@pytest.mark.parametrize("method", ["letter", "hybrid"])
def test_collaborative_vectors_are_those_of_the_sasrec_that_baselines_uses(
    tmp_path: Path, method: str, command: Command
) -> None:
    config = toy.write(tmp_path, **CHEAP)
    assert command("tokenize", config, f"tokenizer.method={method}").status == 0
    weights = tmp_path / "run" / "sequential" / "sasrec" / "model.safetensors"
    made = weights.stat().st_mtime_ns
    ended = command("baselines", config, f"tokenizer.method={method}", "baselines.models=[sasrec]")
    assert ended.status == 0, ended.err
    assert weights.stat().st_mtime_ns == made


@pytest.mark.parametrize("method", ["letter", "hybrid"])
def test_collaborative_vectors_change_the_codes_and_count_as_an_input(tmp_path: Path, method: str) -> None:
    found = []
    for seed in (0, 1):
        vectors = np.random.default_rng(seed).normal(size=(toy.NUM_ITEMS, 4)).astype(np.float32)
        np.save(tmp_path / "theirs.npy", vectors)
        found.append(
            tokenized(
                tmp_path,
                f"tokenizer.method={method}",
                f"tokenizer.collaborative={tmp_path / 'theirs.npy'}",
                "tokenizer.alignment_weight=5",
            )[0]
        )
    assert found[0].sha256 != found[1].sha256


def test_the_weight_of_collaborative_vectors_changes_the_codes_of_a_hybrid(tmp_path: Path) -> None:
    np.save(tmp_path / "theirs.npy", np.random.default_rng(0).normal(size=(toy.NUM_ITEMS, 4)))
    options = ["tokenizer.method=hybrid", f"tokenizer.collaborative={tmp_path / 'theirs.npy'}"]
    first, _ = tokenized(tmp_path, *options)
    other, _ = tokenized(tmp_path, *options, "tokenizer.collaborative_weight=0.1")
    assert first.sha256 != other.sha256


def test_a_hybrid_may_be_made_by_any_quantizer(tmp_path: Path) -> None:
    codes = {
        name: tokenized(tmp_path, "tokenizer.method=hybrid", f"tokenizer.quantizer={name}")[0].sha256
        for name in ("rqvae", "balanced_rqkmeans", "opq")
    }
    assert len(set(codes.values())) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["tokenizer.collaborative=x.npy"], "is read by tokenizer.method=letter and hybrid only"),
        (
            ["tokenizer.method=letter", "tokenizer.collaborative=none.npy"],
            r"tokenizer.collaborative=none.npy: there is no such file",
        ),
        (
            ["tokenizer.method=hybrid", "tokenizer.collaborative={few}"],
            "few.npy has 3 rows, but there are 24 items",
        ),
    ],
)
def test_collaborative_vectors_that_do_not_fit_are_refused(
    tmp_path: Path, command: Command, options: list[str], message: str
) -> None:
    np.save(tmp_path / "few.npy", np.ones((3, 2)))
    config = toy.write(tmp_path)
    ended = command("tokenize", config, *[option.format(few=tmp_path / "few.npy") for option in options])
    assert ended.status == 2
    assert re.search(message, ended.err)
    assert not list((tmp_path / "run").glob("tokenize*"))


def test_a_gpu_that_is_not_there_is_said(tmp_path: Path, command: Command) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    ended = command("tokenize", toy.write(tmp_path), "tokenizer.device=cuda")
    assert ended.status == 2
    assert "tokenizer.device=cuda: PyTorch finds no GPU here" in ended.err
    assert not (tmp_path / "run" / "tokenize").exists()


def test_sinkhorn_parts_what_it_can_and_says_what_is_left(tmp_path: Path) -> None:
    index = index_of(tmp_path, COLLIDING)
    ids, metrics = tokenized(
        tmp_path, "tokenizer.method=import", f"tokenizer.index={index}", "tokenizer.collisions=sinkhorn"
    )
    assert (ids.codes[:, 0] == np.array(COLLIDING)[:, 0]).all()
    assert metrics["collision_rate_after"] == ids.collision_rate < 3 / 24
    assert metrics["items_moved"] == (ids.codes != np.array(COLLIDING)).any(axis=1).sum() > 0
    assert metrics["extra_error"] > 0


def test_a_model_can_be_trained_on_any_of_them(tmp_path: Path, command: Command) -> None:
    config = toy.write(tmp_path, **CHEAP)
    for name in ("tokenize", "sft", "evaluate"):
        ended = command(
            name, config, "tokenizer.method=balanced_rqkmeans", "tokenizer.collisions=extra_level"
        )
        assert ended.status == 0, ended.err
    metrics = json.loads((tmp_path / "run" / "evaluate" / "sft" / "metrics.json").read_text())
    assert metrics["invalid_items"] == 0


def test_colliding_items_get_a_number_where_a_level_is_added(tmp_path: Path) -> None:
    index = index_of(tmp_path, COLLIDING)
    ids, metrics = tokenized(
        tmp_path, "tokenizer.method=import", f"tokenizer.index={index}", "tokenizer.collisions=extra_level"
    )
    assert ids.codes[:, :2].tolist() == COLLIDING
    assert ids.codes[:, 2].tolist() == [0, 1, 0, 1, 2, *[0] * (toy.NUM_ITEMS - 5)]
    assert ids.codebook_sizes[2] == 3
    # 24 items with 21 distinct IDs
    assert metrics["collision_rate_before"] == pytest.approx(3 / 24)
    assert metrics["collision_rate_after"] == 0
    assert metrics["items_moved"] == 0


def test_collisions_can_be_kept(tmp_path: Path, command: Command) -> None:
    """Item-level metrics count them honestly; `recommend` still returns items, those of a leaf in order."""
    index = index_of(tmp_path, COLLIDING)
    options = ["tokenizer.method=import", f"tokenizer.index={index}", "tokenizer.collisions=keep"]
    ids, metrics = tokenized(tmp_path, *options)
    assert ids.codes.tolist() == COLLIDING
    assert metrics["collision_rate_after"] == pytest.approx(3 / 24)
    config = tmp_path / "config.yaml"
    for name in ("sft", "evaluate"):
        assert command(name, config, *options).status == 0
    found = command("recommend", tmp_path / "run", "--history", "i05", "-k", "24", "--json")
    order = [each["item_id"] for each in json.loads(found.out)]
    assert sorted(order) == toy.items()["item_id"].tolist()
    assert order.index("i01") == order.index("i00") + 1
    assert order.index("i04") == order.index("i02") + 2


def test_imported_codes_are_made_unique_by_moving_few(tmp_path: Path) -> None:
    index = index_of(tmp_path, COLLIDING)
    ids, metrics = tokenized(tmp_path, "tokenizer.method=import", f"tokenizer.index={index}")
    assert ids.collision_rate == 0
    moved = (ids.codes != np.array(COLLIDING)).any(axis=1)
    assert moved.sum() == metrics["items_moved"] == 3  # of each group one stays
    assert not moved[5:].any()


@pytest.mark.parametrize("form", ["json", "csv", "tsv", "parquet", "lists", "ours"])
def test_codes_are_read_from_every_form(tmp_path: Path, form: str) -> None:
    item_ids, rows = ["007", "b", "c"], [[0, 3], [2, 1], [0, 3]]
    table = pd.DataFrame(rows, columns=["first", "second"])
    table.insert(0, "item_id", item_ids)
    path = tmp_path / {"lists": "codes.parquet", "ours": "codes.parquet"}.get(form, f"codes.{form}")
    if form == "json":
        SemanticIDs(item_ids, np.array(rows), (3, 4)).write_index(path)
    elif form == "ours":
        SemanticIDs(item_ids, np.array(rows), (3, 4)).save(path)
    elif form == "lists":
        pd.DataFrame({"item_id": item_ids, "codes": rows}).to_parquet(path)
    elif form == "parquet":
        table.to_parquet(path)
    else:
        table.to_csv(path, index=False, sep="\t" if form == "tsv" else ",")
    found = read_codes(path)
    assert found.item_ids == item_ids
    assert found.codes.tolist() == rows
    assert found.codebook_sizes == (3, 4)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("codes.txt", "", "none of the tables of codes"),
        ("codes.csv", "a,b\n1,2\n", "needs a column item_id"),
        ("codes.csv", "item_id\n1\n", "needs a column item_id and one of codes"),
        (
            "codes.csv",
            "item_id,a\nx,1\ny,\n",
            'column a must hold an integer for every item; item "y" has nan',
        ),
        ("codes.csv", "item_id,a\nx,1\ny,two\n", 'column a must hold an integer for every item; item "y"'),
        ("codes.csv", "item_id,a\nx,1\ny,-3\n", 'item "y" has a code below 0'),
        ("codes.csv", "item_id,a\nx,1\nx,2\n", 'Item id "x" has more than one semantic ID'),
        ("codes.csv", 'item_id,a\n"x,1\n', "cannot be read as a table"),
        ("codes.parquet", "text", "is not a Parquet file"),
        ("codes.json", '{"x": ["<a_1>"], "y": ["<a_1>", "<b_2>"]}', "has another number of codes"),
        ("codes.json", '{"x": ["<b_1>"]}', "is of another level"),
    ],
)
def test_broken_tables_are_refused(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=message):
        read_codes(tmp_path / name)


def test_lists_of_unequal_length_are_refused(tmp_path: Path) -> None:
    pd.DataFrame({"item_id": ["x", "y"], "codes": [[1], [1, 2]]}).to_parquet(tmp_path / "codes.parquet")
    with pytest.raises(ValueError, match="must hold a list of one length for every item"):
        read_codes(tmp_path / "codes.parquet")
    pd.DataFrame({"item_id": ["x"], "codes": [[0.5]]}).to_parquet(tmp_path / "codes.parquet")
    with pytest.raises(ValueError, match='codes are integers; those of item "x" are'):
        read_codes(tmp_path / "codes.parquet")
    with pytest.raises(ValueError, match="there is no such file"):
        read_codes(tmp_path / "absent.csv")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["tokenizer.method=import"], "tokenizer.index and tokenizer.method=import go together"),
        (["tokenizer.index=x.json"], "tokenizer.index and tokenizer.method=import go together"),
        (
            ["tokenizer.method=import", "tokenizer.index=absent.json"],
            "tokenizer.index: absent.json: there is no",
        ),
        (["tokenizer.method=kmeans"], "tokenizer.method"),
    ],
)
def test_bad_settings_end_in_a_sentence(
    tmp_path: Path, command: Command, options: list[str], message: str
) -> None:
    ended = command("tokenize", toy.write(tmp_path), *options)
    assert ended.status == 2
    assert message in ended.err
    assert not (tmp_path / "run" / "tokenize").exists()


def test_an_index_of_other_items_is_refused(tmp_path: Path, command: Command) -> None:
    names = [*toy.items()["item_id"].tolist()[:-1], "stranger"]
    index = index_of(tmp_path, COLLIDING, names)
    ended = command("tokenize", toy.write(tmp_path), "tokenizer.method=import", f"tokenizer.index={index}")
    assert ended.status == 2
    assert '1 items that only the catalogue has (such as "i23")' in ended.err
    assert '1 items that only the index has (such as "stranger")' in ended.err


def test_another_index_is_another_result(tmp_path: Path) -> None:
    index = index_of(tmp_path, COLLIDING)
    options = ["tokenizer.method=import", f"tokenizer.index={index}", "tokenizer.collisions=keep"]
    first, _ = tokenized(tmp_path, *options)
    index_of(tmp_path, COLLIDING[::-1])
    second, _ = tokenized(tmp_path, *options)
    assert second.codes.tolist() == first.codes.tolist()[::-1]


def test_a_level_is_added_in_the_order_of_rows() -> None:
    assert add_level(np.array([[1, 1], [0, 0], [1, 1]])).tolist() == [[1, 1, 0], [0, 0, 0], [1, 1, 1]]


def test_mean_codebooks_are_means_of_residuals() -> None:
    """Level 0: code 0 has latents 1 and 3, mean 2; code 1 has 10. Level 1: residuals -1, 1, 0."""
    books = mean_codebooks(np.array([[0, 0], [0, 1], [1, 2]]), np.array([[1.0], [3.0], [10.0]]), (2, 4))
    assert books[0].tolist() == [[2.0], [10.0]]
    assert books[1].tolist() == [[-1.0], [1.0], [0.0], [0.0]]


@pytest.mark.skipif(
    not (DATA / "minionerec-industrial").exists(), reason="data/minionerec-industrial is not linked"
)
def test_minionerecs_released_index_is_collapsed() -> None:
    """Known: 3,686 items, 3,670 distinct SIDs, 48 of 256 codes at the first level."""
    table = read_codes(DATA / "minionerec-industrial" / "index" / "Industrial_and_Scientific.index.json")
    assert len(table) == 3686
    assert len(np.unique(table.codes, axis=0)) == 3670
    assert [len(np.unique(level)) for level in table.codes.T] == [48, 256, 256]


@pytest.mark.skipif(not (DATA / "scientific").exists(), reason="data/scientific is not linked")
@pytest.mark.parametrize("name", ["rkmeans_native", "rkmeans_zcr", "rqvae_native", "rqvae_zcr"])
def test_the_foreign_tables_of_scientific_are_read(name: str) -> None:
    table = read_codes(DATA / "scientific" / "indexes" / name / "Scientific.index.json")
    assert len(table) == 4344
    assert table.codes.shape[1] in (3, 4)
