"""docs/catalogues.md: every config in it reads a small catalogue in its form, and nothing in it is stale."""

import importlib
import re
from pathlib import Path

import pytest
import yaml

from sidrec.catalog import FiltersConfig, SplitConfig, read_catalog, split_catalog
from sidrec.catalog.config import CatalogConfig
from sidrec.catalog.forms import FORMS
from sidrec.config import load_config

DOCS = Path(__file__).parents[1] / "docs" / "catalogues.md"
MAX_LINES = 8


def fixtures() -> dict:
    """Name -> function that writes a catalogue in a form, of all modules that have some."""
    found: dict = {}
    for path in sorted(Path(__file__).parent.glob("forms_*.py")):
        found |= importlib.import_module(path.stem).FIXTURES
    return found


BLOCKS = re.findall(
    r"<!-- fixture: (\w+) -->\n```yaml\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL
)


def test_every_form_has_a_config_in_the_docs():
    assert {name for name, _ in BLOCKS} == set(fixtures())


@pytest.mark.parametrize(("name", "text"), BLOCKS, ids=[name for name, _ in BLOCKS])
def test_a_config_of_the_docs_reads_its_form(name: str, text: str, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fixtures()[name](tmp_path)
    (tmp_path / "config.yaml").write_text(text)
    assert len(text.strip().splitlines()) <= MAX_LINES
    config = load_config(tmp_path / "config.yaml")
    catalog = read_catalog(config.catalog)
    assert catalog.num_items >= 8
    assert catalog.num_users >= 6
    assert catalog.files
    assert all(each.rows and each.form for each in catalog.files)
    split = split_catalog(catalog, config.split)
    assert len(split.test) > 0


def test_every_form_that_can_be_named_is_there():
    named = CatalogConfig.model_json_schema()["properties"]["format"]["anyOf"][0]["enum"]
    assert set(named) == set(FORMS)


def test_every_filter_and_split_is_in_the_docs():
    text = DOCS.read_text(encoding="utf-8")
    missing = [name for name in FiltersConfig.model_fields if f"`{name}" not in text]
    missing += [
        name
        for name in SplitConfig.model_fields
        if name not in ("method", "rl_share", "seed", "n") and name not in text
    ]
    assert missing == []
    for method in SplitConfig.model_json_schema()["properties"]["method"]["enum"]:
        assert f"`{method}`" in text


def test_the_configs_are_yaml_of_known_sections():
    for _, text in BLOCKS:
        assert set(yaml.safe_load(text)) <= {"output", "catalog", "split", "tokenizer", "embedding"}
