"""The processes that `torchrun` or `accelerate launch` started for one training.

Who they are is read from the environment, as both set it, so that no library is loaded for it.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor

T = TypeVar("T")


def num_processes() -> int:
    """Return how many processes train together; 1 if nobody launched several."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "LOCAL_RANK" in os.environ else 1


def process_index() -> int:
    """Return which of them this is, from 0."""
    return int(os.environ.get("RANK", "0")) if num_processes() > 1 else 0


def is_main() -> bool:
    """Whether this process is the one that writes and speaks."""
    return process_index() == 0


def shares_cpu() -> bool:
    """Whether several processes train without a GPU each: then they work on the CPU, joined by gloo."""
    import torch
    from accelerate.utils import parse_flag_from_env

    if num_processes() == 1:
        return False
    device = torch.accelerator.current_accelerator(check_available=True)
    return device is None or device.type == "mps" or parse_flag_from_env("ACCELERATE_USE_CPU")


def training_device() -> torch.device:
    """Return the device that `transformers.Trainer` moves a model to, after joining the other processes."""
    from accelerate.state import PartialState

    return PartialState(cpu=shares_cpu()).device


def on_main(function: Callable[[], T]) -> T:
    """Call `function` in the main process alone; all wait for what it returns and return that.

    If it raises there, the main process ends, and its launcher ends the others.
    """
    if num_processes() == 1:
        return function()
    import torch

    training_device()
    held = [function() if is_main() else None]
    torch.distributed.broadcast_object_list(held, src=0)
    return held[0]  # type: ignore[return-value]


def total(values: np.ndarray) -> np.ndarray:
    """Return the sum of an array over the processes."""
    if num_processes() == 1:
        return values
    import torch

    sums = torch.from_numpy(values).to(training_device())
    torch.distributed.all_reduce(sums)
    return sums.cpu().numpy()


def everyones(value: T) -> list[T]:
    """Return what every process has, in their order; it is pickled on the way."""
    if num_processes() == 1:
        return [value]
    import torch

    found: list[T] = [value] * num_processes()
    torch.distributed.all_gather_object(found, value)
    return found


def joined(rows: Tensor) -> tuple[Tensor, slice]:
    """Return the rows of all processes, which may have unequal numbers of them, and where this one's are."""
    if num_processes() == 1:
        return rows, slice(None)
    import torch

    shares = everyones(rows.cpu())
    start = sum(len(share) for share in shares[: process_index()])
    return torch.cat(shares).to(rows.device), slice(start, start + len(rows))


def leave() -> None:
    """Take leave of the other processes, if they were ever joined.

    A wrapped model that still knew of the group would keep its threads alive into the end of the interpreter,
    which aborts now and then; trainers are cycles, which only a collection frees.
    """
    if num_processes() == 1:
        return
    import torch

    if torch.distributed.is_initialized():
        gc.collect()
        torch.distributed.destroy_process_group()
