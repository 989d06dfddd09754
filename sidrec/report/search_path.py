"""How a model came to one list: the beams that its search kept on each level of the trie."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sidrec.errors import ArtifactError
from sidrec.report.opening import Absent, Measured, OpenRun
from sidrec.report.wording import cut
from tokenizer.semantic_ids import level_name, sid_token

if TYPE_CHECKING:
    from torch import Tensor

    from sidrec.decoding.search import Beams
    from sidrec.scoring import ChildScores
    from sidrec.sid_model import SIDModel

SHOWN = 8
"""Beams of a level that are shown."""


@dataclass(frozen=True)
class Branch:
    """A prefix that the search kept.

    Attributes:
        tokens: SID tokens from the root.
        log_prob: Of its last code after the others.
        total: Of all its codes.
        items: How many items begin so.
        example: Title of the first of them, or of the only one.
        leads_to_target: Whether the target begins so.
    """

    tokens: list[str]
    log_prob: float
    total: float
    items: int
    example: str
    leads_to_target: bool


@dataclass(frozen=True)
class PathLevel:
    """One step of the search.

    Attributes:
        name: Of the level: a, b, c.
        open: Prefixes that it could choose from.
        kept: How many it kept.
        branches: The best of them.
        target_place: Place of the target's prefix among those kept, from 1; 0 where it was dropped.
        target: The target's prefix; None where the search has not reached it.
    """

    name: str
    open: int
    kept: int
    branches: list[Branch]
    target_place: int
    target: Branch | None


@dataclass(frozen=True)
class SearchPath:
    """A search, level by level."""

    num_beams: int
    levels: list[PathLevel]


class _Recorder:
    """Hands the questions of a search on to the beams of a model, and remembers the answers."""

    def __init__(self, beams: Beams) -> None:
        self.batch_size, self._beams = beams.batch_size, beams
        self.steps: list[tuple[Tensor, ChildScores]] = []

    def score(self, states: Tensor, level: int) -> ChildScores:
        self.steps.append((states, self._beams.score(states, level)))
        return self.steps[-1][1]

    def advance(self, parents: Tensor, states: Tensor, level: int) -> None:
        self._beams.advance(parents, states, level)

    def rewind(self, level: int) -> None:
        self._beams.rewind(level)


def find_search_path(run: OpenRun, shown: Measured, history: np.ndarray, target: int) -> SearchPath | Absent:
    """Load the model and search once more after a history of catalogue rows."""
    directory = run.directory / shown.label
    if not (directory / "prompts.json").is_file():
        return Absent(f"The search path is not shown: the model of {shown.label} is not in this run.")
    from sidrec.sid_model import SIDModel

    try:
        model = SIDModel.load(directory, generation=1, device="cpu")
    except ArtifactError as error:
        return Absent(f"The search path is not shown: {error}")
    if model.semantic_ids.sha256 != run.semantic_ids.sha256:
        return Absent(f"The search path is not shown: {directory} was trained on other semantic IDs.")
    if model.prompts.settings.identifiers != "sid":
        return Absent("The search path is not shown: here titles name the items, not semantic IDs.")
    num_beams = shown.metrics["num_beams"] or 20
    steps, ends = _search(model, history, num_beams, bool(shown.metrics.get("exclude_history")))
    return SearchPath(num_beams, _levels(run, model, steps, ends, target))


def _search(
    model: SIDModel, history: np.ndarray, num_beams: int, exclude_history: bool
) -> tuple[list[tuple[Tensor, ChildScores]], list[int]]:
    """Return the questions and answers of each level, and the states of the items found, best first."""
    import torch

    from sidrec.attention import evaluating
    from sidrec.decoding.beam_search import read_in_groups
    from sidrec.decoding.filters import RowFilter
    from sidrec.decoding.search import search

    prompt = model.prompts.next_item(history.tolist())
    row_filter = RowFilter(model.trie, [history]) if exclude_history else None
    with evaluating(model.model), torch.no_grad():
        [(_, beams)] = read_in_groups(model.reader, [prompt], width=num_beams, prefix=model.read_prefix())
        recorder = _Recorder(beams)
        ranking = search(recorder, model.trie, num_beams=num_beams, row_filter=row_filter)
    return recorder.steps, model.trie.find(ranking.codes)[0, :, -1].tolist()


@dataclass(frozen=True)
class _Chance:
    """What a model gives a code after its prefix, and the whole prefix with it."""

    log_prob: float
    total: float


def _levels(
    run: OpenRun,
    model: SIDModel,
    steps: list[tuple[Tensor, ChildScores]],
    ends: list[int],
    target: int,
) -> list[PathLevel]:
    """Put what the search kept on each level into words: it is what it asked about on the next."""
    import torch

    wanted = model.trie.find(torch.tensor(run.semantic_ids.codes[target])).tolist()[1:]
    totals, levels = {0: 0.0}, []
    for level, (parents, scored) in enumerate(steps):
        chances = _chances(parents, scored, totals)
        after = steps[level + 1][0][0].tolist() if level + 1 < len(steps) else ends
        kept = [state for state in dict.fromkeys(after) if state in chances]
        totals = {state: chances[state].total for state in kept}
        shown = [*kept[:SHOWN], *([wanted[level]] if wanted[level] in chances else [])]
        prefixes = model.trie.codes_of(torch.tensor(shown))[:, : level + 1].tolist()
        branches = [
            _branch(run, prefix, chances[state], target)
            for state, prefix in zip(shown, prefixes, strict=True)
        ]
        levels.append(
            PathLevel(
                level_name(level),
                open=len(chances),
                kept=len(kept),
                branches=branches[: min(SHOWN, len(kept))],
                target_place=kept.index(wanted[level]) + 1 if wanted[level] in kept else 0,
                target=branches[-1] if wanted[level] in chances else None,
            )
        )
    return levels


def _chances(parents: Tensor, scored: ChildScores, totals: dict[int, float]) -> dict[int, _Chance]:
    """Return what each child of the kept prefixes is given, by state; `totals` are those of the prefixes."""
    found = {}
    for beam, parent in enumerate(parents[0].tolist()):
        if parent not in totals:  # a dead end
            continue
        allowed = scored.children.allowed[0, beam]
        states = scored.children.states[0, beam][allowed].tolist()
        log_probs = scored.log_probs[0, beam][allowed].tolist()
        for state, log_prob in zip(states, log_probs, strict=True):
            found[state] = _Chance(log_prob, totals[parent] + log_prob)
    return found


def _branch(run: OpenRun, prefix: list[int], chance: _Chance, target: int) -> Branch:
    begun = run.semantic_ids.codes[:, : len(prefix)] == prefix
    items = np.flatnonzero(begun.all(axis=1))
    tokens = [sid_token(level, code) for level, code in enumerate(prefix)]
    example = cut(run.titles[items[0]])
    return Branch(tokens, chance.log_prob, chance.total, len(items), example, target in items)
