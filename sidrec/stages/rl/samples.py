"""`rollouts.parquet`, and a few of its groups in the log: what RL does, for a person to read."""

from __future__ import annotations

import logging
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from sidrec.catalog import Catalog
from sidrec.stages.run import Run
from sidrec.text_table import in_one_line, table_lines

if TYPE_CHECKING:
    from torch import Tensor

    from sidrec.rewards import RewardParts, Rollouts
    from sidrec.trainers.rl.trainer import ReReTrainer

logger = logging.getLogger(__name__)
SHOWN_GROUPS = 50
READ_GROUPS, READ_ROLLOUTS, READ_HISTORY = 2, 5, 3
TITLE_WIDTH, LINE_WIDTH = 40, 98


def write_rollouts(trainer: ReReTrainer, run: Run, prompts: Any, path: Path) -> None:
    """Write a seeded sample of groups, as the trained policy ranks them, and show two of them in the log."""
    chosen = np.random.default_rng(trainer.args.seed).permutation(len(prompts))[:SHOWN_GROUPS].tolist()
    rows = [prompts[place] for place in sorted(chosen)]
    rollouts = trainer.drawing.draw(rows, trainer.state.global_step)
    rewards = trainer.reward(rollouts)
    advantages = trainer.objective.advantages(rewards.total, rollouts.weights)
    table = rollouts_table(rows, rollouts, rewards, advantages, run.catalog)
    table.to_parquet(path, index=False)
    logger.info("rl: rollouts of the trained model, more of them in %s:\n%s", path.name, readable(table))


def rollouts_table(
    rows: Sequence[dict[str, Any]],
    rollouts: Rollouts,
    rewards: RewardParts,
    advantages: Tensor,
    catalog: Catalog,
) -> pd.DataFrame:
    """Return a line per rollout: its group's history and target, what it is, its rewards, its advantage.

    `is_target` goes by the item, not by its title or SID, which others may share.

    Args:
        rows: B prompts with `history` and `target`, catalogue rows.
        rollouts: B groups of G rollouts of them.
        rewards: Of these rollouts.
        advantages: (B, G) that the objective makes of them.
        catalog: Whose rows these are.
    """
    parts = {name: part.tolist() for name, part in rewards.parts.items()}
    total, hits = rewards.total.tolist(), rollouts.hits.tolist()
    titles, item_ids = (catalog.items[column].tolist() for column in ("title", "item_id"))
    return pd.DataFrame(
        [
            {
                "group": group,
                "history": " | ".join(titles[each] for each in row.get("history") or []),
                "target": titles[row["target"]],
                "rank": place + 1,
                "item_id": item_ids[item],
                "title": titles[item],
                "is_target": hits[group][place],
                **{f"reward_{name}": part[group][place] for name, part in parts.items()},
                "reward": total[group][place],
                "advantage": float(advantages[group, place]),
            }
            for group, row in enumerate(rows)
            for place, item in enumerate(rollouts.items[group].tolist())
        ]
    )


def readable(table: pd.DataFrame) -> str:
    """Lay out a few groups of a table of rollouts for a terminal, those with the target in them first.

    The best beams are shown, the target in any case, marked with a star.
    """
    has_target = table.groupby("group")["is_target"].any().sort_values(ascending=False, kind="stable")
    groups = (table[table["group"] == group] for group in has_target.index[:READ_GROUPS])
    return "\n\n".join("\n".join(_group_lines(group)) for group in groups)


def _group_lines(group: pd.DataFrame) -> list[str]:
    first = group.iloc[0]
    history = first["history"].split(" | ") if first["history"] else []
    left_out = len(history) - READ_HISTORY
    shown = ([f"{left_out} earlier"] if left_out > 0 else []) + [
        in_one_line(each, TITLE_WIDTH) for each in history
    ][-READ_HISTORY:]
    rewards = [name for name in group.columns if name.startswith("reward_")]
    rows = [
        [
            "*" if row["is_target"] else "",
            str(row["rank"]),
            in_one_line(row["title"], TITLE_WIDTH),
            *(f"{row[name]:+.3f}" for name in (*rewards, "reward", "advantage")),
        ]
        for _, row in group[(group["rank"] <= READ_ROLLOUTS) | group["is_target"]].iterrows()
    ]
    header = [
        "",
        "rank",
        "rollout",
        *(name.removeprefix("reward_") for name in rewards),
        "reward",
        "advantage",
    ]
    told = f"history: {' | '.join(shown) or 'none in this prompt'}"
    lines = [
        *textwrap.wrap(told, LINE_WIDTH, subsequent_indent=" " * len("history: ")),
        f"target:  {in_one_line(first['target'], TITLE_WIDTH)}",
        *table_lines(header, rows),
    ]
    if hidden := len(group) - len(rows):
        lines.append(f"and {hidden} more")
    return ["  " + line for line in lines]
