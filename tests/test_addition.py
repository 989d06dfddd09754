"""New items in a run that is trained: semantic IDs of their own, recommended, and nothing else changes."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import toy
from conftest import Ended

import sidrec
from sidrec import Catalog, Recommender
from sidrec.artifacts import Stage
from sidrec.config import load_config
from sidrec.errors import ArtifactError, CatalogError, ConfigError, SidrecError
from sidrec.generations import open_generation
from sidrec.inspection import inspect_generations
from sidrec.sid_model import SIDModel
from sidrec.stages.pipeline import run
from tokenizer.foreign import read_codes
from tokenizer.model_file import open_model
from tokenizer.semantic_ids import SemanticIDs

REPO = Path(__file__).parents[1]
Command = Callable[..., Ended]
OLD = [f"i{n:02d}" for n in range(toy.NUM_ITEMS)]


def like(**twins: int) -> pd.DataFrame:
    """New items, each with the words of an old one, by its number."""
    return toy.items().iloc[list(twins.values())].assign(item_id=list(twins)).reset_index(drop=True)


def ids(found: list) -> list[str]:
    return [each.item_id for each in found]


@pytest.fixture
def trained(toy_run: Path, tmp_path: Path) -> Path:
    """A copy of the toy run that a test may add to."""
    toy.copy(toy_run, tmp_path, without=("cache", "sequential", "baselines", "evaluate"))
    return tmp_path / "run"


def encoded(output: Path) -> list[list[int]]:
    """The codes that the items of a run would have if nobody else had them."""
    vectors = np.load(output / "tokenize" / "embeddings.npy")
    return open_model(output / "tokenize" / "tokenizer.safetensors").encode(vectors).tolist()


def tokenized(folder: Path, *settings: str) -> Path:
    config = load_config(toy.write(folder, tokenizer={"epochs": 2}), list(settings))
    sidrec.tokenize(config)
    return config.output


# Items that are there


def test_items_that_are_there_keep_rows_ids_titles_and_texts(trained: Path) -> None:
    before = SemanticIDs.load(trained / "tokenize" / "semantic_ids.parquet")
    items = pd.read_parquet(trained / "catalog" / "items.parquet")
    made = sidrec.add_items(trained, like(new=4, newer=4, newest=9))
    after = SemanticIDs.load(trained / "generations" / "2" / "semantic_ids.parquet")
    assert after.sha256 == made.generation.semantic_ids.sha256
    assert after.item_ids == [*OLD, "new", "newer", "newest"]
    assert (after.codes[:24] == before.codes).all()
    assert after.codebook_sizes == before.codebook_sizes
    table = pd.read_parquet(made.generation.directory / "items.parquet")
    pd.testing.assert_frame_equal(table[:24], items)
    assert table[24:]["title"].tolist() == [items["title"][n] for n in (4, 4, 9)]
    assert table[24:]["text"].tolist() == [items["text"][n] for n in (4, 4, 9)]


def test_no_file_that_was_there_is_touched(trained: Path) -> None:
    before = toy.contents(trained)
    sidrec.add_items(trained, like(new=4))
    sidrec.add_items(trained, retire=["i05"])
    after = toy.contents(trained)
    assert {name: after[name] for name in before} == before
    assert {Path(name).parts[0] for name in set(after) - set(before)} <= {"generations", "cache"}


def test_a_recommender_takes_new_items_and_knows_them_at_once(trained: Path) -> None:
    before = Recommender.from_pretrained(trained)
    after = before.add_items(like(new=4), retire=["i05"])
    assert "new" in ids(after.recommend(["i03"], k=24))
    assert "i05" not in ids(after.recommend(["i03"], k=24))
    assert "new" not in ids(before.recommend(["i03"], k=24))
    assert sorted(ids(after.similar_items("new", k=23))) == [item for item in OLD if item != "i05"]
    assert after.explain(["i03"], "new").title == like(new=4)["title"][0]
    with pytest.raises(SidrecError, match='"i05" is retired: it is not recommended'):
        after.explain(["i03"], "i05")


def test_a_recommender_without_a_run_takes_no_items(trained: Path) -> None:
    found = Recommender.from_pretrained(trained)
    with pytest.raises(SidrecError, match="This recommender was not loaded from a run"):
        Recommender(found._sid_model, found._titles).add_items(like(new=4))


def test_stages_go_on_with_the_items_they_were_made_from(
    toy_run: Path, tmp_path: Path, command: Command
) -> None:
    path = toy.copy(toy_run, tmp_path)
    sidrec.add_items(tmp_path / "run", like(new=4), retire=["i05"])
    before = toy.contents(tmp_path / "run")
    run(load_config(path))
    assert toy.contents(tmp_path / "run") == before
    shutil.rmtree(tmp_path / "run" / "evaluate")
    assert command("evaluate", path).status == 0
    for name in ("evaluate/sft/predictions.parquet", "evaluate/rl/predictions.parquet"):
        assert pd.read_parquet(tmp_path / "run" / name).equals(pd.read_parquet(toy_run / name))


# New items


def test_new_items_get_semantic_ids_that_nobody_has_and_the_index_names_them(trained: Path) -> None:
    made = sidrec.add_items(trained, like(**{f"new{n}": n % 24 for n in range(30)}))
    table = made.generation.semantic_ids
    assert table.collision_rate == 0
    assert len(table) == 54
    index = SemanticIDs.read_index(made.generation.directory / "index.json", codebook_sizes=(4, 4, 4))
    assert index.sha256 == table.sha256
    # 30 twins of 24 items, whose codes are taken: each moves, or leaves its prefix.
    assert sorted(made.moved + made.left_prefix) == sorted(made.added)
    own, codes = encoded(trained), dict(zip(table.item_ids, table.codes.tolist(), strict=True))
    assert made.moved
    assert made.left_prefix
    assert all(codes[item][:2] == own[int(item[3:]) % 24][:2] for item in made.moved)
    assert all(codes[item][:2] != own[int(item[3:]) % 24][:2] for item in made.left_prefix)


def test_a_model_trained_before_recommends_new_items_where_their_prefix_is_likely(trained: Path) -> None:
    """Item n follows n - 2 and n - 1, and so should its twin, where there is room for it in n's prefix."""
    made = sidrec.add_items(trained, like(**{f"twin{n}": n for n in range(24)}))
    prefixes = made.generation.semantic_ids.codes[:, :2]
    near = [n for n in range(24) if (prefixes[n] == prefixes[24 + n]).all()]
    assert len(near) >= 5
    histories = [[OLD[n - 2], OLD[n - 1]] for n in near]
    found = [ids(each) for each in Recommender.from_pretrained(trained).recommend(histories, k=48)]
    assert all(sorted(each) == sorted([*OLD, *made.added]) for each in found)
    places = np.array([[each.index(f"twin{n}") for n in near] for each in found])  # (histories, twins)
    of_its_own = np.eye(len(near), dtype=bool)
    assert places[of_its_own].mean() < 5
    assert places[~of_its_own].mean() > 15


def test_a_new_item_has_its_title_and_may_stand_in_a_history(trained: Path) -> None:
    sidrec.add_items(trained, like(new=4))
    recommender = Recommender.from_pretrained(trained)
    found = recommender.recommend(["new"], k=25)
    assert next(each.title for each in found if each.item_id == "new") == toy.items()["title"][4]
    assert "new" not in ids(recommender.recommend(["i03", "new"], k=23, exclude_history=True))


@pytest.mark.parametrize("stage", ["sft", "rl"])
def test_a_model_directory_finds_the_items_of_its_run(trained: Path, stage: str) -> None:
    sidrec.add_items(trained, like(new=4))
    assert "new" in ids(Recommender.from_pretrained(trained / stage).recommend(["i03"], k=25))


def test_a_model_directory_is_found_its_items_from_inside(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sidrec.add_items(trained, like(new=4))
    monkeypatch.chdir(trained / "sft")
    assert "new" in ids(Recommender.from_pretrained(".").recommend(["i03"], k=25))


def test_a_model_directory_copied_elsewhere_has_the_items_of_its_training(
    trained: Path, tmp_path: Path
) -> None:
    sidrec.add_items(trained, like(new=4))
    shutil.copytree(trained / "rl", tmp_path / "elsewhere" / "rl")
    alone = Recommender.from_pretrained(tmp_path / "elsewhere" / "rl")
    assert sorted(ids(alone.recommend(["i03"], k=24))) == OLD


def test_an_older_generation_can_be_opened_and_recommends_as_before(trained: Path, toy_run: Path) -> None:
    expected = Recommender.from_pretrained(toy_run).recommend(["i03"], k=24)
    sidrec.add_items(trained, like(new=4))
    sidrec.add_items(trained, like(newer=9), retire=["i05"])
    assert Recommender.from_pretrained(trained, generation=1).recommend(["i03"], k=24) == expected
    second = ids(Recommender.from_pretrained(trained, generation=2).recommend(["i03"], k=25))
    assert sorted(second) == sorted([*OLD, "new"])
    third = ids(Recommender.from_pretrained(trained).recommend(["i03"], k=25))
    assert sorted(third) == sorted({*OLD, "new", "newer"} - {"i05"})
    with pytest.raises(ArtifactError, match=r"has no generation 4 of items beside it. There are: 1, 2, 3\."):
        Recommender.from_pretrained(trained, generation=4)


def test_a_generation_counts_what_it_did(trained: Path) -> None:
    sidrec.add_items(trained, like(new=4, newer=4))
    made = sidrec.add_items(trained, like(newest=9), retire=["i05", "new"])
    metrics = json.loads((made.generation.directory / "metrics.json").read_text())
    assert {key: metrics[key] for key in ("generation", "items", "added", "retired", "retired_in_all")} == {
        "generation": 3,
        "items": 27,
        "added": 1,
        "retired": 2,
        "retired_in_all": 2,
    }
    assert metrics["collision_rate"] == 0
    assert (metrics["moved"], metrics["left_prefix"]) == (len(made.moved), made.left_prefix)
    assert (made.added, made.retired) == (["newest"], ["i05", "new"])


# Retired items


@pytest.mark.parametrize("ranking", ["beam", "exact"])
def test_a_retired_item_is_not_found_and_the_others_keep_their_scores(trained: Path, ranking: str) -> None:
    before = SIDModel.load(trained / "rl").rank([[2, 3]], num_beams=24, ranking=ranking)
    best = before.items[0, :2].tolist()
    sidrec.add_items(trained, retire=[OLD[item] for item in best])
    after = SIDModel.load(trained / "rl").rank([[2, 3]], num_beams=24, ranking=ranking)
    assert after.items[0].tolist() == before.items[0, 2:].tolist()
    assert after.scores[0].tolist() == pytest.approx(before.scores[0, 2:].tolist(), abs=1e-5)


def test_a_retired_item_may_stand_in_a_history(trained: Path) -> None:
    before = [each.score for each in Recommender.from_pretrained(trained).recommend(["i05"], k=24)]
    sidrec.add_items(trained, retire=["i05"])
    found = Recommender.from_pretrained(trained).recommend(["i05"], k=23)
    assert sorted(ids(found)) == [item for item in OLD if item != "i05"]
    assert all(min(abs(each.score - score) for score in before) < 1e-5 for each in found)


def test_a_list_is_no_longer_than_the_items_that_are_not_retired(trained: Path) -> None:
    sidrec.add_items(trained, retire=["i05", "i06"])
    recommender = Recommender.from_pretrained(trained)
    with pytest.raises(
        SidrecError, match=r"k is 23, but the catalogue has 22 items that are not retired\. Ask for 1 to 22\."
    ):
        recommender.recommend(["i03"], k=23)
    # Of the history only i03 could be recommended.
    assert len(recommender.recommend(["i05", "i03"], k=21, exclude_history=True)) == 21
    with pytest.raises(SidrecError, match=r"without the 1 of the history\. Ask for 1 to 21\."):
        recommender.recommend(["i05", "i03"], k=22, exclude_history=True)


def test_the_semantic_id_of_a_retired_item_is_not_given_away(trained: Path) -> None:
    sidrec.add_items(trained, retire=OLD[:12])
    made = sidrec.add_items(trained, like(**{f"new{n}": n for n in range(12)}))
    assert made.generation.semantic_ids.collision_rate == 0
    assert made.generation.retired == tuple(OLD[:12])


@pytest.mark.parametrize("name", ["gone.txt", "gone.csv", "gone.parquet", "gone"])
def test_items_to_retire_may_be_a_table_or_lines(trained: Path, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name.endswith(("csv", "parquet")):
        table = toy.items().iloc[5:7]
        table.to_csv(path, index=False) if name.endswith("csv") else table.to_parquet(path)
    else:
        path.write_text("i05\n\n  i06 \ni05\n")
    assert sidrec.add_items(trained, retire=path).retired == ["i05", "i06"]


@pytest.mark.parametrize(
    ("retire", "message"),
    [
        (
            ["i05", "i0x"],
            r'retire: 1 of 2 items are not in the catalogue: "i0x"\. Did you mean "i\d\d"\? Retire',
        ),
        (["i04"], r'retire: 1 of 1 items are retired already: "i04"\. Remove them'),
        (OLD[:4] + OLD[5:], r"Retiring 23 items would leave none to recommend"),
    ],
)
def test_what_cannot_be_retired_is_named(trained: Path, retire: list[str], message: str) -> None:
    sidrec.add_items(trained, retire=["i04"])
    before = toy.contents(trained)
    with pytest.raises(SidrecError, match=message):
        sidrec.add_items(trained, retire=retire)
    assert toy.contents(trained) == before


# Ways of tokenizing


@pytest.mark.parametrize(
    "method", ["rqkmeans", "balanced_rqkmeans", "rqkmeans_plus", "opq", "letter", "hybrid"]
)
def test_items_are_added_to_a_run_of_any_method(tmp_path: Path, method: str) -> None:
    output = tokenized(tmp_path, f"tokenizer.method={method}")
    made = sidrec.add_items(output, like(new=4, newer=9))
    assert made.generation.semantic_ids.collision_rate == 0


def test_new_items_of_a_run_with_its_own_vectors_bring_theirs(tmp_path: Path, command: Command) -> None:
    rng = np.random.default_rng(0)
    np.save(tmp_path / "own.npy", rng.normal(size=(24, 6)))
    path = f"embedding.path={tmp_path / 'own.npy'}"
    output = tokenized(tmp_path, path, "tokenizer.method=rqkmeans", "tokenizer.codebook_sizes=[4,64]")
    vectors = rng.normal(size=(2, 6))
    np.save(tmp_path / "new.npy", vectors)
    like(new=4, newer=4).to_csv(tmp_path / "new.csv", index=False)
    ended = command("add-items", output, "--items", tmp_path / "new.csv", "--vectors", tmp_path / "new.npy")
    assert (ended.status, ended.out.splitlines()[0]) == (0, "items added: 2")
    table = open_generation(output / "tokenize").semantic_ids
    own = open_model(output / "tokenize" / "tokenizer.safetensors").encode(vectors)
    assert table.codes[24:, 0].tolist() == own[:, 0].tolist()
    assert ended.out.endswith(f"Try: sidrec inspect {output}\n")


def imported(folder: Path, rows: list[list[int]], collisions: str) -> Path:
    folder.mkdir(exist_ok=True)
    SemanticIDs(OLD, np.array(rows), (3, 8)).write_index(folder / "index.json")
    return tokenized(
        folder,
        "tokenizer.method=import",
        f"tokenizer.index={folder / 'index.json'}",
        f"tokenizer.collisions={collisions}",
    )


UNIQUE = [[n // 8, n % 8] for n in range(24)]


def test_items_are_added_to_imported_semantic_ids(tmp_path: Path) -> None:
    SemanticIDs(OLD, np.array([[a, b + 1] for a, b in UNIQUE]), (3, 9)).write_index(tmp_path / "index.json")
    output = tokenized(tmp_path, "tokenizer.method=import", f"tokenizer.index={tmp_path / 'index.json'}")
    made = sidrec.add_items(output, like(new=4))
    assert made.generation.semantic_ids.collision_rate == 0
    assert read_codes(made.generation.directory / "index.json").item_ids == [*OLD, "new"]


def test_imported_semantic_ids_of_an_earlier_version_are_to_be_imported_again(tmp_path: Path) -> None:
    """It kept nothing that could encode a new item."""
    output = imported(tmp_path, UNIQUE, "reassign")
    (output / "tokenize" / "tokenizer.safetensors").unlink()
    manifest = json.loads((output / "tokenize" / "manifest.json").read_text())
    del manifest["outputs"]["tokenizer.safetensors"]
    (output / "tokenize" / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(
        ArtifactError, match=r"There is no .*tokenizer\.safetensors, .* rerun: sidrec tokenize"
    ):
        sidrec.add_items(output, like(new=4))


def test_vectors_of_another_width_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "own.npy", np.random.default_rng(0).normal(size=(24, 6)))
    output = tokenized(tmp_path, f"embedding.path={tmp_path / 'own.npy'}", "tokenizer.method=rqkmeans")
    np.save(tmp_path / "new.npy", np.ones((1, 5)))
    with pytest.raises(SidrecError, match=r"6.*5|5.*6"):
        sidrec.add_items(output, like(new=4), vectors=tmp_path / "new.npy")
    assert not (output / "generations").exists()


def test_kept_collisions_may_become_more(tmp_path: Path) -> None:
    output = imported(tmp_path, [[n // 8, n % 8 // 2] for n in range(24)], "keep")
    made = sidrec.add_items(output, like(new=4, newer=4))
    codes = made.generation.semantic_ids.codes
    assert (codes[24] == codes[25]).all()
    assert (made.moved, made.left_prefix) == ([], [])


def test_a_level_that_numbers_items_goes_on_counting(tmp_path: Path) -> None:
    """Items 0 to 2 share codes; a third level numbers them, and the last one of a pair is free elsewhere."""
    rows = [[0, 0]] * 3 + [[1, n % 8] for n in range(3, 11)] + [[2, n % 8] for n in range(11, 19)]
    rows += [[0, n - 18] for n in range(19, 24)]
    output = imported(tmp_path, rows, "extra_level")
    there = SemanticIDs.load(output / "tokenize" / "semantic_ids.parquet")
    assert there.codebook_sizes == (3, 8, 3)
    made = sidrec.add_items(output, like(new=20, newer=20))
    table = made.generation.semantic_ids
    assert table.collision_rate == 0
    first, second = table.codes[24:].tolist()
    taken = [code[2] for code in there.codes.tolist() if code[:2] == first[:2]]
    assert first[:2] == second[:2]
    assert [first[2], second[2]] == [n for n in range(3) if n not in taken][:2]


@pytest.mark.parametrize("method", ["random", "shuffled"])
def test_controls_take_no_new_items_but_may_lose_some(tmp_path: Path, method: str) -> None:
    output = tokenized(tmp_path, f"tokenizer.method={method}")
    with pytest.raises(ConfigError, match=rf"was made with tokenizer\.method={method}, a control: its"):
        sidrec.add_items(output, like(new=4))
    assert sidrec.add_items(output, retire=["i04"]).retired == ["i04"]


def test_a_code_space_that_is_full_is_named(tmp_path: Path) -> None:
    output = tokenized(tmp_path, "tokenizer.codebook_sizes=[5,5]")
    with pytest.raises(ConfigError, match=r"2 new items cannot have .* of the 25 of .* only 1 are free"):
        sidrec.add_items(output, like(new=4, newer=9))
    assert not (output / "generations").exists()


# Tables of new items


def test_a_file_is_read_as_the_items_of_the_config_were(trained: Path, tmp_path: Path) -> None:
    like(new=4).to_json(tmp_path / "new.jsonl.gz", orient="records", lines=True)
    made = sidrec.add_items(trained, tmp_path / "new.jsonl.gz")
    assert made.added == ["new"]
    manifest = json.loads((made.generation.directory / "manifest.json").read_text())
    assert set(manifest["inputs"]) == {"semantic_ids", "retired_before", "items"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda items: items.drop(columns="description"),
            r'"\{description\}" names a column that items does not',
        ),
        (lambda items: items.drop(columns="item_id"), r'items has no column "item_id"'),
        (lambda items: items.assign(item_id="same"), r'the item_id "same" is in data rows 1 and 2'),
        (
            lambda items: items.assign(item_id=["i07", "new"]),
            r'1 of 2 items are in the catalogue already: "i07"',
        ),
        (lambda items: items[:0], "items has no rows"),
    ],
)
def test_a_table_that_cannot_be_added_is_refused_and_changes_nothing(
    trained: Path, change: Callable[[pd.DataFrame], pd.DataFrame], message: str
) -> None:
    before = toy.contents(trained)
    with pytest.raises(CatalogError, match=message):
        sidrec.add_items(trained, change(like(new=4, newer=9)))
    assert toy.contents(trained) == before


def test_items_are_not_added_twice(trained: Path) -> None:
    sidrec.add_items(trained, like(new=4))
    with pytest.raises(
        CatalogError,
        match=r'1 of 2 items are in the catalogue already: "new"\. Remove them from the table: an item '
        "keeps the semantic ID it has",
    ):
        sidrec.add_items(trained, like(new=4, newer=9))
    assert open_generation(trained / "tokenize").number == 2


def test_a_retired_item_does_not_come_back(trained: Path) -> None:
    sidrec.add_items(trained, retire=["i04"])
    with pytest.raises(CatalogError, match=r'"i04" is retired, and ids do not come back: give that item ano'):
        sidrec.add_items(trained, like(i04=4))


def test_without_a_template_texts_are_made_of_the_columns_of_the_catalogue(tmp_path: Path) -> None:
    """A lone new title may be a number, and a column that the catalogue lacks says nothing."""
    output = tokenized(tmp_path, "catalog.text=null")
    new = like(new=4).assign(title="1984", shop="Berlin")
    made = sidrec.add_items(output, new)
    row = pd.read_parquet(made.generation.directory / "items.parquet").iloc[-1]
    assert row["text"] == f"1984. {new['description'][0]}"
    assert "shop" not in row
    with pytest.raises(
        CatalogError, match=r'items has no column "description", of which the texts in the cat'
    ):
        sidrec.add_items(output, like(newer=4).drop(columns="description"))
    with pytest.raises(CatalogError, match=r'items has no column "description", of which'):
        sidrec.add_items(output, pd.DataFrame({"item_id": ["newer"]}))


def test_a_catalogue_from_python_asks_for_texts(tmp_path: Path) -> None:
    config = load_config(None, [f"output={tmp_path}", "tokenizer.codebook_sizes=[8,8]", "tokenizer.epochs=1"])
    sidrec.tokenize(config, catalog=Catalog(toy.items(), toy.interactions(), text="{title}!"))
    with pytest.raises(
        CatalogError, match=r'items has no column "text"\. The run was made from tables in Py'
    ):
        sidrec.add_items(tmp_path, like(new=4))
    made = sidrec.add_items(tmp_path, pd.DataFrame({"item_id": ["new"], "text": ["Blue lamp!"]}))
    assert pd.read_parquet(made.generation.directory / "items.parquet")["title"].iloc[-1] == "Blue lamp!"


def test_nothing_to_do_is_an_error(trained: Path) -> None:
    with pytest.raises(ConfigError, match=r"There is nothing to do\. Give new items \(--items FILE\)"):
        sidrec.add_items(trained, retire=[])
    with pytest.raises(ConfigError, match="--vectors are those of new items, and there are none"):
        sidrec.add_items(trained, retire=["i05"], vectors="new.npy")


def test_a_run_without_semantic_ids_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"holds no finished stage\. Run first: sidrec tokenize"):
        sidrec.add_items(tmp_path, like(new=4))


# Whole or not at all


def test_killed_while_writing_there_is_no_new_generation(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(SemanticIDs, "write_index", killed)
        with pytest.raises(KeyboardInterrupt):
            sidrec.add_items(trained, like(new=4))
    assert sorted(ids(Recommender.from_pretrained(trained).recommend(["i03"], k=24))) == OLD
    made = sidrec.add_items(trained, like(newer=9))
    assert made.generation.number == 2
    assert [path.name for path in (trained / "generations").iterdir()] == ["2"]


def test_killed_just_before_the_rename_the_generation_is_not_lost(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is whole: the next command puts it into its place, and says so rather than take its number."""

    def killed(_: Stage) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Stage, "_swap", killed)
        with pytest.raises(KeyboardInterrupt):
            sidrec.add_items(trained, like(first=4))
    assert open_generation(trained / "tokenize").number == 1
    with pytest.raises(ArtifactError, match=r"generations/2 has come to be while this was at work"):
        sidrec.add_items(trained, like(second=9))
    made = sidrec.add_items(trained, like(second=9))
    assert made.generation.semantic_ids.item_ids[24:] == ["first", "second"]


def test_two_at_the_same_time_do_not_replace_each_other(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = Stage.begin

    def begin_late(self: Stage) -> Path:
        monkeypatch.setattr(Stage, "begin", begin)
        sidrec.add_items(trained, like(first=4))
        return begin(self)

    monkeypatch.setattr(Stage, "begin", begin_late)
    with pytest.raises(ArtifactError, match=r"generations/2 has come to be while this was at work\. Nothing"):
        sidrec.add_items(trained, like(second=4))
    assert open_generation(trained / "tokenize").semantic_ids.item_ids[24:] == ["first"]
    assert [path.name for path in (trained / "generations").iterdir()] == ["2"]


def test_generations_of_other_semantic_ids_are_refused_with_both_hashes(
    trained: Path, tmp_path: Path
) -> None:
    other = tokenized(tmp_path / "other", "seed=1")
    sidrec.add_items(other, like(new=4))
    shutil.copytree(other / "generations", trained / "generations")
    message = (
        rf"^{trained}/generations/2 adds items to other semantic IDs \(sha256 (\w{{8}})\) than {trained}/rl "
        rf"has \((\w{{8}})\)\. Delete {trained}/generations, and add the items again: sidrec add-items"
    )
    with pytest.raises(ArtifactError, match=message) as refused:
        Recommender.from_pretrained(trained)
    first, second = re.match(message, str(refused.value)).groups()
    assert first == SemanticIDs.load(other / "tokenize" / "semantic_ids.parquet").sha256[:8]
    assert second == SemanticIDs.load(trained / "rl" / "semantic_ids.parquet").sha256[:8]
    assert len(Recommender.from_pretrained(trained, generation=1).recommend(["i03"], k=24)) == 24
    with pytest.raises(ArtifactError, match="adds items to other semantic IDs"):
        sidrec.add_items(trained, like(new=4))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("generations/2/retired.json", "retired.json has changed since it was written"),
        ("tokenize/tokenizer.safetensors", "tokenizer.safetensors has changed since it was written"),
    ],
)
def test_a_changed_file_is_refused(trained: Path, name: str, message: str) -> None:
    sidrec.add_items(trained, like(new=4))
    (trained / name).write_bytes((trained / name).read_bytes() + b" ")
    with pytest.raises(ArtifactError, match=message):
        sidrec.add_items(trained, like(newer=9))


# inspect and the command line


def test_inspect_has_a_row_per_generation(trained: Path, command: Command) -> None:
    assert inspect_generations(trained) == []
    sidrec.add_items(trained, like(new=4, newer=9))
    sidrec.add_items(trained, retire=["i05"])
    found = inspect_generations(trained)
    assert [(each.number, each.items, each.added, each.retired) for each in found] == [
        (2, 26, 2, 0),
        (3, 26, 0, 1),
    ]
    assert [each.problems for each in found] == [[], []]
    ended = command("inspect", trained)
    assert ended.status == 0
    lines = ended.out.split("\n\n")[1].splitlines()
    assert lines[0].split()[:4] == ["generation", "items", "added", "retired"]
    assert [line.split()[:4] for line in lines[2:]] == [["2", "26", "2", "0"], ["3", "26", "0", "1"]]
    assert f"semantic_ids {found[0].inputs['semantic_ids'][:8]}" in lines[2]


def test_inspect_names_a_broken_chain(trained: Path, tmp_path: Path, command: Command) -> None:
    for number, name in enumerate(("new", "newer"), start=4):
        sidrec.add_items(trained, like(**{name: number}))
    shutil.copytree(trained, tmp_path / "other", ignore=shutil.ignore_patterns("generations"))
    sidrec.add_items(tmp_path / "other", like(stranger=9))
    shutil.rmtree(trained / "generations" / "2")
    (found,) = inspect_generations(trained)
    assert found.problems == [f"{trained}/generations/3 has no generation 2 before it that can be read."]
    shutil.copytree(tmp_path / "other" / "generations" / "2", trained / "generations" / "2")
    second, third = inspect_generations(trained)
    assert second.problems == []
    assert re.search(
        r"generations/3 was made from other semantic_ids \(sha256 \w{8}\) than .*/2 holds now \(\w{8}\)",
        third.problems[0],
    )
    (trained / "generations" / "2" / "retired.json").write_text("[]\n \n")
    ended = command("inspect", trained)
    assert ended.status == 2
    assert "retired.json has changed since it was written" in ended.err


def test_the_command_says_what_happened_and_what_to_try(
    trained: Path, tmp_path: Path, command: Command
) -> None:
    prefixes = SemanticIDs.load(trained / "tokenize" / "semantic_ids.parquet").codes[:, :2].tolist()
    room = [4 - prefixes.count(codes[:2]) for codes in encoded(trained)]
    item, stay = next((item, free) for item, free in enumerate(room) if 0 < free < 4)
    like(**{f"new{n}": item for n in range(8)}).to_csv(tmp_path / "new.csv", index=False)
    (tmp_path / "gone.txt").write_text("i05\n")
    ended = command("add-items", trained, "--items", tmp_path / "new.csv", "--retire", tmp_path / "gone.txt")
    assert (ended.status, ended.err) == (0, "")
    table = open_generation(trained / "tokenize").semantic_ids
    named = ", ".join(f'"new{n}" is {"".join(table.tokens(24 + n))}' for n in range(stay, stay + 3))
    assert ended.out.splitlines() == [
        "items added: 8",
        f"  with another last code, since theirs was taken: {stay}",
        f"  with another prefix, since theirs is full: {8 - stay} ({named}, ...)",
        "items retired: 1",
        "generation 2: 31 items to recommend",
        f"Try: sidrec recommend {trained} --history new7",
    ]
    found = json.loads(command("recommend", trained, "--history", "new7", "-k", "31", "--json").out)
    assert {each["item_id"] for each in found} == {*table.item_ids} - {"i05"}
    first = json.loads(
        command("recommend", trained, "--history", "i03", "--generation", "1", "-k", "24", "--json").out
    )
    assert sorted(each["item_id"] for each in first) == OLD


def test_the_command_ends_with_status_2_where_a_file_is_missing(trained: Path, command: Command) -> None:
    for option in ("--items", "--retire"):
        ended = command("add-items", trained, option, "none.csv")
        assert ended.status == 2
        assert ended.err.startswith(f"sidrec: {option}: there is no file none.csv.")


@pytest.mark.slow
def test_ten_thousand_items_are_added_to_a_hundred_thousand_in_under_30_seconds() -> None:
    ended = subprocess.run(
        [sys.executable, "scripts/bench_add_items.py", "--codebook-sizes", "256,256,256"],
        cwd=REPO,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    head, row = (line.split() for line in ended.stdout.splitlines()[1:])
    assert float(row[head.index("add")]) < 30
