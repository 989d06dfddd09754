"""Write the report of a run into a file, whole or not at all."""

from __future__ import annotations

from pathlib import Path

from sidrec.errors import ConfigError
from sidrec.report.opening import open_run
from sidrec.report.page import gather, render


def write_report(directory: Path, output: Path | None = None) -> Path:
    """Write what there is to say of a run into one HTML file; equal runs give equal bytes.

    Args:
        directory: The output of a run, at least after tokenize.
        output: The file; None: `report.html` in the run.

    Returns:
        The file.

    Raises:
        ArtifactError: If the directory is no run, or what tokenize wrote is broken.
        ConfigError: If the file cannot be written, or its name does not end in .html.
    """
    path = directory / "report.html" if output is None else output
    if path.suffix not in (".html", ".htm"):
        raise ConfigError(f"--output {path}: expected a file name that ends in .html.")
    run = open_run(directory)
    page = render(run, gather(run))
    partial = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(page, encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise ConfigError(f"--output {path} cannot be written ({error.strerror}).") from error
    return path
