"""What a recommender answers, as it is shown: lists of items, and why one of them has its score."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tokenizer.html_table import html_table

if TYPE_CHECKING:
    import pandas as pd

    from sidrec.decoding.path import PathStep


@dataclass(frozen=True)
class Recommendation:
    """One item of a list.

    Attributes:
        rank: From 1.
        item_id: As in the catalogue.
        title: As in the catalogue.
        score: Log-probability of its semantic ID; in a list of similar items, the cosine.
    """

    rank: int
    item_id: str
    title: str
    score: float


class Recommendations(list[Recommendation]):
    """A list of items, best first, that shows itself as a table in a notebook."""

    def to_frame(self) -> pd.DataFrame:
        """Return a row per item, indexed by rank."""
        import pandas as pd

        table = pd.DataFrame([vars(each) for each in self], columns=["rank", "item_id", "title", "score"])
        return table.set_index("rank")

    def _repr_html_(self) -> str:
        rows = [[str(each.rank), each.item_id, each.title, f"{each.score:.3f}"] for each in self]
        return html_table(["rank", "item id", "title", "score"], rows)


@dataclass(frozen=True, repr=False)
class Explanation:
    """How an item came to its score after a history: the way through the trie of semantic IDs.

    Attributes:
        item_id: As in the catalogue.
        title: As in the catalogue.
        score: As `recommend` has it: the sum of the steps' `log_prob`.
        tokens: What each step wrote: SID tokens, or those of a title where titles name the items.
        steps: What the model gave each of them, and among how many.
    """

    item_id: str
    title: str
    score: float
    tokens: list[str]
    steps: list[PathStep]

    def __repr__(self) -> str:
        from sidrec.text_table import table_lines

        return "\n".join([self._summary(), *table_lines(*self._table())])

    def _repr_html_(self) -> str:
        return html_table(*self._table(), caption=self._summary())

    def _summary(self) -> str:
        return f"{self.item_id}, {self.title}: score {self.score:.3f}, probability {math.exp(self.score):.2%}"

    def _table(self) -> tuple[list[str], list[list[str]]]:
        rows = [
            [
                token,
                f"{step.probability:.2%}",
                f"{step.place:,} of {step.choices:,}",
                f"{step.log_prob:.3f}",
                f"{step.items:,}",
            ]
            for token, step in zip(self.tokens, self.steps, strict=True)
        ]
        return ["code", "probability", "place", "log-probability", "items that begin so"], rows
