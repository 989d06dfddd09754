"""What a log says of rewards: hacking, and one reward that alone decides."""

import logging
import math

import pytest
from transformers import TrainerControl, TrainerState, TrainingArguments

from sidrec.rewards.watch import describe_dominance, describe_hacking, find_hacking, mean_shares, trend
from sidrec.trainers.rl.reward_watch import RewardWatch


def log(valid: list[float], **rewards: list[float]) -> list[dict[str, float]]:
    """Lines with rewards, and evaluations spread among them; the first before the first line."""
    lines = len(next(iter(rewards.values())))
    entries: list[dict[str, float]] = [{"step": 0, "eval_ndcg@10": valid[0]}]
    for line in range(lines):
        named = {f"ranked_reward/{name}": rewards[name][line] for name in rewards}
        entries.append({"step": line + 1, **named, "ranked_reward": rewards["total"][line]})
        place = (line + 1) * (len(valid) - 1) / lines
        if place == int(place):
            entries.append({"step": line + 1, "eval_ndcg@10": valid[int(place)]})
    return entries


UP, DOWN = [0.1, 0.12, 0.2, 0.25, 0.3, 0.32], [0.3, 0.29, 0.2, 0.2, 0.1, 0.12]
FLAT = [0.1, 0.12, 0.1, 0.12, 0.1, 0.12]


def test_a_reward_that_rises_while_the_ranking_falls_is_hacked() -> None:
    found = find_hacking(
        log([0.08, 0.07, 0.06], total=UP, semantic=UP, rule=FLAT), {"semantic": 1, "rule": 1}
    )
    # thirds of two lines: (.1 + .12) / 2 and (.3 + .32) / 2
    ends = [pytest.approx(0.11), pytest.approx(0.31)]
    assert found == {"found": True, "valid_ndcg@10": [0.08, 0.06], "rose": {"total": ends, "semantic": ends}}
    assert describe_hacking(found) == (
        "rewards rose (total +0.1100 to +0.3100, semantic +0.1100 to +0.3100) while valid NDCG@10 fell "
        "(0.0800 to 0.0600): they pay for something else than the ranking. Lower their weight in "
        "rl.rewards, raise rl.beta, or take fewer steps."
    )


@pytest.mark.parametrize("valid", [[0.08, 0.09], [0.08, 0.08], [0.08, 0.05, 0.08], [0.08, 0.0761]])
def test_a_reward_that_rises_with_the_ranking_or_a_fall_within_luck_is_not(valid: list[float]) -> None:
    found = find_hacking(log(valid, total=UP, rule=UP), {"rule": 1})
    assert not found["found"]
    assert list(found["rose"]) == ["total", "rule"]
    assert describe_hacking(found) == ""


def test_a_reward_within_its_scatter_has_not_risen() -> None:
    assert find_hacking(log([0.08, 0.04], total=FLAT), {})["rose"] == {}
    noisy = [0.065, 0.135, 0.1, 0.1, 0.13, 0.19]
    assert find_hacking(log([0.08, 0.04], total=noisy), {})["rose"] == {}


def test_a_trend_counts_pairs_in_order_against_those_that_are_not() -> None:
    # 6 values, all 15 pairs in order: (15 - 1) / sqrt(6 * 5 * 17 / 18)
    assert trend([1, 2, 3, 4, 5, 6]) == pytest.approx(14 / math.sqrt(510 / 18))
    assert trend([6, 5, 4, 3, 2, 1]) == pytest.approx(-14 / math.sqrt(510 / 18))
    # 2 low, then 4 alike: 8 pairs up, the others ties: (8 - 1) / sqrt((510 - 2 * 1 * 9 - 4 * 3 * 13) / 18)
    assert trend([1, 1, 2, 2, 2, 2]) == pytest.approx(7 / math.sqrt(336 / 18))
    assert trend([3, 3, 3]) == trend([3]) == trend([]) == 0
    assert trend([1, 2, 3, 4]) < 2 < trend([1, 2, 3, 4, 5])


def test_a_reward_that_jumps_at_once_and_stays_has_risen() -> None:
    jump = [0.0453, 0.0457] + [0.1638] * 10
    assert list(find_hacking(log([0.23, 0.18], total=jump), {})["rose"]) == ["total"]


def test_a_part_may_be_hacked_where_the_total_stands_still_but_not_where_it_falls() -> None:
    weights = {"semantic": 1.0, "rule": 1.0}
    still = find_hacking(log([0.08, 0.04], total=FLAT, semantic=UP, rule=DOWN), weights)
    assert (still["found"], list(still["rose"])) == (True, ["semantic"])
    failed = find_hacking(log([0.08, 0.04], total=DOWN, semantic=UP, rule=DOWN), weights)
    assert (failed["found"], list(failed["rose"])) == (False, ["semantic"])


def test_a_part_counts_times_its_weight() -> None:
    entries = log([0.08, 0.04], total=UP, long=DOWN, seen=UP)
    found = find_hacking(entries, {"long": -2.0, "seen": 0.0})  # -2 * .295 and -2 * .11
    assert found["rose"]["long"] == [pytest.approx(-0.59), pytest.approx(-0.22)]
    assert "seen" not in found["rose"]


def test_a_log_too_short_to_judge_finds_nothing() -> None:
    assert find_hacking([], {"rule": 1}) == {"found": False, "valid_ndcg@10": None, "rose": {}}
    short = log([0.08, 0.04], total=UP[:4], rule=UP[:4])
    assert find_hacking(short, {"rule": 1})["rose"] == {}


def test_shares_are_averaged_over_the_lines_that_have_them() -> None:
    lines = [{"reward_share/a": 0.5, "reward_share/b": 0.5}, {"reward": 1.0}, {"reward_share/a": 1.0}]
    assert mean_shares(lines) == {"a": 0.75, "b": 0.5}


def test_a_reward_that_alone_decides_is_named_with_advice() -> None:
    # 98 to 2 parts: equal if it is divided by 49
    assert describe_dominance({"semantic": 0.98, "rule": 0.02}) == (
        "the reward semantic makes 98.0% of the differences within groups: the others change next to "
        "nothing. To give each a say, divide its weight by about 49, or raise theirs in rl.rewards."
    )
    told = describe_dominance({"semantic": 1.0, "rule": 0.0})
    assert "To give each a say, raise theirs in rl.rewards." in told


@pytest.mark.parametrize("shares", [{}, {"rule": 1.0}, {"rule": 0.95, "ranking": 0.05}])
def test_one_reward_alone_or_one_among_others_does_not_dominate(shares: dict[str, float]) -> None:
    assert describe_dominance(shares) == ""


def test_evaluations_warn_of_hacking_and_the_first_one_of_dominance(
    caplog: pytest.LogCaptureFixture,
) -> None:
    watch, arguments, control = RewardWatch({"rule": 1.0}, 0.08), TrainingArguments(), TrainerControl()
    state = TrainerState()
    watch.on_train_begin(arguments, state, control)
    assert state.log_history == [{"step": 0, "epoch": 0.0, "eval_ndcg@10": 0.08}]
    shares = {"reward_share/rule": 0.99, "reward_share/prefix": 0.01}
    told = []
    for line, value in enumerate([0.08, 0.04]):
        for step in range(3 * line, 3 * line + 3):
            state.log_history.append(
                {"step": step + 1, "ranked_reward": UP[step], "ranked_reward/rule": UP[step], **shares}
            )
        state.log_history.append({"step": 3 * line + 3, "eval_ndcg@10": value})
        caplog.clear()
        with caplog.at_level(logging.WARNING, logger="sidrec"):
            watch.on_evaluate(arguments, state, control)
        told.append([record.getMessage() for record in caplog.records])
    (dominates,), (hacked,) = told
    assert dominates.startswith("rl: the reward rule makes 99.0% of the differences")
    assert hacked.startswith("rl: rewards rose (total +0.1100 to +0.3100, rule ")


def test_a_training_that_goes_on_has_its_start_in_the_checkpoint() -> None:
    state = TrainerState(global_step=4)
    RewardWatch({"rule": 1.0}, 0.08).on_train_begin(TrainingArguments(), state, TrainerControl())
    assert state.log_history == []
