"""The facts of a report against the files of the run, recomputed here."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from conftest import Ended

from sidrec.report.codes import item_tree
from sidrec.report.mistakes import Changes, Mistakes, Slices, gather_mistakes
from sidrec.report.opening import open_run
from sidrec.report.recommendations import Recommendations, gather_recommendations
from sidrec.report.results import Results, gather_results
from sidrec.report.search_path import SearchPath
from sidrec.report.wording import interval

Command = Callable[..., Ended]


def test_differences_are_those_that_the_named_command_prints(young_run: Path, command: Command):
    found = gather_results(open_run(young_run))
    assert isinstance(found, Results)
    assert found.reference == "item_knn"  # the best baseline where item i is followed by item i + 1
    told = command(*found.command.split()[1:]).out
    for row in found.rows:
        if row.versus is not None:
            assert interval(row.versus.difference.interval, "+") in told


def test_the_verdict_is_three_sentences_with_the_figures_of_the_shown_model(young_run: Path):
    found = gather_results(open_run(young_run))
    assert isinstance(found, Results)
    metrics = json.loads((young_run / "evaluate" / "rl" / "metrics.json").read_text())
    good, against, trust = found.verdict
    assert f"in {100 * metrics['item_level']['hr@10']['value']:.1f} of 100 cases" in good
    assert "would hold it in 41.7" in good  # 10 of 24 items
    assert "the strongest baseline, item_knn" in against
    assert "60 test cases and one seed (0)" in trust
    assert "all files are those that were written" in trust


def test_the_tree_holds_every_item_once_with_its_codes(toy_run: Path):
    run = open_run(toy_run)
    tree = item_tree(run)
    assert tree["levels"] == ["a", "b", "c"]
    assert sorted(entry[1] for entry in tree["items"]) == sorted(run.semantic_ids.item_ids)
    codes = dict(zip(run.semantic_ids.item_ids, run.semantic_ids.codes.tolist(), strict=True))
    assert all(entry[0] == codes[entry[1]] for entry in tree["items"])
    assert [entry[0] for entry in tree["items"]] == sorted(entry[0] for entry in tree["items"])


def test_of_a_large_catalogue_the_tree_keeps_the_items_with_the_most_events(toy_run: Path):
    run = open_run(toy_run)
    kept = {entry[1] for entry in item_tree(run, most=5)["items"]}
    least = min(run.events[run.catalog.index_of(kept)])
    others = [item for item, item_id in enumerate(run.semantic_ids.item_ids) if item_id not in kept]
    assert len(kept) == 5
    assert max(run.events[others]) <= least


def test_thirty_users_are_drawn_and_their_targets_marked(young_run: Path):
    found = gather_recommendations(open_run(young_run))
    assert isinstance(found, Recommendations)
    users = pd.read_parquet(young_run / "evaluate" / "rl" / "users.parquet").set_index("user_id")
    assert len(found.users) == 30
    for user in found.users:
        assert (user.target.item_id, user.rank) == tuple(users.loc[user.user_id, ["target", "rank"]])
        assert [each.is_target for each in user.recommended] == [
            place == user.rank for place in range(1, len(user.recommended) + 1)
        ]
    assert found.count("hit") + found.count("miss") == 30
    assert found.count("hit") == sum(0 < user.rank <= 10 for user in found.users)


def test_lists_have_the_items_and_scores_of_the_predictions(young_run: Path):
    found = gather_recommendations(open_run(young_run))
    assert isinstance(found, Recommendations)
    predictions = pd.read_parquet(young_run / "evaluate" / "rl" / "predictions.parquet")
    for user in found.users[:5]:
        expected = predictions[predictions["user_id"] == user.user_id].sort_values("rank")
        assert [each.item_id for each in user.recommended] == expected["item_id"].tolist()
        assert [each.score for each in user.recommended] == pytest.approx(expected["score"].tolist())


def test_the_search_path_ends_in_the_list_of_its_user(young_run: Path):
    found = gather_recommendations(open_run(young_run))
    assert isinstance(found, Recommendations)
    assert isinstance(found.path, SearchPath)
    user = found.users[found.path_user]
    codes = open_run(young_run).semantic_ids
    tokens = {item_id: codes.tokens(row) for row, item_id in enumerate(codes.item_ids)}
    last = found.path.levels[-1].branches
    assert [branch.tokens for branch in last] == [
        tokens[each.item_id] for each in user.recommended[: len(last)]
    ]
    assert [branch.total for branch in last] == pytest.approx(
        [each.score for each in user.recommended[: len(last)]], abs=1e-4
    )
    assert found.path.levels[-1].target_place == user.rank


def test_on_each_level_a_prefix_scores_the_sum_of_its_codes(young_run: Path):
    found = gather_recommendations(open_run(young_run))
    assert isinstance(found, Recommendations)
    assert isinstance(found.path, SearchPath)
    totals: dict[tuple[str, ...], float] = {(): 0.0}
    for level in found.path.levels:
        assert level.kept <= min(found.path.num_beams, level.open)
        for branch in level.branches:
            if tuple(branch.tokens[:-1]) in totals:
                assert branch.total == pytest.approx(totals[tuple(branch.tokens[:-1])] + branch.log_prob)
            totals[tuple(branch.tokens)] = branch.total


def test_slices_are_the_model_minus_the_baseline(young_run: Path):
    found = gather_mistakes(open_run(young_run))
    assert isinstance(found, Mistakes)
    assert isinstance(found.slices, Slices)
    assert found.slices.baselines == ["popularity", "item_knn", "sasrec"]
    own, theirs = (
        json.loads((young_run / place / "metrics.json").read_text())["slices"]
        for place in ("evaluate/rl", "baselines/item_knn")
    )
    for row in found.slices.rows:
        if not row.users:
            continue
        mine, other = (each[row.kind][row.name]["ndcg@10"]["value"] for each in (own, theirs))
        difference = row.differences[1]
        assert difference is not None
        assert difference.value == pytest.approx(mine - other)
        assert difference.low <= difference.value <= difference.high


def test_misses_are_counted_by_the_level_that_goes_wrong(young_run: Path):
    run = open_run(young_run)
    found = gather_mistakes(run)
    assert isinstance(found, Mistakes)
    users = pd.read_parquet(young_run / "evaluate" / "rl" / "users.parquet")
    lists = pd.read_parquet(young_run / "evaluate" / "rl" / "predictions.parquet").groupby("user_id")[
        "item_id"
    ]
    codes = dict(zip(run.semantic_ids.item_ids, run.semantic_ids.codes.tolist(), strict=True))
    expected = [0, 0, 0, 0]
    for user in users[users["rank"] == 0].itertuples():
        target = codes[user.target]
        shared = [
            next((level for level in range(3) if codes[item][level] != target[level]), 3)
            for item in lists.get_group(user.user_id)
        ]
        expected[max(shared)] += 1
    assert [turn.misses for turn in found.turns] == expected[: len(found.turns)]
    assert sum(expected) == found.misses == int((users["rank"] == 0).sum())


def test_cases_won_and_lost_are_those_of_the_comparison(young_run: Path):
    run = open_run(young_run)
    found, table = gather_mistakes(run), gather_results(run)
    assert isinstance(found, Mistakes)
    assert isinstance(found.changes, Changes)
    assert isinstance(table, Results)
    versus = next(row.versus for row in table.rows if row.is_shown)
    assert versus is not None
    changes = found.changes
    assert (changes.won, changes.lost, changes.tied) == (versus.wins, versus.losses, versus.ties)
    assert all(change.gain > 0 for change in changes.gains)
    assert all(change.gain < 0 for change in changes.losses)
