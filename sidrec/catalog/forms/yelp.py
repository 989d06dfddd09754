"""The Yelp Open Dataset: `*business*.json` and `*review*.json`, or with events by number (`numbered_lists`).

JSON lines, each file also .gz. Of the businesses: name, categories, city and state; of the reviews: who, what
and when, and the stars. Check-ins, tips, photos and users are not read.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from sidrec.catalog.config import CatalogConfig
from sidrec.catalog.forms import numbered_lists
from sidrec.catalog.forms.directory import complete, counted, files_in, keep_first, require_one
from sidrec.catalog.forms.files import require_file
from sidrec.catalog.forms.line_records import first_keys, read_line_records
from sidrec.catalog.tables import Tables, read_file
from sidrec.errors import CatalogError

FORM = "Yelp JSON"
BUSINESS_PATTERN = "yelp_academic_dataset_business.json, also .gz"
_BUSINESS = pa.schema(
    [
        ("business_id", pa.string()),
        ("name", pa.string()),
        ("categories", pa.list_(pa.string())),
        ("city", pa.string()),
        ("state", pa.string()),
    ]
)
_REVIEW = pa.schema(
    [
        ("user_id", pa.string()),
        ("business_id", pa.string()),
        ("date", pa.timestamp("s")),
        ("stars", pa.float64()),
    ]
)


def matches(config: CatalogConfig) -> bool:
    """Say whether there are reviews of businesses by the keys of the first lines, or lists of numbers."""
    if config.items_path is None:
        return False
    if config.interactions_path is not None:
        is_own = (config.item_id, config.user_id) != ("item_id", "user_id")
        return not is_own and _is_business(config.items_path) and _is_review(config.interactions_path)
    return config.items_path.is_dir() and (
        numbered_lists.is_there(config.items_path)
        or any(_is_review(path) for path in files_in(config.items_path))
    )


def read(config: CatalogConfig) -> Tables:
    """Read businesses, and their reviews or the lists of numbers.

    Raises:
        CatalogError: If there is not one file of each, or one is broken.
    """
    assert config.items_path is not None
    if not config.items_path.is_dir():
        return _read_reviews(config, config.items_path, config.interactions_path)
    paths = files_in(config.items_path)
    businesses = [path for path in paths if _is_business(path)]
    reviews = [path for path in paths if _is_review(path)]
    if config.interactions_path is not None or not numbered_lists.is_there(config.items_path):
        business_path = require_one(businesses, config, what="businesses", pattern=BUSINESS_PATTERN)
        pattern = "yelp_academic_dataset_review.json, also .gz"
        review_path = config.interactions_path or require_one(
            reviews, config, what="reviews", pattern=pattern
        )
        return _read_reviews(config, business_path, review_path)
    if reviews:
        raise CatalogError(
            f"catalog.items: {config.items_path} has events in {reviews[0].name} and in train.txt, expected "
            "one of them. Move the other away."
        )
    if not businesses:
        raise CatalogError(
            f"catalog.items: {config.items_path} has item_list.txt and train.txt, numbers without texts, and "
            "semantic IDs are made from the texts of the items. Put the file that has them beside these "
            f"({BUSINESS_PATTERN}, whose business_id is the org_id), or name tables of your own in "
            "catalog.items and catalog.interactions."
        )
    return _read_numbered(
        config, require_one(businesses, config, what="businesses", pattern=BUSINESS_PATTERN)
    )


def _read_reviews(config: CatalogConfig, business_path: Path, review_path: Path | None) -> Tables:
    """Read the two files of JSON lines."""
    require_file(business_path, "catalog.items")
    if review_path is None:
        raise CatalogError(
            f"catalog.interactions is not set, but catalog.items is the file {business_path}. Set "
            "catalog.interactions to the file of reviews, or catalog.items to the directory of both."
        )
    items, notes = _read_businesses(business_path)
    required = ("user_id", "business_id", "date")
    table = read_line_records(review_path, "catalog.interactions", _REVIEW, required=required)
    interactions = pd.DataFrame(
        {
            "user_id": table["user_id"].to_pandas(),
            "item_id": table["business_id"].to_pandas(),
            "timestamp": pc.cast(table["date"], pa.int64()).to_numpy(),
            "rating": table["stars"].to_numpy(),
        }
    )
    interactions.attrs |= {"source": review_path.name, "form": FORM}
    read_files = (read_file(items, business_path), read_file(interactions, review_path))
    return complete(Tables(items, interactions, files=read_files, notes=tuple(notes)), config)


def _read_numbered(config: CatalogConfig, business_path: Path) -> Tables:
    """Read the businesses of `item_list.txt`, and the events of `train.txt` and `test.txt`."""
    assert config.items_path is not None
    lists = numbered_lists.read(config.items_path)
    items, notes = _read_businesses(business_path)
    listed = items["item_id"].isin(lists.item_ids).to_numpy()
    if not listed.any():
        raise CatalogError(
            f"{business_path} has none of the {len(lists.item_ids):,} businesses of item_list.txt, such as "
            f'"{lists.item_ids[0]}". Expected the business_id to be the org_id: take the edition of the '
            "Yelp dataset that the lists were made of."
        )
    if not listed.all():
        count = counted(int((~listed).sum()), "row")
        notes.append(f"{business_path.name}: {count} left out for not being in item_list.txt.")
    attrs = items.attrs
    items = items[listed].reset_index(drop=True)
    items.attrs |= attrs
    files = (read_file(items, business_path), *lists.files)
    return complete(Tables(items, lists.interactions, None, files, (*notes, *lists.notes)), config)


def _read_businesses(path: Path) -> tuple[pd.DataFrame, list[str]]:
    """Read the items; the second result says how many rows repeat one."""
    table = read_line_records(path, "catalog.items", _BUSINESS, required=("business_id",))
    categories = [
        ", ".join(part for part in value or [] if part) for value in table["categories"].to_pylist()
    ]
    items = pd.DataFrame(
        {
            "item_id": table["business_id"].to_pylist(),
            "title": [name or "" for name in table["name"].to_pylist()],
            "categories": categories,
            "city": [name or "" for name in table["city"].to_pylist()],
            "state": [name or "" for name in table["state"].to_pylist()],
        },
        dtype=str,
    )
    return keep_first(items, path, key="business_id", form=FORM)


def _is_business(path: Path) -> bool:
    """Say whether a file is one of businesses."""
    return "business" in path.name.lower() and {"business_id", "name"} <= first_keys(path)


def _is_review(path: Path) -> bool:
    """Say whether a file is one of reviews."""
    return "review" in path.name.lower() and {"business_id", "user_id", "stars"} <= first_keys(path)
