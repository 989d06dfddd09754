"""Measure the rivals of a re-ranked depth head: what two models together reach, where one of them is SASRec.

    python scripts/rank_rivals.py runs/quality-scientific

Beside each finished seed of `scripts/reproduce_quality.sh` it writes `rivals/<name>/`, results as those of
`sidrec evaluate`: `sasrec_pair` ranks by the mean log-probability of SASRec and of SASRec of the next seed,
`sasrec_items` by that of SASRec plus w times that of the depth head's item loss, w chosen on valid.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from sidrec.artifacts import Stage, read_json, read_manifest
from sidrec.baselines.ranking import ScoreItems, mean_metrics, rank_by_scores
from sidrec.baselines.sequential import score_with
from sidrec.baselines.weights import load_sequential
from sidrec.config import Config, load_config
from sidrec.decoding.beam_search import read_in_groups
from sidrec.sid_model import SIDModel
from sidrec.stages.measurement import Predictions, write_evaluation
from sidrec.stages.run import Run, load_run

WEIGHTS = (0.25, 0.5, 1.0, 2.0)
"""Of the item loss's log-probability, to choose from."""


def main() -> None:
    """Measure both rivals for every seed, with and without items of the history."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sweep", type=Path, help="directory of the sweep")
    sweep = parser.parse_args().sweep
    for way in ("evaluation.exclude_history=false", "evaluation.exclude_history=true"):
        runs = sorted(
            path.parents[2] for path in (sweep / way).glob("seed=*/sequential/sasrec/manifest.json")
        )
        if len(runs) < 2:
            sys.exit(f"{sweep / way} holds fewer than two seeds with sequential/sasrec.")
        for output, other in zip(runs, [*runs[1:], runs[0]], strict=True):
            measure(output, other)


@dataclass(frozen=True)
class Rival:
    """Two models whose scores are added.

    Attributes:
        name: In tables.
        score_items: The sum.
        parts: Directories of the two.
        facts: What else metrics.json is to say.
    """

    name: str
    score_items: ScoreItems
    parts: tuple[Path, Path]
    facts: dict[str, float] = field(default_factory=dict)


def measure(output: Path, other: Path) -> None:
    """Write the results of both rivals beside a run, `other` being that of the next seed."""
    config = load_config(output / "config.yaml").model_copy(update={"output": output})
    run = load_run(config)
    first, second = output / "sequential/sasrec", other / "sequential/sasrec"
    sasrec, items = log_probs_of(first), told_items(SIDModel.load(output / "sft"))
    found = {
        weight: mean_metrics(
            added(sasrec, items, weight),
            run.split.valid,
            exclude_history=config.evaluation.exclude_history,
        )["ndcg@10"]
        for weight in WEIGHTS
    }
    best = max(found, key=lambda weight: found[weight])
    print(f"{output}: valid NDCG@10 of SASRec + w item loss: {found}")
    chosen = {"weight": best, "valid_ndcg@10": found[best]}
    write(Rival("sasrec_pair", added(sasrec, log_probs_of(second), 1.0), (first, second)), run, config)
    write(Rival("sasrec_items", added(sasrec, items, best), (first, output / "sft"), chosen), run, config)


def write(rival: Rival, run: Run, config: Config) -> None:
    """Measure a rival on test as a baseline is measured, unless it was done before."""
    inputs = run.inputs() | {f"model {place}": weights(part) for place, part in enumerate(rival.parts)}
    settings = {"evaluation": config.evaluation.model_dump(mode="json"), **rival.facts}
    stage = Stage(run.output / "rivals" / rival.name, "evaluate", settings, inputs, config.seed)
    if stage.is_done():
        return
    directory, started = stage.begin(), time.monotonic()
    ranked, scores = rank_by_scores(
        rival.score_items,
        run.split.test.histories,
        k=config.evaluation.num_beams,
        exclude_history=config.evaluation.exclude_history,
    )
    facts = rival.facts | {
        "parameters": sum(read_json(part / "metrics.json")["parameters"] for part in rival.parts),
        "training_cpu_seconds": sum(read_manifest(part)["cpu_seconds"] for part in rival.parts),
    }
    predictions = Predictions(rival.name, "full", ranked, scores, time.monotonic() - started, facts)
    write_evaluation(directory, predictions, run.split.test, run, config)
    stage.finish(config.to_yaml())


def weights(directory: Path) -> str:
    """Return the hash of a directory's weights."""
    found: str = read_manifest(directory)["outputs"]["model.safetensors"]
    return found


def log_probs_of(directory: Path) -> ScoreItems:
    """Return log p(item) of a trained baseline."""
    model = load_sequential(directory)
    score_items = score_with(model, model.settings.max_history)

    def log_probs(histories: Sequence[np.ndarray]) -> np.ndarray:
        return torch.from_numpy(score_items(histories)).log_softmax(-1).numpy()

    return log_probs


def told_items(model: SIDModel) -> ScoreItems:
    """Return log p(item) of the item loss of a depth head."""
    item_rows = model.output_rows()

    @torch.no_grad()
    def log_probs(histories: Sequence[np.ndarray]) -> np.ndarray:
        prompts = [model.prompts.next_item(list(history)) for history in histories]
        found = np.empty((len(prompts), len(item_rows)), dtype=np.float32)
        for rows, beams in read_in_groups(model.reader, prompts, width=1):
            states = beams.prompt_states  # type: ignore[attr-defined]  # those of a depth head have them
            found[rows] = (states @ item_rows.T).log_softmax(-1).numpy()
        return found

    return log_probs


def added(first: ScoreItems, second: ScoreItems, weight: float) -> ScoreItems:
    """Return the scores of one plus `weight` times those of another."""
    return lambda histories: first(histories) + weight * second(histories)


if __name__ == "__main__":
    main()
