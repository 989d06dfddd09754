"""The model card beside the weights: what the model was made from, what it is worth, how to load it, limits.

The stage that trains writes it. `evaluate` puts the test figures in, unless someone has edited it since. It
names no path and no item, so that it can be published as it is.
"""

from __future__ import annotations

import hashlib
import logging
import re
from pathlib import Path
from typing import Any

from sidrec.adapters import Base
from sidrec.artifacts import CARD, read_json, write_text
from sidrec.config import Config, load_config
from sidrec.stages.run import Run

logger = logging.getLogger(__name__)
MARK = "<!-- sidrec {}: `sidrec evaluate` renews this card, unless it was edited. -->\n"


def write_card(
    directory: Path,
    config: Config,
    run: Run,
    metrics: dict[str, Any],
    evaluation: dict[str, Any] | None = None,
) -> None:
    """Write `README.md`.

    Args:
        directory: Of the model, whole or about to be.
        config: That it was trained with.
        run: What it was trained on.
        metrics: Of its stage.
        evaluation: Its `metrics.json` on the test users; None: not evaluated.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("sidrec.stages"), undefined=StrictUndefined, keep_trailing_newline=True
    )  # Markdown: nothing is escaped, and no text of the catalogue is in it
    stage = "rl" if "kept" in metrics else "sft"
    figures = _figures(evaluation)
    is_adapter = Base.read(directory) is not None
    text = environment.get_template("model_card.md").render(
        head=_head(stage, config, figures, is_adapter=is_adapter),
        stage=stage,
        is_adapter=is_adapter,
        has_depth_head=config.model.head == "depth",
        ours=_read_by_sidrec_only(config),
        start=config.rl.start,
        seed=config.seed,
        split_method=config.split.method,
        tokenizer_method=config.tokenizer.method,
        facts=run.catalog.statistics(),
        split=run.split,
        semantic_ids=run.semantic_ids,
        metrics=metrics,
        evaluation=evaluation,
        figures=figures,
    )
    write_text(directory / CARD, text + MARK.format(_digest(text)))


def renew_card(directory: Path, run: Run, evaluation: dict[str, Any]) -> None:
    """Put test figures into the card of a finished model; one that was edited, or is not there, is left."""
    path = directory / CARD
    if not path.is_file():
        return
    text, line_end, mark = path.read_bytes().decode("utf-8", errors="replace").rpartition("\n<!-- ")
    text += line_end[:1]
    if f"<!-- {mark}" != MARK.format(_digest(text)):
        logger.info("%s was edited: the figures in it are left as they are", path)
        return
    config, metrics = load_config(directory / "config.yaml"), read_json(directory / "metrics.json")
    write_card(directory, config, run, metrics, evaluation)


def _read_by_sidrec_only(config: Config) -> list[str]:
    """Return the settings, as they are written, by which a model is read as `generate` would not read it."""
    settings = {
        "prompt.last_token=sum": config.prompt.last_token == "sum",
        "prompt.history=merged": config.prompt.history == "merged",
        "model.skip_connection=true": config.model.skip_connection,
    }
    return [name for name, is_so in settings.items() if is_so]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _figures(evaluation: dict[str, Any] | None) -> list[tuple[str, dict[str, float]]]:
    """Return hit rate and NDCG at 5 and 10; at every depth there is, where lists are shorter."""
    if evaluation is None:
        return []
    found = [each for each in evaluation["item_level"].items() if not each[0].startswith("mrr")]
    return [each for each in found if each[0].endswith(("@5", "@10"))] or found


def _head(
    stage: str, config: Config, figures: list[tuple[str, dict[str, float]]], *, is_adapter: bool
) -> str:
    """Return the YAML that the hub reads."""
    from huggingface_hub import EvalResult, ModelCardData

    results = [
        EvalResult(
            task_type="recommendation",
            dataset_type="sidrec-catalogue",
            dataset_name="the catalogue of this model, all items ranked",
            dataset_split="test",
            metric_type=name,
            metric_value=round(figure["value"], 4),
            metric_name=f"{name.upper()}, 95% interval {figure['low']:.4f} to {figure['high']:.4f}",
        )
        for name, figure in figures
    ]
    data = ModelCardData(
        library_name="peft" if is_adapter else "transformers",
        pipeline_tag="text-generation",
        tags=["sidrec", "recommendation", "semantic-ids", "generative-retrieval"],
        base_model=_hub_name(config),
        model_name=f"sidrec-{stage}" if results else None,
        eval_results=results or None,
    )
    return data.to_yaml().strip()


def _hub_name(config: Config) -> str | None:
    """Return the model that training began from, where it is one of the hub and not a directory here."""
    name = str(config.model.path)
    return name if re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", name) and not Path(name).exists() else None
