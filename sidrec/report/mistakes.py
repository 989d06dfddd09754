"""Where the model loses: slices against each baseline, the level that goes wrong, users won and lost."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sidrec.comparison import Comparison
from sidrec.metrics import Interval, metrics_at_k
from sidrec.report.lists import SHOWN, Lists, read_lists
from sidrec.report.opening import Absent, Measured, OpenRun
from sidrec.report.recommendations import ShownUser, show_users
from sidrec.report.results import compare_with, reference_of
from tokenizer.semantic_ids import level_name

EXTREMES = 5
"""Users that are shown as won, and as lost."""


@dataclass(frozen=True)
class SliceRow:
    """A slice of the users; `differences` are the model minus each baseline, None for one without users."""

    kind: str
    name: str
    what: str
    users: int
    mean: Interval | None
    differences: list[Interval | None]


@dataclass(frozen=True)
class Slices:
    """One metric of the model in slices of the users, against the baselines named."""

    metric: str
    baselines: list[str]
    rows: list[SliceRow]


@dataclass(frozen=True)
class WrongTurn:
    """Misses that leave the target's semantic ID at a level; `by_chance`: with the targets of others."""

    level: str
    what: str
    misses: int
    by_chance: int


@dataclass(frozen=True)
class Change:
    """A user whose target stands elsewhere in the list of the reference, at `reference_rank`; 0 is a miss."""

    user: ShownUser
    reference_rank: int
    gain: float


@dataclass(frozen=True)
class Changes:
    """Test rows by whose list has the target higher, the model's or that of the reference."""

    reference: str
    depth: int
    won: int
    lost: int
    tied: int
    gains: list[Change]
    losses: list[Change]


@dataclass(frozen=True)
class Mistakes:
    """All of it; `hits` and `misses` are of the first ten items."""

    model: str
    hits: int
    misses: int
    slices: Slices | Absent
    turns: list[WrongTurn]
    changes: Changes | Absent


def gather_mistakes(run: OpenRun) -> Mistakes | Absent:
    """Compare the model with the baselines, slice by slice and user by user."""
    shown = run.shown
    if shown is None:
        return Absent("No model of this run is evaluated, so there are no errors to look at.")
    lists = read_lists(run, shown)
    if isinstance(lists, Absent):
        return lists
    hits = int(((lists.ranks > 0) & (lists.ranks <= SHOWN)).sum())
    return Mistakes(
        model=shown.label,
        hits=hits,
        misses=len(lists.ranks) - hits,
        slices=_slices(run, shown),
        turns=_wrong_turns(run, lists),
        changes=_changes(run, shown, lists),
    )


def _slices(run: OpenRun, shown: Measured) -> Slices | Absent:
    if not run.baselines:
        return Absent("This run has no baselines to compare slices with. Run: sidrec baselines CONFIG.yaml")
    kinds = [
        kind
        for kind in shown.metrics.get("slices", {})
        if all(kind in each.metrics.get("slices", {}) for each in run.baselines)
    ]
    k = min(SHOWN, *(each.depth for each in (shown, *run.baselines)))
    found = compare_with(shown, run.baselines, k, tuple(kinds))
    if isinstance(found, Absent):
        return found
    metric = f"ndcg@{k}"
    return Slices(metric, [each.label for each in run.baselines], _slice_rows(found, shown, metric))


def _slice_rows(found: Comparison, shown: Measured, metric: str) -> list[SliceRow]:
    """Turn differences to the model into differences of the model."""
    rows = []
    for part in found.slices:
        if part.metric != metric:
            continue
        known = [each.interval for each in part.differences]
        turned: list[Interval | None] = [
            Interval(0 - each.value, 0 - each.high, 0 - each.low) for each in known
        ]
        rows.append(
            SliceRow(
                part.kind,
                part.name,
                shown.metrics["slices"][part.kind].get(part.name, {}).get("what", ""),
                part.users,
                part.estimates[0].interval if part.estimates else None,
                turned or [None] * (len(found.groups) - 1),
            )
        )
    return rows


def _wrong_turns(run: OpenRun, lists: Lists) -> list[WrongTurn]:
    """Count misses by the longest beginning that one of the first ten items shares with the target."""
    assert not isinstance(run.split, Absent)
    codes, targets = run.semantic_ids.codes, run.split.test.targets
    missed = (lists.ranks == 0) | (lists.ranks > SHOWN)
    items, wanted = lists.items[missed], targets[missed]
    dealt = np.random.default_rng(run.seed).permutation(targets)[: len(wanted)]
    shared, by_chance = (_longest_shared(codes, items, each) for each in (wanted, dealt))
    names = [level_name(level) for level in range(codes.shape[1])]
    turns = []
    for length in range(codes.shape[1] + 1):
        counts = [int((each == length).sum()) for each in (shared, by_chance)]
        if length == 0:
            what = f"no item of the list shares the first code, {names[0]}, with the target"
        elif length < len(names):
            what = f"an item shares {' and '.join(names[:length])}, none {names[length]} too"
        else:
            what = "an item has all codes of the target; by chance it may be the target"
        level = names[length] if length < len(names) else "none"
        turns.append(WrongTurn(level, what, counts[0], counts[1]))
    return turns if turns[-1].misses or turns[-1].by_chance else turns[:-1]


def _longest_shared(codes: np.ndarray, items: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return (R,) levels that the best of (R, 10) items shares with the target; an item of -1 shares none."""
    equal = codes[items] == codes[targets][:, None]  # (R, 10, L)
    shared = np.cumprod(equal & (items >= 0)[..., None], axis=-1).sum(axis=-1)  # (R, 10)
    longest: np.ndarray = shared.max(axis=1, initial=0)
    return longest


def _changes(run: OpenRun, shown: Measured, lists: Lists) -> Changes | Absent:
    reference = reference_of(run)
    if reference not in run.baselines:
        return Absent("This run has no baselines, so there are no users won or lost against one.")
    theirs = read_lists(run, reference)
    if isinstance(theirs, Absent):
        return theirs
    depth = min(shown.depth, reference.depth)
    own_rank, their_rank = (np.where(each.ranks > depth, 0, each.ranks) for each in (lists, theirs))
    places = [np.where(ranks == 0, depth + 1, ranks) for ranks in (own_rank, their_rank)]
    own, their = (metrics_at_k(ranks, (depth,))[f"ndcg@{depth}"] for ranks in (own_rank, their_rank))
    gain = own - their
    order = np.argsort(-gain, kind="stable")
    best = order[:EXTREMES][gain[order[:EXTREMES]] > 0]
    worst = order[::-1][:EXTREMES]
    worst = worst[gain[worst] < 0]

    def changes(rows: np.ndarray) -> list[Change]:
        return [
            Change(user, int(their_rank[row]), float(gain[row]))
            for row, user in zip(rows.tolist(), show_users(run, lists, rows), strict=True)
        ]

    return Changes(
        reference.label,
        depth,
        won=int((places[0] < places[1]).sum()),
        lost=int((places[0] > places[1]).sum()),
        tied=int((places[0] == places[1]).sum()),
        gains=changes(best),
        losses=changes(worst),
    )
