"""Draw what `health` reports of a table of semantic IDs: use of codes, error left, collisions.

Matplotlib without a display; the same report gives the same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tokenizer.health.verdicts import EVEN, LARGEST, USED
from tokenizer.semantic_ids import level_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIZE = (15.0, 4.6)
"""Inches; at 100 dots per inch 1500 x 460 pixels."""

DOTS_PER_INCH = 100
TITLE = 11

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito's, which the colour-blind tell apart; dashes and markers do in a print without colours."""

STYLES = ((0, ()), (0, (5, 1.5)), (0, (1.5, 1.5)), (0, (7, 1.5, 1.5, 1.5)))
GREY = "#595959"
LIGHT = "#9CC3E6"

BINS = ((2, 2), (3, 3), (4, 5), (6, 9), (10, 19), (20, 49), (50, 99), (100, None))
"""Sizes of colliding groups that share a bar, first and last."""


@dataclass(frozen=True)
class Bars:
    """Items in colliding groups, by the groups' size.

    Attributes:
        names: Of the bars: "2", "3", "4-5".
        before: Items per bar before collisions were resolved; None where that is not known.
        after: Items per bar in the table as it is.
    """

    names: list[str]
    before: list[int] | None
    after: list[int]


def draw_health(report: dict[str, Any], codes: np.ndarray, path: str | Path, *, title: str = "") -> None:
    """Draw the three panels and write them as PNG.

    Args:
        report: Of `health`.
        codes: (N, L), of which it is.
        path: Of the PNG, written in place.
        title: Above all panels.
    """
    from matplotlib import rc_context, rcdefaults

    with rc_context():
        rcdefaults()  # a user's own matplotlibrc would give other bytes
        figure = _drawn(report, codes, title)
        figure.savefig(path, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})


def use_of_codes(codes: np.ndarray, codebook_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Give the curve of a level: place of each used code in its codebook, in (0, 1], and its items.

    Codes stand in order, the commonest first. Items are in multiples of even use, N / K.
    """
    counts = np.sort(np.bincount(codes, minlength=codebook_size))[::-1]
    used = counts[counts > 0]
    return (np.arange(len(used)) + 1) / codebook_size, used * codebook_size / len(codes)


def error_left(report: dict[str, Any]) -> tuple[list[float], list[float]] | None:
    """Give the share of the vectors' variance that 0 to L codes leave, and that as many by chance leave."""
    levels = report["levels_explained"]
    if levels is None:
        return None
    left, by_chance = ([1.0, *(1 - each[name] for each in levels)] for name in ("explained", "by_chance"))
    return left, by_chance


def bars_of(report: dict[str, Any]) -> Bars:
    """Sort the items of colliding groups into bars, up to the last that has any."""
    both = [report["collision_groups"][when] for when in ("before", "after")]
    counts = [
        None
        if each is None
        else [
            sum(size * groups for size, groups in each["sizes"] if low <= size <= (high or size))
            for low, high in BINS
        ]
        for each in both
    ]
    before, after = counts
    assert after is not None
    filled = [number for number in range(len(BINS)) if after[number] or (before and before[number])]
    length = filled[-1] + 1 if filled else 0
    return Bars(
        [_span(low, high) for low, high in BINS[:length]],
        None if before is None else before[:length],
        after[:length],
    )


def _drawn(report: dict[str, Any], codes: np.ndarray, title: str) -> Figure:
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    figure = Figure(figsize=SIZE, layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.08, wspace=0.04))
    use, error, shared = figure.subplots(1, 3)
    _draw_use(use, report, codes)
    _draw_error(error, report)
    _draw_collisions(shared, report)
    for axes in (use, error, shared):
        axes.spines[["top", "right"]].set_visible(False)
    if title:
        figure.suptitle(title, fontsize=12)
    return figure


def _draw_use(axes: Axes, report: dict[str, Any], codes: np.ndarray) -> None:
    levels = report["levels"][: -1 if report["numbered"] else None]
    for number, level in enumerate(levels):
        places, items = use_of_codes(codes[:, number], level["codebook_size"])
        axes.plot(
            100 * np.concatenate([[0], places]),
            np.concatenate([items[:1], items]),
            drawstyle="steps-pre",
            color=COLOURS[number % len(COLOURS)],
            linestyle=STYLES[number % len(STYLES)],
            linewidth=2,
            label=f"level {level['level']}: {level['codes_used']:,} of {level['codebook_size']:,}",
        )
    axes.axhline(1, color=GREY, linewidth=1)
    axes.annotate("even use", (99, 1), (0, 3), textcoords="offset points", ha="right", color=GREY)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_xlim(0, 100)
    axes.set_xlabel("codes of the codebook, commonest first (%)")
    axes.set_ylabel("items on the code, in multiples of even use")
    axes.legend(frameon=False, title="codes used")
    axes.set_title(_title_of_use(levels), fontsize=TITLE)


def _title_of_use(levels: list[dict[str, Any]]) -> str:
    least = min(levels, key=lambda level: level["share_used"])
    uneven = max(levels, key=lambda level: level["largest_share"] * level["codebook_size"])
    if least["share_used"] < USED[0]:
        return f"Level {least['level']} uses {least['codes_used']:,} of its {least['codebook_size']:,} codes"
    if uneven["largest_share"] * uneven["codebook_size"] > LARGEST[0]:
        return f"One code of level {uneven['level']} has {100 * uneven['largest_share']:.0f}% of the items"
    told = "All codes are used" if least["share_used"] == 1 else "Almost all codes are used"
    steepest = min(levels, key=lambda level: level["perplexity"] / level["codebook_size"])
    if steepest["perplexity"] / steepest["codebook_size"] < EVEN[0]:
        return f"{told}, least evenly at level {steepest['level']}"
    return f"{told}, about evenly"


def _draw_error(axes: Axes, report: dict[str, Any]) -> None:
    curves = error_left(report)
    if curves is None:
        _say(axes, "Error per level is not known", "It needs the vectors of the items.")
        return
    left, by_chance = (100 * np.array(curve) for curve in curves)
    places = np.arange(len(left))
    axes.plot(places, by_chance, color=GREY, linestyle="dashed", marker="s", label="random codes")
    axes.plot(places, left, color=COLOURS[0], linewidth=2, marker="o", markersize=7, label="these codes")
    for place, value in zip(places[1:], left[1:], strict=True):
        axes.annotate(f"{value:.0f}%", (place, value), (0, -16), textcoords="offset points", ha="center")
    axes.set_xticks(places, ["no code", *(f"up to {level_name(place)}" for place in places[:-1])])
    axes.set_ylim(0, 105)
    axes.set_xlim(-0.2, len(left) - 0.7)
    axes.set_xlabel("codes of an item that are read")
    axes.set_ylabel("squared error left (% of the variance)")
    axes.legend(frameon=False, loc="lower left")
    axes.set_title(f"Semantic IDs explain {100 - left[-1]:.0f}% of the vectors' variance", fontsize=TITLE)


def _draw_collisions(axes: Axes, report: dict[str, Any]) -> None:
    from matplotlib.ticker import MaxNLocator

    bars, items = bars_of(report), report["items"]
    colliding = report["collision_groups"]["after"]["items"]
    if not bars.names:
        _say(axes, "No two items share an ID", f"{items:,} items, {items:,} semantic IDs")
        return
    places = np.arange(len(bars.names))
    several = bars.before is not None
    width = 0.4 if several else 0.7
    if bars.before is not None:
        drawn = axes.bar(
            places - width / 2, bars.before, width, color=LIGHT, edgecolor=GREY, hatch="//", label="before"
        )
        axes.bar_label(drawn, fmt="{:,.0f}", padding=2)
    drawn = axes.bar(
        places + width / 2 * several, bars.after, width, color=COLOURS[0], edgecolor=GREY, label="after"
    )
    axes.bar_label(drawn, fmt="{:,.0f}", padding=2)
    axes.set_xticks(places, bars.names)
    axes.margins(y=0.12)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("items that share one ID")
    axes.set_ylabel("items in such groups")
    if several:
        axes.legend(frameon=False, title="collisions resolved")
    share = f"{colliding:,} of {items:,} items share an ID"
    if several:
        before = report["collision_groups"]["before"]["items"]
        now = f"{colliding:,} do" if colliding else "none does"
        share = f"{before:,} of {items:,} items shared an ID, {now} now"
    axes.set_title(share, fontsize=TITLE)


def _say(axes: Axes, title: str, text: str) -> None:
    """Fill a panel that has nothing to draw."""
    axes.set_title(title, fontsize=TITLE)
    axes.text(0.5, 0.5, text, ha="center", va="center", color=GREY, transform=axes.transAxes)
    axes.set_axis_off()


def _span(low: int, high: int | None) -> str:
    return f"{low}+" if high is None else str(low) if low == high else f"{low}-{high}"
