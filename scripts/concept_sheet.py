"""A white sheet for a picture of docs/concepts.md, measured in pixels from the upper left."""

from __future__ import annotations

import itertools
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

INK, SOFT, LINE = "#1b1f2a", "#4a5164", "#c9ced8"
BLUE, PALE, AMBER, CREAM, GREEN, MINT, GREY = (
    "#3b5bdb",
    "#f4f6fb",
    "#c98a12",
    "#fff9ec",
    "#2b8a3e",
    "#ebfbee",
    "#8a94a6",
)
PIXEL = 0.72
"""Points."""


class Sheet:
    """A sheet of so many pixels with a title."""

    def __init__(self, width: int, height: int, title: str) -> None:
        self.figure = plt.figure(figsize=(width / 100, height / 100), facecolor="#ffffff")
        self.axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.set(xlim=(0, width), ylim=(height, 0))
        self.axes.axis("off")
        self.text(20, 28, title, size=16, weight="bold")

    def text(
        self,
        x: float,
        y: float,
        words: str,
        *,
        size: float = 12.5,
        colour: str = INK,
        at: str = "left",
        weight: str = "normal",
        mono: bool = False,
    ) -> None:
        """Write a line whose middle is at y."""
        self.axes.text(
            x,
            y,
            words,
            fontsize=size * PIXEL,
            color=colour,
            ha=at,
            va="center_baseline",
            weight=weight,
            family="DejaVu Sans Mono" if mono else "DejaVu Sans",
            parse_math=False,
        )

    def box(self, x: float, y: float, width: float, height: float, *, fill: str, edge: str) -> None:
        """Draw a box with round corners, x and y being its upper left one."""
        style = "round,pad=0,rounding_size=5"
        self.axes.add_patch(FancyBboxPatch((x, y), width, height, boxstyle=style, fc=fill, ec=edge, lw=1))

    def chip(
        self, x: float, y: float, words: str, *, width: float, fill: str = PALE, edge: str = BLUE
    ) -> None:
        """Draw a box with a token in it; y is its middle."""
        self.box(x, y - 12, width, 24, fill=fill, edge=edge)
        self.text(x + width / 2, y, words, size=11, at="center", mono=True)

    def arrow(self, start: tuple[float, float], end: tuple[float, float], *, colour: str = GREY) -> None:
        """Draw an arrow."""
        style = "-|>,head_length=3.5,head_width=2"
        self.axes.add_patch(
            FancyArrowPatch(start, end, arrowstyle=style, color=colour, lw=1.1, shrinkA=0, shrinkB=0)
        )

    def line(
        self,
        start: tuple[float, float],
        end: tuple[float, float],
        *,
        colour: str = LINE,
        width: float = 1.0,
    ) -> None:
        """Draw a line."""
        self.axes.plot(*zip(start, end, strict=True), color=colour, lw=width, solid_capstyle="round")

    def save(self, path: Path) -> None:
        """Write the sheet as SVG, the same bytes for the same picture.

        Raises:
            SystemExit: If two texts overlap, or one leaves the sheet.
        """
        self.figure.canvas.draw()
        texts = [each for axes in self.figure.axes for each in axes.texts if each.get_text()]
        for one, other in itertools.combinations(texts, 2):
            if one.get_window_extent().padded(-1).overlaps(other.get_window_extent().padded(-1)):
                raise SystemExit(f"{path}: {one.get_text()!r} and {other.get_text()!r} overlap.")
        sheet = self.figure.bbox
        for each in texts:
            box = each.get_window_extent()
            if box.x0 < sheet.x0 or box.x1 > sheet.x1 or box.y0 < sheet.y0 or box.y1 > sheet.y1:
                raise SystemExit(f"{path}: {each.get_text()!r} leaves the sheet.")
        self.figure.savefig(path, metadata={"Date": None, "Creator": None})
        plt.close(self.figure)
