"""What the semantic IDs of a run are worth, the tree they make, and where the items lie."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from sidrec.errors import ArtifactError
from sidrec.health import Assessment, assess_run
from sidrec.report.opening import Absent, OpenRun
from sidrec.report.wording import cut
from tokenizer.semantic_ids import level_name

TREE_ITEMS = 3000
"""Items in the tree of the page: with more it would be slow on a phone."""
MAP_ITEMS = 2000
"""Dots on the map."""


@dataclass(frozen=True, eq=False)
class ItemMap:
    """Items as dots.

    Attributes:
        points: (n, 2) their first two principal components.
        codes: (n,) first codes.
        share: Of the variance that the two components keep, in [0, 1].
        items: N, of which n are drawn.
    """

    points: np.ndarray
    codes: np.ndarray
    share: float
    items: int


@dataclass(frozen=True, eq=False)
class CodesFacts:
    """The semantic IDs of a run.

    Attributes:
        assessment: Figures and verdicts.
        codes: (N, L).
        tree: For the page: `levels`, and `items` as [codes, id, title, events], by codes.
        tree_left_out: Items that are not in it, those with the fewest events.
        map: Absent where the vectors are not there.
    """

    assessment: Assessment
    codes: np.ndarray
    tree: dict[str, Any]
    tree_left_out: int
    map: ItemMap | Absent


def gather_codes(run: OpenRun) -> CodesFacts:
    """Read the health report of tokenize and lay out the tree and the map."""
    assessment = assess_run(run.directory)
    if assessment is None:
        raise ArtifactError(f"{run.directory / 'tokenize'} has no metrics.json. Rerun: sidrec tokenize")
    tree = item_tree(run)
    left_out = len(run.semantic_ids) - len(tree["items"])
    return CodesFacts(assessment, run.semantic_ids.codes, tree, left_out, _item_map(run))


def item_tree(run: OpenRun, most: int = TREE_ITEMS) -> dict[str, Any]:
    """Return the names of the levels, and up to `most` items in the order of their codes."""
    codes, item_ids = run.semantic_ids.codes, run.semantic_ids.item_ids
    kept = most_frequent(run.events, most)
    order = kept[np.lexsort(codes[kept].T[::-1])]
    rows = [
        [codes[item].tolist(), cut(item_ids[item]), cut(run.titles[item]), int(run.events[item])]
        for item in order.tolist()
    ]
    return {"levels": [level_name(level) for level in range(codes.shape[1])], "items": rows}


def most_frequent(events: np.ndarray, most: int) -> np.ndarray:
    """Return the rows of the `most` items with the most events, ascending; of equal ones the first."""
    return np.sort(np.argsort(-events, kind="stable")[:most])


def _item_map(run: OpenRun) -> ItemMap | Absent:
    """Project the vectors of the items that have the most events."""
    path = run.directory / "tokenize" / "embeddings.npy"
    if not path.is_file():
        return Absent("There is no map: tokenize/embeddings.npy is not there.")
    vectors = np.load(path, mmap_mode="r", allow_pickle=False)
    if vectors.ndim != 2 or len(vectors) != run.catalog.num_items or min(vectors.shape) < 2:
        return Absent("There is no map: it needs a vector for each of two items or more.")
    kept = most_frequent(run.events, MAP_ITEMS)
    drawn = np.asarray(vectors[kept], dtype=np.float64)
    left, singular, right = np.linalg.svd(drawn - drawn.mean(axis=0), full_matrices=False)
    signs = np.where(right[[0, 1], np.abs(right[:2]).argmax(axis=1)] < 0, -1, 1)  # either would be right
    points = left[:, :2] * singular[:2] * signs
    total = float((singular**2).sum())
    share = float((singular[:2] ** 2).sum()) / total if total > 0 else 0.0
    return ItemMap(points, run.semantic_ids.codes[kept, 0], share, len(vectors))
