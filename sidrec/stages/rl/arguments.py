"""What the trainer of RL is told: `rl.trainer`, and above all what sidrec decides itself."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from sidrec.config import Config
from sidrec.errors import ConfigError
from sidrec.processes import num_processes

TRLS_LOSSES: Mapping[str, dict[str, Any]] = MappingProxyType(
    {
        "dapo": {"loss_type": "dapo", "epsilon_high": 0.28},  # clip-higher, arXiv:2503.14476, section 4.1
        "dr_grpo": {"loss_type": "dr_grpo"},
        "gspo": {"loss_type": "grpo", "importance_sampling_level": "sequence"},
    }
)
"""What makes TRL's GRPO another objective."""


def prompts_of_a_pass(config: Config) -> int:
    """Return how many prompts a process draws groups for at once: those of a step, divided evenly.

    Raises:
        ConfigError: If they cannot be divided: a group is never torn.
    """
    section = config.rl
    accumulated = section.trainer.get("gradient_accumulation_steps", 1)
    if type(accumulated) is not int or accumulated < 1:
        raise ConfigError(
            f"rl.trainer.gradient_accumulation_steps: expected a whole number from 1, got {accumulated!r}."
        )
    passes = accumulated * num_processes()
    if section.prompts_per_step % passes:
        raise ConfigError(
            f"rl.prompts_per_step: {section.prompts_per_step} prompts, each with its whole group of "
            f"{section.num_generations} rollouts, cannot be divided by {passes} (processes: "
            f"{num_processes()}, rl.trainer.gradient_accumulation_steps: {accumulated}). Make it a multiple "
            f"of {passes}."
        )
    return section.prompts_per_step // passes


def grpo_arguments(config: Config, num_levels: int, directory: Path) -> Any:
    """Return the trainer's `trl.GRPOConfig`; checkpoints go into `directory`.

    Raises:
        ConfigError: If `rl.trainer` names a field that it does not have, or gives it a value it refuses.
    """
    from trl import GRPOConfig

    from sidrec.stages.training import checkpoints, make_arguments

    section = config.rl
    rollouts_of_pass = prompts_of_a_pass(config) * section.num_generations
    # Not in a checkpoint: rollouts to be used again, and what is summed for the log since its last line.
    cycle = section.updates_per_batch
    logged = cycle * max(1, round(section.steps / 20 / cycle))
    every = logged * max(1, round(section.steps / section.evaluations / logged))
    ours = {
        "max_steps": section.steps,
        "per_device_train_batch_size": rollouts_of_pass,
        "per_device_eval_batch_size": rollouts_of_pass,
        "steps_per_generation": 1,
        "gradient_accumulation_steps": 1,
        "num_generations": section.num_generations,
        "max_completion_length": num_levels,
        "learning_rate": section.learning_rate,
        "lr_scheduler_type": "linear",
        "warmup_steps": 0.05,
        "beta": section.beta if section.objective != "sft" else 0.0,  # that one has no reference
        "num_iterations": cycle,
        **TRLS_LOSSES.get(section.objective, {"loss_type": "grpo"}),
        "use_bias_correction_kl": False,
        "mask_truncated_completions": False,
        "gradient_checkpointing": False,
        **checkpoints(directory, config.seed, every=every),
        "logging_steps": logged,
    }
    return make_arguments(GRPOConfig, ours, section.trainer, "rl.trainer")
