"""What the config section `baselines` may hold; reading the YAML is left to `sidrec.config`."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from sidrec.sections import Section

BaselineName = Literal[
    "popularity",
    "recent_popularity",
    "repeat_history",
    "item_knn",
    "text_knn",
    "gru4rec",
    "sasrec",
    "sasrec_bce",
]


class Searched(Section):
    """Settings of a baseline, some of which may be searched: every combination is fitted, valid chooses."""

    search: dict[str, list[Any]] = Field(
        default_factory=dict,
        description="Option of this section -> values to try; the combination with the best valid NDCG@10 is "
        "kept, and metrics.json lists all of them.",
    )

    @model_validator(mode="after")
    def _search_is_possible(self) -> Self:
        known = [name for name in type(self).model_fields if name != "search"]
        for name, values in self.search.items():
            if name not in known:
                raise ValueError(
                    f"search: {name!r} is not an option of this section; it has {', '.join(known)}"
                )
            if not values:
                raise ValueError(f"search: {name} has no values to try")
            for value in values:
                type(self).model_validate({name: value})
        return self

    def combinations(self) -> Iterator[Self]:
        """Yield these settings once for every combination that `search` asks for."""
        ours = self.model_dump(exclude={"search"})
        for values in itertools.product(*self.search.values()):
            yield type(self).model_validate(ours | dict(zip(self.search, values, strict=True)))

    def values(self) -> dict[str, Any]:
        """Return the settings without the search, for JSON."""
        return self.model_dump(mode="json", exclude={"search"})


class RecentPopularityConfig(Searched):
    """Events of late, the same list for everyone."""

    window: float = Field(0.2, gt=0, le=1, description="Share of the train events, the latest, that count.")


class ItemKNNConfig(Searched):
    """Items that the same people had."""

    neighbours: int = Field(200, ge=1, description="Most similar items that each item keeps.")
    decay: float = Field(
        0.6, gt=0, le=1, description="Weight of an event against the one after it; 1: all count alike."
    )


class TextKNNConfig(Searched):
    """Items whose vectors point the same way."""

    decay: float = Field(
        0.6, gt=0, le=1, description="Weight of an event against the one after it; 1: all count alike."
    )


class SequentialConfig(Searched):
    """A network over the sequence of items, scored by the dot product with item vectors."""

    hidden_dim: int = Field(128, ge=2, description="Width of item vectors and states.")
    num_layers: int = Field(2, ge=1, description="Blocks of the network.")
    dropout: float = Field(0.5, ge=0, lt=1, description="On inputs and inside the blocks.")
    learning_rate: float = Field(2e-3, gt=0, description="Of AdamW.")
    weight_decay: float = Field(0.0, ge=0, description="Of AdamW.")
    batch_size: int = Field(128, ge=1, description="Users per step.")
    max_history: int = Field(50, ge=1, description="Newest items of a history that are read.")
    epochs: int = Field(100, ge=1, description="Most passes over the users; early stopping may end before.")
    patience: int = Field(10, ge=1, description="Epochs without a better valid NDCG@10 before it stops.")


class GRU4RecConfig(SequentialConfig):
    """A recurrent network over the sequence (arXiv:1511.06939), with a softmax over all items."""

    num_layers: int = Field(1, ge=1, description="Layers of the recurrent network.")
    label_smoothing: float = Field(0.1, ge=0, lt=1, description="Of the softmax.")


class SASRecBCEConfig(SequentialConfig):
    """Self-attention over the sequence, trained as its paper did: against one sampled item."""

    num_heads: int = Field(2, ge=1, description="Heads of self-attention; they divide hidden_dim.")

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        for hidden_dim in self.search.get("hidden_dim", [self.hidden_dim]):
            for num_heads in self.search.get("num_heads", [self.num_heads]):
                if hidden_dim % num_heads:
                    raise ValueError(
                        f"num_heads must divide hidden_dim, but {num_heads} does not {hidden_dim}"
                    )
        return self


class SASRecConfig(SASRecBCEConfig):
    """Self-attention over the sequence (arXiv:1808.09781), with a softmax over all items."""

    label_smoothing: float = Field(0.1, ge=0, lt=1, description="Of the softmax.")


class BaselinesConfig(Section):
    """What the generative model is compared with, on the same split."""

    models: tuple[BaselineName, ...] = Field(
        ("popularity", "recent_popularity", "repeat_history", "item_knn", "text_knn", "sasrec"),
        description="Which to run; beside these there are gru4rec and sasrec_bce.",
    )
    recent_popularity: RecentPopularityConfig = Field(default_factory=RecentPopularityConfig)
    item_knn: ItemKNNConfig = Field(default_factory=ItemKNNConfig)
    text_knn: TextKNNConfig = Field(default_factory=TextKNNConfig)
    gru4rec: GRU4RecConfig = Field(default_factory=GRU4RecConfig)
    sasrec: SASRecConfig = Field(default_factory=SASRecConfig)
    sasrec_bce: SASRecBCEConfig = Field(default_factory=SASRecBCEConfig)
