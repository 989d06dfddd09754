"""Tables out of several files: patterns, lists, and what is refused of them."""

from pathlib import Path

import pandas as pd
import pytest
from pydantic import ValidationError

from sidrec.catalog import Catalog, CatalogConfig, read_catalog
from sidrec.catalog.forms.several import find_files
from sidrec.errors import CatalogError

ITEMS = "item_id,title\n1,Mug\n2,Pot\n"


def write(directory: Path, **files: str) -> None:
    for name, content in files.items():
        (directory / f"{name}.csv").write_text(content)


def read(directory: Path, interactions: Path | list[Path], **settings) -> Catalog:
    (directory / "items.csv").write_text(ITEMS)
    return read_catalog(CatalogConfig(items=directory / "items.csv", interactions=interactions, **settings))


def test_the_files_of_a_pattern_are_read_in_the_order_of_their_numbers(tmp_path):
    write(tmp_path, e10="user_id,item_id\nal,2\n", e2="user_id,item_id\nal,1\n", other="x\n")
    catalog = read(tmp_path, tmp_path / "e[0-9]*.csv")
    assert catalog.interactions["item_id"].tolist() == ["1", "2"]
    assert [(file.path.name, file.rows) for file in catalog.files[1:]] == [("e2.csv", 1), ("e10.csv", 1)]


def test_the_files_of_a_list_are_read_in_its_order_whatever_the_order_of_their_columns(tmp_path):
    write(tmp_path, b="user_id,item_id\nal,2\n", a="item_id;user_id\n1;al\n")
    catalog = read(tmp_path, [tmp_path / "b.csv", tmp_path / "a.csv"])
    assert catalog.interactions["item_id"].tolist() == ["2", "1"]
    assert [file.form for file in catalog.files[1:]] == [
        "CSV, separator ',', UTF-8",
        "CSV, separator ';', UTF-8",
    ]


def test_items_and_users_may_be_several_files_too(tmp_path):
    write(
        tmp_path, i1="item_id,title\n1,Mug\n", i2="item_id,title\n2,Pot\n", e="user_id,item_id\nal,2\nbo,1\n"
    )
    write(tmp_path, u1="user_id,age\nal,7\n", u2="user_id,age\nbo,8\n")
    catalog = read_catalog(
        CatalogConfig(items=[tmp_path / "i*.csv"], interactions=tmp_path / "e.csv", users=tmp_path / "u*.csv")
    )
    assert catalog.items["item_id"].tolist() == ["1", "2"]
    assert catalog.users["age"].tolist() == ["7", "8"]
    assert len(catalog.files) == 5


def test_a_file_that_is_called_like_a_pattern_is_no_pattern(tmp_path):
    write(tmp_path, **{"e[1]": "user_id,item_id\nal,2\n", "e1": "user_id,item_id\nbo,1\n"})
    assert find_files(tmp_path / "e[1].csv", "x") == [tmp_path / "e[1].csv"]


def test_notes_on_each_file_are_kept(tmp_path):
    write(tmp_path, a="user_id,item_id\nal,2\n")
    (tmp_path / "b.csv").write_bytes("user_id,item_id\nRené,1\n".encode("cp1252"))
    catalog = read(tmp_path, [tmp_path / "a.csv", tmp_path / "b.csv"])
    assert catalog.interactions["user_id"].tolist() == ["al", "René"]
    assert len(catalog.notes) == 1
    assert catalog.notes[0].startswith("b.csv is not UTF-8")


def test_whole_numbers_with_and_without_missing_ones_are_the_same_column(tmp_path):
    pd.DataFrame({"user_id": [1, 1], "item_id": [1, 2], "n": [3, 4]}).to_parquet(tmp_path / "a.parquet")
    frame = pd.DataFrame({"user_id": [2], "item_id": [1], "n": pd.array([None], dtype="Int64")})
    frame.to_parquet(tmp_path / "b.parquet")
    assert read(tmp_path, tmp_path / "*.parquet").interactions["user_id"].tolist() == ["1", "1", "2"]


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ("user_id,itm\nal,1\n", r"b\.csv does not have the columns of a\.csv: it lacks item_id and adds itm"),
        (
            "user_id,item_id,x\nal,1,2\n",
            r"interactions: .*b\.csv does not have .*: it adds x\. Give all files",
        ),
        ("user_id,item_id\nal\n", r"b\.csv: line 2 has 1 cells"),
    ],
)
def test_a_file_that_differs_is_named(tmp_path, second, message):
    write(tmp_path, a="user_id,item_id\nal,1\n", b=second)
    with pytest.raises(CatalogError, match=message):
        read(tmp_path, [tmp_path / "a.csv", tmp_path / "b.csv"])


def test_a_file_whose_ids_are_of_another_type_is_named(tmp_path):
    pd.DataFrame({"user_id": [1], "item_id": [1]}).to_parquet(tmp_path / "a.parquet")
    pd.DataFrame({"user_id": [1], "item_id": [2.0]}).to_parquet(tmp_path / "b.parquet")
    message = r'b\.parquet has floating values in the column "item_id", but a\.parquet has integer ones'
    with pytest.raises(CatalogError, match=message):
        read(tmp_path, tmp_path / "*.parquet")


@pytest.mark.parametrize(
    ("names", "settings", "message"),
    [
        (["no-*.csv"], {}, r"catalog\.interactions: no file matches .*no-\*\.csv\. Check the pattern"),
        ([], {}, r"catalog\.interactions is an empty list"),
        (["a.csv", "a.*"], {}, r"catalog\.interactions names .*a\.csv twice, expected each file once"),
        (["a.csv", "b.csv"], {}, r"there is no file .*b\.csv"),
        (["a.csv"], {"format": "recbole"}, r"catalog\.format=recbole takes no list of files"),
    ],
)
def test_lists_and_patterns_that_cannot_be_read_are_refused(tmp_path, names, settings, message):
    write(tmp_path, a="user_id,item_id\nal,1\n")
    with pytest.raises(CatalogError, match=message):
        read(tmp_path, [tmp_path / name for name in names], **settings)


def test_an_event_of_an_unknown_item_is_found_in_the_rows_counted_through(tmp_path):
    write(tmp_path, a="user_id,item_id\nal,1\nal,2\n", b="user_id,item_id\nal,3\n")
    with pytest.raises(CatalogError, match=r"a\.csv and 1 more \(rows counted through\): .* data row 3\)"):
        read(tmp_path, tmp_path / "?.csv")


@pytest.mark.parametrize("value", [3, ["a.csv", 3], {"a": "b"}])
def test_what_is_no_path_is_refused(value):
    with pytest.raises(ValidationError, match=r"expected a path, or a list of paths"):
        CatalogConfig(items=value)
