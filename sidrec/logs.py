"""What is said on standard error while a command works: of libraries no more than one can act on."""

from __future__ import annotations

import logging
import os
import sys
import warnings

from sidrec.processes import is_main


def show_progress() -> None:
    """Let the main process say on standard error what it does."""
    level = logging.WARNING if is_main() else logging.CRITICAL
    logging.basicConfig(level=level, format="%(message)s", stream=sys.stderr)
    logging.getLogger("sidrec").setLevel(logging.INFO if is_main() else level)


def quiet_libraries() -> None:
    """Switch off, one by one, what libraries print that a user cannot act on."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # it warns when a process forks
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    warnings.filterwarnings("ignore", message=".*gradient_checkpointing. is deprecated")  # TRL sets it
    warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.")  # Lightning asks torch so
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
