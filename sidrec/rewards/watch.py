"""What a log of RL says of its rewards: whether one is hacked, and whether one alone decides.

Plain numbers: the entries of `TrainerState.log_history`. Who says it to whom is left to others.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

Log = Sequence[Mapping[str, float]]
VALID = "eval_ndcg@10"
TOTAL, PART, SHARE = "ranked_reward", "ranked_reward/", "reward_share/"
FALL = 0.05
"""Part of the first valid NDCG that must be lost: less may be the luck of the sampled users."""
RISE = 2.0
"""Trend above which a reward rises."""
DOMINANT = 0.95
"""Share above which the other rewards change next to nothing."""


def find_hacking(log: Log, weights: Mapping[str, float]) -> dict[str, Any]:
    """Say whether rewards rise while the ranking that they are to improve becomes worse.

    Valid NDCG@10 falls if its last value is more than `FALL` below its first. A reward rises if the `trend`
    of the log's lines is above `RISE`. Means within groups are `ranked_mean`: of distinct beams the plain
    one stands still while what is paid for goes to the top. A part counts times its weight, and where the
    total falls no part counts: then RL failed at what it was paid for, and some part is bound to rise.

    Args:
        log: Lines with `ranked_reward` and `ranked_reward/<name>`, and evaluations with `eval_ndcg@10`, in
            order.
        weights: Name to weight.

    Returns:
        For JSON: `found`; `valid_ndcg@10` as [first, last], or null; `rose`, name to its means over the first
        and the last third of the lines, with `total` for the sum.
    """
    valid = [float(entry[VALID]) for entry in log if VALID in entry]
    lines = [entry for entry in log if TOTAL in entry]
    paid = {"total": [float(entry[TOTAL]) for entry in lines]}
    for name, weight in weights.items():
        if weight:
            paid[name] = [weight * float(entry[PART + name]) for entry in lines]
    rose = {name: list(_ends(values)) for name, values in paid.items() if trend(values) > RISE}
    falls = len(valid) > 1 and valid[-1] < (1 - FALL) * valid[0]
    failed = trend(paid["total"]) < -RISE
    found = bool(rose) and falls and not failed
    return {"found": found, "valid_ndcg@10": [valid[0], valid[-1]] if valid else None, "rose": rose}


def describe_hacking(found: Mapping[str, Any]) -> str:
    """Put what `find_hacking` found into a sentence or two; '' if it found nothing."""
    if not found["found"]:
        return ""
    rose = ", ".join(f"{name} {early:+.4f} to {late:+.4f}" for name, (early, late) in found["rose"].items())
    first, last = found["valid_ndcg@10"]
    return (
        f"rewards rose ({rose}) while valid NDCG@10 fell ({first:.4f} to {last:.4f}): they pay for something "
        "else than the ranking. Lower their weight in rl.rewards, raise rl.beta, or take fewer steps."
    )


def mean_shares(log: Log) -> dict[str, float]:
    """Average the shares of the rewards over the lines of a log that have them."""
    found: dict[str, list[float]] = {}
    for entry in log:
        for name, value in entry.items():
            if name.startswith(SHARE):
                found.setdefault(name.removeprefix(SHARE), []).append(float(value))
    return {name: statistics.fmean(values) for name, values in found.items()}


def describe_dominance(shares: Mapping[str, float]) -> str:
    """Say which of several rewards alone decides who is better than whom, and what to do; '' if none does."""
    name = max(shares, key=lambda each: shares[each], default="")
    if len(shares) < 2 or shares[name] <= DOMINANT:
        return ""
    rest = 1 - shares[name]
    factor = shares[name] / rest * (len(shares) - 1) if rest > 1e-6 else math.inf
    divide = f"divide its weight by about {factor:.2g}, or " if factor < 1e3 else ""
    return (
        f"the reward {name} makes {100 * shares[name]:.1f}% of the differences within groups: the others "
        f"change next to nothing. To give each a say, {divide}raise theirs in rl.rewards."
    )


def trend(values: Sequence[float]) -> float:
    """Return how surely a series rises (or falls, below 0), in standard deviations of one without a trend.

    Whether values are above or below each other counts, not by how much: a jump early in the series is a
    rise as a slope is. It takes five values to reach 2.

    Source: Mann (1945), as Kendall corrects it for ties and continuity.
    """
    n = len(values)
    pairs = sum((b > a) - (b < a) for place, a in enumerate(values) for b in values[place + 1 :])
    ties = Counter(values).values()
    variance = sum(sign * t * (t - 1) * (2 * t + 5) for sign, t in [(1, n), *((-1, t) for t in ties)]) / 18
    return math.copysign(max(0, abs(pairs) - 1), pairs) / math.sqrt(variance) if variance > 0 else 0.0


def _ends(values: Sequence[float]) -> tuple[float, float]:
    """Return the means over the first and the last third."""
    third = max(1, len(values) // 3)
    return statistics.fmean(values[:third]), statistics.fmean(values[-third:])
