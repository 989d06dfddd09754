"""The figures of the page, each from the facts of its section."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from markupsafe import Markup

from sidrec.report.catalog import CatalogFacts
from sidrec.report.codes import CodesFacts, ItemMap
from sidrec.report.mistakes import Slices, WrongTurn
from sidrec.report.plots import INK, MUTED, PAPER, SERIES, draw, plain, whole
from sidrec.report.training import Training
from tokenizer.health.figure import error_left, use_of_codes
from tokenizer.semantic_ids import sid_token

if TYPE_CHECKING:
    from matplotlib.axes import Axes

POINTS = 400
"""Of a curve: more would not be seen."""
NAMED = 8
"""First codes that are named on the map."""


def catalog_figures(facts: CatalogFacts) -> list[Markup]:
    """Draw the long tail, the share of the events that it has, and the lengths of the histories."""
    counts, lengths = facts.counts, facts.lengths

    def tail(axes: Axes) -> None:
        with_events = counts[counts > 0]
        rank = np.arange(1, len(with_events) + 1)
        places = thinned(len(with_events))
        axes.loglog(rank[places], with_events[places], color=SERIES[0])
        plain(axes.xaxis)
        plain(axes.yaxis)
        axes.set(title="Long tail", xlabel="items, most frequent first", ylabel="events")

    def share(axes: Axes) -> None:
        places = thinned(len(counts))
        axes.plot(
            100 * (places + 1) / len(counts), 100 * counts.cumsum()[places] / counts.sum(), color=SERIES[0]
        )
        axes.plot([0, 100], [0, 100], color=MUTED, linewidth=1, linestyle="dashed")
        axes.set(title="Share of the events", xlabel="items, most frequent first (%)", ylabel="events (%)")

    def histories(axes: Axes) -> None:
        longest = int(np.quantile(lengths, 0.99, method="nearest"))
        bins = np.arange(0.5, longest + 1.5, max(1, longest // 40)).tolist()
        axes.hist(np.minimum(lengths, longest), bins=bins, color=SERIES[0])
        axes.set(title="History lengths", xlabel=f"events of a user ({longest}: or more)", ylabel="users")

    return [
        draw("tail", "Events of each item by rank, on two logarithmic axes", tail),
        draw("share", "Share of the events that the most frequent items have", share),
        draw("histories", "How many users have how many events", histories),
    ]


def codes_figures(facts: CodesFacts) -> list[Markup]:
    """Draw how evenly the codes of each level are used, and what each level explains."""
    report = facts.assessment.report
    levels = report["levels"][: -1 if report["numbered"] else None]

    def use(axes: Axes) -> None:
        for number, level in enumerate(levels):
            places, items = use_of_codes(facts.codes[:, number], level["codebook_size"])
            colour, style = SERIES[number % len(SERIES)], ("solid", "dashed", "dotted", "dashdot")[number % 4]
            axes.step(100 * places, items, where="pre", color=colour, linestyle=style, label=level["level"])
        axes.axhline(1, color=MUTED, linewidth=1)
        axes.set_yscale("log")
        plain(axes.yaxis)
        axes.legend(title="level")
        axes.set(title="Code use", xlabel="codes, commonest first (%)", ylabel="items, 1 = even use")

    figures = [draw("use", "Items on each code of each level, in multiples of even use", use)]
    curves = error_left(report)
    if curves is not None:
        left, by_chance = (100 * np.array(curve) for curve in curves)

        def error(axes: Axes) -> None:
            places = np.arange(len(left))
            axes.plot(places, by_chance, color=MUTED, marker="s", linestyle="dashed", label="random codes")
            axes.plot(places, left, color=SERIES[0], marker="o", label="these codes")
            axes.set_xticks(places, ["none", *(level["level"] for level in report["levels"])])
            axes.set_ylim(0, 105)
            axes.legend()
            axes.set(
                title="Variance not explained", xlabel="codes read, up to level", ylabel="error left (%)"
            )

        figures.append(draw("left", "Variance of the vectors that each level leaves unexplained", error))
    return figures


def map_figure(found: ItemMap) -> Markup:
    """Draw the items as dots, coloured by first code; the commonest codes are named."""
    from matplotlib.colors import to_hex

    used, place, counts = np.unique(found.codes, return_inverse=True, return_counts=True)
    hues = np.arange(len(used)) * 0.618034 % 1  # the golden ratio: neighbours in number differ in colour
    colours = [to_hex(_middle(hue)) for hue in hues]

    size = 3.2 if len(place) > 300 else 6.0

    def paint(axes: Axes) -> None:
        for code in range(len(used)):
            x, y = found.points[place == code].T
            axes.plot(
                x, y, linestyle="none", marker="o", markersize=size, markeredgewidth=0, color=colours[code]
            )
        _name_codes(axes, found, used, np.argsort(-counts, kind="stable")[:NAMED])
        axes.set(xlabel="first principal component", ylabel="second")
        axes.tick_params(labelbottom=False, labelleft=False)

    return draw("map", "Items as dots by their vectors, coloured by first code", paint, size=(4.6, 3.6))


def _name_codes(axes: Axes, found: ItemMap, used: np.ndarray, places: np.ndarray) -> None:
    """Name codes at the item in their middle, the first ones given first, where there is room."""
    extent = np.ptp(found.points, axis=0)
    named: list[np.ndarray] = []
    for code in used[places].tolist():
        items = found.points[found.codes == code]
        centre = items[np.abs(items - np.median(items, axis=0)).sum(axis=1).argmin()]
        if all((np.abs(centre - other) > extent * (0.09, 0.06)).any() for other in named):
            name = sid_token(0, code).strip("<>")
            box = {"facecolor": PAPER, "edgecolor": "none", "pad": 0.5, "alpha": 0.6}
            axes.annotate(
                name,
                centre,
                (0, 5),
                textcoords="offset points",
                color=INK,
                weight="bold",
                ha="center",
                bbox=box,
            )
            named.append(centre)


def _middle(hue: float) -> tuple[float, float, float]:
    """Give a colour that stands out from white and from black."""
    import colorsys

    return colorsys.hls_to_rgb(hue, 0.52, 0.6)


def training_figures(stage: str, found: Training, columns: list[tuple[str, str, str]]) -> list[Markup]:
    """Draw columns of a log by step: (column, title, what the axis says); none for one without values."""
    figures = []
    for column, title, what in columns:
        series = found.series(column)
        if series is None:
            continue
        name = f"{stage}-{''.join(letter for letter in column if letter.isalnum())}"
        figures.append(draw(name, f"{title} by step", _curve(series, title, what)))
    return figures


def _curve(series: pd.Series, title: str, what: str) -> Callable[[Axes], None]:
    def paint(axes: Axes) -> None:
        places = np.unique(np.linspace(0, len(series) - 1, min(POINTS, len(series))).astype(int))
        marker = "o" if len(series) < 30 else ""
        axes.plot(
            series.index[places], series.to_numpy()[places], color=SERIES[0], marker=marker, markersize=4
        )
        axes.set(title=title, xlabel="step", ylabel=what)
        whole(axes.xaxis)

    return paint


def slices_figures(slices: Slices) -> list[Markup]:
    """Draw for each baseline the difference of the model to it in every slice, with its interval."""
    rows = [row for row in slices.rows if row.mean is not None][::-1]
    figures = []
    for number, baseline in enumerate(slices.baselines):
        found = [each for row in rows if (each := row.differences[number]) is not None]

        def paint(axes: Axes, found=found, baseline=baseline) -> None:  # type: ignore[no-untyped-def]
            values = np.array([each.value for each in found])
            low, high = (np.array([getattr(each, end) for each in found]) for end in ("low", "high"))
            places = np.arange(len(found))
            axes.hlines(places, low, high, color=SERIES[0], linewidth=2)
            axes.plot(values, places, "o", color=SERIES[0])
            axes.axvline(0, color=MUTED, linewidth=1)
            axes.set_yticks(places, [f"{row.kind.replace('_', ' ')}: {row.name}" for row in rows])
            axes.set(title=f"minus {baseline}", xlabel=f"difference in {slices.metric}, 95% interval")

        height = max(2.0, 0.9 + 0.24 * len(found))
        says = f"Difference of the model to {baseline} in every slice"
        figures.append(draw(f"slices-{number}", says, paint, size=(4.6, height)))
    return figures


def turns_figure(turns: list[WrongTurn]) -> Markup:
    """Draw how many misses leave the target's semantic ID at each level."""

    def paint(axes: Axes) -> None:
        places = np.arange(len(turns))
        axes.bar(places - 0.2, [each.misses for each in turns], 0.4, color=SERIES[0], label="misses")
        axes.bar(places + 0.2, [each.by_chance for each in turns], 0.4, color=SERIES[1], label="by chance")
        axes.set_xticks(places, [each.level for each in turns])
        axes.grid(visible=False, axis="x")
        axes.legend()
        axes.set(title="Level that goes wrong", xlabel="first level that no item shares", ylabel="test cases")

    return draw("turns", "Misses by the first level that no item of the list shares with the target", paint)


def thinned(length: int) -> np.ndarray:
    """Return places along a curve, dense at its beginning, with the first and the last."""
    if length <= POINTS:
        return np.arange(length)
    return np.unique(np.geomspace(1, length, POINTS).round().astype(np.int64)) - 1
