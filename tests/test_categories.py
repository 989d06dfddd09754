"""Which column holds the categories, and what of a hierarchy is an item's own."""

from pathlib import Path

import pandas as pd
import pytest

from sidrec.catalog import Catalog
from sidrec.catalog.categories import main_categories
from sidrec.errors import CatalogError

EVENTS = pd.DataFrame({"user_id": ["u"], "item_id": ["a"]})


def catalog(columns: dict[str, list], **keywords: str) -> Catalog:
    items = pd.DataFrame({"item_id": ["a", "b", "c", "d"], "title": ["A", "B", "C", "D"], **columns})
    return Catalog(items, EVENTS, **keywords)


def main(*cells: object) -> list[str]:
    return main_categories(pd.Series(cells)).tolist()


def test_a_name_is_a_category() -> None:
    assert main("Tape", "Glue", "Tape", "Pipe") == ["Tape", "Glue", "Tape", "Pipe"]


@pytest.mark.parametrize("divider", [" > ", "|", ";", ",", ", "])
def test_the_name_of_the_whole_shop_is_passed_over(divider: str) -> None:
    cells = [divider.join(["Science", part, "New"]) for part in ("Tape", "Glue", "Tape", "Pipe")]
    assert main(*cells) == ["Tape", "Glue", "Tape", "Pipe"]


def test_the_first_part_that_tells_items_apart_is_taken_for_all() -> None:
    """First parts: 3 of 4 are Science, too many. Second parts: Tape is on 2 of 4, just few enough."""
    assert main("Science,Tape,Duct", "Science,Tape,Vinyl", "Science,Glue", "Games,Chess,Sets") == [
        "Tape",
        "Tape",
        "Glue",
        "Chess",
    ]


def test_an_item_with_fewer_parts_gives_its_last() -> None:
    assert main("Shop>Tape", "Shop", "Shop>Glue", "Shop>Pipe") == ["Tape", "Shop", "Glue", "Pipe"]


def test_where_no_part_tells_items_apart_the_first_is_taken() -> None:
    assert main("Science>Tape", "Science>Tape", "Games>Tape") == ["Science", "Science", "Games"]


def test_lists_are_hierarchies_too() -> None:
    assert main(["Shop", "Tape"], ["Shop", "Glue"]) == ["Tape", "Glue"]


def test_empty_cells_are_items_without_a_category() -> None:
    assert main("Tape", None, " ", "Glue") == ["Tape", "", "", "Glue"]
    assert main_categories(pd.Series(["", None, " , "])) is None


@pytest.mark.parametrize("column", ["category", "categories", "class", "genre", "genres"])
def test_a_usual_column_is_found(column: str) -> None:
    assert catalog({column: ["x", "y", "x", "z"]}).categories().tolist() == ["x", "y", "x", "z"]


def test_a_named_column_goes_before_a_usual_one() -> None:
    columns = {"category": ["x", "y", "x", "z"], "shelf": ["1", "1", "2", "3"]}
    assert catalog(columns, category="shelf").categories().tolist() == ["1", "1", "2", "3"]


def test_without_a_column_there_are_no_categories() -> None:
    assert catalog({"brand": ["x", "y", "x", "z"]}).categories() is None


def test_a_column_that_is_not_there_is_named_with_a_near_one() -> None:
    with pytest.raises(
        CatalogError, match=r'no column "shelv" \(catalog\.category\)\. Did you mean "shelf"\?'
    ):
        catalog({"shelf": ["1", "1", "2", "3"]}, category="shelv")


def test_the_column_is_known_again_after_a_reload(tmp_path: Path) -> None:
    columns = {"category": ["x", "y", "x", "z"], "shelf": ["1", "1", "2", "3"]}
    catalog(columns, category="shelf").save(tmp_path)
    assert Catalog.load(tmp_path).categories().tolist() == ["1", "1", "2", "3"]


def test_categories_do_not_change_the_catalogues_hash() -> None:
    columns = {"shelf": ["1", "1", "2", "3"]}
    plain = catalog(columns, text="{title}")
    assert catalog(columns, text="{title}", category="shelf").sha256 == plain.sha256
