"""Ids: text as it is, which must be seen and told apart."""

import pandas as pd
import pytest

from sidrec.catalog import Catalog, FiltersConfig
from sidrec.errors import CatalogError

ITEMS = pd.DataFrame({"item_id": ["12", "13"], "title": ["Mug", "Pot"]})
EVENTS = pd.DataFrame({"user_id": ["al", "al", "bo"], "item_id": ["12", "13", "12"]})


@pytest.mark.parametrize("wrong", ["1\t2", "12\r", "1\x002", "12\x7f", "1\x852", "\x1b[1m"])
def test_control_characters_in_ids_are_refused(wrong):
    message = r"data row 2 has the {} '.*' with a control character, expected .* \(1 such ids\)\. Remove the"
    with pytest.raises(CatalogError, match="items: " + message.format("item_id")):
        Catalog(ITEMS.assign(item_id=["12", wrong]), EVENTS)
    with pytest.raises(CatalogError, match="interactions: " + message.format("item_id")):
        Catalog(ITEMS, EVENTS.assign(item_id=["12", wrong, wrong]))
    with pytest.raises(CatalogError, match="interactions: " + message.format("user_id")):
        Catalog(ITEMS, EVENTS.assign(user_id=["al", wrong, "bo"]))


@pytest.mark.parametrize(
    ("items", "events", "message"),
    [
        ({"item_id": [" 12", "12"]}, {}, r"items: the item_ids ' 12' and '12' differ only by white space"),
        ({"item_id": ["12", "12\u3000"]}, {}, r"items: the item_ids '12' and '12\\u3000' differ only"),
        ({}, {"user_id": ["al", "al ", "bo"]}, r"interactions: the user_ids 'al' and 'al ' differ only"),
        ({}, {"item_id": ["12", " 13", "12"]}, r"interactions: the item_ids '13' and ' 13' differ only"),
        ({"item_id": ["12", "13 "]}, {}, r"interactions: the item_ids '13 ' and '13' differ only"),
    ],
)
@pytest.mark.parametrize("unknown", ["error", "drop"])
def test_ids_that_are_the_same_but_for_white_space_are_refused(items, events, message, unknown):
    with pytest.raises(CatalogError, match=message):
        Catalog(ITEMS.assign(**items), EVENTS.assign(**events), filters=FiltersConfig(unknown_items=unknown))


def test_white_space_that_is_no_accident_stays():
    ids = [" 12", "1 3"]
    catalog = Catalog(ITEMS.assign(item_id=ids), EVENTS.assign(item_id=[*ids, " 12"]))
    assert catalog.items["item_id"].tolist() == ids
    assert catalog.index_of([" 12"]) == [0]


def test_users_of_a_table_are_told_apart_too():
    users = pd.DataFrame({"user_id": ["al", "bo", "bo "], "age": [1, 2, 3]})
    with pytest.raises(CatalogError, match=r"users: the user_ids 'bo' and 'bo ' differ only by white space"):
        Catalog(ITEMS, EVENTS, users=users)
