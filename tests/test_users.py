"""The table of users: a row per user, kept with the catalogue, and what can be wrong with it."""

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import toy
from conftest import Ended

from sidrec.catalog import Catalog, CatalogConfig, read_catalog
from sidrec.errors import CatalogError

ITEMS = pd.DataFrame({"item_id": ["a", "b"], "title": ["Mug", "Pot"]})
EVENTS = pd.DataFrame({"user_id": ["bo", "al", "bo"], "item_id": ["a", "a", "b"]})
USERS = pd.DataFrame({"user_id": ["al", "zoe", "bo"], "likes": ["tea", "rum", "gin"], "age": [30, 40, 50]})


def test_users_stand_in_the_order_of_the_histories_and_those_without_events_are_left_out():
    catalog = Catalog(ITEMS, EVENTS, users=USERS)
    assert catalog.sequences().user_ids == ["bo", "al"]
    assert catalog.users.to_dict("list") == {
        "user_id": ["bo", "al"],
        "likes": ["gin", "tea"],
        "age": [50, 30],
    }


def test_the_id_column_is_renamed_and_one_that_had_the_name_gives_way():
    users = pd.DataFrame({"reader": ["al", "bo"], "user_id": ["x", "y"], "likes": ["tea", "rum"]})
    catalog = Catalog(ITEMS, EVENTS.rename(columns={"user_id": "reader"}), users=users, user_id="reader")
    assert catalog.users.to_dict("list") == {"user_id": ["bo", "al"], "likes": ["rum", "tea"]}


def test_users_survive_save_and_load(tmp_path):
    catalog = Catalog(ITEMS, EVENTS, users=USERS)
    catalog.save(tmp_path)
    loaded = Catalog.load(tmp_path)
    pd.testing.assert_frame_equal(loaded.users, catalog.users)
    assert loaded.sha256 == catalog.sha256


def test_a_catalogue_without_users_leaves_no_table_of_another_one(tmp_path):
    Catalog(ITEMS, EVENTS, users=USERS).save(tmp_path)
    Catalog(ITEMS, EVENTS).save(tmp_path)
    assert Catalog.load(tmp_path).users is None


def test_every_cell_of_a_user_counts_in_the_hash():
    hashes = {
        Catalog(ITEMS, EVENTS, users=users).sha256
        for users in (
            None,
            USERS,
            USERS.assign(likes=["milk", "rum", "gin"]),
            USERS.rename(columns={"age": "years"}),
        )
    }
    assert len(hashes) == 4


def test_a_user_without_events_does_not_count_in_the_hash():
    assert (
        Catalog(ITEMS, EVENTS, users=USERS).sha256 == Catalog(ITEMS, EVENTS, users=USERS.iloc[[2, 0]]).sha256
    )


def test_the_catalogue_says_what_it_knows_of_users():
    assert Catalog(ITEMS, EVENTS, users=USERS).describe().endswith("\nknown of users: likes, age")


@pytest.mark.parametrize(
    ("users", "message"),
    [
        (
            USERS.rename(columns={"user_id": "usr_id"}),
            r'users has no column "user_id" \(catalog\.user_id\)\. Did you mean "usr_id"\? Columns: usr_id',
        ),
        (
            USERS.assign(user_id=["al", "bo", "bo"]),
            r'users: the user_id "bo" is in data rows 2 and 3, expected each user once \(1 rows too many\)',
        ),
        (
            USERS.iloc[:2],
            r'users has no row for 1 of the 2 users with events: "bo"\. Add them, or set catalog\.users to',
        ),
        (USERS.assign(user_id=["al", "", "bo"]), r"users: data row 2 has an empty user_id"),
        (USERS.iloc[:0], r"users has no rows"),
    ],
)
def test_a_table_of_users_that_does_not_fit_is_refused(users, message):
    with pytest.raises(CatalogError, match=message):
        Catalog(ITEMS, EVENTS, users=users)


@pytest.mark.parametrize("form", ["csv", "tsv", "jsonl", "parquet", "json"])
def test_users_are_read_in_every_form(tmp_path: Path, form: str):
    ITEMS.to_csv(tmp_path / "items.csv", index=False)
    EVENTS.to_csv(tmp_path / "events.csv", index=False)
    users = pd.DataFrame({"user_id": ["al", "bo"], "likes": ["tea", "rum"]})
    path = tmp_path / f"users.{form}"
    if form == "parquet":
        users.to_parquet(path)
    elif form == "jsonl":
        users.to_json(path, orient="records", lines=True)
    elif form == "json":
        path.write_text(json.dumps({"al": {"likes": "tea"}, "bo": {"likes": "rum"}}))
    else:
        users.to_csv(path, index=False, sep="," if form == "csv" else "\t")
    paths = {name: tmp_path / f"{name}.csv" for name in ("items", "events")}
    catalog = read_catalog(CatalogConfig(items=paths["items"], interactions=paths["events"], users=path))
    assert catalog.users.to_dict("list") == {"user_id": ["bo", "al"], "likes": ["rum", "tea"]}


def test_users_as_json_that_are_no_objects_are_called_users(tmp_path: Path):
    ITEMS.to_csv(tmp_path / "items.csv", index=False)
    EVENTS.to_csv(tmp_path / "events.csv", index=False)
    (tmp_path / "users.json").write_text('{"al": "tea"}')
    config = CatalogConfig(
        items=tmp_path / "items.csv", interactions=tmp_path / "events.csv", users=tmp_path / "users.json"
    )
    with pytest.raises(
        CatalogError, match=r'user "al" is a string, expected .* Write \{user: \{"preference"'
    ):
        read_catalog(config)


def recbole(directory: Path) -> Path:
    (directory / "set.item").write_text("item_id:token\ttitle:token_seq\na\tMug\nb\tPot\n")
    (directory / "set.inter").write_text("user_id:token\titem_id:token\nbo\ta\nal\ta\nbo\tb\n")
    (directory / "set.user").write_text("user_id:token\tjob:token\tage:float\nal\tpoet\t30\nbo\tcook\t50\n")
    return directory


def test_a_directory_of_atomic_files_brings_its_users(tmp_path: Path):
    catalog = read_catalog(CatalogConfig(items=recbole(tmp_path)))
    assert catalog.users.to_dict("list") == {
        "user_id": ["bo", "al"],
        "job": ["cook", "poet"],
        "age": [50, 30],
    }


def test_atomic_files_named_one_by_one_bring_no_users(tmp_path: Path):
    recbole(tmp_path)
    config = CatalogConfig(items=tmp_path / "set.item", interactions=tmp_path / "set.inter")
    assert read_catalog(config).users is None


def test_two_files_of_users_in_a_directory_are_refused(tmp_path: Path):
    (recbole(tmp_path) / "more.user").write_text("user_id:token\nal\nbo\n")
    with pytest.raises(
        CatalogError, match=r"2 files \*\.user, expected one at most\. Name it in catalog\.users"
    ):
        read_catalog(CatalogConfig(items=tmp_path))


def test_a_file_of_users_that_is_not_there_leaves_nothing_behind(
    tmp_path: Path, command: Callable[..., Ended]
) -> None:
    path = toy.write(tmp_path)
    ended = command("tokenize", path, f"catalog.users={tmp_path / 'users.csv'}")
    assert ended.status == 2
    assert "catalog.users: there is no file" in ended.err
    assert not (tmp_path / "run").exists()
