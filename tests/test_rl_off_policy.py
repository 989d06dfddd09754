"""Importance weights and weighted advantages, by hand and against the gradient they stand for."""

import re

import pytest
import torch

from sidrec.config import load_config
from sidrec.errors import ConfigError
from sidrec.objectives import Objective
from sidrec.rewards import Rollouts, group_advantages, importance_weights, weighted_advantages


def test_weights_by_hand():
    # p/q = .5/1, .2/.5, .1/.2 = .5, .4, .5; sum 1.4
    p, q = torch.tensor([[0.5, 0.2, 0.1]]), torch.tensor([[1.0, 0.5, 0.2]])
    weights = importance_weights(p.log(), q.log())
    torch.testing.assert_close(weights, torch.tensor([[0.5, 0.4, 0.5]]) / 1.4)


def test_a_rollout_that_is_to_have_no_weight_has_none():
    weights = importance_weights(torch.tensor([[-1.0, -1.0, -1.0]]), torch.tensor([[0.0, 0.0, torch.inf]]))
    assert weights.tolist() == [[0.5, 0.5, 0]]


def test_weighted_advantages_by_hand():
    # mean .5 * 1 + .3 * 0 + .2 * -1 = .3; deviations .7, -.3, -1.3
    # variance (.5 * .49 + .3 * .09 + .2 * 1.69) / (1 - .25 - .09 - .04) = .61 / .62
    # advantages 3 * w * deviation / (std + 1e-4): 1.05, -.27, -.78 over .992002
    rewards, weights = torch.tensor([[1.0, 0.0, -1.0]]), torch.tensor([[0.5, 0.3, 0.2]])
    expected = torch.tensor([[1.05, -0.27, -0.78]]) / ((0.61 / 0.62) ** 0.5 + 1e-4)
    torch.testing.assert_close(weighted_advantages(rewards, weights), expected)


@pytest.mark.parametrize("scaling", ["group", "none"])
def test_equal_weights_are_the_plain_advantages(scaling):
    rewards = torch.randn(5, 8, generator=torch.Generator().manual_seed(0))
    equal = weighted_advantages(rewards, torch.full((5, 8), 1 / 8), scaling)
    torch.testing.assert_close(equal, group_advantages(rewards, scaling))


def test_weights_are_not_of_the_whole_batch():
    with pytest.raises(ValueError, match="what they are in the whole batch is not defined"):
        weighted_advantages(torch.eye(2), torch.full((2, 2), 0.5), "batch")


def test_the_objective_weighs_what_it_is_given_weights_for():
    rewards, weights = torch.tensor([[1.0, 0.0, -1.0]]), torch.tensor([[0.5, 0.3, 0.2]])
    assert torch.equal(Objective().advantages(rewards), group_advantages(rewards))
    assert torch.equal(Objective().advantages(rewards, weights), weighted_advantages(rewards, weights))


def test_groups_without_signal_have_none():
    weights = torch.tensor([[0.7, 0.2, 0.1], [1.0, 0.0, 0.0]])
    advantages = weighted_advantages(torch.tensor([[0.3, 0.3, 0.3], [1.0, 0.0, 0.0]]), weights)
    assert advantages[0].tolist() == [0, 0, 0]
    # One rollout has all the weight: it is the mean, so nothing is better or worse than it.
    assert advantages[1].tolist() == pytest.approx([0, 0, 0], abs=1e-6)


def test_weighted_beams_are_the_gradient_of_the_expected_reward_among_them():
    """Of sum_i p_i r_i / sum_i p_i over the beams, but for the division by the spread of the rewards."""
    logits = torch.randn(1, 12, generator=torch.Generator().manual_seed(0), requires_grad=True)
    rewards = torch.tensor([[1.0, 0.0, -0.5, 0.25]])
    log_probs = logits.log_softmax(1)[:, :4]
    weights = importance_weights(log_probs.detach(), torch.zeros(1, 4))
    ours = (weighted_advantages(rewards, weights) * log_probs).mean()
    ignored = (group_advantages(rewards) * log_probs).mean()
    expected = (log_probs.exp() * rewards).sum() / log_probs.exp().sum()
    (truth,), (found,), (other,) = (
        torch.autograd.grad(value, logits, retain_graph=True) for value in (expected, ours, ignored)
    )
    cosine = torch.nn.functional.cosine_similarity
    assert cosine(found, truth).item() == pytest.approx(1, abs=1e-5)
    assert cosine(other, truth).item() < 0.99


def test_weights_of_another_shape_are_refused():
    items, targets = torch.tensor([[1, 2]]), torch.tensor([1])
    with pytest.raises(ValueError, match=r"Rollouts need \(B, G\) weights like their items, got shapes"):
        Rollouts(items, targets, weights=torch.ones(2))
    with pytest.raises(ValueError, match=r"Rollouts need \(B, G\) log_probs like their items"):
        Rollouts(items, targets, log_probs=torch.ones(1, 3))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["rl.temperature=0.7"], "temperature=0.7 would change nothing: sampling=beam"),
        (["rl.temperature=0", "rl.sampling=sample"], "rl.temperature: expected greater than 0"),
        (["rl.sampling=top_k"], "rl.sampling: expected 'beam', 'sample', 'dynamic'"),
        (["rl.logprobs=items"], "rl.logprobs: expected 'vocabulary', 'level' or 'catalog'"),
        (
            ["rl.off_policy=importance", "rl.objective=rloo"],
            "off_policy=importance weighs advantages within a group, which objective=rloo with scale_rewards",
        ),
        (
            ["rl.off_policy=importance", "rl.scale_rewards=batch"],
            "which objective=grpo with scale_rewards=batch does not have",
        ),
        (
            ["rl.off_policy=importance", "rl.sampling=dynamic"],
            "nothing says for sampling=dynamic; choose sampling=sample_without_replacement",
        ),
        (
            ["rl.off_policy=importance", "rl.sampling=sample"],
            "off_policy=importance would change nothing: with sampling=sample and temperature=1",
        ),
        (
            ["rl.off_policy=importance", "rl.sampling=mixed", "rl.add_target=true"],
            "off_policy=importance does not go with add_target=true and sampling=mixed",
        ),
    ],
)
def test_settings_of_drawing_that_change_nothing_or_have_no_meaning_are_refused(settings, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        load_config(None, settings)


def test_settings_that_have_a_meaning_are_taken():
    for settings in (
        ["rl.sampling=sample", "rl.temperature=1.5", "rl.off_policy=importance"],
        ["rl.sampling=beam", "rl.add_target=true", "rl.off_policy=importance"],
        ["rl.sampling=mixed", "rl.off_policy=importance", "rl.logprobs=catalog"],
    ):
        load_config(None, settings)
