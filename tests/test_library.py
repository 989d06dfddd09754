"""The stages called from Python: a config and keywords above it, tables in memory, results to look at."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import toy

import sidrec
from sidrec import Catalog
from sidrec.config import config_with, load_config
from sidrec.errors import ArtifactError, ConfigError
from sidrec.results import ResultTable, StageResult
from sidrec.stages.pipeline import ResultRow
from tokenizer.html_table import html_table

FAST: dict[str, Any] = {
    **{name: values for name, values in toy.settings(Path(), Path()).items() if name != "catalog"},
    "sft": {"epochs": 1, "evaluations": 1, "batch_size": 16},
    "rl": {"steps": 1, "prompts_per_step": 4, "num_generations": 4, "evaluations": 1},
    "baselines": {"models": ["popularity"]},
}


def catalog(text: str = "{title}. {description}") -> Catalog:
    return Catalog(toy.items(), toy.interactions(), text=text)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> ResultTable:
    return sidrec.run(catalog=catalog(), **FAST | {"output": tmp_path_factory.mktemp("whole") / "run"})


def test_a_whole_run_needs_two_tables_and_keywords(whole: ResultTable) -> None:
    assert [row.model for row in whole] == ["popularity", "sft", "rl"]
    assert whole.metrics["sft"]["users"] == toy.NUM_USERS
    table = whole.to_frame()
    assert list(table.index) == ["popularity", "sft", "rl"]
    assert table.loc["sft", "ndcg@10"] == whole.metrics["sft"]["item_level"]["ndcg@10"]["value"]


def test_stage_by_stage_equals_a_whole_run(tmp_path: Path, whole: ResultTable) -> None:
    settings = FAST | {"output": tmp_path / "stages"}
    done = sidrec.tokenize(catalog=catalog(), **settings)
    assert done.directory == tmp_path / "stages" / "tokenize"
    assert done.metrics["items"] == toy.NUM_ITEMS
    assert sidrec.sft(catalog=catalog(), **settings).metrics["epochs"] == 1
    assert sidrec.rl(done.config).metrics["steps"] == 1
    sidrec.run_baselines(done.config)
    assert sidrec.evaluate(done.config).rows == whole.rows


def test_a_result_is_its_directory_where_a_path_is_expected(whole: ResultTable) -> None:
    done = sidrec.sft(whole.config)
    assert Path(done) == whole.directory / "sft"


def test_another_catalogue_than_was_tokenized_is_refused(whole: ResultTable) -> None:
    with pytest.raises(ArtifactError, match=r"was tokenized from another catalogue \(sha256 \w{8}\)"):
        sidrec.sft(whole.config, catalog=catalog(text="{title}!"))


def test_keywords_stand_above_the_file(tmp_path: Path) -> None:
    path = toy.write(tmp_path)
    made = config_with(path, {"seed": 3, "sft": {"epochs": 2}, "rl.steps": 7})
    assert made == load_config(path, ["seed=3", "sft.epochs=2", "rl.steps=7"])


def test_a_section_as_a_keyword_leaves_its_other_settings(tmp_path: Path) -> None:
    made = config_with(toy.write(tmp_path), {"sft": {"epochs": 2}})
    assert (made.sft.epochs, made.sft.batch_size) == (2, 16)


def test_a_task_of_ones_own_stands_beside_the_default_ones() -> None:
    task = {"weight": 0.1, "prompt": "By {author}:", "completion": "{sid}"}
    made = config_with(None, {"sft.tasks.maker": task})
    assert {*load_config(None).sft.tasks, "maker"} == set(made.sft.tasks)


def test_a_config_without_keywords_stays_as_it_is(toy_config: sidrec.Config) -> None:
    assert config_with(toy_config, {}) == toy_config


def test_a_config_can_be_changed_by_keywords(toy_config: sidrec.Config) -> None:
    made = config_with(toy_config, {"rl": {"steps": 9}})
    assert made == toy_config.model_copy(update={"rl": toy_config.rl.model_copy(update={"steps": 9})})


def test_a_template_in_braces_stays_text() -> None:
    assert config_with(None, {"catalog": {"text": "{title}"}}).catalog.text == "{title}"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        pytest.param({"sftt": {"epochs": 2}}, r'sftt is not an option\. Did you mean "sft"\?', id="section"),
        pytest.param({"sft": {"epoch": 2}}, r'sft\.epoch is not an option\. Did you mean "epochs"', id="key"),
        pytest.param({"sft.epoch": 2}, r'sft\.epoch is not an option\. Did you mean "epochs"', id="dotted"),
        pytest.param({"sft": {"epochs": "many"}}, r"sft\.epochs: expected .*, got 'many'", id="type"),
        pytest.param({"sft": 2}, r"sft: expected .*, got 2", id="no-section"),
    ],
)
def test_settings_are_refused_as_on_the_command_line(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        sidrec.tokenize(**settings)


def test_tables_in_place_of_a_config_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"A config is a YAML file or a sidrec\.Config, got DataFrame"):
        sidrec.tokenize(toy.items())  # type: ignore[arg-type]


def test_an_html_table_escapes_every_text() -> None:
    evil = "<script>alert(1)</script>"
    assert "<script" not in html_table([evil], [[evil]], caption=evil)
    assert html_table([evil], [[evil]], caption=evil).count("&lt;script&gt;") == 3


def test_a_result_shows_its_figures_escaped() -> None:
    metrics = {
        "kept": "<script>",
        "valid": {"ndcg@10": 0.25},
        "gain": {"value": 0.1, "low": 0.0, "high": 0.2},
        "codebook_sizes": [4, 4],
    }
    shown = StageResult(Path("runs/<b>/sft"), metrics, load_config(None))._repr_html_()
    assert "sft, in runs/&lt;b&gt;" in shown
    assert "&lt;script&gt;" in shown
    assert "valid.ndcg@10" in shown
    assert "0.1000 [0.0000, 0.2000]" in shown
    assert "codebook_sizes" not in shown


def test_a_result_table_shows_what_the_command_line_prints() -> None:
    row = ResultRow("<i>", (0.5, 0.4, 0.6), (0.25, 0.2, 0.3), 10, 0, 0, None)
    found = ResultTable(Path("runs/books"), [row], {}, ["rl: <hacked>"], load_config(None))
    assert repr(found).splitlines()[0].split() == [
        "model", "HR@10", "NDCG@10", "invalid", "duplicate", "coverage@10"
    ]  # fmt: skip
    assert "<i>" not in found._repr_html_()
    assert "0.2500 [0.2000, 0.3000]" in found._repr_html_()
    assert "rl: &lt;hacked&gt;" in found._repr_html_()


def test_a_table_without_results_says_so() -> None:
    found = ResultTable(Path("runs/books"), [], {}, [], load_config(None))
    assert repr(found) == "no results"
    assert found.to_frame().equals(pd.DataFrame())
