"""Tables of other libraries as data frames: pyarrow, polars, DuckDB, whatever hands out Arrow's C stream."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import pandas as pd
import pyarrow as pa

from sidrec.errors import CatalogError


@runtime_checkable
class ArrowTable(Protocol):
    """A table that another library can read without a copy (the Arrow PyCapsule interface)."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Return a capsule with the stream of the table's batches."""


def as_frame(table: pd.DataFrame | ArrowTable, name: str) -> pd.DataFrame:
    """Return a table as a data frame; one that is a data frame comes back itself.

    Args:
        table: The table.
        name: What to call it in a message: "items".

    Raises:
        CatalogError: If it is no table, or a column name occurs twice.
    """
    if isinstance(table, pd.DataFrame):
        return table
    if not isinstance(table, ArrowTable):
        raise CatalogError(
            f"{name} is a {type(table).__name__}, expected a table of pandas, pyarrow or polars. "
            "Make one of it, e.g. pandas.DataFrame(...)."
        )
    return arrow_to_frame(pa.table(table), name)


def arrow_to_frame(table: pa.Table, name: str) -> pd.DataFrame:
    """Return an Arrow table as a data frame in which whole numbers stay whole beside missing ones.

    Raises:
        CatalogError: If the table is damaged, or a column name occurs twice.
    """
    require_distinct(table.column_names, name)
    try:
        table.validate(full=True)  # what reads a damaged one ends the process, or reads what lies elsewhere
    except pa.ArrowInvalid as error:
        raise CatalogError(f"{name} is damaged ({error}). Write or copy it again.") from error
    for place, field in enumerate(table.schema):
        if pa.types.is_list(field.type) or pa.types.is_large_list(field.type):
            plain = table.column(place).cast(_without_views(field.type))  # pandas has no lists of views
            table = table.set_column(place, field.name, plain)
    bare = table.replace_schema_metadata(None)  # pandas' notes are read even where they are to be ignored
    return bare.to_pandas(integer_object_nulls=True)


def require_distinct(columns: Sequence[str], name: str) -> None:
    """Raise if a column name of the table called `name` occurs twice."""
    repeated = [column for column, count in Counter(columns).items() if count > 1]
    if repeated:
        raise CatalogError(f'{name} has more than one column "{repeated[0]}". Rename or remove one of them.')


def _without_views(kind: pa.DataType) -> pa.DataType:
    """Return a type whose texts are not views into a buffer, as polars has them."""
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return pa.large_list(_without_views(kind.value_type))
    return pa.large_string() if pa.types.is_string_view(kind) else kind
