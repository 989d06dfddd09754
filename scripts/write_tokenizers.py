"""Put the table of a sweep over tokenizers into docs/tokenizers.md, between the marks of a section.

    python scripts/write_tokenizers.py scientific runs/scientific-tokenizers

A row per tokenizer, over all seeds that have finished; `scripts/compare_tokenizers.sh` makes the sweep.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from write_results import amount, interval, pipes, seeds, write_section

from sidrec.comparison import compare

DOCS = Path("docs/tokenizers.md")
FIRST = "tokenizer.method=rqvae"
HEADER = [
    "tokenizer",
    "seeds",
    "CPU s",
    "R2",
    "codes used",
    "collisions before",
    "HR@10",
    "NDCG@10",
    "minus rqvae",
    "",
]


def main() -> None:
    """Write the table of one section."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("section", help="name of the marks in docs/tokenizers.md")
    parser.add_argument("sweep", type=Path, help="directory of the sweep")
    options = parser.parse_args()
    groups = sorted(path for path in options.sweep.glob("tokenizer.*") if seeds(path, "evaluate/sft"))
    groups.sort(key=lambda path: path.name != FIRST)
    if not groups or groups[0].name != FIRST:
        sys.exit(f"{options.sweep} holds no {FIRST}/seed=*/evaluate/sft to compare with.")
    names = [name_of(group) for group in groups]
    arguments = [",".join(map(str, seeds(group, "evaluate/sft"))) for group in groups]
    found = compare(arguments, names=names, samples=5000)
    hr, ndcg = found.metrics
    rows = []
    for row, (name, group) in enumerate(zip(names, groups, strict=True)):
        facts = [read(path.parents[1] / "tokenize") for path in seeds(group, "evaluate/sft")]
        versus = ndcg.versus[row - 1] if row else None
        rows.append(
            [
                f"`{name}`",
                str(ndcg.estimates[row].seeds),
                amount([each["cpu_seconds"] for each in facts], "{:.0f}"),
                amount([each["explained"] for each in facts], "{:.2f}"),
                amount([each["used"] for each in facts], "{:.0f}"),
                amount([each["collision_rate_before"] for each in facts], "{:.3f}"),
                interval(hr.estimates[row].interval),
                interval(ndcg.estimates[row].interval),
                "" if versus is None else interval(versus.difference.interval, sign="+"),
                "" if versus is None else versus.verdict,
            ]
        )
    write_section(DOCS, options.section, f"{found.users:,} users.\n\n" + pipes(HEADER, rows))


def name_of(group: Path) -> str:
    """Return the method, or the folder of a foreign table."""
    key, _, value = group.name.partition("=")
    return (
        value
        if key == "tokenizer.method"
        else value.removesuffix("-Scientific.index.json").rpartition("-")[2]
    )


def read(stage: Path) -> dict[str, Any]:
    """Return what is told of the codes of one run."""
    metrics = json.loads((stage / "metrics.json").read_text(encoding="utf-8"))
    manifest = json.loads((stage / "manifest.json").read_text(encoding="utf-8"))
    last = metrics["levels_explained"][-1]["explained"] if metrics["levels_explained"] else None
    return {
        "cpu_seconds": manifest["cpu_seconds"],
        "explained": last,
        "used": min(level["codes_used"] for level in metrics["levels"]),
        "collision_rate_before": metrics["collision_rate_before"],
    }


if __name__ == "__main__":
    main()
