"""Scripts that write a section of a page of docs, run on a folder that holds such a page."""

import subprocess
import sys
from pathlib import Path

SCRIPTS = Path(__file__).parents[1] / "scripts"


def page_of(section: str) -> str:
    """A page with the marks of a section, and nothing between them."""
    return f"Before.\n<!-- {section}: tables -->\n<!-- {section}: end of tables -->\nAfter.\n"


def write_page(folder: Path, name: str, section: str) -> Path:
    """Write `docs/NAME` below a folder; return the folder."""
    (folder / "docs").mkdir()
    (folder / "docs" / name).write_text(page_of(section))
    return folder


def run(script: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPTS / script), *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)
