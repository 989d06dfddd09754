"""The rewards of a run: functions of rollouts alone, and those that read what the run has."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from sidrec.artifacts import Stage, sha256_of_file
from sidrec.catalog import Catalog, Split
from sidrec.config import Config
from sidrec.processes import on_main
from sidrec.stages.run import Run
from sidrec.stages.sequential import fit_stage, train_sequential

if TYPE_CHECKING:
    import torch

    from sidrec.rewards import Reward, RewardParts, Rollouts

SASREC = "sasrec"


def check_reward_settings(config: Config, catalog: Catalog) -> None:
    """Raise what is wrong with `rl.rewards`, before anything is trained; functions of one's own are tried.

    Raises:
        ConfigError: If a name, a weight or a function of one's own cannot be used.
    """
    from sidrec.rewards import check_rewards, load_reward

    check_rewards(config.rl.rewards)
    for name in _own(config):
        load_reward(name).check(catalog.num_items, config.rl.num_generations)


def reward_inputs(config: Config, run: Run) -> dict[str, str]:
    """Return the hashes of what the rewards read beside the run's semantic IDs."""
    from sidrec.rewards import load_reward

    inputs = {}
    if "semantic" in config.rl.rewards:
        inputs["vectors"] = sha256_of_file(run.output / "tokenize" / "embeddings.npy")
    for stage in reward_stages(config, run.catalog, run.split):
        inputs["collaborative"] = stage.fingerprint
    for name in _own(config):
        inputs[f"reward {name}"] = load_reward(name).source_hash()
    return inputs


def reward_stages(config: Config, catalog: Catalog, split: Split) -> list[Stage]:
    """Return the training that rewards need: SASRec's, which is the baseline's own."""
    return [fit_stage(config, catalog, split, SASREC)] if "collaborative" in config.rl.rewards else []


def make_reward(config: Config, run: Run, device: torch.device) -> Callable[[Rollouts], RewardParts]:
    """Return the weighted sum of `rl.rewards`; SASRec is trained unless it is there.

    Args:
        config: Its rewards have been checked.
        run: Whose codes, vectors and baseline are read.
        device: Where rollouts lie.
    """
    import torch

    from sidrec.rewards import (
        REWARDS,
        collaborative_reward,
        combine_rewards,
        load_reward,
        prefix_reward,
        semantic_reward,
    )

    weights = config.rl.rewards
    functions: dict[str, Reward] = dict(REWARDS)
    if "prefix" in weights:
        codes = torch.tensor(run.semantic_ids.codes, device=device)
        functions["prefix"] = partial(prefix_reward, codes=codes)
    if "semantic" in weights:
        vectors = torch.tensor(np.asarray(run.vectors, dtype=np.float32), device=device)
        functions["semantic"] = partial(semantic_reward, vectors=vectors)
    if "collaborative" in weights:
        from sidrec.baselines.sequential import score_with
        from sidrec.baselines.weights import load_sequential

        on_main(lambda: train_sequential(config, run.catalog, run.split, SASREC))
        model = load_sequential(config.output / "sequential" / SASREC)
        score_all = score_with(model, model.settings.max_history)
        functions["collaborative"] = partial(collaborative_reward, score_all=score_all)
    for name in _own(config):
        functions[name] = load_reward(name)
    return partial(combine_rewards, weights=weights, functions=functions)


def _own(config: Config) -> list[str]:
    return [name for name in config.rl.rewards if ":" in name]
