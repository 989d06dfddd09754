"""Estimator: the verbs that every tokenizer has.

`fit(vectors)`, then `encode`, `decode`, `latents`, `codebooks`; `save` and `load`; `get_params` and
`set_params` as scikit-learn's `clone` wants them.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Self

import numpy as np

from tokenizer.model import Model
from tokenizer.model_file import maker_of, open_model
from tokenizer.settings import RQVAESettings


@dataclass(eq=False)
class Estimator:
    """What is fitted to item embeddings of one width, and turns them into codes.

    Attributes:
        model_: What encodes; None before `fit`.
        codes_: (N, L) int64, the codes of the vectors it was fitted to. They may collide.
    """

    model_: Model | None = field(default=None, init=False, repr=False)
    codes_: np.ndarray | None = field(default=None, init=False, repr=False)

    def encode(self, vectors: np.ndarray) -> np.ndarray:
        """Give the (N, L) int64 codes of (N, D) vectors. They may collide: see `collisions.py`."""
        return self.fitted.encode(vectors)

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Reconstruct (N, D) float32 vectors from (N, L) codes."""
        return self.fitted.decode(codes)

    def latents(self, vectors: np.ndarray) -> np.ndarray:
        """Give the (N, d) float32 latents of (N, D) vectors: what the sum of an item's code vectors is
        near.
        """
        return self.fitted.latents(vectors)

    def codebooks(self) -> list[np.ndarray]:
        """Give a copy of the (K, d) float32 codebook of each level."""
        return self.fitted.codebooks()

    def save(self, path: str | Path) -> None:
        """Write the fitted model, and the settings it was made with, to one safetensors file."""
        params = {
            name: asdict(value) if isinstance(value, RQVAESettings) else value
            for name, value in self.get_params().items()
        }
        self.fitted.save(path, made_by={"name": type(self).__name__, "params": params})

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what `save` wrote.

        Raises:
            ValueError: If the file is missing, damaged, or of another kind of tokenizer.
        """
        model, maker = open_model(path), maker_of(path)
        if maker.get("name") != cls.__name__:
            raise ValueError(
                f"{path} was made by {maker.get('name', 'something else')}, not by {cls.__name__}; open it "
                "with that, or with tokenizer.model_file.open_model."
            )
        params: dict[str, Any] = {  # JSON has no tuples
            name: tuple(value) if isinstance(value, list) else value
            for name, value in maker["params"].items()
        }
        if "settings" in params:
            params["settings"] = RQVAESettings(**params["settings"])
        estimator = cls(**params)
        estimator.model_ = model
        return estimator

    @property
    def fitted(self) -> Model:
        """The model, once there is one.

        Raises:
            ValueError: Before `fit`.
        """
        if self.model_ is None:
            raise ValueError(
                f"This {type(self).__name__} has no codes yet: call fit(vectors), or load a file."
            )
        return self.model_

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Give the settings that a new one would be made with; `deep` is scikit-learn's and changes
        nothing.
        """
        return {each.name: getattr(self, each.name) for each in fields(self) if each.init}

    def set_params(self, **params: Any) -> Self:
        """Change settings; what was fitted is forgotten.

        Raises:
            ValueError: For a setting that there is none of.
        """
        unknown = sorted(set(params) - set(self.get_params()))
        if unknown:
            raise ValueError(
                f"{type(self).__name__} has no setting {unknown[0]}; it has {', '.join(self.get_params())}."
            )
        self.__init__(**{**self.get_params(), **params})  # type: ignore[misc]
        self.model_ = self.codes_ = None
        return self
