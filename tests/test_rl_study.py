"""scripts/write_rl.py: RL against the SFT that it began from, and against SFT that goes on."""

from pathlib import Path

import pytest
import studies
import toy

from sidrec.sweep import plan, sweep

CHEAP = {"rl": {"steps": 2, "evaluations": 1, "keep": "rl"}, "sft": {"epochs": 2, "evaluations": 1}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return studies.write_page(tmp_path, "rl.md", "toy")


@pytest.mark.slow
def test_every_switch_has_a_row_against_sft_and_against_more_of_it(folder: Path) -> None:
    path = toy.write(folder, **CHEAP)
    for grid in ("rl.sampling=beam,sample", "rl.objective=sft"):
        cells = plan(path, [], seeds=[0, 1], grid=[grid], output=folder / "study")
        assert sweep(cells, stages=["tokenize", "sft", "rl", "evaluate"]) == []
    ended = studies.run("write_rl.py", folder, "toy", "study")
    assert ended.returncode == 0, ended.stderr
    text = (folder / "docs" / "rl.md").read_text()
    assert text.startswith("Before.\n")
    assert text.endswith("After.\n")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line[:1] == "|"]
    assert [row[0] for row in rows[2:]] == ["SFT", "SFT continued", "RL as it comes", "`rl.sampling=sample`"]
    assert {len(row) for row in rows} == {9}
    assert {row[1] for row in rows[2:]} == {"2"}
    assert all(row[4] for row in rows[3:])
    assert [bool(row[6]) for row in rows[3:]] == [False, True, True]


def test_a_sweep_without_what_rl_has_to_beat_is_refused(folder: Path) -> None:
    (folder / "study").mkdir()
    ended = studies.run("write_rl.py", folder, "toy", "study")
    assert ended.returncode != 0
    assert "holds no rl.sampling=beam/seed=*/evaluate/rl" in ended.stderr
    assert (folder / "docs" / "rl.md").read_text() == studies.page_of("toy")
