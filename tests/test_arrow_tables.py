"""Tables of other libraries in `Catalog`: pyarrow's, polars', and what is no table at all."""

from datetime import datetime

import pandas as pd
import pyarrow as pa
import pytest

from sidrec.catalog import Catalog
from sidrec.errors import CatalogError

ITEMS = {"item_id": [7, 8], "title": ["Mug", None], "tags": [["x", "y"], ["z"]], "pages": [1, None]}
EVENTS = {"user_id": ["u", "u"], "item_id": [8, 7], "timestamp": [20, 10]}
USERS = {"user_id": ["u"], "likes": ["mugs"]}


def test_arrow_tables_are_taken_as_data_frames_are() -> None:
    items, events, users = (pa.table(columns) for columns in (ITEMS, EVENTS, USERS))
    catalog = Catalog(items=items, interactions=events, users=users, text="{title} {tags}")
    assert catalog.items["item_id"].tolist() == ["7", "8"]
    assert catalog.items["pages"].tolist() == ["1", ""]  # whole beside a missing one, not 1.0
    frames = (pd.DataFrame(columns, dtype=object) for columns in (ITEMS, EVENTS, USERS))
    frame_items, frame_events, frame_users = frames
    same = Catalog(frame_items, frame_events, users=frame_users, text="{title} {tags}")
    assert same.sha256 == catalog.sha256
    assert catalog.users is not None


def test_polars_data_frames_are_taken_as_data_frames_are() -> None:
    polars = pytest.importorskip("polars")
    items = polars.DataFrame(ITEMS | {"nested": [[["a"], ["b"]], []]}).with_columns(
        kind=polars.Series(["cup", "jar"], dtype=polars.Categorical)
    )
    events = polars.DataFrame(EVENTS).with_columns(
        at=polars.Series([datetime(2024, 1, 2), datetime(2024, 1, 1)])
    )
    users = polars.DataFrame(USERS)
    catalog = Catalog(items, events, users=users, text="{title} {kind} {tags} {nested}", timestamp="at")
    assert catalog.items["text"].tolist() == ["Mug cup x, y a, b", "jar z"]
    assert catalog.interactions.values.tolist() == [["u", "7", 1704067200], ["u", "8", 1704153600]]


def test_what_is_no_table_is_refused() -> None:
    with pytest.raises(
        CatalogError, match=r"^items is a dict, expected a table of pandas, pyarrow or polars\. Make"
    ):
        Catalog(ITEMS, pa.table(EVENTS))  # type: ignore[arg-type]
    with pytest.raises(CatalogError, match=r"^interactions is a list, expected a table"):
        Catalog(pa.table(ITEMS), [EVENTS])  # type: ignore[arg-type]


def test_a_column_that_is_there_twice_is_refused() -> None:
    twice = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["item_id", "item_id"])
    with pytest.raises(
        CatalogError, match=r'^items has more than one column "item_id"\. Rename or remove one'
    ):
        Catalog(twice, pa.table(EVENTS))


def test_a_table_whose_texts_point_outside_of_it_is_refused() -> None:
    """As a damaged file has it: to read such a text is to read the memory behind it."""
    offsets = pa.array([0, 1 << 20, 6], pa.int32()).buffers()[1]
    texts = pa.Array.from_buffers(pa.string(), 2, [None, offsets, pa.py_buffer(b"MugPot")])
    with pytest.raises(CatalogError, match=r"items is damaged \(.*\)\. Write or copy it again"):
        Catalog(pa.table({"item_id": ["7", "8"], "title": texts}), pa.table(EVENTS))
