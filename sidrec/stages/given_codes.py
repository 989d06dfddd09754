"""Tables of codes that a run takes over: those of another run, and those that others made."""

from __future__ import annotations

from sidrec.artifacts import load_semantic_ids
from sidrec.catalog import Catalog
from sidrec.config import Config
from sidrec.errors import ConfigError
from tokenizer.foreign import in_order_of, read_codes
from tokenizer.semantic_ids import SemanticIDs


def read_source(config: Config, catalog: Catalog) -> SemanticIDs | None:
    """Load the semantic IDs that `tokenizer.source` names, which must be of the same items."""
    if config.tokenizer.source is None:
        return None
    source = load_semantic_ids(config.tokenizer.source / "tokenize")
    if source.item_ids != catalog.items["item_id"].tolist():
        raise ConfigError(
            f"tokenizer.source: {config.tokenizer.source} has semantic IDs of {len(source)} other items than "
            f"the {catalog.num_items} of this catalogue. Name a run of the same catalogue."
        )
    return source


def read_import(config: Config, catalog: Catalog) -> SemanticIDs | None:
    """Load the table that `tokenizer.index` names, in the order of the catalogue.

    Raises:
        ConfigError: If it cannot be read, or names other items than the catalogue has.
    """
    path = config.tokenizer.index
    if path is None:
        return None
    try:
        table = read_codes(path)
    except ValueError as error:
        raise ConfigError(f"tokenizer.index: {error}") from error
    try:
        return in_order_of(table, catalog.items["item_id"].tolist())
    except ValueError as error:
        raise ConfigError(
            f"tokenizer.index: {path} is not of this catalogue: {error} Both must name the same."
        ) from error
