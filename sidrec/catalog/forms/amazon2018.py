"""Amazon reviews of 2018: `meta_NAME.json` and `NAME.json` or `NAME_5.json`, JSON lines, each also .gz.

Of the products: title, brand, category, description and features, without the pieces of web pages that the
set is known for: entities and tags are resolved, and a title that is a piece of script is none. Prices,
ranks, pictures and related products, and the texts of the reviews, are not read.

Source: Ni, Li and McAuley, "Justifying Recommendations using Distantly-Labeled Reviews and Fine-Grained
Aspects", EMNLP 2019; its notebook drops the rows with `getTime` in their titles.
"""

from __future__ import annotations

import pandas as pd
import pyarrow as pa

from sidrec.catalog.config import CatalogConfig
from sidrec.catalog.forms import amazon
from sidrec.catalog.forms.amazon2014 import REVIEW_KEYS
from sidrec.catalog.forms.directory import complete, counted, keep_first, require_one
from sidrec.catalog.forms.line_records import read_line_records
from sidrec.catalog.forms.markup import is_page_code
from sidrec.catalog.tables import Tables, read_file

FORM = "Amazon reviews 2018"
_META = pa.schema(
    [
        ("asin", pa.string()),
        ("title", pa.string()),
        ("brand", pa.string()),
        ("category", pa.list_(pa.string())),
        ("main_cat", pa.string()),
        ("description", pa.list_(pa.string())),
        ("feature", pa.list_(pa.string())),
    ]
)


def matches(config: CatalogConfig) -> bool:
    """Say whether the first lines have the keys of this edition."""
    return amazon.is_edition(config, "2018")


def read(config: CatalogConfig) -> Tables:
    """Read the one file of products and the one of reviews.

    Raises:
        CatalogError: If there is not one of each, or one is broken.
    """
    files = amazon.require_edition(config, "2018")
    meta_path = amazon.require_meta(files, config)
    pattern = "NAME.json or NAME_5.json, also .gz"
    reviews_path = require_one(files.reviews, config, what="reviews", pattern=pattern)
    meta = read_line_records(meta_path, "catalog.items", _META, required=("asin",))
    is_code = [is_page_code(title or "") for title in meta["title"].to_pylist()]
    titles = zip(amazon.cells(meta["title"]), is_code, strict=True)
    categories = zip(
        amazon.cells(meta["category"], between=" > "), amazon.cells(meta["main_cat"]), strict=True
    )
    items = pd.DataFrame(
        {
            "item_id": meta["asin"].to_pylist(),
            "title": ["" if junk else title for title, junk in titles],
            "brand": amazon.cells(meta["brand"]),
            "categories": [path or main for path, main in categories],
            "description": amazon.cells(meta["description"]),
            "features": amazon.cells(meta["feature"], between="; "),
        }
    )
    items, notes = keep_first(items, meta_path, key="asin", form=FORM)
    if any(is_code):
        count = counted(sum(is_code), "title")
        notes.append(f"{meta_path.name}: {count} read as empty for being script or style of a web page.")
    interactions = amazon.read_reviews(reviews_path, REVIEW_KEYS, form=FORM)
    read_files = (read_file(items, meta_path), read_file(interactions, reviews_path))
    return complete(Tables(items, interactions, files=read_files, notes=tuple(notes)), config)
