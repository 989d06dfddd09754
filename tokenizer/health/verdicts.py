"""Judge the figures of `health`: good, look or bad, with one line of advice.

Thresholds say where others have met trouble, or where a table stands out among those we measured, and not
where ranking begins to suffer; `CAVEAT` says so wherever verdicts are shown. "Measured" below is: five tables
of the Scientific catalogue (4,344 items), of which two are residual k-means and two RQ-VAE as others released
them, the first two with an hourglass, the last two with a collapsed first level; and codes drawn at random.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

CAVEAT = "Use of codes and reconstruction alone do not predict ranking: train, and compare."
"""Source: docs/results.md. An RQ-VAE that explained 59% of the variance, not 52%, ranked clearly worse."""

USED = (0.95, 0.5)
"""Share of a level's codes in use. MiniOneRec's released table has 48 of 256 at its first level (.19)."""

EVEN = (0.6, 0.25)
"""Perplexity of a level over its codebook size: 1 if all codes are used alike. Measured .72 and more, but .05
and .12 where collapsed and .11 to .17 in the hourglass (arXiv:2407.21488): one code for most at later levels.
"""

LARGEST = (10.0, 30.0)
"""Items on a level's commonest code, in multiples of even use of the codebook. Measured 1.7 (random) to 10,
but 22 to 27 where collapsed, and 49 to 68 in the hourglass, where one code has a fifth of the items."""

SHARED = (0.0, 0.02)
"""Collision rate. A table with 10% counts hits that are none: figures up to twice too high are known."""

MOVED = (0.1, 0.3)
"""Share of items that the resolution gave other codes than their nearest: a reason, no measurement. Where it
was most of them, the codes would no longer be those of the quantizer."""

NEEDED = (0.1, 0.0)
"""Share of items that need the last code to be told apart: where few do, a level less would be faster. Never
bad. Measured .36 and more; random .07."""

FULL = (0.5, 0.999)
"""Share of its last codes that the fullest prefix has given away. At 1 the next item like these must go to
another prefix, as `reassign` and new items do."""

EXPLAINED = (0.4, 0.2)
"""Share of the vectors' variance that the codes keep, above what codes dealt at random would keep. Measured
.48 to .51; .32 and .37 where the first level is collapsed; random .00."""

TOGETHER = (5.0, 2.0)
"""How many times more often than by chance an item's nearest have its first code. Measured 7 (with 10 codes)
to 100; random 1."""

PURE = (0.4, 0.1)
"""Purity of first codes above chance, 1 if every code has one category. Measured .53 to .89; random .01."""

TAIL = (1.5, 2.0)
"""Error of tail items over that of head items, each relative to the group's variance. Measured 1.1 to 1.2."""


@dataclass(frozen=True)
class Verdict:
    """A figure, what it is, and what to do.

    Attributes:
        figure: What was judged.
        value: As a person reads it; of several levels the first level first.
        verdict: `good`, `look` or `bad`; of several levels the worst.
        advice: Empty where it is good.
    """

    figure: str
    value: str
    verdict: str
    advice: str


def judge(report: dict[str, Any]) -> list[Verdict]:
    """Judge what `health` reported; figures that it could not give are left out."""
    found = [
        *_use(report),
        _collisions(report),
        _moved(report),
        *_tree(report),
        *_variance(report),
        _neighbours(report),
        _purity(report),
        _tail(report),
    ]
    return [each for each in found if each is not None]


def above_chance(value: float, by_chance: float) -> float:
    """Rescale a share so that chance is 0 and the most there can be is 1."""
    return (value - by_chance) / (1 - by_chance) if by_chance < 1 else 0.0


def _use(report: dict[str, Any]) -> list[Verdict]:
    """Judge the use of each level's codes; a level that only numbers items needs none."""
    levels = report["levels"][: -1 if report["numbered"] else None]
    possible = [min(level["codebook_size"], report["items"]) for level in levels]
    used = [level["codes_used"] / most for level, most in zip(levels, possible, strict=True)]
    even = [level["perplexity"] / most for level, most in zip(levels, possible, strict=True)]
    largest = [level["largest_share"] * most for level, most in zip(levels, possible, strict=True)]
    names = [level["level"] for level in levels]
    if min(used) < USED[1]:
        idle = "collapsed: most codes of {levels} name no item; balanced_rqkmeans uses all codes"
    else:
        idle = "some codes of {levels} are idle; balanced_rqkmeans uses all codes"
    few = "few codes of {levels} hold most items: try balanced_rqkmeans, or a smaller codebook"
    one = "one code of {levels} holds so many items that it says little: try balanced_rqkmeans"
    return [
        Verdict(
            "codes used",
            f"{_column(levels, 'codes_used')} of {_column(levels, 'codebook_size')}",
            *_worst(used, USED, names, idle),
        ),
        Verdict(
            "even use",
            f"perplexity {_column(levels, 'perplexity', '{:.0f}'.format)} "
            f"({_column(levels, 'entropy', '{:.1f}'.format)} bits)",
            *_worst(even, EVEN, names, few),
        ),
        Verdict(
            "commonest code",
            f"{_column(levels, 'largest_share', _percent)} of items",
            *_worst(largest, LARGEST, names, one),
        ),
    ]


def _collisions(report: dict[str, Any]) -> Verdict:
    rate, after = report["collision_rate_after"], report["collision_groups"]["after"]
    value = f"rate {_percent(rate)}"
    if after["groups"]:
        value += f": {after['items']:,} items in {after['groups']:,} groups of up to {after['largest']:,}"
    if after["events"]:
        value += f"; {_percent(after['events'])} of events"
    advice = "items that share an ID cannot be told apart: tokenizer.collisions=reassign makes IDs unique"
    return Verdict("collisions", value, *_judged(rate, SHARED, advice))


def _moved(report: dict[str, Any]) -> Verdict | None:
    """Judge what the resolution of collisions did."""
    before, moved = report["collision_groups"]["before"], report["items_moved"]
    if before is None or moved is None:
        return None
    value = f"{moved:,} items ({_percent(moved / report['items'])})"
    if report["extra_error"] is not None:
        value += f", error + {_percent(report['extra_error'])} of the variance"
    value += f"; before, rate {_percent(report['collision_rate_before'])}"
    if before["events"]:
        value += f", {_percent(before['events'])} of events"
    advice = "many items have other codes than their nearest: larger codebooks or a level more collide less"
    return Verdict("moved apart", value, *_judged(moved / report["items"], MOVED, advice))


def _tree(report: dict[str, Any]) -> list[Verdict]:
    tree, num_levels = report["tree"], len(report["levels"])
    depth = report["unique_depth"]
    needed, full = 1.0, 0.0
    if num_levels > 1 and not report["numbered"]:
        needed = 1 - tree[-2]["items_unique"]
        full = tree[-1]["widest"] / report["levels"][-1]["codebook_size"]
    value = f"{_column(tree, 'items_unique', _percent)} by level"
    value += "" if depth is None else f"; {depth:.1f} of {num_levels} codes needed"
    advice = "almost all items are unique before the last code: a level less would be decoded faster"
    room = "a prefix has few last codes left, or none: room for new items needs a larger last codebook"
    return [
        Verdict("items unique", value, *_judged(needed, NEEDED, advice)),
        Verdict(
            "tree",
            f"{_column(tree, 'prefixes', '{:,}'.format)} prefixes; an item's way has "
            f"{_column(tree, 'branching_met', _short)} next codes",
            *_judged(full, FULL, room),
        ),
    ]


def _variance(report: dict[str, Any]) -> list[Verdict]:
    found = []
    advice = "the codes keep little of the vectors: more codes, a level more, or other vectors"
    levels = report["levels_explained"]
    if levels is not None:
        kept = above_chance(levels[-1]["explained"], levels[-1]["by_chance"])
        value = (
            f"{_column(levels, 'explained', _percent)} (by chance {_column(levels, 'by_chance', _percent)})"
        )
        found.append(Verdict("variance explained", value, *_judged(kept, EXPLAINED, advice)))
    if report["explained"] is not None:
        value = (
            f"{_percent(report['explained'])} of the variance, by the quantizer itself, before any item moved"
        )
        found.append(Verdict("reconstruction", value, *_judged(report["explained"], EXPLAINED, advice)))
    return found


def _neighbours(report: dict[str, Any]) -> Verdict | None:
    if not report["neighbours"]:
        return None
    first = report["neighbours"][0]
    together, chance, near = first["neighbours_together"], first["by_chance"], first["fellows_near"]
    lift = together / chance if chance else 0.0
    value = f"{_percent(together)} of an item's nearest have its first code ({_short(lift)} times chance)"
    if near is not None:
        value += f"; of those who have it {_percent(near)} are near"
    advice = "near items do not share first codes: the codes carry little meaning"
    return Verdict("neighbours", value, *_judged(lift, TOGETHER, advice))


def _purity(report: dict[str, Any]) -> Verdict | None:
    levels = report["purity"] or []
    if not levels or levels[0] is None or levels[0]["by_chance"] == 1:
        return None
    shown = [level for level in levels if level is not None]
    value = f"{_column(shown, 'purity', _percent)} (by chance {_column(shown, 'by_chance', _percent)})"
    advice = "first codes mix categories: the codes, or the vectors, do not carry them"
    pure = above_chance(levels[0]["purity"], levels[0]["by_chance"])
    return Verdict("one category", value, *_judged(pure, PURE, advice))


def _tail(report: dict[str, Any]) -> Verdict | None:
    tail, head = (report["groups"].get(name) for name in ("tail", "head"))
    if tail is None or head is None:
        return None
    value = f"collide {_percent(tail['colliding'])} / {_percent(head['colliding'])}"
    if tail["moved"] is not None:
        value += f"; moved {_percent(tail['moved'])} / {_percent(head['moved'])}"
    ratio = 1.0
    if tail["explained"] is not None and head["explained"] is not None:
        value += f"; explained {_percent(tail['explained'])} / {_percent(head['explained'])}"
        ratio = (1 - tail["explained"]) / max(1 - head["explained"], 1e-9)
    advice = "rare items are coded worse than popular ones: expect it of their recommendations too"
    return Verdict("tail / head", value, *_judged(ratio, TAIL, advice))


def _verdict(number: float, limits: tuple[float, float]) -> str:
    """Judge by two limits, good and look; where the first is the larger one, more is better."""
    sign = 1 if limits[0] > limits[1] else -1
    reached = [sign * number >= sign * limit for limit in limits]
    return "good" if reached[0] else "look" if reached[1] else "bad"


def _judged(number: float, limits: tuple[float, float], advice: str) -> tuple[str, str]:
    """Give verdict and advice."""
    verdict = _verdict(number, limits)
    return verdict, "" if verdict == "good" else advice


def _worst(
    numbers: list[float], limits: tuple[float, float], names: list[str], advice: str
) -> tuple[str, str]:
    """Give the worst level's verdict, and advice with the names of the levels that have it."""
    verdicts = [_verdict(number, limits) for number in numbers]
    worst = max(verdicts, key=["good", "look", "bad"].index)
    such = [name for name, verdict in zip(names, verdicts, strict=True) if verdict == worst]
    levels = f"level{'s' * (len(such) > 1)} {', '.join(such)}"
    return worst, "" if worst == "good" else advice.format(levels=levels)


def _column(levels: list[dict[str, Any]], name: str, show: Callable[[Any], str] = str) -> str:
    """List a figure of every level."""
    return ", ".join(show(level[name]) for level in levels)


def _percent(share: float) -> str:
    if 0 < share < 0.0005:
        return "<0.1%"
    return f"{100 * share:.1f}%" if 0 < abs(share) < 0.0995 else f"{100 * share:.0f}%"


def _short(number: float) -> str:
    return f"{number:.1f}" if number < 9.95 else f"{number:,.0f}"
