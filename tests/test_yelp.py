"""Yelp's businesses and reviews, and the events by number that NGCF and LightGCN made of them."""

from pathlib import Path
from typing import Any

import forms_public as forms
import pytest

from sidrec.catalog import CatalogConfig, read_catalog
from sidrec.catalog.forms import read_tables
from sidrec.catalog.tables import Tables
from sidrec.errors import CatalogError

BUSINESS = "yelp_academic_dataset_business.json"
REVIEW = "yelp_academic_dataset_review.json"


def made(name: str, directory: Path) -> Path:
    forms.FIXTURES[name](directory)
    return directory / "my_data"


def tables(directory: Path, **settings: Any) -> Tables:
    return read_tables(CatalogConfig(items=directory, **settings))


@pytest.mark.parametrize("name", ["yelp", "yelp_mapped"])
def test_a_directory_needs_no_other_setting(tmp_path: Path, name: str) -> None:
    catalog = read_catalog(CatalogConfig(items=made(name, tmp_path)))
    assert (catalog.num_items, catalog.num_users, len(catalog.interactions)) == (9, 7, 35)
    assert catalog.category == "categories"
    assert catalog.items["title"].iloc[1] == "Café pot"
    assert catalog.items["text"].iloc[1] == "Café pot. Food, Pot. Tampa. FL"
    first = catalog.interactions[catalog.interactions["user_id"] == "A0XYZ"]
    assert first["item_id"].tolist() == ["B000", "B002", "B004", "B006", "B008"]


def test_dates_are_seconds_and_stars_are_ratings(tmp_path: Path) -> None:
    interactions = tables(made("yelp", tmp_path)).interactions
    # 2018-07-01 is 17713 days after 1970-01-01; 22:09:11 is 22 * 3600 + 9 * 60 + 11 = 79751 seconds
    assert interactions["timestamp"].tolist()[:2] == [17713 * 86400 + 79751, 17714 * 86400 + 79751]
    assert interactions["rating"].tolist() == [1.0, 2.0, 3.0, 4.0, 5.0] * 7


def test_older_editions_have_lists_of_categories_and_dates_without_time(tmp_path: Path) -> None:
    forms.write_json_lines(
        tmp_path / "business.json", [{"business_id": "b", "name": "Inn", "categories": ["Food", "Bars"]}]
    )
    review = {"user_id": "u", "business_id": "b", "stars": 4, "date": "1970-01-02"}
    forms.write_json_lines(tmp_path / "review.json.gz", [review])
    found = tables(tmp_path)
    assert found.items.values.tolist() == [["b", "Inn", "Food, Bars", "", ""]]
    assert found.interactions.values.tolist() == [["u", "b", 86400, 4.0]]


def test_the_two_files_can_be_named(tmp_path: Path) -> None:
    directory = made("yelp", tmp_path)
    found = tables(directory / BUSINESS, interactions=directory / REVIEW)
    assert found.interactions.equals(tables(directory).interactions)
    assert found.items.equals(tables(directory, format="yelp").items)


def test_reviews_that_are_named_are_those_that_are_read(tmp_path: Path) -> None:
    directory = made("yelp_mapped", tmp_path)
    review = {"user_id": "u", "business_id": "B000", "stars": 4, "date": "1970-01-02"}
    path = forms.write_json_lines(tmp_path / "some_review.json", [review])
    found = tables(directory, format="yelp", interactions=path)
    assert found.interactions.values.tolist() == [["u", "B000", 86400, 4.0]]


def test_what_is_left_out_is_told(tmp_path: Path) -> None:
    directory = made("yelp", tmp_path)
    forms.write_json_lines(directory / BUSINESS, [*forms.businesses(), forms.businesses()[0]])
    forms.write_json_lines(directory / "yelp_academic_dataset_tip.json", [{"user_id": "u", "text": "Go"}])
    found = tables(directory)
    assert len(found.items) == 9
    assert found.notes == (
        f"{BUSINESS}: 1 row left out for having the business_id of an earlier row.",
        f"{directory}: 1 other file left unread: yelp_academic_dataset_tip.json.",
    )
    assert [(file.path.name, file.rows, file.form) for file in found.files] == [
        (BUSINESS, 9, "Yelp JSON"),
        (REVIEW, 35, "Yelp JSON"),
    ]


def test_a_name_with_code_is_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    directory = made("yelp", tmp_path)
    code = "__import__('os').system('touch broken')"
    forms.write_json_lines(directory / BUSINESS, [{"business_id": "b", "name": code}])
    assert tables(directory).items["title"].tolist() == [code]
    assert not (tmp_path / "broken").exists()


@pytest.mark.parametrize(
    ("file", "line", "message"),
    [
        (REVIEW, '{"business_id": "b", "us', r"review\.json: line 36 is neither JSON .*may have been cut"),
        (REVIEW, '{"business_id": "b", "user_id": "u", "date": "soon"}\n', r'line 36 has "soon" as date, '
         r"expected an ISO date such as 2018-07-07 22:09:11"),
        (REVIEW, '{"business_id": "b", "user_id": "u"}\n', r'review\.json: line 36 has no value for "date"'),
        (BUSINESS, '{"name": "Inn"}\n', r'business\.json: line 10 has no value for "business_id"'),
        (BUSINESS, '{"business_id": "b", "name": {"en": "Inn"}}\n', r'line 10 has \{"en": "Inn"\} as name'),
    ],
)  # fmt: skip
def test_a_broken_line_is_named(tmp_path: Path, file: str, line: str, message: str) -> None:
    directory = made("yelp", tmp_path)
    with (directory / file).open("a") as stream:
        stream.write(line)
    with pytest.raises(CatalogError, match=message):
        tables(directory)


def test_reviews_without_businesses_are_refused(tmp_path: Path) -> None:
    directory = made("yelp", tmp_path)
    (directory / BUSINESS).unlink()
    with pytest.raises(
        CatalogError, match=r"has no businesses, expected one file of businesses \(yelp_academic_da"
    ):
        tables(directory)


def test_businesses_without_reviews_are_refused(tmp_path: Path) -> None:
    directory = made("yelp", tmp_path)
    (directory / REVIEW).unlink()
    with pytest.raises(CatalogError, match=r"has no reviews, expected one file of reviews"):
        tables(directory, format="yelp")
    with pytest.raises(
        CatalogError, match=r"catalog\.interactions is not set, but catalog\.items is the file"
    ):
        tables(directory / BUSINESS, format="yelp")


def test_events_by_number_say_which_are_for_training(tmp_path: Path) -> None:
    found = tables(made("yelp_mapped", tmp_path))
    # the last of the 5 events of each of 7 users is in test.txt
    assert found.interactions["split"].tolist() == ["train"] * 28 + ["test"] * 7
    assert found.interactions["item_id"].tolist()[28:] == [f"B00{(user + 8) % 9}" for user in range(7)]
    assert found.notes == (
        "train.txt and test.txt: 35 events without times, in the order of the lines, which need not be the "
        "order in which they happened.",
    )
    assert [(file.path.name, file.rows) for file in found.files] == [
        (BUSINESS, 9),
        ("item_list.txt", 9),
        ("user_list.txt", 7),
        ("train.txt", 28),
        ("test.txt", 7),
    ]


def test_events_by_number_may_be_tab_separated_and_users_without_a_list_or_items(tmp_path: Path) -> None:
    directory = made("yelp_mapped", tmp_path)
    for name in ("user_list.txt", "test.txt"):
        (directory / name).unlink()
    forms.write_lines(
        directory / "item_list.txt", ["org_id\tremap_id\tfreebase_id", "B001\t7\tm.1", "gone\t3\tm.2"]
    )
    forms.write_lines(directory / "train.txt", ["5\t7\t3", "", "6 ", "8 7"])
    found = tables(directory)
    assert found.interactions.values.tolist() == [
        ["5", "B001", "train"],
        ["5", "gone", "train"],
        ["8", "B001", "train"],
    ]
    assert found.items["item_id"].tolist() == ["B001"]
    assert found.notes[0] == f"{BUSINESS}: 8 rows left out for not being in item_list.txt."


def test_events_by_number_without_texts_are_refused(tmp_path: Path) -> None:
    forms.write_numbered_lists(tmp_path)
    message = (
        r"has item_list\.txt and train\.txt, numbers without texts, and semantic IDs are made from the texts "
        r"of the items\. Put the file that has them beside these \(yelp_academic_dataset_business\.json, "
        r"also \.gz, whose business_id is the org_id\), or name tables of your own in catalog\.items"
    )
    with pytest.raises(CatalogError, match=message):
        tables(tmp_path)


def test_texts_of_other_items_are_refused(tmp_path: Path) -> None:
    directory = made("yelp_mapped", tmp_path)
    forms.write_json_lines(directory / BUSINESS, [{"business_id": "other", "name": "Inn"}])
    with pytest.raises(
        CatalogError, match=r'has none of the 9 businesses of item_list\.txt, such as "B000"\. Expec'
    ):
        tables(directory)


def test_events_of_both_kinds_are_refused(tmp_path: Path) -> None:
    directory = made("yelp_mapped", tmp_path)
    forms.yelp(tmp_path)
    with pytest.raises(
        CatalogError, match=rf"has events in {REVIEW} and in train\.txt, expected one of them"
    ):
        tables(directory)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("item_list.txt", "org_id remap_id\nB000\n", r"item_list\.txt: line 2 is 'B000', expected an id"),
        ("item_list.txt", "org_id remap_id\nB000 x\n", r"item_list\.txt: line 2 is 'B000 x', expected an id"),
        ("item_list.txt", "org_id remap_id\na 1\nb 1\n", r"item_list\.txt has the number 1 twice"),
        ("train.txt", "0 1 2\n1 1.5\n", r'train\.txt: line 2 has "1\.5", expected the number of a user'),
        ("train.txt", "0 1\n\n1 99\n", r'train\.txt: line 3 has "99", expected the number of an item'),
        ("train.txt", "0 1\n99 1\n", r'train\.txt: line 2 has "99", expected the number of a user in'),
        ("train.txt", "0 " + "9" * 30, r'train\.txt: line 1 has "9{30}", expected the number of a user'),
        ("test.txt", "", r"test\.txt is empty, expected data"),
    ],
)  # fmt: skip
def test_broken_lists_of_numbers_are_refused(tmp_path: Path, file: str, content: str, message: str) -> None:
    directory = made("yelp_mapped", tmp_path)
    (directory / file).write_text(content)
    with pytest.raises(CatalogError, match=message):
        tables(directory)


def test_every_form_is_recognised_as_itself_alone(tmp_path: Path) -> None:
    for name in forms.FIXTURES:
        directory = made(name, tmp_path / name)
        form = name.partition("_")[0]
        assert tables(directory, format=form).items.equals(tables(directory).items)
