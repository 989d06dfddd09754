"""Rewards that know something of the items, and the table of rewards in the cases that others get wrong."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import pytest
import torch
from models import random_codes, small_model, text_tokenizer

from sidrec.errors import ConfigError
from sidrec.prompts import PromptSettings
from sidrec.rewards import (
    REWARDS,
    RewardParts,
    Rollouts,
    check_rewards,
    collaborative_reward,
    combine_rewards,
    group_advantages,
    group_ndcg,
    ndcg_reward,
    prefix_reward,
    ranked_mean,
    ranking_reward,
    rule_reward,
    semantic_reward,
)
from sidrec.sid_model import SIDModel
from sidrec.trainers.rl.drawing import Drawing
from sidrec.vocabulary import SIDVocabulary
from tokenizer.semantic_ids import SemanticIDs

SIZES = (5, 6, 4)
# Items 2 and 3 share a SID; 4 has the codes of 1 but for the first.
CODES = torch.tensor([[0, 1, 2], [0, 1, 3], [0, 2, 3], [0, 2, 3], [1, 1, 3]])
VECTORS = torch.tensor([[3.0, 4.0], [4.0, 3.0], [-6.0, -8.0], [0.0, 0.0], [-4.0, 3.0]])


def rollouts(
    items: list[list[int]], targets: list[int], histories: list[list[int]] | None = None
) -> Rollouts:
    return Rollouts(torch.tensor(items), torch.tensor(targets), histories=histories)


def by_newest(histories: Sequence[np.ndarray]) -> np.ndarray:
    """Scores of five items that depend on the newest item of a history alone."""
    table = np.array([[1, 2, 3, 4, 5], [-2, 0, 6, 2, 1]], dtype=np.float32)
    return table[[history[-1] for history in histories]]


def test_the_ndcg_reward_is_the_gain_at_the_place_of_the_target() -> None:
    drawn = rollouts([[7, 4, 9], [1, 2, 3], [5, 0, 8]], [4, 4, 5])
    found = ndcg_reward(drawn)
    # second place: 1 / log2(3) = .63093
    assert found[0].tolist() == pytest.approx([0, 0.63093, 0], abs=1e-5)
    assert found[1:].tolist() == [[0, 0, 0], [1, 0, 0]]
    torch.testing.assert_close(found.sum(1), group_ndcg(drawn))


def test_the_ndcg_reward_alone_has_the_advantages_of_the_rule_but_not_beside_another() -> None:
    drawn = rollouts([[7, 4, 9, 6], [1, 2, 3, 4]], [4, 4])
    alone = [group_advantages(reward(drawn)) for reward in (ndcg_reward, rule_reward)]
    torch.testing.assert_close(alone[0], alone[1], atol=1e-3, rtol=0)
    beside = [
        group_advantages(reward(drawn) + ranking_reward(drawn)) for reward in (ndcg_reward, rule_reward)
    ]
    assert (beside[0] - beside[1]).abs().max() > 0.05


def test_the_prefix_reward_is_the_share_of_leading_codes_that_agree() -> None:
    # The target 1 is (0, 1, 3). Item 0 agrees in two codes, 2 in one; 4 in the last two only.
    found = prefix_reward(rollouts([[1, 0, 2, 4]], [1]), CODES)
    assert found.dtype == torch.float32
    assert found[0].tolist() == pytest.approx([1, 2 / 3, 1 / 3, 0])


def test_a_code_that_agrees_after_one_that_does_not_counts_nothing() -> None:
    # (0, 2, 3) against (0, 1, 3): the third codes are equal, the second are not.
    assert prefix_reward(rollouts([[2]], [1]), CODES).item() == pytest.approx(1 / 3)


def test_the_semantic_reward_is_the_cosine_of_rollout_and_target() -> None:
    # target (3, 4): itself 1; (4, 3): 24/25; (-6, -8): -1; (-4, 3): 0
    found = semantic_reward(rollouts([[0, 1, 2, 4]], [0]), VECTORS)
    assert found.dtype == torch.float32
    assert found[0].tolist() == pytest.approx([1, 0.96, -1, 0], abs=1e-6)
    assert found.abs().max() <= 1


def test_an_item_without_a_direction_is_like_nothing() -> None:
    assert semantic_reward(rollouts([[0, 3]], [3]), VECTORS).tolist() == [[0, 0]]


def test_the_collaborative_reward_is_the_place_between_the_lowest_and_the_highest_score() -> None:
    # after item 1 the scores are -2 0 6 2 1: (0 + 2) / 8, (6 + 2) / 8, (-2 + 2) / 8, (2 + 2) / 8
    drawn = rollouts([[1, 2, 0, 3]], [4], [[0, 0, 1]])
    found = collaborative_reward(drawn, by_newest)
    assert found.dtype == torch.float32
    assert found[0].tolist() == pytest.approx([0.25, 1, 0, 0.5])


def test_an_item_is_worth_the_same_whatever_was_drawn_beside_it() -> None:
    one = collaborative_reward(rollouts([[1, 2]], [4], [[1]]), by_newest)
    other = collaborative_reward(rollouts([[1, 0]], [4], [[1]]), by_newest)
    assert one[0, 0] == other[0, 0] == 0.25


def test_the_collaborative_reward_alone_has_the_advantages_of_the_raw_scores() -> None:
    drawn = rollouts([[1, 2, 0, 3]], [4], [[1]])
    raw = torch.tensor([[0.0, 6.0, -2.0, 2.0]])
    torch.testing.assert_close(
        group_advantages(collaborative_reward(drawn, by_newest)), group_advantages(raw), atol=1e-3, rtol=0
    )


def test_a_prompt_that_tells_of_no_history_has_no_collaborative_reward() -> None:
    drawn = rollouts([[1, 2], [1, 2], [1, 2]], [2, 2, 2], [[1], [], [0]])
    # after item 0 the scores are 1 .. 5
    assert collaborative_reward(drawn, by_newest).tolist() == [[0.25, 1], [0, 0], [0.25, 0.5]]
    none = rollouts([[1, 2]], [2], [[]])
    assert collaborative_reward(none, by_newest).tolist() == [[0, 0]]


def test_items_that_all_score_alike_have_no_collaborative_reward() -> None:
    drawn = rollouts([[1, 2]], [2], [[1]])
    assert collaborative_reward(drawn, lambda histories: np.ones((1, 5))).tolist() == [[0, 0]]


def test_the_collaborative_reward_needs_histories() -> None:
    with pytest.raises(ValueError, match="scores items after a history, but the rollouts carry none"):
        collaborative_reward(rollouts([[1]], [1]), by_newest)
    with pytest.raises(ValueError, match="a history for each of 2 groups, got 1"):
        rollouts([[1], [2]], [1, 2], [[0]])


def test_a_reward_of_weight_0_is_computed_and_changes_nothing() -> None:
    drawn = rollouts([[0, 1, 2]], [1])
    found = combine_rewards(drawn, {"rule": 1, "ndcg": 0})
    assert torch.equal(found.total, rule_reward(drawn))
    assert torch.equal(found.parts["ndcg"], ndcg_reward(drawn))
    assert found.shares() == {"rule": 1}


def test_weights_that_are_all_0_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"rl\.rewards: all weights are 0, so that no rollout is better"):
        check_rewards({"rule": 0, "my:own": 0.0})


def test_rewards_of_a_run_are_known_by_name() -> None:
    check_rewards({"prefix": 1, "semantic": 0.5, "collaborative": 0.1, "ndcg": 1, "my:own": 2})
    with pytest.raises(ConfigError, match=r'unknown reward "semantics"\. Did you mean "semantic"\? .*own as'):
        check_rewards({"semantics": 1})


def test_shares_are_of_the_weighted_deviations_within_live_groups() -> None:
    parts = {
        "one": torch.tensor([[0.0, 1.0], [3.0, 3.0]]),  # deviation .7071, and none in a dead group
        "two": torch.tensor([[0.0, -2.0], [5.0, 5.0]]),  # 1.4142
    }
    # 3 * .7071 against 0.5 * 1.4142: 3 to 1
    found = RewardParts(3 * parts["one"] + 0.5 * parts["two"], parts, {"one": 3.0, "two": 0.5}).shares()
    assert found == {"one": pytest.approx(0.75), "two": pytest.approx(0.25)}
    dead = torch.ones(1, 2)
    assert RewardParts(dead, {"one": dead}, {"one": 1.0}).shares() == {}


def test_rules_default_beside_ranking_does_not_dominate_at_any_usual_group() -> None:
    for num_generations in (4, 8, 16, 32):
        drawn = rollouts([list(range(num_generations))], [num_generations // 2])
        shares = combine_rewards(drawn, {"rule": 1.0, "ranking": 1.0}).shares()
        assert 0.5 < shares["rule"] < 0.95


def test_the_ranked_mean_rises_when_what_is_rewarded_goes_up() -> None:
    # weights 1, .63093 and .5 of 2.13093
    found = ranked_mean(torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [2.0, 2.0, 2.0]]))
    assert found.tolist() == pytest.approx([0.63093 / 2.13093, 1 / 2.13093, 2], abs=1e-5)


# The cases of the table.

FUNCTIONS = dict(REWARDS) | {
    "prefix": partial(prefix_reward, codes=CODES),
    "semantic": partial(semantic_reward, vectors=VECTORS),
    "collaborative": partial(collaborative_reward, score_all=by_newest),
}
ALL = dict.fromkeys(FUNCTIONS, 1.0)


def test_users_with_equal_histories_are_rewarded_for_their_own_targets() -> None:
    found = combine_rewards(rollouts([[0, 4], [0, 4]], [0, 4], [[1], [1]]), ALL, FUNCTIONS).parts
    for name in ("rule", "ndcg", "prefix", "semantic"):
        assert found[name].argmax(1).tolist() == [0, 1], name
    assert found["collaborative"][0].tolist() == found["collaborative"][1].tolist()  # reads no target


def test_a_prompt_repeated_in_a_batch_is_rewarded_each_time() -> None:
    once = combine_rewards(rollouts([[0, 4, 1]], [4], [[1]]), ALL, FUNCTIONS)
    thrice = combine_rewards(rollouts([[0, 4, 1]] * 3, [4] * 3, [[1]] * 3), ALL, FUNCTIONS)
    assert torch.equal(thrice.total, once.total.repeat(3, 1))


def test_of_items_that_share_a_sid_only_the_target_is_a_hit() -> None:
    found = combine_rewards(rollouts([[2, 3]], [3], [[1]]), ALL, FUNCTIONS).parts
    assert found["rule"].tolist() == [[0, 1]]
    assert found["ranking"][0, 0] < found["ranking"][0, 1] == 0
    assert found["prefix"].tolist() == [[1, 1]]  # it sees codes


def make_sid_model(codes: np.ndarray) -> SIDModel:
    words = text_tokenizer()
    SIDVocabulary.add_to(words, SIZES)
    settings = PromptSettings(template="compact", max_history=4, max_title_tokens=4, normalization="catalog")
    ids = SemanticIDs([f"i{n}" for n in range(len(codes))], codes, SIZES)
    return SIDModel.assemble(small_model(vocab_size=len(words)), words, ids, settings)


def test_both_items_of_a_sid_are_drawn_and_one_of_them_is_rewarded() -> None:
    codes = random_codes(num_items=8)
    codes[5] = codes[2]
    sid_model = make_sid_model(codes)
    row = {"prompt_ids": sid_model.prompts.next_item([0, 1]), "history": [0, 1], "target": 5, "row": 0}
    drawn = Drawing(sid_model, 8).draw([row], 0)
    assert sorted(drawn.items[0].tolist()) == list(range(8))
    assert rule_reward(drawn)[0][drawn.items[0] == 5].tolist() == [1]
    assert rule_reward(drawn).sum() == 1


def test_a_target_that_the_user_has_had_before_is_drawn_and_rewarded() -> None:
    sid_model = make_sid_model(random_codes(num_items=8))
    row = {"prompt_ids": sid_model.prompts.next_item([3, 1]), "history": [3, 1], "target": 3, "row": 0}
    drawn = Drawing(sid_model, 8).draw([row], 0)
    assert rule_reward(drawn)[0][drawn.items[0] == 3].tolist() == [1]
    assert drawn.histories == [[3, 1]]


def test_title_prompts_and_prompts_with_a_history_are_rewarded_in_one_batch() -> None:
    sid_model = make_sid_model(random_codes(num_items=5))
    title = {
        "prompt_ids": sid_model.text_tokenizer.encode("The red lamp"),
        "history": [],
        "target": 2,
        "row": 0,
    }
    told = {"prompt_ids": sid_model.prompts.next_item([1]), "history": [1], "target": 4, "row": 1}
    drawn = Drawing(sid_model, 5).draw([title, told, {**title, "history": None}], 0)
    found = combine_rewards(drawn, ALL, FUNCTIONS).parts
    assert found["rule"].sum(1).tolist() == [1, 1, 1]
    assert found["rule"].argmax(1).tolist() == [
        drawn.items[row].tolist().index(target) for row, target in enumerate([2, 4, 2])
    ]
    assert found["collaborative"][[0, 2]].abs().sum() == 0
    assert found["collaborative"][1].max() == 1  # all five items were drawn
