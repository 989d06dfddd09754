"""`rollouts.parquet`: groups that a person can read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from sidrec.stages.run import Run

if TYPE_CHECKING:
    from sidrec.trainers.rl import ReReTrainer

SHOWN_GROUPS = 50


def write_rollouts(trainer: ReReTrainer, run: Run, prompts: Any, path: Path) -> None:
    """Write a seeded sample of groups that a person can read, as the trained policy ranks them."""
    chosen = np.random.default_rng(trainer.args.seed).permutation(len(prompts))[:SHOWN_GROUPS].tolist()
    rows = [prompts[place] for place in sorted(chosen)]
    rollouts = trainer.drawing.draw(rows)
    rewards = trainer.reward(rollouts)
    advantages = trainer.objective.advantages(rewards.total)
    titles = run.catalog.items["title"].tolist()
    item_ids = run.catalog.items["item_id"].tolist()
    table = [
        {
            "group": group,
            "history": " | ".join(titles[item] for item in row["history"]),
            "target": titles[row["target"]],
            "rank": place + 1,
            "item_id": item_ids[item],
            "title": titles[item],
            "is_target": item == row["target"],
            **{f"reward_{name}": float(part[group, place]) for name, part in rewards.parts.items()},
            "reward": float(rewards.total[group, place]),
            "advantage": float(advantages[group, place]),
        }
        for group, row in enumerate(rows)
        for place, item in enumerate(rollouts.items[group].tolist())
    ]
    pd.DataFrame(table).to_parquet(path, index=False)
