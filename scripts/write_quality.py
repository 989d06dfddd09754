"""Put the tables of scripts/reproduce_quality.sh into docs/quality.md, between the marks of a section.

    python scripts/write_quality.py scientific runs/quality-scientific

What is written around the marks stays. Rows are models, over all seeds that have finished.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from write_results import interval, model_cells, parts_of, pipes, seeds, write_section

from sidrec.comparison import Comparison, compare

DOCS = Path("docs/quality.md")
RERANKED, BEAM = "", "evaluation.rerank=0/"
MODELS = {
    "sasrec": (RERANKED, "baselines/sasrec"),
    "popularity": (RERANKED, "baselines/popularity"),
    "item_knn": (RERANKED, "baselines/item_knn"),
    "gru4rec": (RERANKED, "baselines/gru4rec"),
    "sasrec of two seeds": (RERANKED, "rivals/sasrec_pair"),
    "sasrec + item loss of the depth head": (RERANKED, "rivals/sasrec_items"),
    "depth head": (BEAM, "evaluate/sft"),
    "depth head, re-ranked": (RERANKED, "evaluate/sft"),
    "depth head, RL": (BEAM, "evaluate/rl"),
    "depth head, RL, re-ranked": (RERANKED, "evaluate/rl"),
}
WAYS = {
    "All items ranked": "evaluation.exclude_history=false",
    "Items of the history left out of every list": "evaluation.exclude_history=true",
}
KINDS = {
    "popularity": "by how often the target was had in train",
    "history_length": "by the length of the history",
}


def main() -> None:
    """Write the tables of one section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("section", help="name of the marks in docs/quality.md")
    parser.add_argument("sweep", type=Path, help="directory of the sweep")
    options = parser.parse_args()
    parts = []
    for title, way in WAYS.items():
        found = {
            name: seeds(options.sweep / f"{group}{way}", place) for name, (group, place) in MODELS.items()
        }
        found = {name: directories for name, directories in found.items() if directories}
        if "sasrec" not in found:
            sys.exit(f"{options.sweep} holds no {way}/seed=*/baselines/sasrec to compare with.")
        arguments = [",".join(map(str, directories)) for directories in found.values()]
        comparison = compare(arguments, names=list(found), slices=tuple(KINDS), samples=5000)
        parts += [f"**{title}**, {comparison.users:,} users, split `{comparison.split_sha256[:8]}`:"]
        parts += [main_table(comparison, found)]
        if way == WAYS["All items ranked"]:
            parts += slice_tables(comparison)
    write_section(DOCS, options.section, "\n\n".join(parts))


def main_table(found: Comparison, directories: dict[str, list[Path]]) -> str:
    """Compare the models, a row each, with the first."""
    header = ["model", "seeds", "HR@10", "NDCG@10", "sd", "minus sasrec", "", "parameters", "CPU minutes"]
    rows = [model_cells(found, row, directories[group.label]) for row, group in enumerate(found.groups)]
    return pipes(header, rows)


def slice_tables(found: Comparison) -> list[str]:
    """Give NDCG@10 in every slice, with the difference to sasrec."""
    tables = []
    for kind, what in KINDS.items():
        parts, header = parts_of(found, kind)
        rows = []
        for row, group in enumerate(found.groups):
            rows.append([group.label, *(interval(part.estimates[row].interval) for part in parts)])
        last = len(found.groups) - 2
        cells = [interval(part.differences[last].interval, sign="+") for part in parts]
        rows.append([f"{found.groups[-1].label} minus sasrec", *cells])
        tables.append(f"Users {what}:\n\n" + pipes(header, rows))
    return tables


if __name__ == "__main__":
    main()
