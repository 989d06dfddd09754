"""Vectors that say who had an item, for tokenizers that read them: SASRec's, or a file's."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sidrec.artifacts import Stage, sha256_of_file
from sidrec.catalog import Catalog, split_catalog
from sidrec.config import Config
from sidrec.embedding import vectors_of_file
from sidrec.stages.sequential import fit_stage, train_sequential
from sidrec.tokenizer_config import COLLABORATIVE, SASREC


def collaborative_vectors(config: Config, catalog: Catalog) -> np.ndarray:
    """Give (N, C) float32 vectors of all items.

    SASRec is trained on the train events of the run's split unless it is there; an item that has none keeps
    the random vector it began with.

    Raises:
        ConfigError: If the file cannot be read or has not one usable row per item.
        CatalogError: If there are no events to train on.
    """
    if config.tokenizer.collaborative != SASREC:
        path = Path(config.tokenizer.collaborative)
        return vectors_of_file(path, catalog.items["item_id"], setting=f"tokenizer.collaborative={path}")
    from sidrec.baselines.weights import load_sequential

    split = split_catalog(catalog, config.split)
    train_sequential(config, catalog, split, SASREC)
    model = load_sequential(config.output / "sequential" / SASREC)
    return model.item_vectors().detach().numpy().copy()


def collaborative_input(config: Config, catalog: Catalog) -> dict[str, str]:
    """Return the hash of what these vectors are made from, if the method reads any."""
    if config.tokenizer.method not in COLLABORATIVE:
        return {}
    if config.tokenizer.collaborative == SASREC:
        (stage,) = collaborative_stages(config, catalog)
        return {"collaborative": stage.fingerprint}
    path = Path(config.tokenizer.collaborative)
    return {"collaborative": sha256_of_file(path)} if path.is_file() else {}


def collaborative_stages(config: Config, catalog: Catalog) -> list[Stage]:
    """Return the training that the vectors come from, if they come from one."""
    if config.tokenizer.method not in COLLABORATIVE or config.tokenizer.collaborative != SASREC:
        return []
    return [fit_stage(config, catalog, split_catalog(catalog, config.split), SASREC)]
