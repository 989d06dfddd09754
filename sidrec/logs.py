"""What is said on standard error while a command works: of libraries no more than one can act on."""

from __future__ import annotations

import json
import logging
import os
import sys
import warnings
from datetime import UTC, datetime

from sidrec.errors import ConfigError
from sidrec.processes import is_main

_OURS = "sidrec"


class JSONLines(logging.Formatter):
    """One JSON object per line: time (UTC, ISO), level, logger, message; a traceback where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """Write a record as one line."""
        said = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            said["traceback"] = self.formatException(record.exc_info)
        return json.dumps(said, ensure_ascii=False)


def set_up(*, quiet: bool = False, verbose: bool = False, json_logs: bool = False) -> None:
    """Let the main process say on standard error what it does.

    Handlers that are there already, of a program that calls us, stay and are not joined.

    Args:
        quiet: Warnings and errors alone.
        verbose: Also how long every step takes, with the time of day, and what libraries have to say.
        json_logs: A JSON object per line, and no bars.

    Raises:
        ConfigError: If it is to be both quiet and verbose.
    """
    if quiet and verbose:
        raise ConfigError("--quiet and --verbose contradict each other. Give one of them.")
    handler = logging.StreamHandler(sys.stderr)
    plain = "%(asctime)s %(name)s: %(message)s" if verbose else "%(message)s"
    handler.setFormatter(JSONLines() if json_logs else logging.Formatter(plain, datefmt="%H:%M:%S"))
    others = logging.INFO if verbose else logging.WARNING
    ours = logging.WARNING if quiet else logging.DEBUG if verbose else logging.INFO
    if not is_main():
        others = ours = logging.CRITICAL
    logging.basicConfig(level=others, handlers=[handler])
    logging.getLogger(_OURS).setLevel(ours)
    if json_logs:
        logging.captureWarnings(True)


def shows_bars() -> bool:
    """Whether bars may be drawn: by the main process, unless it is to be quiet or to write JSON."""
    return is_main() and logging.getLogger(_OURS).level <= logging.INFO and not _is_json()


def tell(message: str, *, level: int = logging.ERROR) -> None:
    """Say a sentence on standard error, whatever the level: why a command ends."""
    if not _is_json():
        print(f"{_OURS}: {message}", file=sys.stderr)
        return
    record = logging.LogRecord(_OURS, level, "", 0, message, None, None)
    print(JSONLines().format(record), file=sys.stderr)


def quiet_libraries() -> None:
    """Switch off, one by one, what libraries print that a user cannot act on."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # it warns when a process forks
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    warnings.filterwarnings("ignore", message=".*gradient_checkpointing. is deprecated")  # TRL sets it
    warnings.filterwarnings("ignore", message=".past_key_values. is deprecated")  # its new name is of 5.24
    warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.")  # Lightning asks torch so
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")


def _is_json() -> bool:
    return any(isinstance(handler.formatter, JSONLines) for handler in logging.getLogger().handlers)
