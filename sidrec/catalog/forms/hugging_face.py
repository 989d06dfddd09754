"""Data sets of Hugging Face's `datasets`: saved to disk, or named as `hf://owner/name`.

`catalog.items` names a directory that `DatasetDict.save_to_disk` wrote, with the splits `items`,
`interactions` and perhaps `users`; or it and `catalog.interactions` name a directory each, which
`Dataset.save_to_disk` wrote. A data set of the hub, or a directory of that form, has `items`, `interactions`
and perhaps `users` as its subsets, since the splits of one subset share their columns; the splits of the
interactions, if there are several, say which events are for train, validation and test. Nothing of a data set
is run.

`datasets` takes a second to import, so each function imports it itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pyarrow as pa

from sidrec.catalog.config import CatalogConfig
from sidrec.catalog.frames import arrow_to_frame
from sidrec.catalog.tables import ReadFile, Tables, read_file
from sidrec.errors import CatalogError, nearest

if TYPE_CHECKING:
    from datasets import Dataset

SUBSETS = ("items", "interactions")
USERS = "users"
SPLITS = {"train": "train", "validation": "valid", "valid": "valid", "test": "test"}
"""A split of the hub's interactions -> what its events are for."""
_BROKEN = (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError, pa.ArrowException)
"""What `datasets` raises for its own files when they are damaged: it checks nothing that it reads."""


def matches(config: CatalogConfig) -> bool:
    """Say whether a config names a data set of the hub, or directories that `datasets` saved."""
    path = config.items_path
    if path is None:
        return False
    if config.interactions_path is None:
        return hub_name(path) is not None or (path / "dataset_dict.json").is_file()
    return all((directory / "state.json").is_file() for directory in (path, config.interactions_path))


def hub_name(path: Path) -> str | None:
    """Return "owner/name" of `hf://owner/name`, of which a path keeps one slash; None for other paths."""
    scheme, _, name = path.as_posix().partition(":/")
    return name.lstrip("/") if scheme == "hf" and name else None


def read(config: CatalogConfig) -> Tables:
    """Read the tables of a data set.

    Raises:
        CatalogError: If the data set cannot be had, is broken, or has other parts.
    """
    path = config.items_path
    assert path is not None
    if config.interactions_path is not None:
        named = dict(zip(SUBSETS, (path, config.interactions_path), strict=True))
        frames = {subset: _load_one(place, subset) for subset, place in named.items()}
        files = [read_file(frames[subset], place) for subset, place in named.items()]
        return _tables(frames, files, config)
    name = hub_name(path)
    frames = _load_saved(path) if name is None else _load_from_hub(name)
    return _tables(frames, [read_file(frame, path) for frame in frames.values()], config)


def _tables(frames: dict[str, pd.DataFrame], files: list[ReadFile], config: CatalogConfig) -> Tables:
    """Put tables together; users that the config names go before those of the data set."""
    users = frames.get(USERS)
    notes: tuple[str, ...] = ()
    if users is not None and config.users is not None:
        notes = (f"Users left unread: {len(users):,} of the data set; catalog.users names others.",)
    return Tables(frames["items"], frames["interactions"], users, tuple(files), notes)


def _load_one(path: Path, subset: str) -> pd.DataFrame:
    """Read what `Dataset.save_to_disk` wrote."""
    from datasets import Dataset

    with _told(f"catalog.{subset}: {path}"):
        return _frame(Dataset.load_from_disk(str(path)), path.name)


def _load_saved(path: Path) -> dict[str, pd.DataFrame]:
    """Read what `DatasetDict.save_to_disk` wrote."""
    from datasets import DatasetDict

    with _told(f"catalog.items: {path}"):
        saved = DatasetDict.load_from_disk(str(path))
        wanted = _choose(list(saved), f"catalog.items: {path} has the splits")
        return {subset: _frame(saved[subset], f"{path.name}/{subset}") for subset in wanted}


def _load_from_hub(name: str) -> dict[str, pd.DataFrame]:
    """Read the subsets of a data set of the hub, or of a directory of that form."""
    from datasets import get_dataset_config_names, load_dataset

    with _told(f"catalog.items: hf://{name}"):
        subsets = get_dataset_config_names(name)
        wanted = _choose(subsets, f"catalog.items: hf://{name} has the subsets")
        return {subset: _join_splits(load_dataset(name, subset), f"{name}/{subset}") for subset in wanted}


def _choose(found: list[str], told: str) -> list[str]:
    """Return the names of the tables that are read, if all that must be there are."""
    absent = [subset for subset in SUBSETS if subset not in found]
    if absent:
        raise CatalogError(
            f"{told} {', '.join(map(str, found))}, expected items and interactions (users may be there too)."
            f"{nearest(absent[0], found)} Rename them, or save each with Dataset.save_to_disk and name the "
            "two directories in catalog.items and catalog.interactions."
        )
    return [subset for subset in (*SUBSETS, USERS) if subset in found]


def _join_splits(splits: Mapping[str, Dataset], source: str) -> pd.DataFrame:
    """Return the rows of all splits; what they are for, if there are several and all are of a known name."""
    frames = {split: _frame(dataset, source) for split, dataset in splits.items()}
    if len(frames) == 1:
        return next(iter(frames.values()))
    unknown = [split for split in frames if split not in SPLITS]
    if unknown:
        raise CatalogError(
            f'{source} has a split "{unknown[0]}", expected train, validation and test, or one split alone. '
            "Rename it, or remove it."
        )
    parts = [frames[split].assign(split=part) for split, part in SPLITS.items() if split in frames]
    joined = pd.concat(parts, ignore_index=True)
    joined.attrs |= next(iter(frames.values())).attrs
    return joined


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Put what `datasets` has to say of a failure into our words."""
    from datasets.exceptions import DatasetGenerationError

    try:
        yield
    except CatalogError:
        raise
    except (*_BROKEN, DatasetGenerationError) as error:
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise CatalogError(
            f"{what} cannot be read as a data set of `datasets` ({said[0]}). Check the name and the network, "
            "or save it again with save_to_disk."
        ) from error


def _frame(dataset: Dataset, source: str) -> pd.DataFrame:
    """Return the rows of a data set, those that were selected, in their order."""
    frame = arrow_to_frame(dataset.with_format("arrow")[:], source)
    frame.attrs |= {"source": source, "form": "Hugging Face data set"}
    return frame
