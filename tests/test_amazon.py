"""Amazon's reviews of 2014, 2018 and 2023: which edition, what is read of it, what is refused."""

import gzip
from pathlib import Path
from typing import Any

import forms_public as forms
import pytest

from sidrec.catalog import CatalogConfig, read_catalog
from sidrec.catalog.forms import read_tables
from sidrec.catalog.forms.markup import is_page_code, plain_text
from sidrec.catalog.tables import Tables
from sidrec.errors import CatalogError

EDITIONS = ("amazon2014", "amazon2018", "amazon2023", "amazon2023_benchmark")


def made(name: str, directory: Path) -> Path:
    forms.FIXTURES[name](directory)
    return directory / "my_data"


def tables(directory: Path, **settings: Any) -> Tables:
    return read_tables(CatalogConfig(items=directory, **settings))


def write_2018(directory: Path, *products: dict[str, Any]) -> Path:
    """Write the reviews of 2018, and the products with the fields given here in place of theirs."""
    records = forms.products_2018()
    for record, product in zip(records, products, strict=False):
        record |= product
    forms.write_json_lines(directory / "meta_Kitchen.json", records)
    forms.write_json_lines(directory / "Kitchen.json", forms.reviews_2018())
    return directory


@pytest.mark.parametrize("name", EDITIONS)
def test_a_directory_needs_no_other_setting(tmp_path: Path, name: str) -> None:
    catalog = read_catalog(CatalogConfig(items=made(name, tmp_path)))
    assert (catalog.num_items, catalog.num_users, len(catalog.interactions)) == (9, 7, 35)
    assert catalog.order == "column 'timestamp'"
    assert catalog.category == "categories"
    # user 0 has items 0, 2, 4, 6, 8, a day apart
    first = catalog.interactions[catalog.interactions["user_id"] == "A0XYZ"]
    assert first["item_id"].tolist() == ["B000", "B002", "B004", "B006", "B008"]
    assert first["timestamp"].tolist() == [1_400_000_000 + 86_400 * day for day in range(5)]


@pytest.mark.parametrize("name", EDITIONS)
def test_the_edition_is_told_by_its_keys_and_can_be_named(tmp_path: Path, name: str) -> None:
    directory = made(name, tmp_path)
    edition = name.removesuffix("_benchmark")
    found = tables(directory)
    assert {file.form for file in found.files} == {f"Amazon reviews {edition.removeprefix('amazon')}"}
    assert tables(directory, format=edition).items.equals(found.items)
    other = "amazon2014" if edition != "amazon2014" else "amazon2018"
    message = (
        rf"catalog\.format={other}, but .* has the keys of {edition} .* Set catalog\.format={edition}, or"
    )
    with pytest.raises(CatalogError, match=message):
        tables(directory, format=other)


@pytest.mark.parametrize(("name", "text"), [
    ("amazon2014", "Bob's pot & saucer. Acme. Kitchen > Pot; Gifts. A pot of clay."),
    ("amazon2018", "Bob's pot & saucer. Acme. Kitchen > Pot. A pot of clay. It's red. 1 litres; Red"),
    ("amazon2023", "Bob's pot. Acme. Kitchen > Pot. 1 litres; Red. A pot of clay."),
])  # fmt: skip
def test_the_text_of_an_item_is_its_words_without_addresses(tmp_path: Path, name: str, text: str) -> None:
    assert read_catalog(CatalogConfig(items=made(name, tmp_path))).items["text"].iloc[1] == text


@pytest.mark.parametrize("name", EDITIONS)
def test_ratings_are_read(tmp_path: Path, name: str) -> None:
    interactions = tables(made(name, tmp_path)).interactions.sort_values(["user_id", "timestamp"])
    assert interactions["rating"].tolist() == [1.0, 2.0, 3.0, 4.0, 5.0] * 7


@pytest.mark.parametrize("name", ["amazon2014", "amazon2018", "amazon2023"])
def test_the_two_files_can_be_named_packed_or_not(tmp_path: Path, name: str) -> None:
    directory = made(name, tmp_path)
    expected = tables(directory)
    paths = sorted(directory.iterdir())
    for path in paths:
        data = path.read_bytes()
        plain = gzip.decompress(data) if path.suffix == ".gz" else data
        (tmp_path / path.name.removesuffix(".gz").replace(".jsonl", ".json")).write_bytes(plain)
    (meta,) = tmp_path.glob("meta_*")
    (reviews,) = (path for path in tmp_path.glob("*.json") if path != meta)
    found = tables(meta, interactions=reviews)
    assert found.items.equals(expected.items)
    assert found.interactions.equals(expected.interactions)


def test_files_with_columns_named_in_the_config_are_tables_like_any_other(tmp_path: Path) -> None:
    directory = made("amazon2023", tmp_path)
    config = CatalogConfig(
        items=directory / "meta_Kitchen.jsonl",
        interactions=directory / "Kitchen.jsonl",
        item_id="parent_asin",
        text="{title} at {store}",
    )
    assert read_catalog(config).items["text"].iloc[0] == "Bob's mug at Acme"


def test_a_table_that_has_an_asin_beside_its_item_id_is_a_table(tmp_path: Path) -> None:
    forms.write_json_lines(tmp_path / "items.jsonl", [{"item_id": "1", "asin": "B1", "title": "Mug"}])
    forms.write_json_lines(tmp_path / "events.jsonl", [{"user_id": "u", "item_id": "1"}])
    config = CatalogConfig(items=tmp_path / "items.jsonl", interactions=tmp_path / "events.jsonl")
    assert read_catalog(config).items["asin"].tolist() == ["B1"]


def test_every_place_of_a_product_of_2014_in_the_shop_is_kept(tmp_path: Path) -> None:
    directory = made("amazon2014", tmp_path)
    product = {"asin": "B9", "title": "x", "categories": [["Home", "A &amp; B"], [], ["Toys"]]}
    forms.write_lines(directory / "meta_Kitchen.json.gz", [repr(product), repr({"asin": "B8"})])
    items = tables(directory).items
    assert items["categories"].tolist() == ["Home > A & B; Toys", ""]
    assert items["title"].tolist() == ["x", ""]


def test_a_cell_with_code_is_never_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    directory = made("amazon2014", tmp_path)
    code = "__import__('os').system('touch broken')"
    forms.write_lines(directory / "meta_Kitchen.json.gz", [repr({"asin": "B000", "title": code})])
    assert tables(directory).items["title"].tolist() == [code]
    forms.write_lines(directory / "meta_Kitchen.json.gz", [repr({"asin": "B000"}), f"{{'asin': {code}}}"])
    with pytest.raises(
        CatalogError, match=r"meta_Kitchen\.json\.gz: line 2 is neither JSON nor a Python lit"
    ):
        tables(directory)
    assert not (tmp_path / "broken").exists()


def test_a_title_of_2018_that_is_a_piece_of_a_page_is_none(tmp_path: Path) -> None:
    junk = "var aPageStart = (new Date()).getTime();\nvar ue_t0=ue_t0||+new Date();"
    found = tables(
        write_2018(tmp_path, {"title": junk}, {"title": "<span>Pot</span> &amp; lid"}, {"title": None})
    )
    assert found.items["title"].tolist()[:3] == ["", "Pot & lid", ""]
    assert found.notes == (
        "meta_Kitchen.json: 1 title read as empty for being script or style of a web page.",
    )


def test_the_main_category_stands_in_for_no_category(tmp_path: Path) -> None:
    picture = '<img src="https://example.com/1.png" class="nav" alt="AMAZON FASHION"/>'
    found = tables(write_2018(tmp_path, {"category": []}, {"category": [], "main_cat": picture}))
    assert found.items["categories"].tolist()[:3] == ["Home & Kitchen", "AMAZON FASHION", "Kitchen > Pan"]


def test_fields_of_2018_may_be_a_text_in_place_of_a_list(tmp_path: Path) -> None:
    found = tables(write_2018(tmp_path, {"description": "Clay.", "feature": ""}))
    assert found.items.loc[0, ["description", "features"]].tolist() == ["Clay.", ""]


def test_of_rows_on_the_same_product_the_first_is_kept_and_the_others_are_counted(tmp_path: Path) -> None:
    found = tables(write_2018(tmp_path, {}, {"asin": "B000"}, {"asin": "B000"}))
    assert found.items["item_id"].tolist()[:2] == ["B000", "B003"]
    assert found.items["title"].iloc[0] == "Bob's mug & saucer"
    assert found.notes == ("meta_Kitchen.json: 2 rows left out for having the asin of an earlier row.",)


def test_events_of_products_without_a_row_are_left_in(tmp_path: Path) -> None:
    found = tables(write_2018(tmp_path, {"asin": "other"}))
    assert "B000" in set(found.interactions["item_id"]) - set(found.items["item_id"])


def test_times_of_2023_are_seconds_with_their_thousandths(tmp_path: Path) -> None:
    directory = made("amazon2023", tmp_path)
    reviews = forms.reviews_2023()[:2]
    reviews[0]["timestamp"], reviews[1]["timestamp"] = 1_588_687_728_923, 1_588_687_728_000
    forms.write_json_lines(directory / "Kitchen.jsonl", reviews)
    assert tables(directory).interactions["timestamp"].tolist() == [1588687728.923, 1588687728.0]


def test_the_benchmark_says_which_events_are_for_training(tmp_path: Path) -> None:
    found = tables(made("amazon2023_benchmark", tmp_path))
    # of the 5 events of each of 7 users the last is in test, the one before in valid
    assert found.interactions["split"].value_counts().to_dict() == {"train": 21, "valid": 7, "test": 7}
    test = found.interactions[found.interactions["split"] == "test"]
    assert test["item_id"].tolist() == [f"B00{(user + 8) % 9}" for user in range(7)]
    assert found.notes == (
        "Kitchen.train.csv, Kitchen.valid.csv, Kitchen.test.csv: the column history is not read; "
        "histories are made from the events.",
    )


def test_the_benchmark_may_be_one_file_in_another_directory(tmp_path: Path) -> None:
    directory = made("amazon2023", tmp_path)
    rows = [f"A{user},B00{user},5.0,1400000000000" for user in range(3)]
    path = forms.write_lines(
        tmp_path / "5core" / "Kitchen.csv.gz", ["user_id,parent_asin,rating,timestamp", *rows]
    )
    found = tables(directory / "meta_Kitchen.jsonl", interactions=path)
    assert found.interactions.values.tolist() == [[f"A{u}", f"B00{u}", 5.0, 1_400_000_000] for u in range(3)]
    assert found.notes == ()
    assert tables(directory, interactions=path.parent).interactions.equals(found.interactions)


def test_a_part_of_the_benchmark_that_is_missing_is_told(tmp_path: Path) -> None:
    directory = made("amazon2023_benchmark", tmp_path)
    (directory / "Kitchen.valid.csv").unlink()
    message = r"has Kitchen\.test\.csv, Kitchen\.train\.csv, expected NAME\.train\.csv, NAME\.valid\.csv and"
    with pytest.raises(CatalogError, match=message):
        tables(directory)
    (directory / "Kitchen.test.csv").rename(directory / "Toys.valid.csv")
    forms.write_lines(directory / "Kitchen.test.csv", ["user_id,parent_asin,rating,timestamp"])
    with pytest.raises(CatalogError, match=r"of one NAME"):
        tables(directory)


def test_files_that_are_not_read_are_told(tmp_path: Path) -> None:
    directory = made("amazon2018", tmp_path)
    (directory / "README.txt").write_text("hello")
    assert tables(directory).notes == (f"{directory}: 1 other file left unread: README.txt.",)


def test_users_can_be_named(tmp_path: Path) -> None:
    directory = made("amazon2018", tmp_path)
    users = forms.write_lines(directory / "users.csv", ["user_id,age", *(f"A{u}XYZ,3{u}" for u in range(7))])
    found = tables(directory, users=users)
    assert found.users is not None
    assert found.users["age"].tolist() == ["30", "31", "32", "33", "34", "35", "36"]
    assert found.notes == ()


@pytest.mark.parametrize("name", ["amazon2014", "amazon2018", "amazon2023"])
def test_one_file_without_the_other_is_refused(tmp_path: Path, name: str) -> None:
    directory = made(name, tmp_path)
    (meta,) = directory.glob("meta_*")
    data = meta.read_bytes()
    meta.unlink()
    message = (
        r"has no products, expected one file of products \(meta_\*\.json .*semantic IDs are made from the"
    )
    with pytest.raises(CatalogError, match=message):
        read_tables(CatalogConfig(items=directory, format=name))  # reviews alone need not say which edition
    (reviews,) = directory.iterdir()
    reviews.unlink()
    meta.write_bytes(data)
    with pytest.raises(CatalogError, match=r"has no reviews, expected one file of reviews \("):
        tables(directory)


def test_two_files_of_a_kind_are_refused_with_their_names(tmp_path: Path) -> None:
    directory = made("amazon2014", tmp_path)
    packed = (directory / "reviews_Kitchen_5.json.gz").read_bytes()
    (directory / "reviews_Kitchen.json.gz").write_bytes(packed)
    message = (
        r"has 2 files of reviews \(reviews_Kitchen\.json\.gz, reviews_Kitchen_5\.json\.gz\), expected one "
        r"file of reviews .*Move the others away, or name the files in catalog\.items"
    )
    with pytest.raises(CatalogError, match=message):
        tables(directory)
    found = tables(directory / "meta_Kitchen.json.gz", interactions=directory / "reviews_Kitchen.json.gz")
    assert len(found.interactions) == 35


def test_a_file_of_products_alone_is_refused(tmp_path: Path) -> None:
    (meta,) = made("amazon2018", tmp_path).glob("meta_*")
    with pytest.raises(CatalogError, match=r"catalog\.interactions is not set, but catalog\.items is \("):
        tables(meta)
    with pytest.raises(CatalogError, match=r"Set catalog\.interactions to the file of reviews, or catalog"):
        tables(meta, format="amazon2018")


def test_a_first_line_that_is_broken_is_named_where_the_names_tell_the_form(tmp_path: Path) -> None:
    directory = made("amazon2014", tmp_path)
    forms.write_lines(directory / "reviews_Kitchen_5.json.gz", ['{"reviewerID": '])
    with pytest.raises(CatalogError, match=r"reviews_Kitchen_5\.json\.gz: line 1 is neither JSON"):
        tables(directory)
    forms.write_json_lines(directory / "reviews_Kitchen_5.json.gz", forms.reviews_2014())
    forms.write_lines(directory / "meta_Kitchen.json.gz", ["{'asin': "])
    with pytest.raises(CatalogError, match=r"meta_Kitchen\.json\.gz: line 1 is neither JSON"):
        tables(directory)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    directory = made("amazon2018", tmp_path)
    with pytest.raises(CatalogError, match=r"catalog\.items: there is no file .*meta_Toys\.json"):
        tables(
            directory / "meta_Toys.json", format="amazon2018", interactions=directory / "Kitchen_5.json.gz"
        )


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"asin": "B1", "reviewerID": "A', r"line 36 is neither JSON .*the file may have been cut"),
        ('{"asin": "B1", "reviewerID": "A"}\n', r'line 36 has no value for "unixReviewTime"'),
        ('{"asin": ["B1"], "reviewerID": "A", "unixReviewTime": 1}\n', r'36 has \["B1"\] as asin, expected'),
        ('{"asin": "B1", "reviewerID": "A", "unixReviewTime": "soon"}\n', r'has "soon" as unixReviewTime'),
        ('["B1"]\n', r"line 36 is not an object"),
        ("caf\udce9\n", r"Kitchen\.json is not UTF-8: byte 0xe9 at position \d+ \(line 36\)"),
    ],
)  # fmt: skip
def test_a_broken_review_is_named(tmp_path: Path, line: str, message: str) -> None:
    with (write_2018(tmp_path) / "Kitchen.json").open("ab") as stream:
        stream.write(line.encode("utf-8", "surrogateescape"))
    with pytest.raises(CatalogError, match=message):
        tables(tmp_path)


def test_a_packed_file_cut_short_is_refused(tmp_path: Path) -> None:
    path = made("amazon2018", tmp_path) / "Kitchen_5.json.gz"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(CatalogError, match=r"Kitchen_5\.json\.gz is a broken gzip file"):
        tables(path.parent)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("A1,B1,5.0", r"line 9 has 3 cells, expected 5 \(user_id, parent_asin, rating, timestamp"),
        (
            "A1,B\r1,5.0,17,x,y",
            r"line 9 cannot be divided into cells \(new-line character seen .*Mend it, or",
        ),
    ],
)
def test_a_broken_line_of_the_benchmark_is_named(line: str, message: str, tmp_path: Path) -> None:
    directory = made("amazon2023_benchmark", tmp_path)
    with (directory / "Kitchen.test.csv").open("a", newline="") as stream:
        stream.write(line)
    with pytest.raises(CatalogError, match=rf"Kitchen\.test\.csv: {message}"):
        tables(directory)


def test_pieces_of_pages_become_the_text_on_them() -> None:
    assert plain_text("a&nbsp;&lt;b&gt;bold&lt;/b&gt;<br/>new\n line") == "a bold new line"
    assert plain_text("size < 5 and > 3 <3") == "size < 5 and > 3 <3"
    assert plain_text("x<script>var a = '<b>';</script>y<style>.a{b:c}") == "x y"
    assert plain_text("<!-- a <b> -->t") == "t"


def test_page_code_is_told_from_titles() -> None:
    assert all(
        map(is_page_code, ["<script>", "(new Date()).getTime()", ".a-box{color:red}", "function f(a) {"])
    )
    titles = ["Multi-Function (Black)", "Vol.3 {Kindle}", "The function of style", "C# {Second Edition}"]
    assert not any(map(is_page_code, titles))
