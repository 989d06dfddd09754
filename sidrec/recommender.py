"""Recommend items of a catalogue from a model directory, and say what is like them and why."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from sidrec.attention import evaluating
from sidrec.decoding.path import item_path
from sidrec.errors import ArtifactError, SidrecError, nearest
from sidrec.item_vectors import item_vectors
from sidrec.recommendation import Explanation, Recommendation, Recommendations
from sidrec.sid_model import SIDModel

if TYPE_CHECKING:
    import pandas as pd


class Recommender:
    """Ranks the catalogue after a history of item ids."""

    def __init__(self, sid_model: SIDModel, titles: Sequence[str], directory: Path | None = None) -> None:
        """Take a model and the titles of its items, in catalogue order.

        Args:
            sid_model: The model.
            titles: Of its items.
            directory: Where the model lies, for `add_items`.
        """
        self._sid_model = sid_model
        self._titles = titles
        self._directory = directory
        self._item_ids = sid_model.semantic_ids.item_ids
        self._row = {item_id: row for row, item_id in enumerate(self._item_ids)}
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
        return cls(sid_model, sid_model.generation.titles(), directory)

    @overload
    def recommend(  # type: ignore[overload-overlap]  # a str is a Sequence[str] too
        self,
        histories: Sequence[str],
        *,
        k: int = ...,
        only: Iterable[str] | None = ...,
        exclude: Iterable[str] = ...,
        exclude_history: bool = ...,
        num_beams: int | None = ...,
    ) -> Recommendations: ...

    @overload
    def recommend(
        self,
        histories: Sequence[Sequence[str]],
        *,
        k: int = ...,
        only: Iterable[str] | None = ...,
        exclude: Iterable[str] = ...,
        exclude_history: bool = ...,
        num_beams: int | None = ...,
    ) -> list[Recommendations]: ...

    def recommend(
        self,
        histories: Sequence[str] | Sequence[Sequence[str]],
        *,
        k: int = 10,
        only: Iterable[str] | None = None,
        exclude: Iterable[str] = (),
        exclude_history: bool = False,
        num_beams: int | None = None,
    ) -> Recommendations | list[Recommendations]:
        """Return the best k items after one history of item ids, or after each of many.

        Filters act within the search, so that k items remain; scores are what they are without them.

        Args:
            histories: Item ids, oldest first; or a list of such lists.
            k: Length of a list.
            only: Ids of the items that may be recommended, such as those in stock; None: all.
            exclude: Ids of items that may not.
            exclude_history: Leave out the items of the history as well.
            num_beams: Width of the search, at least k; default max(20, k).

        Raises:
            SidrecError: For an unknown item id (near matches are named), an empty history, k beyond the
                items that may be recommended, or fewer beams than k.
        """
        given: list[Any] = list(histories)
        one = bool(given) and isinstance(given[0], str)
        rows = [self._rows_of(history) for history in ([given] if one or not given else given)]
        searched = self._filtered(only, exclude)
        remaining = searched.trie.num_items
        widest = _most_of(rows, searched) if exclude_history else 0
        if k < 1 or k > remaining - widest:
            kept = "" if remaining == len(self._item_ids) else " that are not retired"
            kept = kept if searched is self._sid_model else " that only and exclude leave"
            left = f" without the {widest} of the history" if widest else ""
            raise SidrecError(
                f"k is {k}, but the catalogue has {remaining} items{kept}{left}. Ask for 1 to "
                f"{remaining - widest}."
            )
        num_beams = max(20, k) if num_beams is None else num_beams
        if num_beams < k:
            raise SidrecError(f"num_beams is {num_beams}, but k is {k}: the search finds no more. Raise it.")
        ranking = searched.rank(
            rows, num_beams=num_beams, exclude_history=exclude_history, prefix=self._prefix
        )
        lists = [
            self._list(items, scores)
            for items, scores in zip(
                ranking.items[:, :k].tolist(), ranking.scores[:, :k].tolist(), strict=True
            )
        ]
        return lists[0] if one else lists

    def similar_items(self, item_id: str, k: int = 10) -> Recommendations:
        """Return the k items most like one, by what the model has learnt of their semantic IDs.

        See `sidrec.item_vectors` for what that is. Retired items and the item itself are left out.

        Args:
            item_id: Of the catalogue; it may be retired.
            k: Length of the list.

        Raises:
            SidrecError: For an unknown item id, or k beyond the other items that are not retired.
        """
        [row] = self._rows([item_id])
        allowed = _held(self._sid_model)
        allowed[row] = False
        most = int(allowed.sum())
        if not 1 <= k <= most:
            raise SidrecError(f"k is {k}, but there are {most} other items. Ask for 1 to {most}.")
        cosines = self._vectors @ self._vectors[row]  # (N,)
        order = np.argsort(-np.where(allowed, cosines, -np.inf), kind="stable")[:k]
        return self._list(order.tolist(), cosines[order].tolist())

    def explain(self, history: Sequence[str], item_id: str) -> Explanation:
        """Return how an item comes to its score after a history: code by code, the way through the trie.

        The score is that of `recommend`, for items too that its list does not reach.

        Args:
            history: Item ids, oldest first.
            item_id: The item to explain.

        Raises:
            SidrecError: For an unknown item id, an empty history, or a retired item.
        """
        rows, [row] = self._rows_of(history), self._rows([item_id])
        model = self._sid_model
        if not _held(model)[row]:
            raise SidrecError(
                f'"{item_id}" is retired: it is not recommended, so there is nothing to explain.'
            )
        with evaluating(model.model):
            prompt = model.prompts.next_item(rows)
            steps = item_path(model.reader, model.trie, prompt, row, prefix=self._prefix)
        tokens = model.semantic_ids.tokens(row)
        if model.prompts.settings.identifiers != "sid":
            tokens = [str(model.text_tokenizer.decode([step.code])) for step in steps]
        score = sum(step.log_prob for step in steps)
        return Explanation(item_id, self._titles[row], score, tokens, steps)

    def add_items(
        self,
        items: pd.DataFrame | str | Path | None = None,
        *,
        retire: Sequence[str] | str | Path | None = None,
    ) -> Recommender:
        """Return a recommender that knows new items, or no longer recommends some; nothing is trained.

        The run that the model lies in gets a new generation of its items, as `sidrec.add_items` makes it.

        Args:
            items: A table with the columns of the run's, or a file of one.
            retire: Ids of items, or a file of them.

        Raises:
            SidrecError: As `sidrec.add_items`, or if the model does not lie in a run.
        """
        from sidrec.stages.addition import add_items

        if self._directory is None:
            raise SidrecError("This recommender was not loaded from a run. Use Recommender.from_pretrained.")
        add_items(self._directory.absolute().parent, items, retire=retire)
        return Recommender.from_pretrained(self._directory)

    @cached_property
    def _vectors(self) -> np.ndarray:
        return item_vectors(self._sid_model)

    def _filtered(self, only: Iterable[str] | None, exclude: Iterable[str]) -> SIDModel:
        """Return the model with a trie of the items that may be recommended."""
        excluded = self._rows(exclude)
        if only is None and not excluded:
            return self._sid_model
        kept = _held(self._sid_model)
        if only is not None:
            named = np.zeros_like(kept)
            named[self._rows(only)] = True
            kept &= named
        kept[excluded] = False
        if not kept.any():
            raise SidrecError(
                "only and exclude leave no item that can be recommended. Leave in at least one."
            )
        return replace(self._sid_model, trie=self._sid_model.trie.subset(np.flatnonzero(kept)))

    def _list(self, items: list[int], scores: list[float]) -> Recommendations:
        return Recommendations(
            Recommendation(place + 1, self._item_ids[item], self._titles[item], score)
            for place, (item, score) in enumerate(zip(items, scores, strict=True))
        )

    def _rows_of(self, history: Iterable[str]) -> list[int]:
        rows = self._rows(history)
        if not rows:
            raise SidrecError("The history is empty. Give at least one item id, oldest first.")
        return rows

    def _rows(self, item_ids: Iterable[str]) -> list[int]:
        """Return the rows of items; a single id counts as a list of one."""
        ids = [item_ids] if isinstance(item_ids, str) else list(item_ids)
        unknown = [item_id for item_id in ids if item_id not in self._row]
        if unknown:
            named = " ".join(f'"{item_id}".{nearest(str(item_id), self._row)}' for item_id in unknown[:5])
            raise SidrecError(f"The catalogue has no item with this id: {named}")
        return [self._row[item_id] for item_id in ids]


def _held(sid_model: SIDModel) -> np.ndarray:
    """Return (N,) bool, the rows of the items that may be recommended."""
    held: np.ndarray = (sid_model.trie.places() >= 0).cpu().numpy()
    return held


def _most_of(histories: list[list[int]], sid_model: SIDModel) -> int:
    """How many items that may be recommended stand in a history, at most."""
    held = _held(sid_model)
    return max(int(held[np.unique(history)].sum()) for history in histories)
