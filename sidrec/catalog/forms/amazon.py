"""What the three editions of the Amazon reviews have in common: a file of products, and one of reviews.

Each edition has its keys (`amazon2014`, `amazon2018`, `amazon2023`), by which they are told apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa

from sidrec.catalog.config import CatalogConfig
from sidrec.catalog.forms.directory import files_in, require_one
from sidrec.catalog.forms.files import read_first_line, require_file
from sidrec.catalog.forms.line_records import first_keys, read_line_records
from sidrec.catalog.forms.markup import plain_text
from sidrec.errors import CatalogError

_JSON_ENDINGS = (".json", ".jsonl", ".json.gz", ".jsonl.gz")
_CSV_ENDINGS = (".csv", ".csv.gz")
_ONLY_2018 = frozenset({"category", "main_cat", "also_buy", "feature", "verified", "style", "vote"})


@dataclass(frozen=True)
class AmazonFiles:
    """The files of a config that are of this kind, and what their first lines say.

    Attributes:
        meta: Files of products.
        reviews: Files of reviews, a JSON object per line.
        ratings: CSV files of the benchmark of 2023.
        edition: "2014", "2018" or "2023"; None if no first line is of this kind.
    """

    meta: list[Path]
    reviews: list[Path]
    ratings: list[Path]
    edition: str | None


def is_edition(config: CatalogConfig, edition: str) -> bool:
    """Say whether the files are of an edition.

    Two files with names of columns set in the config are tables like any other.
    """
    if config.items_path is None or (config.interactions_path is None and not config.items_path.is_dir()):
        return False
    own_names = (config.item_id, config.user_id) != ("item_id", "user_id")
    if config.interactions_path is not None and own_names:
        return False
    return _find_files(config.items_path, config.interactions_path).edition == edition


def require_edition(config: CatalogConfig, edition: str) -> AmazonFiles:
    """Find the files, and raise if they are of another edition than `catalog.format` says."""
    assert config.items_path is not None
    for path, setting in (
        (config.items_path, "catalog.items"),
        (config.interactions_path, "catalog.interactions"),
    ):
        if path is not None and not path.is_dir():
            require_file(path, setting)
    if config.interactions_path is None and not config.items_path.is_dir():
        raise CatalogError(
            f"catalog.interactions is not set, but catalog.items is the file {config.items_path}. Set "
            "catalog.interactions to the file of reviews, or catalog.items to the directory of both."
        )
    files = _find_files(config.items_path, config.interactions_path)
    if files.edition is not None and files.edition != edition:
        raise CatalogError(
            f"catalog.format=amazon{edition}, but {config.items_path} has the keys of amazon{files.edition} "
            f"in its first lines. Set catalog.format=amazon{files.edition}, or leave it out."
        )
    return files


def require_meta(files: AmazonFiles, config: CatalogConfig) -> Path:
    """Return the one file of products."""
    pattern = "meta_*.json or .jsonl, each also .gz: semantic IDs are made from the texts in it"
    return require_one(files.meta, config, what="products", pattern=pattern)


def read_reviews(path: Path, names: dict[str, str], *, form: str) -> pd.DataFrame:
    """Read the reviews' `user_id`, `item_id`, `rating` and `timestamp`; `names` are their keys in the file.

    Raises:
        CatalogError: If the file is broken; names the line.
    """
    types = {"user_id": pa.string(), "item_id": pa.string(), "rating": pa.float64(), "timestamp": pa.int64()}
    schema = pa.schema([(names[name], kind) for name, kind in types.items()])
    required = [names[name] for name in ("user_id", "item_id", "timestamp")]
    table = read_line_records(path, "catalog.interactions", schema, required=required)
    frame = table.rename_columns(list(types)).to_pandas()
    frame.attrs |= {"source": path.name, "form": form}
    return frame


def cells(column: pa.ChunkedArray, *, between: str = " ") -> list[str]:
    """Return texts, or lists of texts, without markup; the parts of a list joined."""
    return [_cell(value, between) for value in column.to_pylist()]


def _cell(value: str | Sequence[str | None] | None, between: str) -> str:
    """Return one value without markup."""
    parts = [value] if isinstance(value, str) else (value or [])
    return between.join(text for part in parts if part and (text := plain_text(part)))


def _find_files(items: Path, interactions: Path | None) -> AmazonFiles:
    """Find the files by their names and first lines; one that the config names is what it is named as."""
    item_paths = files_in(items) if items.is_dir() else [items]
    event_paths = item_paths
    if interactions is not None:
        event_paths = files_in(interactions) if interactions.is_dir() else [interactions]
    keys = {path: _keys(path) for path in dict.fromkeys([*item_paths, *event_paths])}
    events = [path for path in event_paths if path == interactions or _is_reviews(path, keys[path])]
    meta = [
        path for path in item_paths if path not in events and (path == items or _is_meta(path, keys[path]))
    ]
    says_events = any(_is_reviews(path, keys[path]) for path in events)
    says_meta = any(_is_meta(path, keys[path]) for path in meta)
    if interactions is not None:
        is_told = says_events and says_meta
    else:
        is_told = says_events or any(_has_name(path, "meta_") for path in meta)
    return AmazonFiles(
        meta=meta,
        reviews=[path for path in events if not _is_csv(path)],
        ratings=[path for path in events if _is_csv(path)],
        edition=_edition([keys[path] for path in (*meta, *events)]) if is_told else None,
    )


def _keys(path: Path) -> frozenset[str]:
    """Return the keys, or the names of the columns, that a file begins with."""
    if _is_csv(path):
        return frozenset(read_first_line(path).split(","))
    return first_keys(path) if path.name.lower().endswith(_JSON_ENDINGS) else frozenset()


def _is_csv(path: Path) -> bool:
    """Say whether a file is a CSV, by its name."""
    return path.name.lower().endswith(_CSV_ENDINGS)


def _has_name(path: Path, beginning: str) -> bool:
    """Say whether a file has the name of one of this form."""
    return path.name.lower().startswith(beginning) and path.name.lower().endswith(_JSON_ENDINGS)


def _is_reviews(path: Path, keys: frozenset[str]) -> bool:
    """Say whether a file has a person and a product per line, by its keys, or by its name if it has none."""
    if {"reviewerID", "asin"} <= keys or {"user_id", "parent_asin", "rating", "timestamp"} <= keys:
        return True
    return not keys and _has_name(path, "reviews_")


def _is_meta(path: Path, keys: frozenset[str]) -> bool:
    """Say whether a file has a product per line, by its keys, or by its name if it has none."""
    is_json = path.name.lower().endswith(_JSON_ENDINGS)
    if is_json and {"asin", "parent_asin"} & keys:
        return not _is_reviews(path, keys) and "item_id" not in keys
    return _has_name(path, "meta_")


def _edition(keys_of_files: list[frozenset[str]]) -> str | None:
    """Tell the edition by the keys of the first lines."""
    keys = frozenset[str]().union(*keys_of_files)
    if "parent_asin" in keys:
        return "2023"
    if "asin" not in keys:
        return None
    return "2018" if keys & _ONLY_2018 else "2014"
