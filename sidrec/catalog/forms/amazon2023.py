"""Amazon reviews of 2023: `meta_NAME.jsonl`, and `NAME.jsonl` or the CSV files of its benchmark.

An item is a `parent_asin`. Of the products: title, store, categories, features and description. Times are
milliseconds there and seconds here. The benchmark comes as one `NAME.csv`, or divided into `NAME.train.csv`,
`NAME.valid.csv` and `NAME.test.csv`, which the column `split` then says; each also .gz.

Source: Hou et al., "Bridging Language and Items for Retrieval and Recommendation", arXiv:2403.03952.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from sidrec.catalog.config import CatalogConfig
from sidrec.catalog.forms import amazon
from sidrec.catalog.forms.chains import PARTS
from sidrec.catalog.forms.directory import complete, keep_first, require_one
from sidrec.catalog.forms.event_files import EventColumns, read_events
from sidrec.catalog.forms.files import read_first_line
from sidrec.catalog.forms.line_records import read_line_records
from sidrec.catalog.tables import ReadFile, Tables, read_file
from sidrec.errors import CatalogError

FORM = "Amazon reviews 2023"
_KEYS = {"user_id": "user_id", "item_id": "parent_asin", "rating": "rating", "timestamp": "timestamp"}
_SPLIT_NAME = re.compile(rf"(.+)\.({'|'.join(PARTS)})\.csv(?:\.gz)?", re.IGNORECASE)
_META = pa.schema(
    [
        ("parent_asin", pa.string()),
        ("title", pa.string()),
        ("store", pa.string()),
        ("categories", pa.list_(pa.string())),
        ("main_category", pa.string()),
        ("features", pa.list_(pa.string())),
        ("description", pa.list_(pa.string())),
    ]
)


def matches(config: CatalogConfig) -> bool:
    """Say whether the first lines have the keys of this edition."""
    return amazon.is_edition(config, "2023")


def read(config: CatalogConfig) -> Tables:
    """Read the one file of products, and the one of reviews or those of the benchmark.

    Raises:
        CatalogError: If there is not one of each, or one is broken.
    """
    files = amazon.require_edition(config, "2023")
    meta_path = amazon.require_meta(files, config)
    meta = read_line_records(meta_path, "catalog.items", _META, required=("parent_asin",))
    categories = zip(
        amazon.cells(meta["categories"], between=" > "), amazon.cells(meta["main_category"]), strict=True
    )
    items = pd.DataFrame(
        {
            "item_id": meta["parent_asin"].to_pylist(),
            "title": amazon.cells(meta["title"]),
            "store": amazon.cells(meta["store"]),
            "categories": [path or main for path, main in categories],
            "features": amazon.cells(meta["features"], between="; "),
            "description": amazon.cells(meta["description"]),
        }
    )
    items, notes = keep_first(items, meta_path, key="parent_asin", form=FORM)
    parts = {path: _read_part(path) for path in _event_paths(files, config)}
    interactions = pd.concat(list(parts.values()), ignore_index=True)
    interactions["timestamp"] = _seconds(interactions["timestamp"])
    interactions.attrs |= {"source": " and ".join(path.name for path in parts)}
    with_history = [path.name for path in parts if "history" in read_first_line(path).split(",")]
    if with_history:
        names = ", ".join(with_history)
        notes.append(f"{names}: the column history is not read; histories are made from the events.")
    read_files = (read_file(items, meta_path), *(ReadFile(path, len(parts[path]), FORM) for path in parts))
    return complete(Tables(items, interactions, files=read_files, notes=tuple(notes)), config)


def _event_paths(files: amazon.AmazonFiles, config: CatalogConfig) -> list[Path]:
    """Return the files of events: one, or those of the three parts in their order."""
    parts = {path: named for path in files.ratings if (named := _SPLIT_NAME.fullmatch(path.name)) is not None}
    others = [path for path in (*files.reviews, *files.ratings) if path not in parts]
    if not parts or others or config.interactions_path in parts:
        pattern = "NAME.jsonl, NAME.csv, or NAME.train.csv, NAME.valid.csv and NAME.test.csv, each also .gz"
        return [require_one([*others, *parts], config, what="reviews", pattern=pattern)]
    by_split = {named.group(2).lower(): path for path, named in parts.items()}
    stems = {named.group(1) for named in parts.values()}
    if [len(parts), len(by_split), len(stems)] != [len(PARTS), len(PARTS), 1]:
        names = ", ".join(path.name for path in parts)
        raise CatalogError(
            f"{config.interactions_path or config.items_path} has {names}, expected NAME.train.csv, "
            "NAME.valid.csv and NAME.test.csv of one NAME, each also .gz. Add what is missing, or move away "
            "what is not of it."
        )
    return [by_split[split] for split in PARTS]


def _read_part(path: Path) -> pd.DataFrame:
    """Read one file of events; a part of the benchmark says in `split` which."""
    if not path.name.lower().endswith((".csv", ".csv.gz")):
        return amazon.read_reviews(path, _KEYS, form=FORM)
    names = {column: name for name, column in _KEYS.items()}
    frame = read_events(path, "catalog.interactions", EventColumns(names))
    named = _SPLIT_NAME.fullmatch(path.name)
    return frame if named is None else frame.assign(split=named.group(2).lower())


def _seconds(milliseconds: pd.Series) -> np.ndarray:
    """Return times as whole seconds if all are, else with their thousandths, which order events."""
    values = milliseconds.to_numpy(dtype=np.int64)
    return values / 1000 if (values % 1000).any() else values // 1000
