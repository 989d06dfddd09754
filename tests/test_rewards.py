"""Rewards and advantages against hand-computed groups."""

from __future__ import annotations

import math

import pytest
import torch

from sidrec.errors import ConfigError
from sidrec.rewards import (
    REWARDS,
    Rollouts,
    combine_rewards,
    dead_groups,
    group_advantages,
    group_hit_at_1,
    group_ndcg,
    ranking_reward,
    rule_reward,
)

# three groups of three: target second, target absent, target first
ROLLOUTS = Rollouts(items=torch.tensor([[7, 4, 9], [1, 2, 3], [5, 0, 8]]), targets=torch.tensor([4, 4, 5]))

# weights 1/log2(2) = 1, 1/log2(3) = .63093, 1/log2(4) = .5; sum 2.13093
W0, W1, W2 = 1 / 2.13093, 0.63093 / 2.13093, 0.5 / 2.13093


def test_hits_are_where_item_and_target_agree() -> None:
    assert ROLLOUTS.hits.tolist() == [[False, True, False], [False, False, False], [True, False, False]]


def test_two_users_with_the_same_history_keep_their_own_targets() -> None:
    same = Rollouts(items=torch.tensor([[3, 6], [3, 6]]), targets=torch.tensor([6, 3]))
    assert rule_reward(same).tolist() == [[0, 1], [1, 0]]
    assert ranking_reward(same)[0].tolist() != ranking_reward(same)[1].tolist()


def test_rule_reward_is_one_for_the_target() -> None:
    reward = rule_reward(ROLLOUTS)
    assert reward.dtype == torch.float32
    assert reward.tolist() == [[0, 1, 0], [0, 0, 0], [1, 0, 0]]


def test_ranking_reward_punishes_high_wrong_items_most() -> None:
    reward = ranking_reward(ROLLOUTS)
    assert reward.dtype == torch.float32
    assert reward[0].tolist() == pytest.approx([-W0, 0, -W2], abs=1e-5)
    assert reward[2].tolist() == pytest.approx([0, -W1, -W2], abs=1e-5)


def test_ranking_reward_is_zero_in_a_group_without_the_target() -> None:
    assert ranking_reward(ROLLOUTS)[1].tolist() == [0, 0, 0]


def test_ranking_reward_refuses_a_single_rollout() -> None:
    with pytest.raises(ConfigError, match=r"got rl\.num_generations=1\. Set it to 2 or more, or use"):
        ranking_reward(Rollouts(torch.tensor([[1]]), torch.tensor([1])))


def test_rewards_are_summed_by_weight_and_parts_stay_unweighted() -> None:
    rewards = combine_rewards(ROLLOUTS, {"rule": 1.0, "ranking": 2.0})
    # group 0: [0, 1, 0] + 2 * [-W0, 0, -W2]
    assert rewards.total[0].tolist() == pytest.approx([-2 * W0, 1, -2 * W2], abs=1e-5)
    assert list(rewards.parts) == ["rule", "ranking"]
    assert torch.equal(rewards.parts["ranking"], ranking_reward(ROLLOUTS))
    assert rewards.total.shape == (3, 3)
    assert rewards.total.dtype == torch.float32


def test_one_reward_alone_is_the_total() -> None:
    assert torch.equal(combine_rewards(ROLLOUTS, {"rule": 1.0}).total, rule_reward(ROLLOUTS))


def test_unknown_rewards_are_named_with_the_known_ones() -> None:
    with pytest.raises(
        ConfigError, match=r'unknown reward "rankin"\. Did you mean "ranking"\? Known rewards: rule, ranking'
    ):
        combine_rewards(ROLLOUTS, {"rankin": 1.0})
    with pytest.raises(ConfigError, match=r"names no reward\. Give at least one of: rule, ranking"):
        combine_rewards(ROLLOUTS, {})
    with pytest.raises(ConfigError, match=r"rl\.rewards\.rule must be a finite number, got nan"):
        combine_rewards(ROLLOUTS, {"rule": math.nan})


def test_every_known_reward_gives_a_group_of_floats() -> None:
    for reward in REWARDS.values():
        assert reward(ROLLOUTS).shape == (3, 3)
        assert reward(ROLLOUTS).dtype == torch.float32


def test_advantages_use_the_sample_standard_deviation() -> None:
    # rewards 0 1 0 0: mean .25; squares .0625 * 3 + .5625 = .75; sample variance .75 / 3 = .25, std .5
    advantages = group_advantages(torch.tensor([[0.0, 1.0, 0.0, 0.0]]))
    assert advantages[0].tolist() == pytest.approx(
        [-0.25 / 0.5001, 0.75 / 0.5001, -0.25 / 0.5001, -0.25 / 0.5001]
    )


def test_advantages_are_those_of_trl() -> None:
    from trl.trainer.utils import nanstd

    rewards = torch.rand(5, 8, generator=torch.Generator().manual_seed(0))
    flat = rewards.flatten()  # as GRPOTrainer holds them
    mean = torch.nanmean(flat.view(-1, 8), dim=1).repeat_interleave(8)
    std = nanstd(flat.view(-1, 8), dim=1).repeat_interleave(8)
    assert torch.allclose(group_advantages(rewards), ((flat - mean) / (std + 1e-4)).view(5, 8), atol=1e-6)


def test_each_group_has_its_own_mean_and_deviation() -> None:
    rewards = torch.tensor([[0.0, 1.0], [10.0, 11.0]])
    advantages = group_advantages(rewards)
    # both: centred -.5 and .5, sample std sqrt(.5) = .70711
    assert advantages.flatten().tolist() == pytest.approx([-0.5 / 0.70721, 0.5 / 0.70721] * 2, abs=1e-5)


def test_eps_bounds_the_advantages_of_nearly_equal_rewards() -> None:
    rewards = torch.tensor([[0.0, 0.002]])  # centred .001, sample std .0014142
    assert group_advantages(rewards, eps=1.0)[0, 1].item() == pytest.approx(0.001 / 1.0014142, rel=1e-4)


def test_a_dead_group_has_advantage_exactly_zero() -> None:
    rewards = torch.full((1, 3), 0.1)  # the float32 mean of three times .1 need not be .1
    assert group_advantages(rewards).tolist() == [[0, 0, 0]]


def test_dead_groups_are_those_without_a_difference() -> None:
    rewards = torch.tensor([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [0.0, 0.0, 1.0]])
    assert dead_groups(rewards).tolist() == [True, True, False]


def test_a_group_without_the_target_is_dead_under_both_rewards() -> None:
    total = combine_rewards(ROLLOUTS, {"rule": 1.0, "ranking": 1.0}).total
    assert dead_groups(total).tolist() == [False, True, False]


def test_advantages_refuse_single_rollouts_and_nan() -> None:
    with pytest.raises(ConfigError, match=r"got rl\.num_generations=1\. Set it to 2 or more"):
        group_advantages(torch.zeros(2, 1))
    with pytest.raises(ValueError, match="finite rewards"):
        group_advantages(torch.tensor([[0.0, math.nan]]))


def test_group_ndcg_discounts_the_place_of_the_target() -> None:
    # place 2: 1/log2(3) = .63093; absent: 0; place 1: 1
    assert group_ndcg(ROLLOUTS).tolist() == pytest.approx([0.63093, 0, 1], abs=1e-5)


def test_group_hit_at_1_looks_at_the_best_beam_only() -> None:
    assert group_hit_at_1(ROLLOUTS).tolist() == [0, 0, 1]


def test_no_groups_give_no_rewards() -> None:
    none = Rollouts(torch.empty((0, 4), dtype=torch.int64), torch.empty(0, dtype=torch.int64))
    assert combine_rewards(none, {"rule": 1.0, "ranking": 1.0}).total.shape == (0, 4)
    assert group_ndcg(none).shape == (0,)


@pytest.mark.parametrize(
    ("items", "targets", "message"),
    [
        (
            torch.zeros(2, 3, dtype=torch.int64),
            torch.zeros(3, dtype=torch.int64),
            r"got shapes \(2, 3\) and \(3,\)",
        ),
        (
            torch.zeros(3, dtype=torch.int64),
            torch.zeros(3, dtype=torch.int64),
            r"got shapes \(3,\) and \(3,\)",
        ),
        (torch.zeros(2, 0, dtype=torch.int64), torch.zeros(2, dtype=torch.int64), r"got shapes \(2, 0\)"),
        (torch.zeros(2, 3), torch.zeros(2, dtype=torch.int64), "int64 items, got torch.float32"),
        (torch.tensor([[0, -1]]), torch.tensor([0]), "items that are item indices of at least 0, got -1"),
        (torch.tensor([[0, 1]]), torch.tensor([-1]), "targets that are item indices of at least 0, got -1"),
    ],
)
def test_rollouts_without_item_indices_are_refused(
    items: torch.Tensor, targets: torch.Tensor, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Rollouts(items, targets)
