"""How figures look: inline SVG by matplotlib, text as text, colours of the page, same data, same bytes."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

# Matplotlib wants colours and the page has variables, light and dark: these stand for them until the end.
INK, MUTED, GRID, PAPER = "#0a0b01", "#0a0b02", "#0a0b03", "#0a0b08"
SERIES = ("#0a0b04", "#0a0b05", "#0a0b06", "#0a0b07")
_VARIABLES = {
    INK: "currentColor",
    MUTED: "var(--muted)",
    GRID: "var(--grid)",
    PAPER: "var(--paper)",
    **{colour: f"var(--series-{number})" for number, colour in enumerate(SERIES, start=1)},
}
SIZE = (4.6, 2.9)
"""Inches: about as wide as a phone, so that text is as large there as beside it."""

_SETTINGS: dict[Any, Any] = {
    "svg.hashsalt": "sidrec",
    "svg.fonttype": "none",
    "savefig.transparent": True,
    "font.sans-serif": ["DejaVu Sans", "sans-serif"],
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "text.parse_math": False,
    **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.labelcolor", "ytick.labelcolor"), INK),
    **dict.fromkeys(("axes.edgecolor", "xtick.color", "ytick.color"), MUTED),
    "grid.color": GRID,
}


def draw(name: str, says: str, paint: Callable[[Axes], None], *, size: tuple[float, float] = SIZE) -> Markup:
    """Draw one figure.

    Args:
        name: Of the figure, once on the page: its ids begin with it.
        says: What it shows, for who cannot see it.
        paint: Draws into the axes; must not draw text of a catalogue.
        size: In inches.

    Returns:
        An `<svg>` element to stand in a page.
    """
    from matplotlib import rc_context, rcdefaults
    from matplotlib.figure import Figure

    with rc_context():
        rcdefaults()  # a user's own matplotlibrc would give other bytes
        with rc_context(_SETTINGS):
            figure = Figure(figsize=size, layout="constrained")
            paint(figure.subplots())
            written = io.StringIO()
            figure.savefig(written, format="svg", metadata={"Date": None, "Creator": None})
    return Markup(_inline(written.getvalue(), name, says))


def plain(axis: Axis) -> None:
    """Label a logarithmic axis 1, 10, or 1, 2, 5 where it is short: powers would be mathematics, not text."""
    from matplotlib.ticker import LogLocator

    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high < 100 * low else (1.0,)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter("")


def whole(axis: Axis) -> None:
    """Label an axis with whole numbers alone."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def _inline(svg: str, name: str, says: str) -> str:
    """Cut the element out of the file, make its ids its own, and give it the colours of the page."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    svg = re.sub(r'(<svg[^>]*?) (?:width|height)="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) (?:width|height)="[^"]*"', r"\1", svg, count=1)
    svg = svg.replace("<svg", f'<svg role="img" aria-label="{escape(says)}"', 1)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, variable)
    return re.sub(r"\n\s*", "\n", svg)
