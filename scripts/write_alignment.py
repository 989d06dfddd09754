"""Put the tables of a sweep over the tasks of SFT into docs/scaling.md, between the marks of `alignment`.

    python scripts/write_alignment.py runs/alignment

A row per table of tasks, over all seeds that have finished, against next items alone, over all users and in
slices by popularity; `scripts/reproduce_alignment.sh` makes the sweep.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import yaml
from write_results import describe, interval, pipes, seeds, write_section

from sidrec.comparison import compare

DOCS = Path("docs/scaling.md")
ALONE = {"next_item"}


def main() -> None:
    """Write the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sweep", type=Path, help="directory of the sweep")
    sweep: Path = parser.parse_args().sweep
    found = {group: places for group in sorted(sweep.iterdir()) if (places := seeds(group, "evaluate/sft"))}
    tasks = {group: tasks_of(places[0]) for group, places in found.items()}
    groups = sorted(found, key=lambda group: len(tasks[group]))
    if not groups or set(tasks[groups[0]]) != ALONE:
        sys.exit(f"{sweep} holds no finished runs of sft.tasks={{next_item: 1}} to compare with.")
    names = [", ".join(tasks[group]) for group in groups]
    arguments = [",".join(map(str, found[group])) for group in groups]
    comparison = compare(arguments, names=names, slices=("popularity",), samples=5000)
    hr, ndcg = comparison.metrics
    parts = [part for part in comparison.slices if part.metric == "ndcg@10" and part.users]
    described = describe(comparison, "popularity")
    header = ["tasks", "seeds", "HR@10", "NDCG@10", "minus next_item", ""]
    header += [f"{part.name}, {part.users:,} users{described[part.name]}" for part in parts]
    rows = []
    for row, name in enumerate(names):
        versus = ndcg.versus[row - 1] if row else None
        cells = [name, str(ndcg.estimates[row].seeds)]
        cells += [interval(metric.estimates[row].interval) for metric in (hr, ndcg)]
        cells += (
            ["", ""] if versus is None else [interval(versus.difference.interval, sign="+"), versus.verdict]
        )
        rows.append([*cells, *(interval(part.estimates[row].interval) for part in parts)])
        if row:
            differences = [interval(part.differences[row - 1].interval, sign="+") for part in parts]
            rows.append(["minus next_item", *[""] * 5, *differences])
    write_section(DOCS, "alignment", f"{comparison.users:,} users.\n\n" + pipes(header, rows))


def tasks_of(evaluated: Path) -> list[str]:
    """Return the tasks with a weight that the SFT of a run was trained on."""
    text = (evaluated.parents[1] / "sft" / "config.yaml").read_text(encoding="utf-8")
    return [name for name, task in yaml.safe_load(text)["sft"]["tasks"].items() if task["weight"] > 0]


if __name__ == "__main__":
    main()
