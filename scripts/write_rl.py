"""Put the table of a study of RL into docs/rl.md, between the marks of a section.

    python scripts/write_rl.py scientific-held_out runs/scientific-rl/held_out

A row per switch whose seeds have all finished, each against the SFT that it began from and against SFT
that went on at the same prompts for as many tokens, seeds paired, since what is compared has begun from the
same SFT; `scripts/reproduce_rl.sh` makes the sweep.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from write_results import amount, interval, pipes, seeds, write_section

from sidrec.artifacts import read_json, read_manifest
from sidrec.comparison import Comparison, compare
from sidrec.stages.evaluation import training_stages

DOCS = Path("docs/rl.md")
DEFAULT, CONTINUED = "rl.sampling=beam", "rl.objective=sft"
NAMES = {DEFAULT: "RL as it comes", CONTINUED: "SFT continued"}
HEADER = ["", "seeds", "NDCG@10", "minus SFT", "", "minus SFT continued", "", "CPU minutes", "million tokens"]


def main() -> None:
    """Write the table of one section."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("section", help="name of the marks in docs/rl.md")
    parser.add_argument("sweep", type=Path, help="directory of the sweep")
    options = parser.parse_args()
    places = sorted({path.parent for path in options.sweep.rglob("rl.*/seed=*")})
    found = {" ".join(path.relative_to(options.sweep).parts): seeds(path, "evaluate/rl") for path in places}
    missing = [name for name in (DEFAULT, CONTINUED) if not found.get(name)]
    if missing:
        sys.exit(f"{options.sweep} holds no {missing[0]}/seed=*/evaluate/rl to compare with.")
    whole = seeds_of(found[DEFAULT])
    groups = {name: results for name, results in found.items() if seeds_of(results) == whole}
    if unfinished := [name for name in found if name not in groups]:
        print(f"left out, with other seeds than {DEFAULT}: {', '.join(unfinished)}", file=sys.stderr)
    order = [CONTINUED, DEFAULT, *(name for name in groups if name not in NAMES)]
    sft = [path.with_name("sft") for path in groups[DEFAULT]]
    to_sft = compared([sft, *(groups[name] for name in order)])
    to_continued = compared([groups[name] for name in order])
    ndcg, other = to_sft.metrics[1], to_continued.metrics[1]
    rows = [["SFT", str(ndcg.estimates[0].seeds), interval(ndcg.estimates[0].interval), *[""] * 6]]
    for row, name in enumerate(order):
        facts = [read(path.parents[1] / "rl") for path in groups[name]]
        rows.append(
            [
                NAMES.get(name, f"`{name}`"),
                str(ndcg.estimates[row + 1].seeds),
                interval(ndcg.estimates[row + 1].interval),
                *difference(ndcg.versus[row]),
                *(difference(other.versus[row - 1]) if row else ("", "")),
                amount([each["cpu_seconds"] for each in facts], "{:.1f}", per=60),
                amount([each["tokens"] for each in facts], "{:.1f}", per=1e6),
            ]
        )
    write_section(DOCS, options.section, f"{to_sft.users:,} users.\n\n" + pipes(HEADER, rows))


def seeds_of(results: list[Path]) -> list[str]:
    """Return which seeds are there."""
    return [path.parents[1].name for path in results]


def compared(groups: list[list[Path]]) -> Comparison:
    """Compare groups of seeds with the first of them."""
    return compare([",".join(map(str, group)) for group in groups], samples=5000, pair_seeds=True)


def difference(versus: Any) -> tuple[str, str]:
    """Write a difference and what it means."""
    return interval(versus.difference.interval, sign="+"), versus.verdict


def read(stage: Path) -> dict[str, float]:
    """Return what a run of RL cost, SASRec among it where that gave the rewards."""
    of_rl, of_sft = (training_stages(stage.parent, name) for name in ("rl", "sft"))
    seconds = sum(read_manifest(each)["cpu_seconds"] for each in of_rl if each not in of_sft)
    return {"cpu_seconds": seconds, "tokens": read_json(stage / "metrics.json")["tokens"]}


if __name__ == "__main__":
    main()
