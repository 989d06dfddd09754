"""`sidrec compare` on results of six users whose ranks are written down here."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import Ended

from sidrec.comparison import compare
from sidrec.comparison.labels import labels
from sidrec.metrics import bootstrap_interval, holm, metrics_at_k, paired_difference

Command = Callable[..., Ended]
USERS = ("u1", "u2", "u3", "u4", "u5", "u6")
DEPTH = 5
SFT = (1, 0, 3, 0, 2, 0)
RL = (1, 1, 0, 0, 1, 3)
OTHER = (0, 0, 0, 0, 1, 5)
SPLIT = "3f9c" * 16
POPULARITY = ("head", "head", "tail", "tail", "tail", "mid")


def write_result(
    directory: Path,
    ranks: Sequence[int],
    *,
    users: Sequence[str] = USERS,
    depth: int = DEPTH,
    slices: Mapping[str, Sequence[str]] | None = None,
    facts: Mapping[str, Any] | None = None,
) -> Path:
    """Write a result; with `slices` also `users.parquet`. In `facts` stands what metrics.json is to say."""
    directory.mkdir(parents=True)
    ks = [k for k in (1, 3, 5, 10) if k <= depth]
    values = metrics_at_k(np.array(ranks), ks)
    metrics = {
        "model": "rl",
        "split_sha256": SPLIT,
        "users": len(users),
        "depth": depth,
        "seed": 0,
        "item_level": {name: {"value": float(each.mean())} for name, each in values.items()},
        "slices": {"popularity": {name: {} for name in ("cold", "tail", "mid", "head")}},
    } | dict(facts or {})
    (directory / "metrics.json").write_text(json.dumps(metrics))
    rows = [
        {"user_id": user, "rank": place, "item_id": "i", "score": 0.5, "is_target": place == rank}
        for user, rank in zip(users, ranks, strict=True)
        for place in range(1, depth + 1)
    ]
    pd.DataFrame(rows).to_parquet(directory / "predictions.parquet", index=False)
    if slices is not None:
        columns = {f"slice_{kind}": list(names) for kind, names in slices.items()}
        frame = pd.DataFrame({"user_id": users, "target": "i", "rank": ranks} | columns)
        frame.to_parquet(directory / "users.parquet", index=False)
    return directory


def edit(directory: Path, **facts: Any) -> None:
    """Change what a metrics.json says; a fact that is None goes."""
    path = directory / "metrics.json"
    known = json.loads(path.read_text()) | facts
    path.write_text(json.dumps({name: fact for name, fact in known.items() if fact is not None}))


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory in which results `sft` and `rl` lie, as the current one."""
    monkeypatch.chdir(tmp_path)
    write_result(tmp_path / "evaluate/sft", SFT, facts={"model": "sft"})
    write_result(tmp_path / "evaluate/rl", RL)
    return tmp_path


def in_json(command: Command, *arguments: object) -> Any:
    ended = command("compare", *arguments, "--json")
    assert (ended.status, ended.err) == (0, "")
    return json.loads(ended.out)


def refused(ended: Ended, message: str) -> None:
    assert (ended.status, ended.out) == (2, "")
    assert ended.err.startswith("sidrec: ")
    assert ended.err.count("\n") == 1
    assert re.search(message, ended.err), ended.err


def test_two_results_of_literal_ranks(run: Path, command: Command) -> None:
    found = in_json(command, "evaluate/sft", "evaluate/rl")
    assert list(found["metrics"]) == ["hr@5", "ndcg@5"]  # lists of 5 have no 10
    hits, ndcg = found["metrics"]["hr@5"], found["metrics"]["ndcg@5"]
    # hits of sft u1 u3 u5, of rl u1 u2 u5 u6
    assert hits["means"]["sft"]["value"] == pytest.approx(3 / 6)
    assert hits["means"]["rl"]["value"] == pytest.approx(4 / 6)
    assert hits["differences"]["rl"]["value"] == pytest.approx(1 / 6)
    # ndcg of ranks 1, 2, 3: 1, 1 / log2(3), 1 / 2
    sft = (1 + 1 / 2 + 1 / math.log2(3)) / 6
    rl = (1 + 1 + 1 + 1 / 2) / 6
    assert ndcg["means"]["sft"]["value"] == pytest.approx(sft)
    assert ndcg["differences"]["rl"]["value"] == pytest.approx(rl - sft)
    # better for u2 (0 -> 1), u5 (2 -> 1) and u6 (0 -> 3), worse for u3 (3 -> 0), alike for u1 and u4
    for metric in (hits, ndcg):
        versus = metric["differences"]["rl"]
        assert (versus["wins"], versus["losses"], versus["ties"]) == (3, 1, 2)
        assert versus["holm"] is None
        assert versus["verdict"] == "not distinguishable"
    assert (found["users"], found["compared_with"], found["counted_by"]) == (6, "sft", "rank")


def test_intervals_are_those_of_the_metrics_module(run: Path, command: Command) -> None:
    found = in_json(command, "evaluate/sft", "evaluate/rl", "--samples", 500, "--seed", 3)["metrics"][
        "ndcg@5"
    ]
    sft, rl = (metrics_at_k(np.array(ranks))["ndcg@5"] for ranks in (SFT, RL))
    alone = bootstrap_interval(rl, seed=3, samples=500)
    difference = paired_difference(rl, sft, seed=3, samples=500)
    assert (found["means"]["rl"]["low"], found["means"]["rl"]["high"]) == (alone.low, alone.high)
    versus = found["differences"]["rl"]
    assert (versus["low"], versus["high"]) == (difference.low, difference.high)


@pytest.mark.parametrize("number", range(3))
def test_a_result_does_not_differ_from_itself(number: int, run: Path, command: Command) -> None:
    ranks = np.random.default_rng(number).integers(DEPTH + 1, size=6)
    write_result(run / "random/rl", ranks.tolist())
    found = in_json(command, "random/rl", "random/rl", "--metrics", "all")
    assert [each["name"] for each in found["results"]] == ["rl", "rl (2)"]
    assert list(found["metrics"]) == [f"{name}@{k}" for k in (1, 3, 5) for name in ("hr", "ndcg", "mrr")]
    for metric in found["metrics"].values():
        versus = metric["differences"]["rl (2)"]
        assert (versus["value"], versus["low"], versus["high"], versus["p"]) == (0, 0, 0, 1)
        assert (versus["wins"], versus["losses"], versus["ties"]) == (0, 0, 6)
        assert versus["verdict"] == "not distinguishable"


def test_a_result_that_is_better_for_everyone_is_better(run: Path, command: Command) -> None:
    write_result(run / "best", (1,) * 6)
    write_result(run / "none", (0,) * 6)
    versus = in_json(command, "none", "best")["metrics"]["hr@5"]["differences"]["best"]
    assert (versus["value"], versus["low"], versus["high"], versus["verdict"]) == (1, 1, 1, "better")
    assert versus["p"] == pytest.approx(2 / 2001)
    versus = in_json(command, "best", "none")["metrics"]["hr@5"]["differences"]["none"]
    assert (versus["value"], versus["verdict"]) == (-1, "worse")


def test_the_order_of_the_users_in_the_files_does_not_matter(run: Path, command: Command) -> None:
    order = [3, 0, 5, 1, 4, 2]
    write_result(run / "shuffled/rl", [RL[row] for row in order], users=[USERS[row] for row in order])
    expected = in_json(command, "evaluate/sft", "evaluate/rl")
    found = in_json(command, "evaluate/sft", "shuffled/rl", "--names", "sft,rl")
    assert found["metrics"] == expected["metrics"]


def test_users_without_any_list_are_misses(run: Path, command: Command) -> None:
    """u4, a miss of both, is in no file; u2 in that of rl alone."""
    expected = in_json(command, "evaluate/sft", "evaluate/rl")["metrics"]
    for name, gone in (("sft", ("u2", "u4")), ("rl", ("u4",))):
        path = run / "evaluate" / name / "predictions.parquet"
        frame = pd.read_parquet(path)
        frame[~frame["user_id"].isin(gone)].to_parquet(path, index=False)
    found = in_json(command, "evaluate/sft", "evaluate/rl")
    assert found["users"] == 6
    for metric in ("hr@5", "ndcg@5"):
        versus = found["metrics"][metric]["differences"]["rl"]
        assert versus["value"] == pytest.approx(expected[metric]["differences"]["rl"]["value"])
        assert (versus["wins"], versus["losses"], versus["ties"]) == (3, 1, 2)


def test_a_result_without_any_list_is_all_misses(run: Path, command: Command) -> None:
    write_result(run / "none", (0,) * 6)
    path = run / "none/predictions.parquet"
    pd.read_parquet(path).iloc[:0].to_parquet(path, index=False)
    found = in_json(command, "evaluate/rl", "none")["metrics"]["hr@5"]
    assert found["means"]["none"]["value"] == 0
    assert found["differences"]["none"]["losses"] == 4


def test_users_parquet_takes_the_place_of_the_predictions(run: Path, command: Command) -> None:
    expected = in_json(command, "evaluate/sft", "evaluate/rl")["metrics"]
    for name, ranks in (("sft", SFT), ("rl", RL)):
        directory = write_result(run / "full" / name, ranks, slices={})
        (directory / "predictions.parquet").unlink()
    assert in_json(command, "full/sft", "full/rl")["metrics"] == expected
    assert in_json(command, "evaluate/sft", "full/rl")["metrics"] == expected  # one of each


def test_numbers_and_texts_are_the_same_user_ids(run: Path, command: Command) -> None:
    write_result(run / "texts", SFT, users=[str(number) for number in range(6)])
    write_result(run / "numbers", RL, users=range(6))  # type: ignore[arg-type]
    versus = in_json(command, "texts", "numbers")["metrics"]["hr@5"]["differences"]["numbers"]
    assert (versus["wins"], versus["losses"], versus["ties"]) == (3, 1, 2)


def test_wins_end_at_the_depth_that_both_lists_have(run: Path, command: Command) -> None:
    # within 3 items, 4 and a miss are alike, and so is the metric
    write_result(run / "short", (1, 0, 3, 0, 2, 0), depth=3)
    write_result(run / "long", (1, 4, 3, 5, 1, 0))
    found = in_json(command, "short", "long")
    assert list(found["metrics"]) == ["hr@3", "ndcg@3"]
    versus = found["metrics"]["hr@3"]["differences"]["long"]
    assert (versus["wins"], versus["losses"], versus["ties"], versus["value"]) == (1, 0, 5, 0)


def test_results_of_old_have_num_beams_for_a_depth(run: Path, command: Command) -> None:
    edit(run / "evaluate/sft", depth=None, num_beams=5)
    assert in_json(command, "evaluate/sft", "evaluate/rl")["depth"] == 5


def test_p_values_of_three_results_are_adjusted(run: Path, command: Command) -> None:
    write_result(run / "evaluate/other", OTHER)
    found = in_json(command, "evaluate/sft", "evaluate/rl", "evaluate/other")
    for metric in found["metrics"].values():
        versus = list(metric["differences"].values())
        assert [each["holm"] for each in versus] == holm([each["p"] for each in versus])


def test_a_verdict_needs_the_adjusted_p_too(run: Path, command: Command) -> None:
    """Of 20 users 4 gain and none loses: clear alone, no longer beside two more differences."""
    users = [f"u{number}" for number in range(20)]
    for name, ranks in (("none", [0] * 20), ("some", [1] * 4 + [0] * 16), ("a", [0] * 20), ("b", [0] * 20)):
        write_result(run / name, ranks, users=users)
    samples = ["--samples", 20_000]
    alone = in_json(command, "none", "some", *samples)["metrics"]["hr@5"]["differences"]["some"]
    # none of the 4 is drawn in (16 / 20)^20 = 1.15% of resamples, less than 2.5%: p is about .023
    assert 0.019 < alone["p"] < 0.027
    assert alone["verdict"] == "better"
    beside = in_json(command, "none", "some", "a", "b", *samples)["metrics"]["hr@5"]["differences"]["some"]
    assert beside["holm"] == pytest.approx(3 * alone["p"])
    assert beside["verdict"] == "not distinguishable"


@pytest.fixture
def sweep(run: Path) -> Path:
    """Three seeds of one model, and of another: only its hits at 1 for u1 (seeds 0, 1) and u2 (all)."""
    for seed, ranks in enumerate([(1, 0, 0, 0, 0, 0), (1, 0, 2, 0, 0, 0), (0, 0, 0, 0, 0, 3)]):
        write_result(run / f"sweep/method=a/seed={seed}/evaluate/rl", ranks, facts={"seed": seed})
    for seed, ranks in enumerate([(1, 1, 0, 0, 0, 0), (1, 1, 0, 0, 0, 0), (0, 1, 0, 0, 0, 0)]):
        write_result(run / f"sweep/method=b/seed={seed}/evaluate/rl", ranks, facts={"seed": seed})
    return run / "sweep"


def test_seeds_are_averaged_before_users_are_counted(sweep: Path, command: Command) -> None:
    found = in_json(command, "sweep/method=a/seed=*/evaluate/rl", "sweep/method=b/seed=*/evaluate/rl")
    assert [each["seeds"] for each in found["results"]] == [[0, 1, 2], [0, 1, 2]]
    hits = found["metrics"]["hr@5"]
    # hits of a: 1, 2 and 1 of 6; of b: 2, 2 and 1. Sample variance of 1 2 1 is 1/3, so sd sqrt(1/3) / 6
    assert hits["means"]["method=a"]["value"] == pytest.approx(4 / 18)
    assert hits["means"]["method=a"]["sd"] == pytest.approx(math.sqrt(1 / 3) / 6)
    assert hits["means"]["method=a"]["seeds"] == 3
    versus = hits["differences"]["method=b"]
    assert versus["value"] == pytest.approx(1 / 18)
    # by the mean over seeds: better for u2, worse for u3 and u6, and u1 has 2/3 in both
    assert (versus["wins"], versus["losses"], versus["ties"]) == (1, 2, 3)
    assert found["counted_by"] == "mean over seeds"


def test_commas_join_seeds_as_a_pattern_does(sweep: Path, command: Command) -> None:
    pattern = "sweep/method=a/seed=*/evaluate/rl"
    paths = [f"sweep/method=a/seed={seed}/evaluate/rl" for seed in (2, 0, 1)]
    expected = in_json(command, pattern, "evaluate/sft")
    assert in_json(command, ",".join(paths), "evaluate/sft") == expected
    mixed = f"{paths[0]},sweep/method=a/seed=[01]/evaluate/rl"
    assert in_json(command, mixed, "evaluate/sft")["metrics"] == expected["metrics"]


def test_paired_seeds_vary_together(sweep: Path, command: Command) -> None:
    a, b = "sweep/method=a/seed=*/evaluate/rl", "sweep/method=b/seed=*/evaluate/rl"
    apart, together = (in_json(command, a, b, "--names", "a,b", *more) for more in ((), ("--pair-seeds",)))
    assert [apart["pair_seeds"], together["pair_seeds"]] == [False, True]
    # hits of b minus those of a: 1, 0 and 0 of 6 by seed, while each side alone has 1 to 2
    high = [found["metrics"]["hr@5"]["differences"]["b"]["high"] for found in (apart, together)]
    assert high[0] > high[1]
    text = command("compare", a, b, "--pair-seeds").out
    assert "(equal seeds are paired)" in " ".join(text.split())
    refused(
        command("compare", a, b.replace("*", "[01]"), "--pair-seeds"),
        r"--pair-seeds: .* has seeds 0, 1, 2, .* 0, 1; pairs need the same ones",
    )


def test_one_seed_of_several_models_says_that_it_is_one(sweep: Path, command: Command) -> None:
    ended = command("compare", "sweep/method=a/seed=*/evaluate/rl", "evaluate/sft")
    assert "With one seed an interval is that of the one trained model" in " ".join(ended.out.split())
    found = in_json(command, "sweep/method=a/seed=*/evaluate/rl", "evaluate/sft", "--names", "a,sft")
    one = found["metrics"]["hr@5"]["means"]["sft"]
    assert (one["seeds"], one["sd"]) == (1, None)


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        ([["runs/a/evaluate/sft"], ["runs/a/evaluate/rl"]], ["sft", "rl"]),
        ([["runs/a/evaluate/rl"], ["runs/a/baselines/sasrec"]], ["rl", "sasrec"]),
        ([["runs/a/evaluate/rl"], ["runs/b/evaluate/rl"]], ["a", "b"]),
        ([["/x/evaluate/rl"], ["runs/y/evaluate/rl"]], ["x", "y"]),
        ([["rl"], ["runs/y/evaluate/rl"]], ["rl", "evaluate/rl"]),
        ([["r/m=a/s=0/rl", "r/m=a/s=1/rl"], ["r/m=b/s=0/rl", "r/m=b/s=1/rl"]], ["m=a", "m=b"]),
        (
            [["r/m=a/s=0/e/rl"], ["r/m=b/s=0/e/rl"], ["r/m=b/s=0/b/knn"]],
            ["m=a/rl", "m=b/rl", "m=b/knn"],
        ),
        ([["r/s=0/rl", "r/s=1/rl"], ["r/s=0/rl"]], ["s=*", "s=0"]),
        ([["rl"], ["sft"], ["rl"]], ["rl", "sft", "rl (2)"]),
        ([["a/rl", "b/c/rl"], ["sft"]], ["rl and 1 more", "sft"]),
        ([["."], ["rl"]], [".", "rl"]),
    ],
)
def test_labels_are_the_parts_that_tell_paths_apart(paths: list[list[str]], expected: list[str]) -> None:
    assert labels([[Path(path) for path in group] for group in paths]) == expected


def test_the_terminal_shows_a_block_per_metric_in_100_columns(run: Path, command: Command) -> None:
    write_result(run / "evaluate/other", OTHER)
    ended = command(
        "compare", "evaluate/sft", "evaluate/rl", "evaluate/other", "--names", "sft,rl," + "x" * 22
    )
    assert ended.status == 0
    lines = ended.out.splitlines()
    assert max(map(len, lines)) <= 100
    assert lines[0] == "hr@5"
    assert lines[1].split("  ")[0] == "result"
    assert re.match(r"sft +0\.5000 \[0\.\d{4}, [01]\.\d{4}\]$", lines[3])
    assert re.match(r"minus sft +difference \[95% interval\] +won/lost/tied +p +Holm +verdict$", lines[7])
    assert re.match(
        r"rl +\+0\.1667 \[-0\.\d{4}, \+0\.\d{4}\] +3/1/2 +0\.\d{3} +[01]\.\d{3} +not distinguishable$",
        lines[9],
    )
    told = " ".join(ended.out.split())
    assert f"Users: the same 6 in all results (split {SPLIT[:8]}). Seeds: sft: 0; rl: 0;" in told
    assert "2000 resamples of users (seed 0)" in told
    assert "users whose target stands higher, lower or alike in the first 5 items" in told


def test_long_names_are_numbered_to_fit(run: Path, command: Command) -> None:
    name = "a-name-of-more-than-22-letters"
    ended = command("compare", "evaluate/sft", "evaluate/rl", "--names", f"{name},rl")
    lines = ended.out.splitlines()
    assert [" ".join(line.split()) for line in lines[2:4]] == [f"#1 {name}", "#2 rl"]
    assert lines[11].startswith("minus #1")
    assert max(map(len, lines)) <= 100


def test_markdown_is_one_table_to_paste(run: Path, command: Command) -> None:
    ended = command("compare", "evaluate/sft", "evaluate/rl", "--names", "sft,r|l", "--markdown")
    lines = ended.out.splitlines()
    assert lines[0] == (
        "| metric | result | mean [95% interval] | minus sft [95% interval] | won/lost/tied | p | verdict |"
    )
    assert lines[1] == "| --- | --- | --- | --- | --- | --- | --- |"
    assert re.match(r"\| hr@5 \| sft \| 0\.5000 \[.*\] \|  \|  \|  \|  \|$", lines[2])
    assert re.match(
        r"\| hr@5 \| r\\\|l \| 0\.6667 \[.*\] \| \+0\.1667 \[.*\] \| 3/1/2 \| 0\.\d{3} \|", lines[3]
    )
    assert [line[:10] for line in lines[4:6]] == ["| ndcg@5 |"] * 2
    assert lines[6] == ""


def test_slices_are_compared_one_by_one(run: Path, command: Command) -> None:
    for name, ranks in (("sft", SFT), ("rl", RL)):
        write_result(run / "full" / name, ranks, slices={"popularity": POPULARITY, "arrival": ("",) * 6})
    arguments = ["full/sft", "full/rl", "--slices", "popularity", "--metrics", "hr@5"]
    parts = {part["slice"]: part for part in in_json(command, *arguments)["slices"]}
    assert list(parts) == ["cold", "tail", "mid", "head"]  # as in metrics.json
    assert [part["users"] for part in parts.values()] == [0, 3, 1, 2]
    # tail is u3, u4, u5: sft has 2 hits of 3, rl 1; head is u1, u2: 1 and 2 of 2
    assert parts["tail"]["means"]["sft"]["value"] == pytest.approx(2 / 3)
    assert parts["tail"]["differences"]["rl"]["value"] == pytest.approx(-1 / 3)
    assert parts["head"]["differences"]["rl"]["value"] == pytest.approx(1 / 2)
    assert parts["cold"]["means"] == {}
    lines = command("compare", *arguments).out.splitlines()
    start = lines.index("hr@5 by popularity")
    assert " ".join(lines[start + 1].split()) == "slice users result mean [95% interval] minus sft"
    assert lines[start + 3].split() == ["cold", "0", "-", "-", "-"]
    assert lines[start + 5].split()[:4] == ["tail", "3", "rl", "0.3333"]
    assert (
        "| hr@5 | popularity | tail | 3 | rl | 0.3333 [" in command("compare", *arguments, "--markdown").out
    )


def test_a_slice_of_no_user_s_is_left_out(run: Path, command: Command) -> None:
    for name, ranks in (("sft", SFT), ("rl", RL)):
        write_result(run / "full" / name, ranks, slices={"arrival": ("new", "", "", "", "", "new")})
    parts = in_json(command, "full/sft", "full/rl", "--slices", "arrival", "--metrics", "hr@5")["slices"]
    assert [(part["slice"], part["users"]) for part in parts] == [("new", 2)]


def test_python_gets_what_the_command_prints(run: Path, command: Command) -> None:
    found = compare(["evaluate/sft", "evaluate/rl"], metrics=["mrr@3"], samples=100)
    printed = in_json(command, "evaluate/sft", "evaluate/rl", "--metrics", "mrr@3", "--samples", 100)
    low = found.metrics[0].versus[0].difference.interval.low
    assert low == printed["metrics"]["mrr@3"]["differences"]["rl"]["low"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param([], r"needs two results or more, got 0\. Name the one to compare", id="none"),
        pytest.param(["evaluate/rl"], r"needs two results or more, got 1\.", id="one"),
        pytest.param(["evaluate/rl", "absent"], r"absent is no directory\. Give the directory", id="absent"),
        pytest.param(
            ["evaluate/rl", "runs/*/evaluate/rl"],
            r'The pattern "runs/\*/evaluate/rl" matches no directory\. Check the path\.',
            id="empty-pattern",
        ),
        pytest.param(
            ["evaluate/rl", "."],
            r"\. is no result: it lacks metrics\.json and predictions\.parquet\. Expected a directory that "
            r"sidrec evaluate or sidrec baselines wrote.* give evaluate/rl or evaluate/sft in it",
            id="run",
        ),
        pytest.param(
            ["evaluate/rl,evaluate/sft", "evaluate/rl"],
            r'"evaluate/rl,evaluate/sft" stands for several seeds .* differ in model: evaluate/rl has rl, '
            r"evaluate/sft has sft\. Name other models as results of their own",
            id="two-models",
        ),
        pytest.param(
            ["evaluate/rl,evaluate/rl", "evaluate/sft"],
            r"evaluate/rl and evaluate/rl both have seed 0, and the same seed twice",
            id="same-seed",
        ),
        pytest.param(
            ["evaluate/sft", "evaluate/rl", "--metrics", "hr@5,ndgc@5"],
            r'--metrics: "ndgc@5" is no metric\. Did you mean "ndcg@5"\? There are hr@k, ndcg@k and mrr@k, '
            r"here with k up to 5",
            id="unknown-metric",
        ),
        pytest.param(
            ["evaluate/sft", "evaluate/rl", "--metrics", "ndcg@50"],
            r"--metrics: ndcg@50 was asked for, but evaluate/sft lists 5 items\. Ask for k up to 5",
            id="too-deep",
        ),
        pytest.param(
            ["evaluate/sft", "evaluate/rl", "--names", "a,b,c"],
            r"--names gives 3 names for 2 results\. Give one for each",
            id="names",
        ),
        pytest.param(
            ["evaluate/sft", "evaluate/rl", "--names", "a,a"],
            r"--names a,a: expected names that differ",
            id="equal-names",
        ),
        pytest.param(
            ["evaluate/sft", "evaluate/rl", "--slices", "popularity"],
            r"--slices popularity needs .* but evaluate/sft has no users\.parquet\. Leave --slices out, or",
            id="slices",
        ),
        pytest.param(
            ["evaluate/sft", "evaluate/rl", "--samples", "39"],
            r"--samples 39 is too few: with 2 results no .* p below 0\.05\. Use 40 or more",
            id="samples",
        ),
        pytest.param(
            ["evaluate/sft", "evaluate/rl", "--seed", "-1"], r"--seed -1: expected 0 or more", id="seed"
        ),
        pytest.param(
            ["evaluate/sft", "evaluate/rl", "--json", "--markdown"],
            r"two forms of one answer",
            id="two-forms",
        ),
    ],
)
def test_an_argument_that_cannot_be_met_is_refused(
    arguments: list[str], message: str, run: Path, command: Command
) -> None:
    refused(command("compare", *arguments), message)


def test_results_of_other_splits_are_refused_with_both_hashes(run: Path, command: Command) -> None:
    edit(run / "evaluate/rl", split_sha256="a114" * 16)
    message = r"evaluate/sft and evaluate/rl are of different splits \(sha256 3f9c3f9c and a114a114\), so "
    refused(command("compare", "evaluate/sft", "evaluate/rl"), message)


def test_seeds_of_other_list_lengths_are_refused(run: Path, command: Command) -> None:
    write_result(run / "short", SFT, depth=3, facts={"seed": 1})
    message = r"differ in list length: evaluate/rl has 5, short has 3"
    refused(command("compare", "evaluate/rl,short", "evaluate/sft"), message)


def test_other_numbers_of_users_are_refused(run: Path, command: Command) -> None:
    write_result(run / "fewer", SFT[:3], users=USERS[:3])
    message = r"evaluate/rl has 6 users and fewer 3 of the same split\. Evaluate both on the same users"
    refused(command("compare", "evaluate/rl", "fewer"), message)


def test_users_of_another_catalogue_are_refused(run: Path, command: Command) -> None:
    write_result(run / "strangers", SFT, users=[f"x{number}" for number in range(6)])
    message = r"evaluate/rl has 6 users of split 3f9c3f9c, but the results together name 12"
    refused(command("compare", "evaluate/rl", "strangers"), message)


@pytest.mark.parametrize("fact", ["model", "seed", "split_sha256", "users", "item_level", "depth"])
def test_a_metrics_json_of_something_else_is_refused(fact: str, run: Path, command: Command) -> None:
    edit(run / "evaluate/rl", **{fact: None})
    message = rf"evaluate/rl is no result: its metrics\.json does not say {fact}\. Expected one that sidrec"
    refused(command("compare", "evaluate/sft", "evaluate/rl"), message)


def test_a_metric_without_a_value_is_refused(run: Path, command: Command) -> None:
    edit(run / "evaluate/rl", item_level={"hr@5": 0.5})
    refused(
        command("compare", "evaluate/sft", "evaluate/rl"), r"metrics\.json gives no value of hr@5\. Rerun"
    )


def test_a_result_of_no_user_is_refused(run: Path, command: Command) -> None:
    edit(run / "evaluate/rl", users=0)
    refused(command("compare", "evaluate/sft", "evaluate/rl"), r"evaluate/rl is the result of no user")


def test_results_without_a_common_metric_have_no_all(run: Path, command: Command) -> None:
    edit(run / "evaluate/rl", item_level={})
    message = r"--metrics all: the results report no metric in common\. Name some"
    refused(command("compare", "evaluate/sft", "evaluate/rl", "--metrics", "all"), message)


def change(path: Path, **columns: Any) -> None:
    pd.read_parquet(path).assign(**columns).to_parquet(path, index=False)


@pytest.mark.parametrize("name", ["predictions.parquet", "users.parquet"])
def test_hits_that_contradict_the_metrics_are_refused(name: str, run: Path, command: Command) -> None:
    path = write_result(run / "full/rl", RL, slices={}) / name
    if name == "users.parquet":
        change(path, rank=[1, 1, 0, 0, 1, 4])  # u6 stood at 3
    else:
        (path.parent / "users.parquet").unlink()
        change(path, is_target=False)
    message = (
        rf"full/rl/{name} has changed since it was written: it gives \w+@\d 0\.\d{{6}}, "
        r"metrics\.json 0\.\d{6}\. Rerun its stage"
    )
    refused(command("compare", "evaluate/sft", "full/rl"), message)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"rank": [1, 1, 0, 0, 1, 6]}, r"its ranks are 0 to 6, the lists have 5 items"),
        ({"user_id": ["u1", "u1", "u3", "u4", "u5", "u6"]}, r'has user "u1" more than once'),
        (
            {"user_id": ["u1", None, "u3", "u4", "u5", "u6"]},
            r"column user_id holds other values than expected",
        ),
        ({"rank": [1.5] * 6}, r"column rank holds other values than expected"),
    ],
)
def test_a_users_parquet_that_makes_no_sense_is_refused(
    columns: dict[str, list[Any]], message: str, run: Path, command: Command
) -> None:
    change(write_result(run / "full/rl", RL, slices={}) / "users.parquet", **columns)
    refused(command("compare", "evaluate/sft", "full/rl"), rf"full/rl/users\.parquet:? .*{message}")


def test_a_users_parquet_that_lacks_users_is_refused(run: Path, command: Command) -> None:
    path = write_result(run / "full/rl", RL, slices={}) / "users.parquet"
    pd.read_parquet(path).iloc[:-1].to_parquet(path, index=False)
    message = r"users\.parquet has changed since it was written: it has 5 users, metrics\.json 6"
    refused(command("compare", "evaluate/sft", "full/rl"), message)


def test_broken_predictions_are_refused(run: Path, command: Command) -> None:
    path = run / "evaluate/rl/predictions.parquet"
    pd.read_parquet(path).drop(columns="is_target").to_parquet(path, index=False)
    message = r"predictions\.parquet has no column is_target, expected user_id, rank, is_target\. Rerun"
    refused(command("compare", "evaluate/sft", "evaluate/rl"), message)
    path.write_bytes(b"PAR1")
    message = r"predictions\.parquet is not a readable Parquet file \(.*\)\. Rerun its stage"
    refused(command("compare", "evaluate/sft", "evaluate/rl"), message)


def test_unknown_kinds_of_slices_are_refused(run: Path, command: Command) -> None:
    for name, ranks in (("sft", SFT), ("rl", RL)):
        write_result(run / "full" / name, ranks, slices={"popularity": POPULARITY})
    message = r'full/sft has no slices by "popularty"\. Did you mean "popularity"\? It has: popularity\.'
    refused(command("compare", "full/sft", "full/rl", "--slices", "popularty"), message)


def test_slices_that_differ_between_results_are_refused(run: Path, command: Command) -> None:
    write_result(run / "full/sft", SFT, slices={"collision": ("own",) * 6})
    write_result(run / "full/rl", RL, slices={"collision": ("own",) * 4 + ("2",) * 2})
    message = r"--slices collision: full/sft and full/rl put 2 users into different slices"
    refused(command("compare", "full/sft", "full/rl", "--slices", "collision"), message)
