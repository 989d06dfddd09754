"""What stages leave, as Python has it: the directory, the figures, and a table for notebooks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from tokenizer.html_table import html_table

if TYPE_CHECKING:
    import pandas as pd

    from sidrec.config import Config
    from sidrec.stages.pipeline import ResultRow


@dataclass(frozen=True)
class StageResult:
    """A finished stage; where a path is expected, it is its directory.

    Attributes:
        directory: Where it lies.
        metrics: Its `metrics.json`.
        config: What it was made with; the next stage takes it as it is.
    """

    directory: Path
    metrics: dict[str, Any]
    config: Config

    def __fspath__(self) -> str:
        return str(self.directory)

    def __truediv__(self, name: str) -> Path:
        return self.directory / name

    def __repr__(self) -> str:
        return f"StageResult({str(self.directory)!r})"

    def _repr_html_(self) -> str:
        figures = [[name, value] for name, value in _figures(self.metrics)]
        return html_table([], figures, caption=f"{self.directory.name}, in {self.directory.parent}")


@dataclass(frozen=True, repr=False)
class ResultTable(Sequence["ResultRow"]):
    """All that is evaluated in a run, a row per model.

    Attributes:
        directory: Of the run.
        rows: Hit rate and NDCG with their intervals, as the command line prints them.
        metrics: The whole `metrics.json` of each, by the name of its row.
        notes: What must be said beside the figures.
        config: What the run was made with.
    """

    directory: Path
    rows: list[ResultRow]
    metrics: dict[str, dict[str, Any]]
    notes: list[str]
    config: Config

    @overload
    def __getitem__(self, place: int) -> ResultRow: ...

    @overload
    def __getitem__(self, place: slice) -> list[ResultRow]: ...

    def __getitem__(self, place: int | slice) -> ResultRow | list[ResultRow]:
        return self.rows[place]

    def __len__(self) -> int:
        return len(self.rows)

    def to_frame(self) -> pd.DataFrame:
        """Return the table as numbers, indexed by model; bounds of intervals are columns of their own."""
        import pandas as pd

        records = []
        for row in self.rows:
            figures: dict[str, Any] = {"model": row.model}
            for name, interval in ((f"hr@{row.k}", row.hit_rate), (f"ndcg@{row.k}", row.ndcg)):
                figures |= dict(zip((name, f"{name} low", f"{name} high"), interval, strict=True))
            figures |= {"invalid": row.invalid, "duplicates": row.duplicates}
            records.append(figures | {f"coverage@{row.k}": row.coverage})
        return pd.DataFrame(records).set_index("model") if records else pd.DataFrame()

    def __repr__(self) -> str:
        from sidrec.text_table import table_lines

        return "\n".join([*table_lines(*result_cells(self.rows)), *self.notes]) if self.rows else "no results"

    def _repr_html_(self) -> str:
        header, cells = result_cells(self.rows) if self.rows else ([], [])
        notes = html_table([], [[note] for note in self.notes]) if self.notes else ""
        return html_table(header, cells, caption=f"results of {self.directory}") + notes


def result_cells(found: Sequence[ResultRow]) -> tuple[list[str], list[list[str]]]:
    """Return the header and the cells of a result table, which has at least one row."""
    k = found[0].k
    rows = [
        [
            row.model,
            _interval(row.hit_rate),
            _interval(row.ndcg),
            str(row.invalid),
            str(row.duplicates),
            "-" if row.coverage is None else f"{row.coverage:.3f}",
        ]
        for row in found
    ]
    return ["model", f"HR@{k}", f"NDCG@{k}", "invalid", "duplicate", f"coverage@{k}"], rows


def _interval(value: Sequence[float]) -> str:
    return "{:.4f} [{:.4f}, {:.4f}]".format(*value)


def _figures(metrics: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield names and values of the figures of a stage, those of its sections too; not what is deeper."""
    for name, value in metrics.items():
        if isinstance(value, dict) and set(value) == {"value", "low", "high"}:
            yield prefix + name, _interval((value["value"], value["low"], value["high"]))
        elif isinstance(value, dict) and not prefix:
            yield from _figures(value, f"{name}.")
        elif isinstance(value, bool | str):
            yield prefix + name, str(value)
        elif isinstance(value, int | float):
            yield prefix + name, f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
