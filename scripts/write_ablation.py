"""Put the table of scripts/reproduce_ablation.sh into docs/quality.md, between the marks of a section.

    python scripts/write_ablation.py scientific runs/ablation-scientific

A row per switch, NDCG@10 of all valid users by beam search and re-ranked, each against the recipe as it is.
What was ranked once is kept beside the model.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from write_results import interval, pipes, write_section

from sidrec.artifacts import read_manifest
from sidrec.config import load_config
from sidrec.metrics import difference_over_seeds, metrics_at_k, target_ranks
from sidrec.sid_model import SIDModel
from sidrec.stages.run import load_run

DOCS = Path("docs/quality.md")
RECIPE = "sft.item_loss=0.5"
HEADER = ["", "seeds", "NDCG@10", "minus the recipe", "re-ranked", "minus the recipe", "CPU minutes"]


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("section", help="name of the marks in docs/quality.md, without -ablation")
    parser.add_argument("sweep", type=Path, help="directory of the sweep")
    options = parser.parse_args()
    groups = {
        path.name: sorted(each.parents[1] for each in path.glob("seed=*/sft/manifest.json"))
        for path in sorted(options.sweep.iterdir())
        if path.is_dir()
    }
    groups = {name: runs for name, runs in groups.items() if runs}
    if RECIPE not in groups:
        sys.exit(f"{options.sweep} holds no {RECIPE}/seed=*/sft to compare with.")
    base = [values_of(groups[RECIPE], rerank=rerank) for rerank in (False, True)]
    rows = []
    for name in [RECIPE, *(name for name in groups if name != RECIPE)]:
        runs = groups[name]
        cells = [f"`{name}`" if name != RECIPE else "the recipe", str(len(runs))]
        for rerank, of_recipe in zip((False, True), base, strict=True):
            cells += against(values_of(runs, rerank=rerank), of_recipe, is_recipe=name == RECIPE)
        minutes = np.mean([read_manifest(run / "sft")["cpu_seconds"] for run in runs]) / 60
        rows.append([*cells, f"{minutes:.1f}"])
    write_section(DOCS, f"{options.section}-ablation", pipes(HEADER, rows))


def values_of(runs: list[Path], *, rerank: bool) -> np.ndarray | None:
    """Return NDCG@10 of every seed and valid user, (S, U); None where lists cannot be re-ranked."""
    found = [ranks_of(run, rerank=rerank) for run in runs]
    ranks = [each for each in found if each is not None]
    if len(ranks) < len(runs):
        return None
    return np.stack([metrics_at_k(each, ks=(10,))["ndcg@10"] for each in ranks])


def ranks_of(run: Path, *, rerank: bool) -> np.ndarray | None:
    """Return the rank of every valid user's target, (U,), as `target_ranks` gives it."""
    kept = run / f"valid_ranks_{'re-ranked' if rerank else 'beam'}.npy"
    if kept.is_file():
        ranks: np.ndarray = np.load(kept)
        return ranks
    config = load_config(run / "config.yaml").model_copy(update={"output": run})
    model = SIDModel.load(run / "sft")
    if rerank and not model.prompts.settings.tells_items:
        return None
    rows = load_run(config).split.valid
    ranker = model.reranking(1.0) if rerank else model
    found = ranker.rank(rows.histories, num_beams=config.evaluation.num_beams)
    ranks = target_ranks(found.items.cpu().numpy(), rows.targets)
    np.save(kept, ranks)
    return ranks


def against(values: np.ndarray | None, recipe: np.ndarray | None, *, is_recipe: bool) -> list[str]:
    """Write a mean, and its difference to the recipe's."""
    if values is None or recipe is None:
        return ["", ""]
    mean = f"{values.mean():.4f}".removeprefix("0")
    if is_recipe:
        return [mean, ""]
    difference = difference_over_seeds(values, recipe, seed=0, samples=5000)
    return [mean, interval(difference.interval, sign="+")]


if __name__ == "__main__":
    main()
