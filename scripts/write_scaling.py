"""Put the table and the plot of a sweep over model sizes into docs/scaling.md and docs/scaling.svg.

    python scripts/write_scaling.py runs/scaling

The valid loss of every size, over all seeds that have finished, with a power law with an offset fitted to the
means, loss = E + A N^-alpha over N parameters without the embedding; `scripts/reproduce_scaling.sh` makes the
sweep.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from scipy.optimize import curve_fit
from write_results import facts, pipes, seeds, write_section

DOCS, PLOT = Path("docs/scaling.md"), Path("docs/scaling.svg")
FEWEST_SIZES = 4  # one more than the law has numbers to fit


@dataclass(frozen=True)
class Size:
    """What the seeds of one model size gave.

    Attributes:
        shape: Width and layers, in words.
        trunk: Parameters without the embedding, which is the output layer too.
        parameters: All of them.
        losses: Valid loss of each seed, in nats per item.
        ndcg: Valid NDCG@10 of each seed.
        epochs: At which the kept weights were, of each seed.
        seconds: Of training, of each seed.
    """

    shape: str
    trunk: int
    parameters: int
    losses: list[float]
    ndcg: list[float]
    epochs: list[float]
    seconds: list[float]


def main() -> None:
    """Write table and plot."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sweep", type=Path, help="directory of the sweep")
    sweep: Path = parser.parse_args().sweep
    sizes = [read(found) for group in sweep.glob("model.*") if (found := seeds(group, "sft"))]
    sizes.sort(key=lambda size: size.trunk)
    if len(sizes) < FEWEST_SIZES:
        sys.exit(f"{sweep} holds {len(sizes)} finished sizes, expected {FEWEST_SIZES} or more.")
    law = fit(sizes)
    header = ["model", "parameters", "without embedding", "seeds", "valid loss", "from the fit"]
    header += ["valid NDCG@10", "best epoch", "minutes"]
    rows = [
        [
            size.shape,
            f"{size.parameters:,}",
            f"{size.trunk:,}",
            str(len(size.losses)),
            spread(size.losses),
            f"{law.loss(size.trunk):.3f}",
            spread(size.ndcg, digits=4),
            f"{np.mean(size.epochs):.0f}",
            f"{np.mean(size.seconds) / 60:.0f}",
        ]
        for size in sizes
    ]
    write_section(DOCS, "scaling", f"{pipes(header, rows)}\n\n{law.said()}")
    draw(sizes, law)


def read(directories: list[Path]) -> Size:
    """Read the results of the seeds of one size."""
    config = json.loads((directories[0] / "config.json").read_text(encoding="utf-8"))
    found = facts(directories)
    parameters = found[0]["parameters"]
    return Size(
        shape=f"{config['hidden_size']} x {config['num_hidden_layers']} layers",
        trunk=parameters - config["vocab_size"] * config["hidden_size"],
        parameters=parameters,
        losses=[each["valid_loss"] for each in found],
        ndcg=[each["valid"]["ndcg@10"] for each in found],
        epochs=[each["best_step"] * each["epochs"] / each["steps"] for each in found],
        seconds=[each["seconds"] for each in found],
    )


@dataclass(frozen=True)
class Law:
    """loss = floor + scale (N / 1e6)^-exponent; `residual` is the standard deviation of the means from it."""

    floor: float
    scale: float
    exponent: float
    residual: float

    def loss(self, parameters: np.ndarray | float) -> np.ndarray | float:
        """Return what the law says for N parameters."""
        return self.floor + self.scale * (parameters / 1e6) ** -self.exponent

    def said(self) -> str:
        """Return it as a sentence."""
        return (
            f"Fitted to the means: loss = {self.floor:.3f} + {self.scale:.3f} (N / 1M)^-{self.exponent:.3f}; "
            f"the means are off by {self.residual:.3f} (standard deviation)."
        )


def fit(sizes: list[Size]) -> Law:
    """Fit the law by least squares."""
    trunks = np.array([size.trunk for size in sizes], dtype=float)
    means = np.array([np.mean(size.losses) for size in sizes])
    found, _ = curve_fit(
        lambda n, floor, scale, exponent: floor + scale * (n / 1e6) ** -exponent,
        trunks,
        means,
        p0=(means.min() * 0.9, means.min() * 0.1, 0.3),
        bounds=(0, [np.inf, np.inf, 3]),
    )
    floor, scale, exponent = map(float, found)
    exact = Law(floor, scale, exponent, residual=0.0)
    return replace(exact, residual=float(np.std(means - exact.loss(trunks))))


def spread(values: list[float], digits: int = 3) -> str:
    """Write the mean, and the least and largest."""
    mean, low, high = np.mean(values), min(values), max(values)
    return f"{mean:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def draw(sizes: list[Size], law: Law) -> None:
    """Draw every seed as a point, and the law."""
    with rc_context({"svg.hashsalt": "scaling", "svg.fonttype": "none"}):
        figure = Figure(figsize=(7, 4.2), layout="constrained")
        axes = figure.subplots()
        for size in sizes:
            axes.plot([size.trunk] * len(size.losses), size.losses, "o", color="#2563eb", alpha=0.7)
        grid = np.geomspace(sizes[0].trunk, sizes[-1].trunk, 200)
        axes.plot(grid, law.loss(grid), color="#111827", linewidth=1.2, label=law.said().split(";")[0])
        axes.set_xscale("log")
        axes.set_xlabel("parameters without the embedding")
        axes.set_ylabel("valid loss, nats per item")
        axes.grid(alpha=0.25)
        axes.legend(frameon=False)
        figure.savefig(PLOT, format="svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
