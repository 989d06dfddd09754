"""What the model recommends to some real users, drawn by the seed of the run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sidrec.metrics import popularity_slices
from sidrec.report.lists import Lists, read_lists
from sidrec.report.opening import Absent, OpenRun
from sidrec.report.search_path import SearchPath, find_search_path
from sidrec.report.wording import cut

USERS = 30
HISTORY = 20
"""Items of a history that are shown, the newest."""


@dataclass(frozen=True)
class ShownItem:
    """An item on the page; `score` is None in a history and for a score that a file does not give."""

    item_id: str
    title: str
    score: float | None = None
    is_target: bool = False
    in_history: bool = False


@dataclass(frozen=True)
class ShownUser:
    """A user to whom something was recommended.

    Attributes:
        user_id: As in the catalogue.
        target_number: Which of the user's targets; None where each user has one.
        history: The newest items, oldest first.
        earlier: Items before those.
        target: What the user took next.
        rank: Of the target, 0 for a miss.
        popularity: Slice of the target: cold, tail, mid or head.
        recommended: The first items, best first; fewer where a list has ended.
    """

    user_id: str
    target_number: int | None
    history: list[ShownItem]
    earlier: int
    target: ShownItem
    rank: int
    popularity: str
    recommended: list[ShownItem]

    @property
    def kinds(self) -> list[str]:
        """What the filters of the page know the user by."""
        return ["hit" if 0 < self.rank <= 10 else "miss", self.popularity]


@dataclass(frozen=True)
class Recommendations:
    """Users drawn from the test rows of a split.

    Attributes:
        model: Whose lists they are.
        users: Those drawn.
        rows: Number of test rows they were drawn from.
        seed: By which.
        depth: Length of the whole lists.
        path: How the model came to one of the lists.
        path_user: Place of that user among `users`.
        scores_are_log_probs: Whether the model is one of ours.
    """

    model: str
    users: list[ShownUser]
    rows: int
    seed: int
    depth: int
    path: SearchPath | Absent
    path_user: int
    scores_are_log_probs: bool

    def count(self, kind: str) -> int:
        """Return how many of the users are of a kind."""
        return sum(kind in user.kinds for user in self.users)


def gather_recommendations(run: OpenRun) -> Recommendations | Absent:
    """Draw users and put their lists into words."""
    shown, split = run.shown, run.split
    if shown is None:
        return Absent("No model of this run is evaluated, so there are no lists. Run: sidrec evaluate.")
    lists = read_lists(run, shown)
    if isinstance(lists, Absent):
        return lists
    assert not isinstance(split, Absent)
    drawn = split.test.draw(USERS, run.seed)
    users = show_users(run, lists, drawn)
    place = next((place for place, user in enumerate(users) if 0 < user.rank <= 10), 0)
    path = find_search_path(
        run, shown, split.test.histories[drawn[place]], int(split.test.targets[drawn[place]])
    )
    return Recommendations(
        model=shown.label,
        users=users,
        rows=len(split.test),
        seed=run.seed,
        depth=shown.depth,
        path=path,
        path_user=place,
        scores_are_log_probs=shown.label in ("sft", "rl"),
    )


def show_users(run: OpenRun, lists: Lists, rows: np.ndarray) -> list[ShownUser]:
    """Put the lists of some test rows into words."""
    split = run.split
    assert not isinstance(split, Absent)
    test, several = split.test, split.test.recurring_users is not None
    slices = popularity_slices(test.targets[rows], split.train_counts(run.catalog.num_items))
    names = np.select([each.mask for each in slices.values()], list(slices), default="")
    users = []
    for row, name in zip(rows.tolist(), names.tolist(), strict=True):
        history, target = test.histories[row].tolist(), int(test.targets[row])
        users.append(
            ShownUser(
                user_id=cut(test.user_ids[row]),
                target_number=int(test.target_numbers[row]) if several else None,
                history=[_item(run, item) for item in history[-HISTORY:]],
                earlier=max(0, len(history) - HISTORY),
                target=_item(run, target),
                rank=int(lists.ranks[row]),
                popularity=name,
                recommended=[
                    _item(run, item, score, is_target=item == target, in_history=item in history)
                    for item, score in zip(lists.items[row].tolist(), lists.scores[row].tolist(), strict=True)
                    if item >= 0
                ],
            )
        )
    return users


def _item(
    run: OpenRun,
    item: int,
    score: float | None = None,
    *,
    is_target: bool = False,
    in_history: bool = False,
) -> ShownItem:
    known = score if score is not None and np.isfinite(score) else None
    item_id, title = cut(run.semantic_ids.item_ids[item]), cut(run.titles[item])
    return ShownItem(item_id, title, known, is_target, in_history)
