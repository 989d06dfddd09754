"""The model card beside the weights: what the hub reads in it, whose figures it has, and who may edit it."""

import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import toy
from huggingface_hub import ModelCard

from sidrec import Recommender
from sidrec.artifacts import read_json
from sidrec.config import config_with, load_config
from sidrec.inspection import inspect
from sidrec.stages.evaluation import evaluate
from sidrec.stages.model_card import renew_card, write_card
from sidrec.stages.run import Run, load_run

DOCS = (Path(__file__).parents[1] / "docs" / "library.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def run(toy_run: Path) -> Run:
    return load_run(load_config(toy_run / "sft" / "config.yaml"))


def written(directory: Path, run: Run, toy_run: Path, **settings: Any) -> str:
    """The card of the toy run's SFT before any evaluation."""
    config = config_with(load_config(toy_run / "sft" / "config.yaml"), settings)
    write_card(directory, config, run, read_json(toy_run / "sft" / "metrics.json"))
    return (directory / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["sft", "rl"])
def test_an_evaluated_model_has_its_test_figures_with_intervals(toy_run: Path, name: str) -> None:
    card = ModelCard.load(toy_run / name / "README.md")
    item_level = read_json(toy_run / "evaluate" / name / "metrics.json")["item_level"]
    found = {each.metric_type: each.metric_value for each in card.data.eval_results}
    assert found == {metric: round(item_level[metric]["value"], 4) for metric in found}
    assert set(found) == {"hr@5", "ndcg@5", "hr@10", "ndcg@10"}
    ndcg = item_level["ndcg@10"]
    row = f"| NDCG@10 | {ndcg['value']:.4f} | {ndcg['low']:.4f} to {ndcg['high']:.4f} |"
    assert row in card.text
    assert (card.data.library_name, card.data.pipeline_tag) == ("transformers", "text-generation")
    assert card.data.model_name == f"sidrec-{name}"


def test_the_card_says_what_it_is_made_from(toy_run: Path) -> None:
    text = (toy_run / "sft" / "README.md").read_text()
    assert f"* {toy.NUM_USERS} users, {toy.NUM_ITEMS} items, {toy.NUM_USERS * toy.LENGTH} events" in text
    assert "4 x 4 x 4 codes" in text
    for part in ("## Data", "## Metrics", "## How to load it", "## Limits"):
        assert part in text
    assert not re.search(r"\{\{|\{%|None|Undefined", text)


def test_a_card_names_no_path_and_no_item(toy_run: Path) -> None:
    for name in ("sft", "rl"):
        text = (toy_run / name / "README.md").read_text()
        assert str(toy_run.parent) not in text
        assert not any(title in text for title in toy.items()["title"])


def test_a_card_of_rl_says_what_was_kept(toy_run: Path) -> None:
    kept = read_json(toy_run / "rl" / "metrics.json")["kept"]
    assert f"kept were the weights of `{kept}`." in (toy_run / "rl" / "README.md").read_text()


def test_before_an_evaluation_there_are_no_test_figures(toy_run: Path, run: Run, tmp_path: Path) -> None:
    text = written(tmp_path, run, toy_run)
    assert "Not evaluated on test users yet" in text
    assert ModelCard(text).data.eval_results is None


def test_an_edited_card_is_left_as_it_is(toy_run: Path, tmp_path: Path) -> None:
    path = toy.copy(toy_run, tmp_path, without=("evaluate", "cache", "baselines", "sequential"))
    edited = tmp_path / "run" / "sft" / "README.md"
    edited.write_text(edited.read_text().replace("library_name", "license: mit\nlibrary_name"))
    before = edited.read_bytes()
    evaluate(load_config(path))
    assert edited.read_bytes() == before
    Recommender.from_pretrained(tmp_path / "run" / "sft")
    assert not any(state.problems for state in inspect(tmp_path / "run"))


@pytest.mark.parametrize("content", [b"", b"Mine.", b"\xff\xfe", b"Mine.\n<!-- sidrec 00: renewed -->\n"])
def test_any_card_of_someones_own_is_left(content: bytes, run: Run, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_bytes(content)
    renew_card(tmp_path, run, {})
    assert (tmp_path / "README.md").read_bytes() == content


def test_a_directory_without_a_card_gets_none(run: Run, tmp_path: Path) -> None:
    renew_card(tmp_path, run, {})
    assert list(tmp_path.iterdir()) == []


def test_a_card_that_another_run_shares_is_renewed_here_alone(
    toy_run: Path, run: Run, tmp_path: Path
) -> None:
    """Runs that share a stage link its files."""
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    for directory in (ours, theirs):
        directory.mkdir()
    before = written(theirs, run, toy_run)
    os.link(theirs / "README.md", ours / "README.md")
    for name in ("config.yaml", "metrics.json"):
        shutil.copy(toy_run / "sft" / name, ours)
    renew_card(ours, run, read_json(toy_run / "evaluate" / "sft" / "metrics.json"))
    assert (theirs / "README.md").read_text() == before
    assert (ours / "README.md").read_text() == (toy_run / "sft" / "README.md").read_text()


def test_a_model_that_generate_would_read_otherwise_says_so(toy_run: Path, run: Run, tmp_path: Path) -> None:
    assert "finds other items" not in written(tmp_path, run, toy_run)
    text = written(tmp_path, run, toy_run, prompt={"last_token": "sum"})
    assert "It was trained with `prompt.last_token=sum`: sidrec reads it so" in text
    both = written(tmp_path, run, toy_run, prompt={"last_token": "sum"}, model={"skip_connection": True})
    assert "`prompt.last_token=sum` and `model.skip_connection=true`" in both
    assert "`prompt.history=merged`" in written(tmp_path, run, toy_run, prompt={"history": "merged"})


def test_adapters_say_that_they_are_some(toy_run: Path, run: Run, tmp_path: Path) -> None:
    (tmp_path / "base.json").write_text('{"path": "/home/me/base", "sha256": "00"}')
    text = written(tmp_path, run, toy_run)
    assert ModelCard(text).data.library_name == "peft"
    assert "The weights are adapters" in text
    assert "/home/me" not in text


def test_a_depth_head_says_whose_class_it_is(toy_run: Path, run: Run, tmp_path: Path) -> None:
    assert "import sidrec.depth_model" in written(tmp_path, run, toy_run, model={"head": "depth"})
    assert "depth_model" not in written(tmp_path, run, toy_run)


def test_a_base_of_the_hub_is_named_and_a_directory_is_not(toy_run: Path, run: Run, tmp_path: Path) -> None:
    hub = written(tmp_path, run, toy_run, model={"path": "someone/a-model"})
    assert ModelCard(hub).data.base_model == "someone/a-model"
    local = written(tmp_path, run, toy_run, model={"path": str(tmp_path)})
    assert ModelCard(local).data.base_model is None


def test_the_files_that_the_docs_publish_recommend_alone(toy_run: Path, tmp_path: Path) -> None:
    listed = re.search(r"files = \[(.*)\]", DOCS)
    assert listed is not None
    pushed = ["config.json", "generation_config.json", "model.safetensors", "tokenizer.json"]
    for name in [*pushed, "tokenizer_config.json", *re.findall(r'"([^"]+)"', listed[1])]:
        if name != "titles.json":  # there where titles name the items
            shutil.copy(toy_run / "rl" / name, tmp_path)
    found = Recommender.from_pretrained(tmp_path).recommend(["i03"], k=5)
    assert found == Recommender.from_pretrained(toy_run / "rl").recommend(["i03"], k=5)
