"""Data sets of `datasets`: saved to disk, one or two, and as the hub has them."""

import os
from pathlib import Path

import datasets
import pytest
from datasets import Dataset, DatasetDict

from sidrec.catalog import CatalogConfig, read_catalog
from sidrec.catalog.forms import read_tables
from sidrec.catalog.forms.hugging_face import hub_name
from sidrec.config import load_config
from sidrec.errors import CatalogError

ITEMS = Dataset.from_dict({"item_id": [7, 8], "title": ["Mug", "Pot"], "tags": [["x", "y"], []]})
EVENTS = Dataset.from_dict({"user_id": ["u", "u", "v"], "item_id": [8, 7, 8], "timestamp": [20, 10, 5]})
CARD = """---
configs:
- config_name: items
  data_files: items.parquet
- config_name: interactions
  data_files:
  - {split: train, path: interactions.parquet}
%s---
"""


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory `owner/name` below the current one, which `load_dataset` takes for that data set."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    directory = tmp_path / "owner" / "name"
    directory.mkdir(parents=True)
    ITEMS.to_parquet(directory / "items.parquet")
    EVENTS.to_parquet(directory / "interactions.parquet")
    (directory / "README.md").write_text(CARD % "")
    return directory


def expect(config: CatalogConfig) -> None:
    catalog = read_catalog(config)
    assert catalog.items[["item_id", "title", "tags"]].values.tolist() == [
        ["7", "Mug", "x, y"], ["8", "Pot", ""],
    ]  # fmt: skip
    assert catalog.interactions.values.tolist() == [["u", "7", 10], ["u", "8", 20], ["v", "8", 5]]
    assert catalog.order == "column 'timestamp'"


def test_a_saved_dict_of_items_and_interactions_is_a_catalogue(tmp_path: Path) -> None:
    DatasetDict({"items": ITEMS, "interactions": EVENTS}).save_to_disk(tmp_path / "set")
    expect(CatalogConfig(items=tmp_path / "set"))
    files = read_tables(CatalogConfig(items=tmp_path / "set")).files
    assert [(file.path, file.rows, file.form) for file in files] == [
        (tmp_path / "set", 2, "Hugging Face data set"), (tmp_path / "set", 3, "Hugging Face data set"),
    ]  # fmt: skip


def test_users_of_a_saved_dict_are_read(tmp_path: Path) -> None:
    users = Dataset.from_dict({"user_id": ["v", "u"], "likes": ["pots", "mugs"]})
    DatasetDict({"items": ITEMS, "interactions": EVENTS, "users": users}).save_to_disk(tmp_path / "set")
    found = read_catalog(CatalogConfig(items=tmp_path / "set")).users
    assert found is not None
    assert found.values.tolist() == [["u", "mugs"], ["v", "pots"]]


def test_users_that_the_config_names_go_before_those_of_the_data_set(tmp_path: Path) -> None:
    users = Dataset.from_dict({"user_id": ["v", "u"], "likes": ["pots", "mugs"]})
    DatasetDict({"items": ITEMS, "interactions": EVENTS, "users": users}).save_to_disk(tmp_path / "set")
    (tmp_path / "users.csv").write_text("user_id,likes\nu,jars\nv,jars\n")
    tables = read_tables(CatalogConfig(items=tmp_path / "set", users=tmp_path / "users.csv"))
    assert tables.users is not None
    assert tables.users["likes"].tolist() == ["jars", "jars"]
    assert tables.notes == ("Users left unread: 2 of the data set; catalog.users names others.",)


def test_two_saved_data_sets_are_named_one_by_one(tmp_path: Path) -> None:
    ITEMS.save_to_disk(tmp_path / "i")
    EVENTS.save_to_disk(tmp_path / "e")
    expect(CatalogConfig(items=tmp_path / "i", interactions=tmp_path / "e"))


def test_rows_that_were_selected_are_the_rows(tmp_path: Path) -> None:
    ITEMS.select([1]).save_to_disk(tmp_path / "i")
    EVENTS.filter(lambda row: row["item_id"] == 8).save_to_disk(tmp_path / "e")
    catalog = read_catalog(CatalogConfig(items=tmp_path / "i", interactions=tmp_path / "e"))
    assert catalog.interactions.values.tolist() == [["u", "8", 20], ["v", "8", 5]]


def test_columns_are_those_that_the_config_names(tmp_path: Path) -> None:
    ITEMS.rename_column("item_id", "asin").save_to_disk(tmp_path / "i")
    EVENTS.rename_columns({"item_id": "asin", "timestamp": "at"}).save_to_disk(tmp_path / "e")
    expected = read_catalog(
        CatalogConfig(items=tmp_path / "i", interactions=tmp_path / "e", item_id="asin", timestamp="at")
    )
    assert expected.interactions.values.tolist() == [["u", "7", 10], ["u", "8", 20], ["v", "8", 5]]
    with pytest.raises(
        CatalogError, match=r'i has no column "item_id" \(catalog\.item_id\).* Columns: asin, title'
    ):
        read_catalog(CatalogConfig(items=tmp_path / "i", interactions=tmp_path / "e"))


def test_a_data_set_of_the_hub_has_its_tables_as_subsets(hub: Path) -> None:
    expect(CatalogConfig(items="hf://owner/name"))
    assert "split" not in read_tables(CatalogConfig(items="hf://owner/name")).interactions.columns


def test_splits_of_the_interactions_say_what_the_events_are_for(hub: Path) -> None:
    EVENTS.select([0]).to_parquet(hub / "later.parquet")
    EVENTS.select([1]).to_parquet(hub / "latest.parquet")
    later = "  - {split: test, path: latest.parquet}\n  - {split: validation, path: later.parquet}\n"
    (hub / "README.md").write_text(CARD % later)
    events = read_tables(CatalogConfig(items="hf://owner/name")).interactions
    assert events["split"].tolist() == ["train"] * 3 + ["valid", "test"]
    assert events["item_id"].tolist() == [8, 7, 8, 8, 7]


def test_a_split_of_another_name_is_refused(hub: Path) -> None:
    (hub / "README.md").write_text(CARD % "  - {split: dev, path: interactions.parquet}\n")
    with pytest.raises(
        CatalogError, match=r'owner/name/interactions has a split "dev", expected train, validati'
    ):
        read_tables(CatalogConfig(items="hf://owner/name"))


def test_the_name_survives_the_config_and_the_file_of_the_run(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("catalog:\n  items: hf://owner/name\n")
    config = load_config(path)
    assert config.catalog.items is not None
    assert hub_name(config.catalog.items) == "owner/name"
    path.write_text(config.to_yaml())
    again = load_config(path).catalog.items
    assert again is not None
    assert hub_name(again) == "owner/name"
    assert hub_name(Path("hf/owner/name")) is hub_name(Path("/data/hf:/x")) is None


def test_a_data_set_that_cannot_be_had_is_refused(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setitem(os.environ, "HF_HUB_OFFLINE", "1")
    message = (
        r"catalog\.items: hf://no/where cannot be read as a data set of `datasets` \(.*Check the name and"
    )
    with pytest.raises(CatalogError, match=message):
        read_tables(CatalogConfig(items="hf://no/where"))


def test_a_data_set_without_interactions_is_refused(tmp_path: Path, hub: Path) -> None:
    DatasetDict({"items": ITEMS, "interaction": EVENTS}).save_to_disk(tmp_path / "set")
    message = (
        r'set has the splits items, interaction, expected items and interactions .* mean "interaction"\?'
    )
    with pytest.raises(CatalogError, match=message):
        read_tables(CatalogConfig(items=tmp_path / "set"))
    (hub / "README.md").write_text((CARD % "").replace("_name: interactions", "_name: events"))
    with pytest.raises(
        CatalogError, match=r"catalog\.items: hf://owner/name has the subsets items, events, exp"
    ):
        read_tables(CatalogConfig(items="hf://owner/name"))


def test_a_broken_data_set_is_refused(tmp_path: Path) -> None:
    DatasetDict({"items": ITEMS, "interactions": EVENTS}).save_to_disk(tmp_path / "set")
    (tmp_path / "set" / "items" / "state.json").write_text("{")
    with pytest.raises(
        CatalogError, match=r"catalog\.items: .*set cannot be read as a data set .*save_to_disk"
    ):
        read_tables(CatalogConfig(items=tmp_path / "set"))
    next((tmp_path / "set" / "interactions").glob("*.arrow")).unlink()
    ITEMS.save_to_disk(tmp_path / "i")
    config = CatalogConfig(items=tmp_path / "i", interactions=tmp_path / "set" / "interactions")
    with pytest.raises(CatalogError, match=r"catalog\.interactions: .*interactions cannot be read as a data"):
        read_tables(config)


@pytest.mark.parametrize("name", ["dataset_dict.json", "items/state.json", "items/dataset_info.json"])
def test_a_data_set_with_a_damaged_description_is_refused(tmp_path: Path, name: str) -> None:
    DatasetDict({"items": ITEMS, "interactions": EVENTS}).save_to_disk(tmp_path / "saved")
    (tmp_path / "saved" / name).write_text("0")
    with pytest.raises(
        CatalogError, match=r"saved cannot be read as a data set of `datasets` \('int' object"
    ):
        read_tables(CatalogConfig(items=tmp_path / "saved"))
