"""Continued SFT for what RL cost: the control `continued_sft`."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import TYPE_CHECKING

from sidrec.artifacts import read_json
from sidrec.config import Config
from sidrec.rl_config import READ_BY_TRL, RLConfig
from sidrec.stages.rl.prompts import RLPrompts

if TYPE_CHECKING:
    from trl import GRPOConfig

WITHOUT_ROLLOUTS = {"curriculum", "max_draws", "replay_after", "off_policy", "scale_rewards"}
"""Settings that change nothing where nothing is drawn or rewarded; those that would be refused."""


def continued_sft(config: Config) -> RLConfig:
    """Return the settings of a control that has the targets' cross entropy for as many steps as RL could pay.

    All else is RL's, the learning rate too; a curriculum needs rollouts, and is left out.

    Raises:
        ArtifactError: If RL has not been run.
    """
    steps = read_json(config.output / "rl" / "metrics.json")["continued_sft_steps"]
    settings = config.rl.model_dump(exclude=WITHOUT_ROLLOUTS)
    trainer = {name: value for name, value in config.rl.trainer.items() if name not in READ_BY_TRL}
    changes = {"objective": "sft", "keep": "rl", "steps": steps, "trainer": trainer}
    return RLConfig.model_validate(settings | changes)


def affordable_steps(budget: int, prompts: RLPrompts, args: GRPOConfig, num_levels: int) -> int:
    """Return how many steps of continued SFT cost no more tokens than RL did; at least 1.

    Args:
        budget: Tokens that RL read, as `sidrec.trainers.rl.compute` counts.
        prompts: Of RL; the control draws them in the same order.
        args: Of RL.
        num_levels: L.
    """
    from sidrec.trainers.rl.compute import steps_within

    return steps_within(budget, _costs(prompts, args, num_levels))


def _costs(prompts: RLPrompts, args: GRPOConfig, num_levels: int) -> Iterator[int]:
    """Yield the tokens of one step after the other, without end."""
    from sidrec.trainers.rl.compute import Groups, StepCost

    size = (args.generation_batch_size or 0) // (args.num_generations or 1)
    cost = StepCost(1, num_levels)
    for step in count():
        tokens = 0
        for batch in range(args.gradient_accumulation_steps):
            number = (step * args.gradient_accumulation_steps + batch) // args.num_iterations
            rows = prompts.order.rows(number * size, size).tolist()
            lengths = sum(len(prompts.rows.prompt_ids(row)) for row in rows)
            tokens += cost.of_imitation(Groups(size, lengths))
        yield tokens
