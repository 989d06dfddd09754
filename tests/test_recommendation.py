"""What a recommender answers, as tables: in a notebook, where titles are anyone's text, and in pandas."""

import math

from sidrec.decoding.path import PathStep
from sidrec.recommendation import Explanation, Recommendation, Recommendations

EVIL = "<script>alert(1)</script>"


def test_a_list_shows_itself_escaped() -> None:
    shown = Recommendations([Recommendation(1, f"id {EVIL}", f"title {EVIL}", -1.25)])._repr_html_()
    assert "<script" not in shown
    assert shown.count("&lt;script&gt;") == 2
    assert "-1.250" in shown


def test_a_list_is_a_table_by_rank() -> None:
    found = Recommendations([Recommendation(1, "a", "A", -1.0), Recommendation(2, "b", "B", -2.0)])
    assert found.to_frame().to_dict("index") == {
        1: {"item_id": "a", "title": "A", "score": -1.0},
        2: {"item_id": "b", "title": "B", "score": -2.0},
    }
    assert list(Recommendations().to_frame().columns) == ["item_id", "title", "score"]


def test_an_explanation_shows_itself_escaped() -> None:
    step = PathStep(code=3, log_prob=math.log(0.25), probability=0.5, place=2, choices=1200, items=7)
    shown = Explanation(f"id {EVIL}", f"title {EVIL}", step.log_prob, ["<a_3>"], [step])._repr_html_()
    assert "<script" not in shown
    assert shown.count("&lt;script&gt;") == 2
    for text in ("&lt;a_3&gt;", "50.00%", "2 of 1,200", "-1.386", "probability 25.00%"):
        assert text in shown
