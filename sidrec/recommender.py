"""Recommend items of a catalogue from a model directory, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

from sidrec.errors import ArtifactError, SidrecError, nearest
from sidrec.sid_model import SIDModel


@dataclass(frozen=True)
class Recommendation:
    """One recommended item; `score` is the log-probability of its semantic ID."""

    rank: int
    item_id: str
    title: str
    score: float


class Recommender:
    """Ranks the catalogue after a history of item ids."""

    def __init__(self, sid_model: SIDModel, titles: Sequence[str]) -> None:
        """Take a model and the titles of its items, in catalogue order."""
        self._sid_model = sid_model
        self._titles = titles
        self._item_ids = sid_model.semantic_ids.item_ids
        self._row = {item_id: row for row, item_id in enumerate(self._item_ids)}
        self._remains = (sid_model.trie.places() >= 0).tolist()  # by row; False: retired
        self._prefix = sid_model.read_prefix()

    @classmethod
    def from_pretrained(
        cls, directory: str | Path, *, generation: int | None = None, rerank: float = 0.0
    ) -> Recommender:
        """Load a model directory that `sidrec sft` or `sidrec rl` wrote, or the later one of a run.

        Args:
            directory: A run or a model directory.
            generation: Of the run's items: 1 those of the training, 2 and so on what `sidrec add-items` made
                of them; None the newest.
            rerank: As `evaluation.rerank`.

        Raises:
            ArtifactError: If there is none, or its files are not those that were written.
            ConfigError: If the model cannot rerank.
        """
        directory = Path(directory)
        if not (directory / "prompts.json").is_file():
            found = [
                directory / name for name in ("rl", "sft") if (directory / name / "prompts.json").is_file()
            ]
            if not found:
                raise ArtifactError(
                    f"{directory} holds no model: neither it nor its rl/ or sft/ has a prompts.json. "
                    "Give a run directory after `sidrec sft`."
                )
            directory = found[0]
        sid_model = SIDModel.load(directory, generation=generation).reranking(rerank)
        assert sid_model.generation is not None
        return cls(sid_model, sid_model.generation.titles())

    @overload
    def recommend(  # type: ignore[overload-overlap]  # a str is a Sequence[str] too
        self,
        histories: Sequence[str],
        *,
        k: int = ...,
        exclude_history: bool = ...,
        num_beams: int | None = ...,
    ) -> list[Recommendation]: ...

    @overload
    def recommend(
        self,
        histories: Sequence[Sequence[str]],
        *,
        k: int = ...,
        exclude_history: bool = ...,
        num_beams: int | None = ...,
    ) -> list[list[Recommendation]]: ...

    def recommend(
        self,
        histories: Sequence[str] | Sequence[Sequence[str]],
        *,
        k: int = 10,
        exclude_history: bool = False,
        num_beams: int | None = None,
    ) -> list[Recommendation] | list[list[Recommendation]]:
        """Return the best k items after one history of item ids, or after each of many.

        Args:
            histories: Item ids, oldest first; or a list of such lists.
            k: Length of a list.
            exclude_history: Leave out the items of the history; the search is widened so that k remain.
            num_beams: Width of the search, at least k; default max(20, k).

        Raises:
            SidrecError: For an unknown item id (near matches are named), an empty history, k beyond the
                items that are not retired, or fewer beams than k.
        """
        one = len(histories) > 0 and isinstance(histories[0], str)
        many: list[Any] = [histories] if one or len(histories) == 0 else list(histories)
        rows = [self._rows_of(history) for history in many]
        remaining = sum(self._remains)
        widest = self._most_excluded(rows) if exclude_history else 0
        if k < 1 or k > remaining - widest:
            retired = " that are not retired" if remaining < len(self._item_ids) else ""
            left = f" without the {widest} of the history" if widest else ""
            raise SidrecError(
                f"k is {k}, but the catalogue has {remaining} items{retired}{left}. Ask for 1 to "
                f"{remaining - widest}."
            )
        num_beams = max(20, k) if num_beams is None else num_beams
        if num_beams < k:
            raise SidrecError(f"num_beams is {num_beams}, but k is {k}: the search finds no more. Raise it.")
        ranking = self._sid_model.rank(
            rows, num_beams=num_beams, exclude_history=exclude_history, prefix=self._prefix
        )
        lists = [
            self._list(items, scores)
            for items, scores in zip(
                ranking.items[:, :k].tolist(), ranking.scores[:, :k].tolist(), strict=True
            )
        ]
        return lists[0] if one else lists

    def _most_excluded(self, histories: list[list[int]]) -> int:
        """How many items that could be recommended stand in a history, at most."""
        return max(sum(self._remains[row] for row in set(history)) for history in histories)

    def _list(self, items: list[int], scores: list[float]) -> list[Recommendation]:
        return [
            Recommendation(place + 1, self._item_ids[item], self._titles[item], score)
            for place, (item, score) in enumerate(zip(items, scores, strict=True))
        ]

    def _rows_of(self, history: Iterable[str]) -> list[int]:
        ids = list(history)
        if not ids:
            raise SidrecError("The history is empty. Give at least one item id, oldest first.")
        unknown = [item_id for item_id in ids if item_id not in self._row]
        if unknown:
            named = " ".join(f'"{item_id}".{nearest(str(item_id), self._row)}' for item_id in unknown[:5])
            raise SidrecError(f"The catalogue has no item with this id: {named}")
        return [self._row[item_id] for item_id in ids]
