"""A catalogue is two tables, items and interactions: reading them, checking them, splitting them."""

from sidrec.catalog.catalog import Catalog, Sequences
from sidrec.catalog.config import CatalogConfig, FiltersConfig, SplitConfig
from sidrec.catalog.readers import read_catalog
from sidrec.catalog.splits import EvaluationRows, Split, split_catalog

__all__ = [
    "Catalog",
    "CatalogConfig",
    "EvaluationRows",
    "FiltersConfig",
    "Sequences",
    "Split",
    "SplitConfig",
    "read_catalog",
    "split_catalog",
]
