"""Train targets that SFT does not see, so that RL has prompts whose answers were not learnt by heart."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from sidrec.errors import ConfigError


def reserved_users(train: Sequence[np.ndarray], share: float, seed: int) -> np.ndarray:
    """Draw the users whose last train event is kept out of SFT.

    Only users with two train events or more can be drawn: RL needs one to ask with, and SFT keeps it.

    Args:
        train: U arrays of train items, oldest first, as in `Split.train`.
        share: `split.rl_share`, of the users who can be drawn, to the nearest user.
        seed: The run's.

    Returns:
        (U,) bool.

    Raises:
        ConfigError: If the share is above 0 and comes to no user.
    """
    lengths = np.array([len(items) for items in train])
    reserved = np.zeros(len(train), dtype=bool)
    if share == 0:
        return reserved
    able = np.flatnonzero(lengths >= 2)
    count = round(share * len(able))
    if count == 0:
        raise ConfigError(
            f"split.rl_share={share:g} reserves the last train event of no user: {len(able)} have two train "
            "events or more. Raise it, or set it to 0."
        )
    reserved[np.random.default_rng(seed).choice(able, count, replace=False)] = True
    return reserved


def without_reserved(train: Sequence[np.ndarray], reserved: np.ndarray) -> list[np.ndarray]:
    """Return what SFT learns from: the train items, or their weights, of reserved users without the last."""
    return [each[:-1] if is_reserved else each for each, is_reserved in zip(train, reserved, strict=True)]


def reservation_input(reserved: np.ndarray) -> dict[str, str]:
    """Return the hash of a reservation as a stage's input; nothing where none is made.

    It is not part of `Split.sha256`: what is evaluated stays the same, and so results stay comparable.
    """
    if not reserved.any():
        return {}
    return {"reserved": hashlib.sha256(np.packbits(reserved).tobytes()).hexdigest()}
