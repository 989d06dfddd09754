"""One data set in every form of the research projects: recognised, and the same catalogue from each."""

from pathlib import Path

import pytest
from forms_research import FIXTURES, NUM_EVENTS, NUM_USERS, TITLES, fields, sequence

from sidrec.catalog import CatalogConfig, read_catalog, split_catalog
from sidrec.catalog.config import SplitConfig
from sidrec.catalog.forms import FORMS, read_tables

DIVIDED = ("minionerec", "minionerec_without_train", "recbole_benchmark")


@pytest.mark.parametrize("name", FIXTURES)
def test_every_form_gives_the_events_and_texts_that_it_was_made_of(tmp_path: Path, name: str) -> None:
    FIXTURES[name](tmp_path)
    catalog = read_catalog(CatalogConfig(items=tmp_path / "my_data"))
    assert (catalog.num_items, catalog.num_users) == (len(TITLES), NUM_USERS)
    users = catalog.sequences()
    titles = catalog.items["title"].tolist()
    assert sorted(
        [titles[item].split(". ")[0] for item in users[user]] for user in range(NUM_USERS)
    ) == sorted([TITLES[item] for item in sequence(user)] for user in range(NUM_USERS))
    for text, item in zip(catalog.items["text"], range(len(TITLES)), strict=True):
        assert all(value in text for value in fields(item).values())
    assert len(split_catalog(catalog, SplitConfig()).test) == NUM_USERS


@pytest.mark.parametrize("name", FIXTURES)
def test_every_form_is_taken_for_itself_alone(tmp_path: Path, name: str) -> None:
    FIXTURES[name](tmp_path)
    config = CatalogConfig(items=tmp_path / "my_data")
    ours = {"minionerec_without_train": "minionerec", "openp5": "p5", "actionpiece": "sequences"}
    expected = ours.get(name, name.removesuffix("_benchmark"))
    assert [form for form in FORMS if FORMS[form].matches(config)] == [expected]
    named = CatalogConfig(items=tmp_path / "my_data", format=expected)
    assert read_catalog(named).sha256 == read_catalog(config).sha256


@pytest.mark.parametrize("name", FIXTURES)
def test_the_forms_that_divide_the_events_say_what_each_is_for(tmp_path: Path, name: str) -> None:
    FIXTURES[name](tmp_path)
    events = read_tables(CatalogConfig(items=tmp_path / "my_data")).interactions
    if name not in DIVIDED:
        assert "split" not in events.columns
        return
    first = "context" if name == "minionerec_without_train" else "train"
    of_a_user = [first] * (NUM_EVENTS - 2) + ["valid", "test"]
    assert events.groupby("user_id", sort=False)["split"].agg(list).tolist() == [of_a_user] * NUM_USERS


@pytest.mark.parametrize("name", FIXTURES)
def test_the_files_that_were_read_are_told_with_their_rows(tmp_path: Path, name: str) -> None:
    FIXTURES[name](tmp_path)
    tables = read_tables(CatalogConfig(items=tmp_path / "my_data"))
    assert all(file.form and file.rows > 0 and file.path.exists() for file in tables.files)
    assert len({file.path for file in tables.files}) == len(tables.files) or name == "datasets"


def test_semantic_ids_and_vectors_beside_lcrec_json_are_told_of(tmp_path: Path) -> None:
    FIXTURES["lcrec"](tmp_path)
    directory = tmp_path / "my_data"
    (directory / "Home.emb-llama-td.npy").write_bytes(b"")
    codes, vectors = read_tables(CatalogConfig(items=directory)).notes
    assert codes == (
        "Semantic IDs left unread: 1 file(s), Home.index.json. To use them, set tokenizer.method=import "
        f"tokenizer.index={directory / 'Home.index.json'}"
    )
    assert vectors.startswith("Vectors of items left unread: 1 file(s), Home.emb-llama-td.npy. ")
    assert f"embedding.path={directory / 'Home.emb-llama-td.npy'}" in vectors


def test_rows_that_the_preparation_of_lcrec_leaves_are_told_of(tmp_path: Path) -> None:
    FIXTURES["lcrec"](tmp_path)
    (tmp_path / "my_data" / "Home.train.inter").write_text("user_id:token\titem_id_list:token_seq\n")
    notes = read_tables(CatalogConfig(items=tmp_path / "my_data")).notes
    assert notes[-1] == (
        "Rows of a split left unread: 1 file(s), Home.train.inter; the events are read whole."
    )


@pytest.mark.parametrize("name", sorted(FIXTURES))
def test_users_in_a_file_of_their_own_are_read_beside_every_form(tmp_path: Path, name: str) -> None:
    FIXTURES[name](tmp_path)
    config = CatalogConfig(items=tmp_path / "my_data")
    ids = read_catalog(config).sequences().user_ids
    path = tmp_path / "users.csv"
    path.write_text("user_id,likes\n" + "".join(f"{user},mugs\n" for user in ids))
    users = read_catalog(CatalogConfig(items=tmp_path / "my_data", users=path)).users
    assert users is not None
    assert users["likes"].tolist() == ["mugs"] * NUM_USERS
