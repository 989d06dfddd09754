"""Whether the system knows the paths that a config names, before anyone looks for a form in them."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from sidrec.catalog.config import CatalogConfig
from sidrec.errors import CatalogError

_ABSENT = (errno.ENOENT, errno.ENOTDIR)


def require_paths(config: CatalogConfig) -> None:
    """Raise for a path that the system refuses, a link to nothing, a pipe; absence is left to the readers."""
    for setting in ("items", "interactions", "users"):
        named: Path | list[Path] | None = getattr(config, setting)
        for path in named if isinstance(named, list) else [named]:
            if path is not None:
                _require_path(path, f"catalog.{setting}")


def _require_path(path: Path, setting: str) -> None:
    """Raise for one path."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        if os.path.islink(path):
            raise CatalogError(
                f"{setting}: {path} is a symbolic link that leads to no file ({os.readlink(path)}). Name the "
                "file itself."
            ) from error
        if error.errno not in _ABSENT:
            shown = str(path) if len(str(path)) <= 100 else f"{str(path)[:100]}..."
            raise CatalogError(
                f"{setting}: {shown} cannot be read ({error.strerror}). Check the path and its permissions."
            ) from error
        return
    if not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
        raise CatalogError(
            f"{setting}: {path} is a pipe or a device, expected a file. Save what it gives in a file."
        )
