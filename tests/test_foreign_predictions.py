"""Anyone's recommendations are measured as ours are, and what does not fit is refused in one sentence."""

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import toy
from conftest import Ended

Command = Callable[..., Ended]


@pytest.fixture
def run(toy_run: Path, tmp_path: Path) -> Path:
    """The config of a copy of the toy run, which lies beside it as `run`."""
    return toy.copy(toy_run, tmp_path)


def of_rl(run: Path) -> pd.DataFrame:
    return pd.read_parquet(run.parent / "run" / "evaluate" / "rl" / "predictions.parquet")


def written(frame: pd.DataFrame, folder: Path, name: str = "theirs.csv") -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    frame.to_csv(path, index=False) if name.endswith(".csv") else frame.to_parquet(path, index=False)
    return path


def measured(run: Path, name: str) -> dict:
    return json.loads((run.parent / "run" / "evaluate" / name / "metrics.json").read_text())


@pytest.mark.parametrize("name", ["theirs.csv", "theirs.parquet"])
def test_our_own_lists_from_a_file_get_our_own_figures(run: Path, name: str, command: Command) -> None:
    path = written(of_rl(run).sample(frac=1, random_state=0), run.parent / "other", name)  # in any order
    ended = command("evaluate", run, f"predictions={path}")
    assert ended.status == 0
    theirs, ours = measured(run, "theirs"), measured(run, "rl")
    same = ("item_level", "sid_level", "slices", "users", "depth", "invalid_items", "duplicate_items")
    assert {key: theirs[key] for key in same} == {key: ours[key] for key in same}
    assert (theirs["ranking"], theirs["users_without_predictions"]) == ("file", 0)
    assert ended.out.splitlines()[-1].startswith("theirs ")


def test_an_item_that_does_not_exist_is_counted_and_holds_its_place(
    run: Path, command: Command, caplog: pytest.LogCaptureFixture
) -> None:
    frame = of_rl(run)[["user_id", "rank", "item_id"]]
    hits = of_rl(run)["is_target"] & (frame["rank"] == 1)
    assert hits.any()
    frame["rank"] += 1  # every user's list moves down by one ...
    strangers = pd.DataFrame({"user_id": frame["user_id"].unique(), "rank": 1, "item_id": "nothing"})
    ended = command(
        "evaluate", run, f"predictions={written(pd.concat([strangers, frame]), run.parent / 'other')}"
    )
    assert ended.status == 0
    assert measured(run, "theirs")["invalid_items"] == 60  # ... for an item that there is not
    assert measured(run, "theirs")["item_level"]["hr@1"]["value"] == 0
    kept = pd.read_parquet(run.parent / "run" / "evaluate" / "theirs" / "predictions.parquet")
    assert (kept["item_id"] == "nothing").sum() == 60
    assert "60 entries are no item of the catalogue" in caplog.text


def test_users_without_a_list_are_misses(run: Path, command: Command) -> None:
    whole = of_rl(run)
    users = whole["user_id"].unique()
    half = whole[whole["user_id"].isin(users[:30])]
    assert command("evaluate", run, f"predictions={written(half, run.parent / 'other')}").status == 0
    theirs = measured(run, "theirs")
    assert (theirs["users"], theirs["users_without_predictions"], theirs["short_lists"]) == (60, 30, 30)
    assert theirs["item_level"]["hr@10"]["value"] == half["is_target"].sum() / 60


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(
            lambda frame: frame.assign(rank=frame["rank"].replace(2, 1)),
            r'theirs\.csv: user "u0" has rank 1 twice, expected one item per rank',
            id="duplicate-rank",
        ),
        pytest.param(
            lambda frame: frame[frame["rank"] != 2],
            r'theirs\.csv: user "u0" has rank 3 but no rank 2',
            id="gap",
        ),
        pytest.param(
            lambda frame: frame.assign(rank=frame["rank"] - 1),
            r'data row 1 has the rank "0", expected a whole number from 1',
            id="rank-from-0",
        ),
        pytest.param(
            lambda frame: frame.assign(rank="first"), r'data row 1 has the rank "first"', id="rank-in-words"
        ),
        pytest.param(
            lambda frame: frame.assign(user_id=frame["user_id"].replace("u1", "v1")),
            r'1 of its 60 users are not evaluated in this split, the first is "v1" \(data row 11\)\. Remove',
            id="unknown-user",
        ),
        pytest.param(
            lambda frame: frame.assign(item_id="x" + frame["item_id"]),
            r'no item of this catalogue \(its first is "xi\d\d", the catalogue\'s "i00"\): these are',
            id="another-catalogue",
        ),
        pytest.param(
            lambda frame: frame.rename(columns={"item_id": "item"}),
            r'has no column "item_id"\. Did you mean "item"\?',
            id="missing-column",
        ),
        pytest.param(
            lambda frame: frame.assign(score="high"), r'data row 1 has the score "high"', id="score-in-words"
        ),
    ],
)
def test_predictions_that_do_not_fit_are_refused(
    change: Callable[[pd.DataFrame], pd.DataFrame], message: str, run: Path, command: Command
) -> None:
    path = written(change(of_rl(run)[["user_id", "rank", "item_id"]]), run.parent / "other")
    before = toy.contents(run.parent / "run")
    ended = command("evaluate", run, f"predictions={path}")
    assert (ended.status, ended.err.count("\n")) == (2, 1), ended.err
    assert pd.Series([ended.err]).str.contains(message).all(), ended.err
    assert toy.contents(run.parent / "run") == before


def test_predictions_of_another_split_are_refused_with_both_hashes(run: Path, command: Command) -> None:
    path = written(of_rl(run), run.parent / "other")
    (path.parent / "metrics.json").write_text('{"split_sha256": "0123456789"}')
    ended = command("evaluate", run, f"predictions={path}")
    assert ended.status == 2
    ours = measured(run, "rl")["split_sha256"][:8]
    assert f"on another split (sha256 01234567, in {path.parent / 'metrics.json'})" in ended.err
    assert ours in ended.err


def test_a_file_cannot_take_the_place_of_our_models(run: Path, command: Command) -> None:
    path = written(of_rl(run), run.parent / "other", "rl.csv")
    ended = command("evaluate", run, f"predictions={path}")
    assert (ended.status, "would be measured as rl" in ended.err) == (2, True)


def test_a_missing_file_is_named(run: Path, command: Command) -> None:
    ended = command("evaluate", run, "predictions=absent.csv")
    assert (ended.status, "predictions: there is no file absent.csv" in ended.err) == (2, True)
