"""What `inspect` says of the semantic IDs of a run, and of tables that others made."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import toy
from conftest import Ended

import sidrec
from sidrec.config import load_config
from sidrec.errors import ArtifactError
from sidrec.health import assess_run, assess_table
from tokenizer.semantic_ids import SemanticIDs

Command = Callable[..., Ended]
DATA = Path(__file__).parents[1] / "data"
# Items 0 and 1, and items 2, 3 and 4, share an ID.
COLLIDING = [[0, 1], [0, 1], [2, 0], [2, 0], [2, 0], *([3, n] for n in range(toy.NUM_ITEMS - 5))]
ITEM_IDS = toy.items()["item_id"].tolist()


def write_with_shelves(folder: Path) -> Path:
    """Write the toy tables with a column that `catalog.category` can name; return the config's path."""
    config = toy.write(folder, tokenizer={"method": "rqkmeans"})
    items = toy.items()
    items.assign(shelf=["Home > " + name.split()[1] for name in items["title"]]).to_csv(
        folder / "items.csv", index=False
    )
    return config


@pytest.fixture(scope="module")
def tokenized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run up to `tokenize`; tests must not change it."""
    config = load_config(write_with_shelves(tmp_path_factory.mktemp("health")), ["catalog.category=shelf"])
    sidrec.tokenize(config)
    return config.output


def index_of(folder: Path, *, item_ids: list[str] = ITEM_IDS) -> Path:
    SemanticIDs(item_ids, np.array(COLLIDING), (4, 19)).write_index(folder / "theirs.index.json")
    return folder / "theirs.index.json"


def rows_of(out: str) -> dict[str, str]:
    """The table's rows by their figure, what a cell was divided into put together again."""
    rows: dict[str, str] = {}
    for line in out.splitlines():
        if line[:1].isalpha() and line.split()[-1] in ("good", "look", "bad"):
            name, _, rest = line.partition("  ")
            rows[name] = rest.strip()
    return rows


def test_a_run_has_every_figure(tokenized: Path) -> None:
    found = assess_run(tokenized)
    assert found is not None
    assert [name for name, value in found.report.items() if value is None] == ["best_epoch"]
    assert found.report["collisions"] == "reassign"  # how they were resolved
    assert {each.figure for each in found.verdicts()} == {
        "codes used",
        "even use",
        "commonest code",
        "collisions",
        "moved apart",
        "items unique",
        "tree",
        "variance explained",
        "reconstruction",
        "neighbours",
        "one category",
        "tail / head",
    }


def test_events_and_categories_are_those_of_the_catalogue(tokenized: Path, tmp_path: Path) -> None:
    report = assess_table(index_of(tmp_path), run=tokenized).report
    counts = toy.interactions()["item_id"].value_counts()
    share = sum(counts[item] for item in ITEM_IDS[:5]) / len(toy.interactions())
    assert report["collision_groups"]["after"]["events"] == pytest.approx(share)
    # On code 0 two lamps; on code 2 two lamps and a chair; on code 3 3 chairs and 4 of each of 4 others.
    assert report["purity"][0]["purity"] == pytest.approx((2 + 2 + 4) / 24)
    assert set(report["groups"]) == {"head", "mid", "tail"}
    assert sum(group["items"] for group in report["groups"].values()) == toy.NUM_ITEMS


@pytest.mark.parametrize("form", ["json", "csv", "parquet"])
def test_a_foreign_table_in_another_order_has_the_same_report(
    form: str, tokenized: Path, tmp_path: Path
) -> None:
    own = SemanticIDs.load(tokenized / "tokenize" / "semantic_ids.parquet")
    order = np.random.default_rng(0).permutation(len(own))
    table = pd.DataFrame(own.codes[order], columns=["a", "b", "c"])
    table.insert(0, "item_id", [own.item_ids[row] for row in order])
    path = tmp_path / f"theirs.{form}"
    if form == "json":
        SemanticIDs(table["item_id"].tolist(), own.codes[order], own.codebook_sizes).write_index(path)
    elif form == "csv":
        table.to_csv(path, index=False)
    else:
        table.to_parquet(path)
    ours = assess_run(tokenized).report
    theirs = assess_table(path, run=tokenized, codebook_sizes=(4, 4, 4)).report
    for name in ("levels", "levels_explained", "tree", "neighbours", "purity"):
        assert theirs[name] == ours[name]


def test_without_a_run_only_the_codes_are_judged(tmp_path: Path) -> None:
    report = assess_table(index_of(tmp_path)).report
    missing = ("levels_explained", "purity", "neighbours", "explained")
    assert [report[name] for name in missing] == [None] * 4
    assert report["groups"] == {}


def test_items_that_are_not_the_runs_are_named(tokenized: Path, tmp_path: Path) -> None:
    index = index_of(tmp_path, item_ids=[*ITEM_IDS[:-1], "stranger"])
    with pytest.raises(ArtifactError) as raised:
        assess_table(index, run=tokenized)
    assert str(raised.value) == (
        f"{index} is not of the items of {tokenized}: there are 1 items that only the catalogue has (such as "
        '"i23") and 1 items that only the index has (such as "stranger"). Both must name the same.'
    )


def test_a_run_that_lacks_its_vectors_is_refused(tokenized: Path, tmp_path: Path) -> None:
    toy.copy(tokenized, tmp_path, without=("embeddings.npy",))
    with pytest.raises(
        ArtifactError, match=r"There is no .*embeddings\.npy\. Make it again: sidrec tokenize"
    ):
        assess_table(index_of(tmp_path), run=tmp_path / "run")
    path = tmp_path / "run" / "tokenize" / "embeddings.npy"
    path.write_bytes(b"no array")
    with pytest.raises(ArtifactError, match=r"embeddings\.npy cannot be read"):
        assess_table(index_of(tmp_path), run=tmp_path / "run")
    np.save(path, np.ones((3, 2)))
    with pytest.raises(ArtifactError, match=r"has 3 rows, but the catalogue beside it has 24 items"):
        assess_table(index_of(tmp_path), run=tmp_path / "run")


def test_a_run_that_never_was_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"There is no .*nowhere/catalog/items\.parquet"):
        assess_table(index_of(tmp_path), run=tmp_path / "nowhere")


def test_the_report_of_an_earlier_version_is_made_anew(tokenized: Path, tmp_path: Path) -> None:
    toy.copy(tokenized, tmp_path)
    path = tmp_path / "run" / "tokenize" / "metrics.json"
    now = json.loads(path.read_text())
    old = ("method", "items", "levels", "reconstruction_error", "variance", "explained")
    path.write_text(json.dumps({name: now[name] for name in old}))
    again = assess_run(tmp_path / "run").report
    for name in ("levels", "levels_explained", "tree", "neighbours", "purity", "explained"):
        assert again[name] == now[name]


def test_naming_another_category_makes_a_new_report_of_the_same_semantic_ids(tmp_path: Path) -> None:
    config = write_with_shelves(tmp_path)
    reports, hashes = [], []
    for overrides in ([], ["catalog.category=shelf"]):
        directory = sidrec.tokenize(load_config(config, overrides)).directory
        reports.append(json.loads((directory / "metrics.json").read_text()))
        hashes.append(SemanticIDs.load(directory / "semantic_ids.parquet").sha256)
    assert reports[0]["purity"] is None
    assert reports[1]["purity"] is not None
    assert hashes[0] == hashes[1]


def test_a_category_left_to_the_catalogue_does_not_enter_the_settings(tmp_path: Path) -> None:
    """So runs made before there was that setting stay valid."""
    from sidrec.catalog import read_catalog
    from sidrec.stages.tokenization import stage_of

    path = toy.write(tmp_path)
    config, named = load_config(path), load_config(path, ["catalog.category=title"])
    assert "category" not in stage_of(config, read_catalog(config.catalog)).settings
    assert stage_of(named, read_catalog(named.catalog)).settings["category"] == "title"


def test_the_command_judges_a_table(tmp_path: Path, tokenized: Path, command: Command) -> None:
    ended = command("inspect", index_of(tmp_path), "--run", tokenized)
    assert (ended.status, ended.err) == (0, "")
    lines = ended.out.splitlines()
    assert lines[0] == "24 items with 21 distinct semantic IDs of 2 levels"
    assert max(map(len, lines)) <= 100
    rows = rows_of(ended.out)
    assert rows["codes used"].split() == ["3,", "19", "of", "4,", "19", "look"]
    assert rows["collisions"].startswith("rate 12%: 5 items in 2 groups of up to 3; ")
    assert any(line.startswith("collisions (bad): items that share an ID") for line in lines)
    assert lines[-1] == "Use of codes and reconstruction alone do not predict ranking: train, and compare."


def test_the_command_judges_a_run(tokenized: Path, command: Command) -> None:
    ended = command("inspect", tokenized)
    assert ended.status == 0
    assert {"variance explained", "neighbours", "one category", "moved apart"} <= rows_of(ended.out).keys()
    told = ended.out.partition("\n\n")[2].splitlines()
    assert max(map(len, told)) <= 100
    assert len(told) < 30


def no_constant(name: str) -> Any:
    raise AssertionError(f"{name} is no JSON")


def test_json_holds_all_figures_the_verdicts_and_the_caveat(
    tmp_path: Path, tokenized: Path, command: Command
) -> None:
    for arguments in ([tokenized], [index_of(tmp_path)], [index_of(tmp_path), "--run", tokenized]):
        ended = command("inspect", *arguments, "--json")
        report = json.loads(ended.out, parse_constant=no_constant)
        assert report["tree"][0]["prefixes"] == report["levels"][0]["codes_used"]
        assert set(report["verdicts"][0]) == {"figure", "value", "verdict", "advice"}
        assert report["caveat"].startswith("Use of codes and reconstruction alone do not predict")


def test_sizes_can_be_told_where_the_file_does_not(tmp_path: Path, command: Command) -> None:
    ended = command("inspect", index_of(tmp_path), "--codebook-sizes", "16,32")
    assert rows_of(ended.out)["codes used"].startswith("3, 19 of 16, 32")
    assert "collapsed: most codes of level a name no item" in ended.out


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ("4", r"24 items with 1 levels need integer codes"),
        ("4,18", r'Item "i23" has code 18 at level b, whose codes are 0 to 17'),
        ("4,x", r"--codebook-sizes '4,x': expected whole numbers with commas"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(
    sizes: str, message: str, tmp_path: Path, command: Command
) -> None:
    ended = command("inspect", index_of(tmp_path), "--codebook-sizes", sizes)
    assert ended.status == 2
    assert message in ended.err


def test_options_for_a_table_are_refused_for_a_run(tokenized: Path, command: Command) -> None:
    for option in (["--run", tokenized], ["--codebook-sizes", "4,4,4"]):
        ended = command("inspect", tokenized, *option)
        assert ended.status == 2
        assert f"--run and --codebook-sizes are for a table of codes, and {tokenized} is none." in ended.err


def test_the_command_draws(tokenized: Path, tmp_path: Path, command: Command) -> None:
    for path in (tokenized, index_of(tmp_path)):
        figure = tmp_path / "drawn.png"
        assert command("inspect", path, "--figure", figure).status == 0
        assert figure.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
        figure.unlink()
    assert (tokenized / "tokenize" / "health.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_a_figure_that_cannot_be_is_refused(tmp_path: Path, command: Command) -> None:
    index = index_of(tmp_path)
    ended = command("inspect", index, "--figure", tmp_path / "drawn.pdf")
    assert (ended.status, ended.out) == (2, "")
    assert "expected a file name that ends in .png" in ended.err
    ended = command("inspect", index, "--figure", tmp_path / "nowhere" / "drawn.png")
    assert ended.status == 2
    assert "drawn.png cannot be written (No such file or directory)." in ended.err
    (tmp_path / "run" / "sft").mkdir(parents=True)
    ended = command("inspect", tmp_path / "run", "--figure", tmp_path / "drawn.png")
    assert ended.status == 2
    assert "there are no semantic IDs to draw. Run first: sidrec tokenize" in ended.err
    assert not (tmp_path / "drawn.png").exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("broken.json", "{", "is not JSON"),
        ("broken.csv", "item_id,a\nx,1.5\n", 'item "x" has 1.5'),
        ("broken.parquet", "PAR1", "is not a Parquet file"),
        ("missing.json", None, "there is no such file"),
        ("notes.txt", "hello", "is none of the tables of codes"),
    ],
)
def test_what_is_no_table_is_refused(
    name: str, content: str | None, message: str, tmp_path: Path, command: Command
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    ended = command("inspect", tmp_path / name)
    assert (ended.status, ended.out) == (2, "")
    assert message in ended.err


INDUSTRIAL = DATA / "minionerec-industrial" / "index" / "Industrial_and_Scientific.index.json"


@pytest.mark.skipif(not INDUSTRIAL.is_file(), reason="data/minionerec-industrial is not here")
def test_the_known_facts_of_minionerecs_released_index_come_out(command: Command) -> None:
    ended = command("inspect", INDUSTRIAL, "--codebook-sizes", "256,256,256")
    assert ended.out.startswith("3,686 items with 3,670 distinct semantic IDs of 3 levels\n")
    rows = rows_of(ended.out)
    assert " ".join(rows["codes used"].split()) == "48, 256, 256 of 256, 256, 256 bad"
    assert "codes used (bad): collapsed: most codes of level a name no item" in ended.out
    # 1 - 3670 / 3686 = .43%; 16 items too many in 15 groups
    assert rows["collisions"].startswith("rate 0.4%: 31 items in 15 groups of up to 3")


@pytest.mark.parametrize(
    ("name", "distinct", "used"),
    [
        ("rkmeans_native", 3469, [256, 256, 256, 256]),
        ("rkmeans_zcr", 4344, [256, 256, 256, 256]),
        ("rqvae_native", 3790, [32, 256, 256, 256]),
        ("rqvae_zcr", 4344, [10, 249, 239, 250]),
    ],
)
def test_the_scientific_tables_have_their_report(name: str, distinct: int, used: list[int]) -> None:
    path = DATA / "scientific" / "indexes" / name / "Scientific.index.json"
    if not path.is_file():
        pytest.skip("data/scientific is not here")
    found = assess_table(path)
    assert (found.report["items"], found.report["distinct"]) == (4344, distinct)
    assert [level["codes_used"] for level in found.report["levels"]] == used
    collapsed = any("collapsed" in each.advice for each in found.verdicts())
    assert collapsed == (name in ("rqvae_native", "rqvae_zcr"))
