"""Judge the figures of `health`: good, look or bad, with one line of advice.

Thresholds say where others have met trouble, not where ranking begins to suffer: use of codes and
reconstruction alone do not predict how well a model will rank (docs/results.md: an RQ-VAE that explained 59%
of the variance instead of 52% ranked clearly worse). Train and compare before you choose.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

USED = (0.95, 0.5)
"""Share of a level's codes in use. MiniOneRec's released table has 48 of 256 at its first level (.19)."""

EVEN = (0.6, 0.25)
"""Perplexity of a level over its codebook size: 1 if all codes are used alike."""

SHARED = (0.0, 0.02)
"""Collision rate. A table with 10% counts hits that are none: figures up to twice too high are known."""

EXPLAINED = (0.4, 0.2)
"""Share of the vectors' variance that the codes keep."""

TOGETHER = (5.0, 2.0)
"""How many times more often than by chance an item's nearest have its first code."""


@dataclass(frozen=True)
class Verdict:
    """A figure, what it is, and what to do.

    Attributes:
        figure: What was judged.
        value: As a person reads it.
        verdict: `good`, `look` or `bad`.
        advice: Empty where it is good.
    """

    figure: str
    value: str
    verdict: str
    advice: str


def judge(report: dict[str, Any]) -> list[Verdict]:
    """Judge what `health` reported; figures that it lacks are left out."""
    verdicts = []
    for level in report["levels"]:
        name = f"codes used, level {level['level']}"
        value = f"{level['codes_used']} of {level['codebook_size']}"
        possible = min(level["codebook_size"], report["items"])
        used = level["codes_used"] / possible
        advice = "some codes are idle" if used >= USED[1] else "collapsed: balanced_rqkmeans uses all codes"
        verdicts.append(_high(name, value, used, USED, advice))
        even = level["perplexity"] / possible
        advice = "a few codes hold most items: try balanced_rqkmeans, or fewer codes"
        verdicts.append(
            _high(
                f"evenness, level {level['level']}",
                f"{even:.2f} (perplexity {level['perplexity']:.0f})",
                even,
                EVEN,
                advice,
            )
        )
    shared = report["collision_rate_after"]
    advice = "items share an ID: tokenizer.collisions=reassign makes them unique"
    verdicts.append(_low("collision rate", f"{shared:.3f}", shared, SHARED, advice))
    if report.get("explained") is not None:
        advice = "the codes keep little of the vectors: more codes, a level more, or other vectors"
        verdicts.append(
            _high("variance explained", f"{report['explained']:.2f}", report["explained"], EXPLAINED, advice)
        )
    if report.get("neighbours"):
        first = report["neighbours"][0]
        lift = first["neighbours_together"] / first["by_chance"] if first["by_chance"] else float("inf")
        value = f"{first['neighbours_together']:.2f} ({lift:.1f} times chance)"
        advice = "near items do not share first codes: the codes carry little meaning"
        verdicts.append(_high("neighbours with the same first code", value, lift, TOGETHER, advice))
    return verdicts


def _high(figure: str, value: str, number: float, limits: tuple[float, float], advice: str) -> Verdict:
    """More is better."""
    verdict = "good" if number >= limits[0] else "look" if number >= limits[1] else "bad"
    return Verdict(figure, value, verdict, "" if verdict == "good" else advice)


def _low(figure: str, value: str, number: float, limits: tuple[float, float], advice: str) -> Verdict:
    """Less is better."""
    verdict = "good" if number <= limits[0] else "look" if number <= limits[1] else "bad"
    return Verdict(figure, value, verdict, "" if verdict == "good" else advice)
