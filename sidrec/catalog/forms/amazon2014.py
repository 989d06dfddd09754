"""Amazon reviews of 2014: `meta_*.json.gz`, a Python literal per line, and `reviews_*.json.gz`, JSON lines.

Of the products: title, brand, categories and description. Prices, ranks, pictures and related products, and
the texts of the reviews, are not read.

Source: McAuley et al., "Image-based Recommendations on Styles and Substitutes", SIGIR 2015.
"""

from __future__ import annotations

import pandas as pd
import pyarrow as pa

from sidrec.catalog.config import CatalogConfig
from sidrec.catalog.forms import amazon
from sidrec.catalog.forms.directory import complete, keep_first, require_one
from sidrec.catalog.forms.line_records import read_line_records
from sidrec.catalog.forms.markup import plain_text
from sidrec.catalog.tables import Tables, read_file

FORM = "Amazon reviews 2014"
REVIEW_KEYS = {"user_id": "reviewerID", "item_id": "asin", "rating": "overall", "timestamp": "unixReviewTime"}
_META = pa.schema(
    [
        ("asin", pa.string()),
        ("title", pa.string()),
        ("brand", pa.string()),
        ("categories", pa.list_(pa.list_(pa.string()))),
        ("description", pa.list_(pa.string())),
    ]
)


def matches(config: CatalogConfig) -> bool:
    """Say whether the first lines have the keys of this edition."""
    return amazon.is_edition(config, "2014")


def read(config: CatalogConfig) -> Tables:
    """Read the one file of products and the one of reviews.

    Raises:
        CatalogError: If there is not one of each, or one is broken.
    """
    files = amazon.require_edition(config, "2014")
    meta_path = amazon.require_meta(files, config)
    reviews_path = require_one(files.reviews, config, what="reviews", pattern="reviews_*.json, also .gz")
    meta = read_line_records(meta_path, "catalog.items", _META, required=("asin",))
    items = pd.DataFrame(
        {
            "item_id": meta["asin"].to_pylist(),
            "title": amazon.cells(meta["title"]),
            "brand": amazon.cells(meta["brand"]),
            "categories": [_paths(value) for value in meta["categories"].to_pylist()],
            "description": amazon.cells(meta["description"]),
        }
    )
    items, notes = keep_first(items, meta_path, key="asin", form=FORM)
    interactions = amazon.read_reviews(reviews_path, REVIEW_KEYS, form=FORM)
    read_files = (read_file(items, meta_path), read_file(interactions, reviews_path))
    return complete(Tables(items, interactions, files=read_files, notes=tuple(notes)), config)


def _paths(value: list[list[str]] | None) -> str:
    """Write the places of a product in the shop: "Beauty > Hair Care; Gifts > Hair"."""
    paths = (" > ".join(plain_text(part) for part in path if part) for path in value or [] if path)
    return "; ".join(path for path in paths if path)
