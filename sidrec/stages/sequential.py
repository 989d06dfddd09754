"""Baselines that are trained: every combination of settings asked for, the best on valid kept.

A stage of its own in `sequential/<name>/`, so that evaluating otherwise trains nothing again.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from sidrec.artifacts import Stage, read_json, write_json
from sidrec.baselines.config import GRU4RecConfig, SASRecBCEConfig, SASRecConfig, SequentialConfig
from sidrec.catalog import Catalog, Split
from sidrec.config import Config
from sidrec.progress import progress

if TYPE_CHECKING:
    from sidrec.baselines.fitting import Fitted
    from sidrec.progress import Advance

logger = logging.getLogger(__name__)
SEQUENTIAL = ("gru4rec", "sasrec", "sasrec_bce")


def fit_stage(config: Config, catalog: Catalog, split: Split, name: str) -> Stage:
    """Return what a trained baseline is made from and where it lies."""
    settings = {
        "baseline": getattr(config.baselines, name).model_dump(mode="json"),
        "split": config.split.model_dump(exclude={"rl_share"}),
    }
    inputs = {"catalog": catalog.sha256, "split": split.sha256}
    return Stage(config.output / "sequential" / name, "baselines", settings, inputs, config.seed)


def train_sequential(config: Config, catalog: Catalog, split: Split, name: str) -> None:
    """Train a baseline unless it is there; a search that was killed goes on after its last trial."""
    stage = fit_stage(config, catalog, split, name)
    if stage.is_done():
        return
    from sidrec.baselines.weights import save_sequential

    directory = stage.begin()
    record = directory / "trials.json"
    trials: list[dict[str, Any]] = read_json(record) if record.is_file() else []
    combinations = list(getattr(config.baselines, name).combinations())
    for number in range(len(trials), len(combinations)):
        settings = combinations[number]
        with progress(f"{name} {number + 1} of {len(combinations)}", "epochs") as advance:
            fitted = _fit(settings, split, catalog.num_items, seed=config.seed, on_epoch=advance)
        trials.append(
            {
                "settings": settings.values(),
                "valid": fitted.valid,
                "best_epoch": fitted.best_epoch,
                "epochs": fitted.epochs,
                "parameters": fitted.parameters,
                "seconds": round(fitted.seconds, 1),
            }
        )
        if best_of(trials) == number:
            save_sequential(fitted.model, directory)
        write_json(record, trials)  # last: without it the trial is run again, to the same end
    best = best_of(trials)
    report(name, trials, best)
    write_json(directory / "metrics.json", {**trials[best], "trials": trials})
    record.unlink()
    stage.finish(config.to_yaml())


def _fit(settings: SequentialConfig, split: Split, num_items: int, *, seed: int, on_epoch: Advance) -> Fitted:
    from sidrec.baselines.fitting import fit_gru4rec, fit_sasrec, fit_sasrec_bce

    match settings:
        case GRU4RecConfig():
            return fit_gru4rec(split, num_items, settings, seed=seed, on_epoch=on_epoch)
        case SASRecConfig():
            return fit_sasrec(split, num_items, settings, seed=seed, on_epoch=on_epoch)
        case SASRecBCEConfig():
            return fit_sasrec_bce(split, num_items, settings, seed=seed, on_epoch=on_epoch)
    raise AssertionError(f"{type(settings).__name__} is of no sequential baseline")


def best_of(trials: list[dict[str, Any]]) -> int:
    """Return the place of the trial with the best valid NDCG@10, the first of equals."""
    return max(range(len(trials)), key=lambda place: trials[place]["valid"]["ndcg@10"])


def report(name: str, trials: list[dict[str, Any]], best: int) -> None:
    """Log how good the chosen settings are on valid, and which they are where there was a choice."""
    chosen = trials[best]
    settings = ", ".join(f"{key} {value}" for key, value in chosen["settings"].items())
    choice = f", the best of {len(trials)} settings: {settings}" if len(trials) > 1 else ""
    logger.info("baselines: %s: valid NDCG@10 %.4f%s", name, chosen["valid"]["ndcg@10"], choice)
