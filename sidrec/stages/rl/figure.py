"""Draw `history.csv` of RL: rewards, groups, the policy's distance and entropy, the ranking of valid users.

No times are drawn, so that the same training gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tokenizer.health.figure import COLOURS, DOTS_PER_INCH, GREY, STYLES, TITLE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

SIZE = (13.0, 7.6)
"""Inches; at 100 dots per inch 1300 x 760 pixels."""

COLUMNS = 4
"""Names of lines in a row."""

Rows = Sequence[dict[str, float]]


def draw_history(rows: Rows, path: Path) -> None:
    """Draw the four panels and write them as PNG.

    Args:
        rows: Of `history_rows`, a row per line of the log.
        path: Of the PNG, written in place.
    """
    from matplotlib import rc_context, rcdefaults

    with rc_context():
        rcdefaults()  # a user's own matplotlibrc would give other bytes
        figure = _drawn(rows)
        figure.savefig(path, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})


def curve(rows: Rows, name: str) -> tuple[list[float], list[float]]:
    """Return steps and values of a figure where it was measured."""
    measured = [(row["step"], row[name]) for row in rows if row.get(name) is not None]
    return [step for step, _ in measured], [value for _, value in measured]


def _drawn(rows: Rows) -> Figure:
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    figure = Figure(figsize=SIZE, layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12))
    (rewards, groups), (policy, valid) = figure.subplots(2, 2, sharex=True)
    parts = sorted({name for row in rows for name in row if name.startswith("reward/")})
    _lines(rewards, rows, [("reward", "weighted sum"), *((name, name[7:]) for name in parts)])
    _name(rewards, "Rewards, means over rollouts", rewards.lines)
    named = [("group_ndcg", "NDCG"), ("group_hr@1", "HR@1"), ("dead_groups", "dead: no signal")]
    _lines(groups, rows, named)
    groups.set_ylim(-0.02, 1.02)
    _name(groups, "Groups, as ranked lists", groups.lines)
    _draw_policy(policy, rows)
    _draw_valid(valid, rows)
    for axes in (rewards, groups, policy, valid):
        axes.spines[["top", "right"]].set_visible(False)
    for axes in (policy, valid):
        axes.set_xlabel("optimizer step")
    return figure


def _name(axes: Axes, title: str, lines: Iterable[Line2D]) -> None:
    """Write a title, and below it what the lines are, where they hide nothing."""
    shown = list(lines)
    rows = -(-len(shown) // COLUMNS)
    axes.set_title(title, fontsize=TITLE, pad=8 + 18 * rows)
    if shown:
        names = [str(line.get_label()) for line in shown]
        axes.legend(
            shown, names, frameon=False, ncols=COLUMNS, loc="lower center", bbox_to_anchor=(0.5, 0.99)
        )


def _lines(axes: Axes, rows: Rows, named: Iterable[tuple[str, str]]) -> None:
    """Draw a line per figure that was measured at all."""
    for number, (name, label) in enumerate(named):
        steps, values = curve(rows, name)
        if steps:
            axes.plot(
                steps,
                values,
                color=COLOURS[number % len(COLOURS)],
                linestyle=STYLES[number % len(STYLES)],
                marker="o" if len(steps) == 1 else "",
                linewidth=2,
                label=label,
            )


def _draw_policy(axes: Axes, rows: Rows) -> None:
    """Draw the distance from the start on the left, entropy on the right."""
    named = [("kl", "KL, mean"), ("kl_p95", "95% of KL below"), ("drift", "drift")]
    _lines(axes, rows, named)
    axes.set_ylabel("nats per code")
    other = axes.twinx()
    other.spines[["top", "left"]].set_visible(False)
    steps, values = curve(rows, "entropy")
    if steps:
        other.plot(steps, values, color=GREY, linewidth=1.5, marker=".", label="entropy (right)")
    other.set_ylabel("entropy, nats per code", color=GREY)
    other.tick_params(colors=GREY)
    _name(axes, "Distance from the start, and entropy", [*axes.lines, *other.lines])


def _draw_valid(axes: Axes, rows: Rows) -> None:
    steps, values = curve(rows, "valid_ndcg@10")
    axes.plot(steps, values, color=COLOURS[0], marker="o", linewidth=2)
    _name(axes, "NDCG@10 on the sample of valid users", ())
    if not values:
        return
    best = max(range(len(values)), key=values.__getitem__)
    axes.annotate(
        f"best: {values[best]:.4f}, step {steps[best]:,.0f}",
        (steps[best], values[best]),
        (0, 8),
        textcoords="offset points",
        ha="right" if best == len(values) - 1 and best else "center",
        color=GREY,
    )
    axes.margins(y=0.2)
