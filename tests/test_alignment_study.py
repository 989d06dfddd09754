"""scripts/write_alignment.py: SFT with more tasks against next items alone, over all users and in slices."""

from pathlib import Path

import pytest
import studies
import toy

from sidrec.sweep import plan, sweep


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return studies.write_page(tmp_path, "scaling.md", "alignment")


@pytest.mark.slow
def test_each_table_of_tasks_has_a_row_against_next_items_alone(folder: Path) -> None:
    path = toy.write(folder, sft={"epochs": 2, "evaluations": 1}, baselines={"models": ["popularity"]})
    grid = ["sft.tasks={next_item: 0.8, title_to_item: 0.2},{next_item: 1}"]
    cells = plan(path, [], seeds=[0, 1], grid=grid, output=folder / "study")
    assert sweep(cells, stages=["tokenize", "sft", "evaluate"]) == []
    ended = studies.run("write_alignment.py", folder, "study")
    assert ended.returncode == 0, ended.stderr
    text = (folder / "docs" / "scaling.md").read_text()
    assert text.startswith("Before.\n")
    assert text.endswith("After.\n")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line[:1] == "|"]
    assert [row[0] for row in rows[2:]] == ["next_item", "next_item, title_to_item", "minus next_item"]
    assert len({len(row) for row in rows}) == 1
    assert rows[2][4] == ""
    assert rows[3][1] == "2"
    assert rows[3][4]
    assert all(rows[4][6:])


def test_a_sweep_without_next_items_alone_is_refused(folder: Path) -> None:
    (folder / "study").mkdir()
    ended = studies.run("write_alignment.py", folder, "study")
    assert ended.returncode != 0
    assert "holds no finished runs of sft.tasks={next_item: 1}" in ended.stderr
    assert (folder / "docs" / "scaling.md").read_text() == studies.page_of("alignment")
