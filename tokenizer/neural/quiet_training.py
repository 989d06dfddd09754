"""What every small training of ours in Lightning has in common: one thread, silence, and Ctrl-C that works.

Lightning takes seconds to import: import this module only where a model is trained.
"""

from __future__ import annotations

import logging
import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.plugins.environments import LightningEnvironment


def make_trainer(epochs: int, *, largest_gradient: float | None = None, accelerator: str = "cpu") -> Trainer:
    """Make a trainer that runs on one device and writes nothing.

    Args:
        epochs: Passes over the data, at most.
        accelerator: `cpu` or `gpu`.
        largest_gradient: Norm that the gradient of all weights together is clipped to; None: not clipped.
    """
    return Trainer(
        max_epochs=epochs,
        accelerator=accelerator,
        devices=1,
        # Otherwise Lightning joins whatever torchrun or SLURM job it believes to be in.
        plugins=[LightningEnvironment()],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        gradient_clip_val=largest_gradient,
    )


@contextmanager
def quiet_training() -> Iterator[None]:
    """Train in one thread, without Lightning's banners, and let Ctrl-C be a KeyboardInterrupt."""
    with _one_thread(), _quiet_lightning(), _interruptible():
        yield


@contextmanager
def _one_thread() -> Iterator[None]:
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(num_threads)


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Hold back Lightning's banners and advertisements, and two warnings that nobody here can act on."""
    names = ("lightning.pytorch", "lightning.pytorch.utilities.rank_zero", "lightning.fabric")
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="GPU available but not used")
            # This one is about Lightning's own code.
            warnings.filterwarnings("ignore", message=r".*isinstance\(treespec, LeafSpec\)")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let Ctrl-C be a KeyboardInterrupt: Lightning makes it a SystemExit and leaves the signal ignored."""
    try:
        yield
    except SystemExit as stop:
        if not isinstance(stop.__context__, KeyboardInterrupt):
            raise
        signal.signal(signal.SIGINT, signal.default_int_handler)
        raise KeyboardInterrupt from None
