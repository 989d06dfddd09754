"""The report of a catalogue whose titles and users would be markup, with two targets for each user."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import toy
from conftest import Ended
from html_page import Page

from sidrec.config import load_config
from sidrec.report import write_report
from sidrec.report.lists import read_lists
from sidrec.report.opening import Absent, open_run
from sidrec.report.recommendations import Recommendations, gather_recommendations
from sidrec.report.search_path import SearchPath

Command = Callable[..., Ended]
HOSTILE = [
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(1)>",
    "\"quotes\" and 'apostrophes' & {{ 7 * 7 }}",
    "one line\u2028another",
    "<!-- <script> $\\frac{1}{2}$",
]


@pytest.fixture(scope="module")
def hostile_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Titles and user ids that would be markup, two targets for each user, history left out, no RL."""
    from sidrec.stages.baselines import run_baselines
    from sidrec.stages.evaluation import evaluate
    from sidrec.stages.sft import sft
    from sidrec.stages.tokenization import tokenize

    folder = tmp_path_factory.mktemp("hostile")
    path = toy.write(
        folder,
        split={"method": "last_n", "n": 2},
        sft={"epochs": 1, "evaluations": 1},
        evaluation={"exclude_history": True},
        baselines={"models": ["popularity"]},
    )
    items, interactions = toy.items(), toy.interactions()
    items.loc[: len(HOSTILE) - 1, "title"] = HOSTILE
    items.to_csv(folder / "items.csv", index=False)
    interactions["user_id"] = "<b onclick=alert(2)>" + interactions["user_id"]
    interactions.to_csv(folder / "interactions.csv", index=False)
    config = load_config(path)
    tokenize(config)
    run_baselines(config)
    sft(config)
    evaluate(config)
    return config.output


@pytest.fixture(scope="module")
def hostile_page(hostile_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Page:
    return Page(
        write_report(hostile_run, tmp_path_factory.mktemp("report") / "report.html").read_text(
            encoding="utf-8"
        )
    )


def test_markup_in_a_catalogue_stays_text(hostile_page: Page):
    tags = [tag for tag, _ in hostile_page.tags]
    assert tags.count("script") == 2  # the data of the tree and our own
    assert "img" not in tags
    assert "b" not in tags
    assert not [name for _, attributes in hostile_page.tags for name in attributes if name.startswith("on")]
    for title in HOSTILE:
        assert " ".join(title.split()) in hostile_page.text
    assert "\u2028" not in hostile_page.html


def test_markup_in_the_data_of_the_tree_stays_data(hostile_page: Page):
    data = hostile_page.scripts[0]
    assert "<" not in data
    assert {" ".join(title.split()) for title in HOSTILE} <= {
        entry[2] for entry in hostile_page.tree["items"]
    }


def test_users_with_several_targets_have_a_list_for_each(hostile_run: Path, hostile_page: Page):
    run = open_run(hostile_run)
    found = gather_recommendations(run)
    assert isinstance(found, Recommendations)
    users = pd.read_parquet(hostile_run / "evaluate" / "sft" / "users.parquet")
    known = users.set_index(["user_id", "target_number"])
    assert found.rows == len(users) == 120
    for user in found.users:
        row = known.loc[(user.user_id, user.target_number)]
        assert (user.target.item_id, user.rank) == (row["target"], row["rank"])
    assert "target 2" in hostile_page.text
    assert run.shown is not None
    lists = read_lists(run, run.shown)
    assert not isinstance(lists, Absent)
    assert lists.ranks.tolist() == users["rank"].tolist()


def test_the_search_path_leaves_out_the_history_where_the_list_does(hostile_run: Path):
    found = gather_recommendations(open_run(hostile_run))
    assert isinstance(found, Recommendations)
    assert isinstance(found.path, SearchPath)
    user = found.users[found.path_user]
    assert not [each for each in user.recommended if each.in_history]
    tokens = open_run(hostile_run).semantic_ids
    first = tokens.tokens(tokens.item_ids.index(user.recommended[0].item_id))
    assert found.path.levels[-1].branches[0].tokens == first
