"""Run a computation as the forward pass of a module, so that what wraps the module takes part in it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn


def through_forward(wrapper: nn.Module, module: nn.Module, function: Callable[..., Any], *inputs: Any) -> Any:
    """Return `function(*inputs)`, called where `wrapper` calls the forward of `module`.

    DDP, FSDP and DeepSpeed do their work around the forward pass of the module they wrap: they gather
    weights before it and arrange there that gradients are summed over the processes. A loss that calls parts
    of the module behind their back, as ours does to spare logits, trains each process for itself. For one
    call `module.forward` is therefore `function`; inside it the module's own forward is back in its place.
    With no wrapper, `wrapper` being `module`, this is the plain call.
    """
    own = module.__dict__.get("forward")  # mixed precision puts one on the instance; most have the class's

    def restore() -> None:
        if own is not None:
            module.forward = own
        else:
            module.__dict__.pop("forward", None)

    def forward(*args: Any) -> Any:
        restore()
        return function(*args)

    module.forward = forward
    try:
        return wrapper(*inputs)
    finally:
        restore()
