"""Put the facts of a run into the templates: text is escaped, and only our one script may run."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from sidrec.report import drawings
from sidrec.report.catalog import CatalogFacts, gather_catalog
from sidrec.report.codes import CodesFacts, gather_codes
from sidrec.report.mistakes import Mistakes, gather_mistakes
from sidrec.report.opening import Absent, OpenRun
from sidrec.report.recommendations import Recommendations, gather_recommendations
from sidrec.report.reproduction import Reproduction, gather_reproduction
from sidrec.report.results import Results, gather_results
from sidrec.report.training import VALID, TrainingFacts, gather_training
from sidrec.report.wording import cut, interval
from tokenizer.health.verdicts import CAVEAT

SFT_FIGURES = [("loss", "SFT: loss", "nats per token"), (VALID, "SFT: valid NDCG@10", "NDCG@10")]
RL_FIGURES = [
    ("reward", "RL: mean reward", "reward"),
    (VALID, "RL: valid NDCG@10", "NDCG@10"),
    ("dead_groups", "RL: dead groups", "share of groups without a signal"),
    ("kl", "RL: distance to the start", "KL, nats"),
]


@dataclass(frozen=True, eq=False)
class Facts:
    """All sections of the page."""

    results: Results | Absent
    catalog: CatalogFacts
    codes: CodesFacts
    training: TrainingFacts
    recommendations: Recommendations | Absent
    mistakes: Mistakes | Absent
    reproduction: Reproduction


def gather(run: OpenRun) -> Facts:
    """Gather the facts of every section."""
    return Facts(
        gather_results(run),
        gather_catalog(run),
        gather_codes(run),
        gather_training(run),
        gather_recommendations(run),
        gather_mistakes(run),
        gather_reproduction(run),
    )


def render(run: OpenRun, facts: Facts) -> str:
    """Return the page."""
    environment = Environment(
        loader=PackageLoader("sidrec.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"cut": cut, "interval": interval}
    environment.tests["absent"] = lambda value: isinstance(value, Absent)
    script = _file("report.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template("page.html").render(
        run=run,
        facts=facts,
        figures=_figures(facts),
        caveat=CAVEAT,
        style=Markup(_file("report.css")),
        script=Markup(script),
        script_hash=digest,
    )


def _figures(facts: Facts) -> dict[str, Any]:
    """Draw what there is to draw, by the section that it belongs to."""
    sft, rl, mistakes = facts.training.sft, facts.training.rl, facts.mistakes
    rewards = [(f"reward/{name}", f"RL: reward {name}", "reward") for name in facts.training.rewards]
    found: dict[str, Any] = {
        "catalog": drawings.catalog_figures(facts.catalog),
        "codes": drawings.codes_figures(facts.codes),
        "map": None if isinstance(facts.codes.map, Absent) else drawings.map_figure(facts.codes.map),
        "sft": [] if isinstance(sft, Absent) else drawings.training_figures("sft", sft, SFT_FIGURES),
        "rl": [] if isinstance(rl, Absent) else drawings.training_figures("rl", rl, RL_FIGURES + rewards),
        "turns": None,
        "slices": [],
    }
    if not isinstance(mistakes, Absent):
        found["turns"] = drawings.turns_figure(mistakes.turns)
        if not isinstance(mistakes.slices, Absent):
            found["slices"] = drawings.slices_figures(mistakes.slices)
    return found


def _file(name: str) -> str:
    return resources.files("sidrec.report").joinpath("templates", name).read_text(encoding="utf-8")
