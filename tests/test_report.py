"""`sidrec report`: what stands on the page is what stands in the run, and text is only ever text."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import toy
from conftest import Ended
from html_page import Page

from sidrec.errors import ArtifactError, ConfigError
from sidrec.report import write_report
from sidrec.report.drawings import thinned
from sidrec.report.plots import draw
from sidrec.report.wording import cut, interval

Command = Callable[..., Ended]
SECTIONS = ["summary", "catalogue", "semantic-ids", "training", "recommendations", "errors", "reproduce"]


def page_of(run: Path, to: Path) -> Page:
    return Page(write_report(run, to / "report.html").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def toy_page(toy_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Page:
    return page_of(toy_run, tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def young_page(young_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Page:
    return page_of(young_run, tmp_path_factory.mktemp("report"))


def test_the_page_has_every_section_and_a_link_to_each(toy_page: Page):
    assert [attributes["id"] for tag, attributes in toy_page.tags if tag == "section"] == SECTIONS
    links = [attributes["href"] for tag, attributes in toy_page.tags if tag == "a"]
    assert [f"#{name}" for name in SECTIONS] == links[: len(SECTIONS)]
    assert {link.removeprefix("#") for link in links} <= set(toy_page.attributes("id"))


def test_no_two_elements_share_an_id(toy_page: Page):
    ids = toy_page.attributes("id")
    assert len(ids) == len(set(ids))


def test_the_figures_of_the_table_are_those_of_metrics_json(young_run: Path, young_page: Page):
    directories = {
        **{name: young_run / "baselines" / name for name in ("popularity", "item_knn", "sasrec")},
        **{name: young_run / "evaluate" / name for name in ("sft", "rl")},
    }
    for name, directory in directories.items():
        metrics = json.loads((directory / "metrics.json").read_text())
        cells = young_page.row(name)
        assert cells[1] == interval(metrics["item_level"]["hr@10"])
        assert cells[2] == interval(metrics["item_level"]["ndcg@10"])
        assert cells[-1] == f"{metrics['coverage@10']:.3f}"


def test_a_file_that_has_changed_is_told_in_the_verdict(toy_run: Path, tmp_path: Path):
    toy.copy(toy_run, tmp_path)
    (tmp_path / "run" / "sft" / "history.csv").write_text("step,loss\n1,2.0\n")
    page = page_of(tmp_path / "run", tmp_path)
    assert "not all of the run fits together, so distrust it (Reproduce says what: 1)" in page.text
    assert "history.csv has changed since it was written" in page.text


def test_it_says_what_rl_kept_and_why(toy_page: Page, young_page: Page):
    assert "Kept: rl." in young_page.text
    assert "The interval lies above 0, so the model of RL was kept." in young_page.text
    assert "Kept: sft." in toy_page.text
    assert "RL is not known to be better and its start was kept" in toy_page.text


def test_the_figures_of_training_are_drawn(young_page: Page):
    drawn = young_page.attributes("aria-label")
    for title in ("SFT: loss", "SFT: valid NDCG@10", "RL: mean reward", "RL: dead groups", "RL: reward rule"):
        assert f"{title} by step" in drawn


def test_the_catalogue_says_what_was_read_and_how_it_is_divided(toy_page: Page):
    assert "24 items, 60 users and 360 events" in toy_page.text
    assert "240 train events of 60 users, 60 valid targets, and 60 test targets of 60 users" in toy_page.text
    assert next(row for row in toy_page.rows if row[0].endswith("items.csv"))[1] == "24"
    assert next(row for row in toy_page.rows if row[0].endswith("items.csv"))[2].startswith("CSV, separator")


def test_filters_of_the_catalogue_are_told(tmp_path: Path, toy_run: Path):
    toy.copy(toy_run, tmp_path)
    manifest = tmp_path / "run" / "tokenize" / "manifest.json"
    facts = json.loads(manifest.read_text())
    step = {"name": "min_rating=4", "users": 3, "items": 0, "events": 1234, "left": [60, 24, 360]}
    manifest.write_text(json.dumps(facts | {"catalog": facts["catalog"] | {"filters": [step]}}))
    page = page_of(tmp_path / "run", tmp_path)
    assert page.row("min_rating=4")[1:] == ["3", "0", "1,234", "60, 24, 360"]


@pytest.mark.parametrize(
    ("without", "sentences"),
    [
        (("rl",), ["This run has no finished rl. Train it: sidrec rl CONFIG.yaml"]),
        (("baselines",), ["no baselines to compare slices with", "no users won or lost against one"]),
        (
            ("sft", "rl"),
            ["no finished sft", "no model of this run is evaluated", "only baselines are evaluated"],
        ),
        (("evaluate", "baselines"), ["nothing is evaluated yet", "there are no lists"]),
        (("prompts.json",), ["the search path is not shown: the model of rl is not in this run"]),
        (("predictions.parquet",), ["predictions.parquet cannot be read"]),
        (("history.csv",), ["sft/history.csv is not there", "rl/history.csv is not there"]),
        (("embeddings.npy",), ["there is no map"]),
    ],
)
def test_what_a_run_lacks_is_told_in_a_sentence(
    toy_run: Path, tmp_path: Path, without: tuple[str, ...], sentences: list[str]
):
    toy.copy(toy_run, tmp_path, without=without)
    page = page_of(tmp_path / "run", tmp_path)
    assert [attributes["id"] for tag, attributes in page.tags if tag == "section"] == SECTIONS
    assert [said for said in sentences if said.lower() not in page.text.lower()] == []


def test_results_of_another_split_are_left_out_of_the_comparison(toy_run: Path, tmp_path: Path):
    toy.copy(toy_run, tmp_path)
    path = tmp_path / "run" / "evaluate" / "sft" / "metrics.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"split_sha256": "0" * 64}))
    page = page_of(tmp_path / "run", tmp_path)
    assert "Not compared, since they are of other users or another split: sft." in page.text
    assert page.row("sft")[3] == "not compared"


def test_the_page_asks_nothing_of_the_network(toy_page: Page):
    sources = [*toy_page.attributes("src"), *toy_page.attributes("href"), *toy_page.attributes("xlink:href")]
    assert [each for each in sources if not each.startswith(("#", "data:"))] == []
    assert not re.search(r"@import|url\((?!#|\"?data:)", toy_page.html)
    assert "default-src 'none'" in toy_page.html


def test_the_page_is_small(toy_page: Page):
    assert len(toy_page.html.encode()) < 5_000_000


def test_equal_runs_give_equal_bytes(toy_run: Path, tmp_path: Path):
    first, second = (write_report(toy_run, tmp_path / name).read_bytes() for name in ("a.html", "b.html"))
    assert first == second


def test_the_command_writes_the_file_and_names_it(toy_run: Path, tmp_path: Path, command: Command):
    toy.copy(toy_run, tmp_path)
    done = command("report", tmp_path / "run")
    assert (done.status, done.out.strip()) == (0, str(tmp_path / "run" / "report.html"))
    assert (tmp_path / "run" / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert list(tmp_path.rglob("*.part")) == []


def test_what_is_no_run_is_refused_in_one_sentence(tmp_path: Path, command: Command):
    done = command("report", tmp_path)
    assert done.status == 2
    assert done.err == (
        f"sidrec: {tmp_path} is no run directory: it holds no tokenize. "
        "Run first: sidrec tokenize CONFIG.yaml\n"
    )


def test_a_directory_that_is_not_there_is_refused(tmp_path: Path):
    with pytest.raises(ArtifactError, match=r"nowhere is no directory. Give the output of a run"):
        write_report(tmp_path / "nowhere")


def test_a_run_without_figures_of_its_semantic_ids_is_refused(toy_run: Path, tmp_path: Path):
    toy.copy(toy_run, tmp_path)
    (tmp_path / "run" / "tokenize" / "metrics.json").unlink()
    with pytest.raises(ArtifactError, match=r"tokenize has no metrics.json. Rerun: sidrec tokenize"):
        write_report(tmp_path / "run", tmp_path / "report.html")


def test_another_kind_of_file_is_refused(toy_run: Path, tmp_path: Path):
    with pytest.raises(ConfigError, match=r"--output .*report.pdf: expected a file name that ends in .html"):
        write_report(toy_run, tmp_path / "report.pdf")


def test_a_file_that_cannot_be_written_leaves_nothing_behind(toy_run: Path, tmp_path: Path):
    (tmp_path / "report.html").mkdir()
    with pytest.raises(ConfigError, match=r"--output .*report.html cannot be written \("):
        write_report(toy_run, tmp_path / "report.html")
    assert list(tmp_path.iterdir()) == [tmp_path / "report.html"]


def test_text_of_a_figure_is_text_and_its_colours_are_those_of_the_page():
    svg = str(draw("x", 'a "figure"', lambda axes: axes.set_title("$1 < 2$")))
    assert "$1 &lt; 2$" in svg
    assert "#0a0b" not in svg
    assert "currentColor" in svg
    assert 'aria-label="a &#34;figure&#34;"' in svg
    assert all(each.startswith("x-") for each in re.findall(r'\bid="([^"]*)"', svg))


def test_a_long_curve_is_thinned_and_keeps_its_ends():
    places = thinned(1_000_000)
    assert (places[0], places[-1]) == (0, 999_999)
    assert len(places) <= 400
    assert thinned(3).tolist() == [0, 1, 2]
    assert np.all(np.diff(places) > 0)


def test_a_long_text_is_cut():
    assert cut("a  b\nc") == "a b c"
    assert cut("x" * 200) == "x" * 119 + "…"
