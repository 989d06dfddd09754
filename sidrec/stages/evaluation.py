"""Stage `evaluate`: full ranking of the catalogue for every test user, item-level."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from sidrec.artifacts import Stage
from sidrec.config import Config
from sidrec.errors import ArtifactError
from sidrec.progress import progress
from sidrec.stages.measurement import Predictions, write_evaluation
from sidrec.stages.run import Run, check_semantic_ids, load_run, weights_hash

logger = logging.getLogger(__name__)
MODELS = ("sft", "rl")


def evaluate(config: Config) -> list[Path]:
    """Evaluate every model directory of the run on its test users and write `evaluate/<model>/`.

    Raises:
        ArtifactError: If the run holds no model, or one of other semantic IDs.
    """
    run = load_run(config)
    present = [name for name in MODELS if (config.output / name / "manifest.json").is_file()]
    if not present:
        raise ArtifactError(f"{config.output} holds no model to evaluate. Run first: sidrec sft")
    return [_evaluate(config, run, name) for name in present]


def _evaluate(config: Config, run: Run, name: str) -> Path:
    directory = config.output / name
    check_semantic_ids(directory, run.semantic_ids)
    settings = {"evaluation": config.evaluation.model_dump(mode="json")}
    inputs = run.inputs() | {"weights": weights_hash(directory)}
    stage = Stage(config.output / "evaluate" / name, "evaluate", settings, inputs, config.seed)
    if stage.is_done():
        logger.info("evaluate %s: done before, nothing to redo", name)
        return stage.directory
    from sidrec.sid_model import SIDModel

    sid_model = SIDModel.load(directory)
    partial = stage.begin()
    started = time.monotonic()
    with progress(f"evaluate {name}", "users") as advance:
        ranking = sid_model.rank(
            run.split.test.histories,
            num_beams=config.evaluation.num_beams,
            batch_size=config.evaluation.batch_size,
            on_batch=advance,
        )
    seconds = time.monotonic() - started
    predictions = Predictions(
        name, "beam", ranking.items.cpu().numpy(), ranking.scores.cpu().numpy(), seconds
    )
    write_evaluation(partial, predictions, run.split.test, run, config)
    stage.finish(config.to_yaml())
    return stage.directory
