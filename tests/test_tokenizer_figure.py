"""The picture of a table of semantic IDs: what it draws, and that it is written."""

import struct
from pathlib import Path

import numpy as np
import pytest

from tokenizer.health.figure import bars_of, draw_health, error_left, use_of_codes
from tokenizer.health.measures import health

CODES = np.array([[0, 0], [0, 0], [0, 1], [1, 2], [0, 0]])
VECTORS = np.array([[0.0, 1], [0, 2], [1, 0], [5, 5], [0, 0]])


def size_of(path: Path) -> tuple[int, int]:
    header = path.read_bytes()[:24]
    assert header[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", header[16:24])


def titles(report: dict, codes: np.ndarray) -> list[str]:
    from tokenizer.health.figure import _drawn

    return [axes.get_title() for axes in _drawn(report, codes, "").axes]


def test_codes_are_drawn_commonest_first_in_multiples_of_even_use() -> None:
    """Of 4 codes two are used, by 4 and 1 of 5 items; even use would be 1.25."""
    places, items = use_of_codes(CODES[:, 0], 4)
    assert places.tolist() == [0.25, 0.5]
    assert items.tolist() == pytest.approx([3.2, 0.8])


def test_the_error_is_drawn_from_all_of_it_downwards() -> None:
    report = health(CODES, (2, 3), vectors=VECTORS)
    left, by_chance = error_left(report)
    assert left == pytest.approx([1, *(1 - level["explained"] for level in report["levels_explained"])])
    # By chance, a level of 2 codes takes 1/4 of what is left, one of 3 takes 2/4.
    assert by_chance == pytest.approx([1, 3 / 4, 3 / 8])


def test_without_vectors_there_is_no_error_to_draw() -> None:
    assert error_left(health(CODES, (2, 3))) is None
    assert titles(health(CODES, (2, 3)), CODES)[1] == "Error per level is not known"


def test_items_of_colliding_groups_are_drawn_by_the_size_of_the_group() -> None:
    """Groups of 2, 2, 3, 4 and 5 items, and one alone."""
    codes = np.repeat(np.arange(6), [2, 2, 3, 4, 5, 1])[:, None]
    bars = bars_of(health(codes, (6,)))
    assert (bars.names, bars.before, bars.after) == (["2", "3", "4-5"], None, [4, 3, 9])


def test_bars_stand_for_before_and_after() -> None:
    codes = np.arange(4)[:, None]
    bars = bars_of(health(codes, (4,), codes_before=np.array([[0], [0], [0], [1]])))
    assert (bars.names, bars.before, bars.after) == (["2", "3"], [0, 3], [0, 0])


def test_every_size_of_group_has_one_bar() -> None:
    sizes = np.arange(2, 130)
    bars = bars_of(health(np.repeat(np.arange(128), sizes)[:, None], (128,)))
    assert bars.names == ["2", "3", "4-5", "6-9", "10-19", "20-49", "50-99", "100+"]
    assert sum(bars.after) == sizes.sum()


def test_titles_say_what_one_sees() -> None:
    assert titles(health(CODES, (8, 3), vectors=VECTORS), CODES)[0] == "Level a uses 2 of its 8 codes"
    assert titles(health(CODES, (2, 3)), CODES)[2] == "3 of 5 items share an ID"
    one_for_most = np.where(np.arange(1000) < 800, 0, np.arange(1000) % 20)[:, None]
    assert titles(health(one_for_most, (20,)), one_for_most)[0] == "One code of level a has 81% of the items"
    steep = np.repeat(np.arange(10), [100, 10, 10, 10, 10, 10, 10, 10, 10, 10])[:, None]
    assert titles(health(steep, (10,)), steep)[0] == "All codes are used, least evenly at level a"
    alone = np.arange(4)[:, None]
    resolved = health(alone, (4,), codes_before=np.array([[0], [0], [2], [3]]), vectors=np.eye(4))
    assert titles(resolved, alone) == [
        "All codes are used, about evenly",
        "Semantic IDs explain 100% of the vectors' variance",
        "2 of 4 items shared an ID, none does now",
    ]
    assert titles(health(alone, (4,)), alone)[2] == "No two items share an ID"


def test_the_picture_is_a_png_of_its_size_and_of_the_same_bytes(tmp_path: Path) -> None:
    report = health(CODES, (2, 3), vectors=VECTORS, codes_before=CODES)
    for name in ("a.png", "b.png"):
        draw_health(report, CODES, tmp_path / name, title="Five items")
    assert size_of(tmp_path / "a.png") == (1500, 460)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_a_users_own_settings_of_matplotlib_change_nothing(tmp_path: Path) -> None:
    from matplotlib import rc_context

    report = health(CODES, (2, 3))
    draw_health(report, CODES, tmp_path / "a.png")
    with rc_context({"font.size": 30, "savefig.bbox": "tight"}):
        draw_health(report, CODES, tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize("levels", [1, 8])
def test_any_number_of_levels_is_drawn(levels: int, tmp_path: Path) -> None:
    codes = np.random.default_rng(0).integers(0, 4, (50, levels))
    draw_health(health(codes, [4] * levels, vectors=codes), codes, tmp_path / "a.png")
    assert size_of(tmp_path / "a.png") == (1500, 460)
