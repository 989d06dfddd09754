"""A user's own reward: `module:function` in the config, imported and tried before anything is trained."""

from __future__ import annotations

import hashlib
import importlib
import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor

from sidrec.errors import ConfigError, nearest
from sidrec.rewards.rollouts import Rollouts


@dataclass(frozen=True)
class OwnReward:
    """A function of the user's, whose answer is checked whenever it is called.

    Attributes:
        name: `module:function`, as in the config.
        function: From `Rollouts` to (B, G) finite rewards.
    """

    name: str
    function: Callable[[Rollouts], Tensor]

    def __call__(self, rollouts: Rollouts) -> Tensor:
        """Return (B, G) float32 rewards.

        Raises:
            ConfigError: If the function raises, or does not return one finite number per rollout.
        """
        try:
            with torch.no_grad():
                rewards = self.function(rollouts)
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            raise ConfigError(
                f"rl.rewards: {self.name} raised {type(error).__name__}: {error} "
                f"({Path(place.filename).name}, line {place.lineno})."
            ) from error
        expected = f"a tensor of shape {tuple(rollouts.items.shape)}, one reward per rollout"
        if not isinstance(rewards, Tensor):
            raise ConfigError(
                f"rl.rewards: {self.name} returned a {type(rewards).__name__}, expected {expected}."
            )
        if rewards.shape != rollouts.items.shape or rewards.is_complex():
            raise ConfigError(
                f"rl.rewards: {self.name} returned a {rewards.dtype} tensor of shape "
                f"{tuple(rewards.shape)}, expected {expected}."
            )
        if not bool(torch.isfinite(rewards).all()):
            raise ConfigError(f"rl.rewards: {self.name} returned NaN or infinity, expected finite rewards.")
        return rewards.to(rollouts.items.device, torch.float32)

    def check(self, num_items: int, num_generations: int) -> None:
        """Try the function on two made-up groups: one with a history of one item, one without.

        Raises:
            ConfigError: As calling it.
        """
        items = torch.arange(2 * num_generations).remainder(num_items).view(2, num_generations)
        self(Rollouts(items, torch.tensor([0, num_items - 1]), histories=[[num_items - 1], []]))

    def source_hash(self) -> str:
        """Return the sha256 of the source file that the name leads to, or of the name where there is none."""
        module = sys.modules[self.name.partition(":")[0]]
        defined_in = sys.modules.get(getattr(self.function, "__module__", None) or "", module)
        files = dict.fromkeys(getattr(each, "__file__", None) for each in (module, defined_in))
        parts = [self.name.encode() if file is None else Path(file).read_bytes() for file in files]
        return hashlib.sha256(b"\0".join(parts)).hexdigest()


def load_reward(name: str) -> OwnReward:
    """Import `module:function`; a module may lie in the current directory.

    Raises:
        ConfigError: If it cannot be imported, or is nothing that can be called.
    """
    module_name, _, function_name = name.partition(":")
    if not module_name or not function_name or ":" in function_name:
        raise ConfigError(
            f'rl.rewards: "{name}" is no function of yours. Write module:function, such as '
            "my_rewards:novelty for `def novelty(rollouts)` in my_rewards.py."
        )
    module = _import(module_name, name)
    if not hasattr(module, function_name):
        public = [each for each, value in vars(module).items() if each[0] != "_" and callable(value)]
        raise ConfigError(
            f"rl.rewards: {module_name} has no function {function_name} ({getattr(module, '__file__', '')})."
            f"{nearest(function_name, public)}"
        )
    function = getattr(module, function_name)
    if not callable(function):
        raise ConfigError(
            f"rl.rewards: {name} is a {type(function).__name__}, expected a function of rollouts."
        )
    return OwnReward(name, function)


def _import(module_name: str, name: str) -> ModuleType:
    """Import a module, from the current directory too; what is installed comes first."""
    here = os.getcwd()
    if here not in sys.path:
        sys.path.append(here)  # for good: the module may import what lies beside it later
    importlib.invalidate_caches()
    try:
        return importlib.import_module(module_name)
    except Exception as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing and f"{module_name}.".startswith(f"{missing}."):
            hint = " Leave out .py." if module_name.endswith(".py") else ""
            raise ConfigError(
                f"rl.rewards: {name}: there is no module {module_name} installed or in {here}.{hint}"
            ) from None
        raise ConfigError(
            f"rl.rewards: {name}: importing {module_name} raised {type(error).__name__}: {error}."
        ) from error
