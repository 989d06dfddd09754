"""The notebook of `examples/`: what is kept in it is small and tells nothing of a machine, and it runs."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

NOTEBOOK = Path(__file__).parents[1] / "examples" / "quickstart.ipynb"
MINUTES = 15


def code_cells(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def kept() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    return found


def models(notebook: dict[str, Any]) -> list[str]:
    """The rows of the result table that a notebook shows."""
    shown = [str(cell["outputs"]) for cell in code_cells(notebook) if "evaluate(" in "".join(cell["source"])]
    return re.findall(r"<tr><td[^>]*>([a-z_]+)</td>", shown[0])


def test_every_cell_was_run_in_order_and_none_failed() -> None:
    cells = code_cells(kept())
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    kinds = {output["output_type"] for cell in cells for output in cell["outputs"]}
    assert kinds <= {"execute_result", "stream"}
    streams = {output.get("name", "stdout") for cell in cells for output in cell["outputs"]}
    assert streams == {"stdout"}


def test_outputs_are_small_and_name_no_place() -> None:
    assert NOTEBOOK.stat().st_size < 60_000
    for cell in code_cells(kept()):
        shown = json.dumps(cell["outputs"])
        assert len(shown) < 8_000
        assert not re.search(
            r"(?<![\w<.])/(?:home|root|tmp|Users|work|usr|mnt)/|[A-Z]:\\\\|0x[0-9a-f]{8}", shown
        )


def test_the_table_that_is_kept_has_every_model() -> None:
    assert models(kept()) == ["popularity", "item_knn", "sft", "rl"]


@pytest.mark.slow
def test_the_quickstart_runs_from_an_empty_directory(tmp_path: Path) -> None:
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    resources = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(
        notebook, timeout=60 * MINUTES, kernel_name="python3", resources=resources
    ).execute()
    assert models(notebook) == models(kept())
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]
