"""Stage `baselines`: the same split, the same metrics, the same files."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from sidrec.artifacts import Stage
from sidrec.baselines.popularity import popularity
from sidrec.config import Config
from sidrec.stages.measurement import Predictions, write_evaluation
from sidrec.stages.run import load_run

logger = logging.getLogger(__name__)


def baselines(config: Config) -> list[Path]:
    """Evaluate the baselines on test users and write `baselines/<name>/`.

    Raises:
        ArtifactError: If `tokenize` has not been run.
    """
    run = load_run(config)
    settings = {"evaluation": config.evaluation.model_dump(mode="json"), "split": config.split.model_dump()}
    stage = Stage(
        config.output / "baselines" / "popularity", "baselines", settings, run.inputs(), config.seed
    )
    if stage.is_done():
        logger.info("baselines: done before, nothing to redo")
        return [stage.directory]
    directory = stage.begin()
    started = time.monotonic()
    items, scores = popularity(
        run.split, run.split.test, num_items=run.catalog.num_items, k=config.evaluation.num_beams
    )
    predictions = Predictions("popularity", "full", items, scores, time.monotonic() - started)
    write_evaluation(directory, predictions, run.split.test, run, config)
    stage.finish(config.to_yaml())
    return [stage.directory]
