"""Put a comparison into tables for a terminal, into Markdown and into JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sidrec.comparison.differences import LEVEL, Comparison, MetricComparison, SliceComparison, Versus
from sidrec.metrics import Difference, Estimate, Interval

_WIDEST_LABEL = 22  # in characters; with more, differences no longer fit into 100 columns


@dataclass(frozen=True)
class Table:
    """A title, which may be empty, a header and rows of as many cells."""

    title: str
    header: list[str]
    rows: list[list[str]]


def tables(found: Comparison) -> Iterator[Table]:
    """Yield what a terminal of 100 columns shows: for each metric the means, then the differences.

    Long names have a table of their own, first, and numbers in the others.
    """
    names = [group.label for group in found.groups]
    labels = names
    if max(map(len, names)) > _WIDEST_LABEL:
        labels = [f"#{number}" for number in range(1, len(names) + 1)]
        yield Table("", ["", "result"], [list(row) for row in zip(labels, names, strict=True)])
    for metric in found.metrics:
        header, rows = _means(metric)
        yield Table(metric.metric, ["result", *header], _prefixed(labels, rows))
        header, rows = _versus(metric)
        yield Table("", [f"minus {labels[0]}", *header], _prefixed(labels[1:], rows))
    for kind, name in dict.fromkeys((part.kind, part.metric) for part in found.slices):
        chosen = [part for part in found.slices if (part.kind, part.metric) == (kind, name)]
        rows = [row for part in chosen for row in _slice_rows(part, labels)]
        yield Table(f"{name} by {kind}", ["slice", "users", *_slice_header(labels)], rows)


def notes(found: Comparison) -> list[str]:
    """Say, a paragraph each, whom the tables are about and how their figures came about."""
    groups, first = found.groups, found.groups[0].label
    seeds = "; ".join(
        f"{group.label}: {', '.join(str(result.seed) for result in group.results)}" for group in groups
    )
    num_several = sum(len(group.results) > 1 for group in groups)
    intervals = f"Intervals: 95%, bootstrap, {found.samples} resamples of users (seed {found.seed})"
    if num_several:
        intervals += ", and of seeds where a result has several"
        intervals += " (equal seeds are paired)" if found.pair_seeds else ""
        intervals += "; few seeds say little of how seeds vary"
    if num_several < len(groups):
        intervals += (
            ". With one seed an interval is that of the one trained model: another seed gives another"
        )
    if found.by_rank:
        counted = f"whose target stands higher, lower or alike in the first {found.depth} items"
    else:
        counted = "whose mean of the metric over the seeds is higher, lower or equal"
    tests = f"p: two-sided bootstrap, at least {_p(2 / (found.samples + 1))}."
    verdict = "Better and worse need an interval without 0"
    if len(groups) > 2:
        tests += f" Holm: p adjusted for the {len(groups) - 1} differences of a metric."
        verdict += f" and a Holm p below {LEVEL}"
    return [
        f"Users: the same {found.users} in all results (split {found.split_sha256[:8]}). Seeds: {seeds}.",
        f"{intervals}.",
        f"Won, lost, tied against {first}: users {counted}.",
        f"{tests} {verdict}. Nothing is adjusted for the number of metrics or slices.",
    ]


def markdown(found: Comparison) -> str:
    """Return one table of all metrics to paste, one of the slices if there are any, and the notes."""
    labels = [group.label for group in found.groups]
    header: list[str] = []
    rows: list[list[str]] = []
    for metric in found.metrics:
        mean_header, means = _means(metric)
        versus_header, versus = _versus(metric)
        header = ["metric", "result", *mean_header, f"minus {labels[0]} [95% interval]", *versus_header[1:]]
        cells = zip(labels, means, [[""] * len(versus_header), *versus], strict=True)
        rows += [[metric.metric, label, *mean, *other] for label, mean, other in cells]
    parts = [_pipes(header, rows)]
    if found.slices:
        header = ["metric", "by", "slice", "users", *_slice_header(labels)]
        rows = [[part.metric, part.kind, *row] for part in found.slices for row in _slice_rows(part, labels)]
        parts.append(_pipes(header, rows))
    return "\n\n".join([*parts, *notes(found)])


def as_json(found: Comparison) -> dict[str, Any]:
    """Return everything, unrounded, as a JSON value."""
    labels = [group.label for group in found.groups]
    return {
        "users": found.users,
        "split_sha256": found.split_sha256,
        "depth": found.depth,
        "samples": found.samples,
        "seed": found.seed,
        "pair_seeds": found.pair_seeds,
        "compared_with": labels[0],
        "counted_by": "rank" if found.by_rank else "mean over seeds",
        "results": [
            {
                "name": group.label,
                "model": group.results[0].model,
                "depth": group.depth,
                "seeds": [result.seed for result in group.results],
                "directories": [str(result.directory) for result in group.results],
            }
            for group in found.groups
        ],
        "metrics": {
            metric.metric: {
                "means": dict(zip(labels, map(_estimate_json, metric.estimates), strict=True)),
                "differences": dict(zip(labels[1:], map(_versus_json, metric.versus), strict=True)),
            }
            for metric in found.metrics
        },
        "slices": [
            {
                "by": part.kind,
                "slice": part.name,
                "metric": part.metric,
                "users": part.users,
                "means": dict(zip(labels, map(_estimate_json, part.estimates), strict=False)),
                "differences": dict(zip(labels[1:], map(_difference_json, part.differences), strict=False)),
            }
            for part in found.slices
        ],
    }


def _means(metric: MetricComparison) -> tuple[list[str], list[list[str]]]:
    """Return the header and a row per result; seeds and their sd only where a result has several."""
    rows = [[_interval(estimate.interval)] for estimate in metric.estimates]
    if all(estimate.seeds == 1 for estimate in metric.estimates):
        return ["mean [95% interval]"], rows
    for row, estimate in zip(rows, metric.estimates, strict=True):
        row += [str(estimate.seeds), "-" if estimate.sd is None else f"{estimate.sd:.4f}"]
    return ["mean [95% interval]", "seeds", "sd over seeds"], rows


def _versus(metric: MetricComparison) -> tuple[list[str], list[list[str]]]:
    """Return the header and a row per result but the first; adjusted p-values only where there are some."""
    has_holm = metric.versus[0].holm is not None
    header = ["difference [95% interval]", "won/lost/tied", "p", *(["Holm"] if has_holm else []), "verdict"]

    def row(versus: Versus) -> list[str]:
        return [
            _interval(versus.difference.interval, sign="+"),
            f"{versus.wins}/{versus.losses}/{versus.ties}",
            _p(versus.difference.p_value),
            *([] if versus.holm is None else [_p(versus.holm)]),
            versus.verdict,
        ]

    return header, [row(versus) for versus in metric.versus]


def _slice_header(labels: list[str]) -> list[str]:
    return ["result", "mean [95% interval]", f"minus {labels[0]}"]


def _slice_rows(part: SliceComparison, labels: list[str]) -> list[list[str]]:
    """Return a row per result: slice, users, result, mean, difference."""
    if part.users == 0:
        return [[part.name, "0", "-", "-", "-"]]
    differences = ["", *(_interval(difference.interval, sign="+") for difference in part.differences)]
    return [
        [part.name, str(part.users), label, _interval(estimate.interval), difference]
        for label, estimate, difference in zip(labels, part.estimates, differences, strict=True)
    ]


def _prefixed(labels: list[str], rows: list[list[str]]) -> list[list[str]]:
    return [[label, *row] for label, row in zip(labels, rows, strict=True)]


def _pipes(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _interval(interval: Interval, *, sign: str = "") -> str:
    value, low, high = (f"{each:{sign}.4f}" for each in (interval.value, interval.low, interval.high))
    return f"{value} [{low}, {high}]"


def _p(value: float) -> str:
    return f"{value:.3f}"


def _estimate_json(estimate: Estimate) -> dict[str, Any]:
    return {**vars(estimate.interval), "seeds": estimate.seeds, "sd": estimate.sd}


def _difference_json(difference: Difference) -> dict[str, Any]:
    return {**vars(difference.interval), "p": difference.p_value}


def _versus_json(versus: Versus) -> dict[str, Any]:
    counts = {name: value for name, value in dataclasses.asdict(versus).items() if name != "difference"}
    return _difference_json(versus.difference) | counts
