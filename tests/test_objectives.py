"""Objectives against hand-computed groups: losses, advantages, and which groups are learnt from."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from trl import RLOOTrainer

from sidrec.config import load_config
from sidrec.errors import ConfigError
from sidrec.objectives import Objective, ScoredGroups, dpo_losses, penalized, rloo_loss, s_dpo_losses
from sidrec.rewards import Rollouts, group_advantages, leave_one_out_advantages, preference_groups
from sidrec.stages.rl.arguments import grpo_arguments

# The target, second, is .1 less likely than under the reference; the wrong ones .2 and .4 more.
LOG_RATIOS = torch.tensor([[0.2, -0.1, 0.4]])
HITS = torch.tensor([[False, True, False]])


def gradient(losses: torch.Tensor, of: torch.Tensor) -> list[float]:
    return torch.autograd.grad(losses.sum(), of)[0].flatten().tolist()


def test_s_dpo_is_the_softplus_over_all_wrong_items_at_once() -> None:
    ratios = LOG_RATIOS.clone().requires_grad_()
    losses = s_dpo_losses(ratios, HITS, 0.5)
    # Margins .5 * .3 = .15 and .5 * .5 = .25: log(1 + e^.15 + e^.25) = log(1 + 1.161834 + 1.284025).
    assert losses.tolist() == pytest.approx([math.log(3.445859)], abs=1e-5)
    # beta e^margin / 3.445859 for the wrong ones, less their sum for the target.
    expected = [0.5 * 1.161834 / 3.445859, -0.5 * 2.445859 / 3.445859, 0.5 * 1.284025 / 3.445859]
    assert gradient(losses, ratios) == pytest.approx(expected, abs=1e-5)


def test_dpo_is_the_mean_over_pairs_of_the_target_and_a_wrong_item() -> None:
    ratios = LOG_RATIOS.clone().requires_grad_()
    losses = dpo_losses(ratios, HITS, 0.5)
    # (log(1 + e^.15) + log(1 + e^.25)) / 2 = (log 2.161834 + log 2.284025) / 2
    assert losses.tolist() == pytest.approx([(math.log(2.161834) + math.log(2.284025)) / 2], abs=1e-5)
    pulls = [0.25 * 1.161834 / 2.161834, 0.25 * 1.284025 / 2.284025]  # beta / 2 sigmoid(margin)
    assert gradient(losses, ratios) == pytest.approx([pulls[0], -sum(pulls), pulls[1]], abs=1e-5)


def test_of_two_rollouts_s_dpo_is_dpo() -> None:
    ratios, hits = torch.tensor([[0.3, -0.9], [2.0, 0.1]]), torch.tensor([[True, False], [False, True]])
    torch.testing.assert_close(s_dpo_losses(ratios, hits, 0.7), dpo_losses(ratios, hits, 0.7))


def test_a_preference_at_the_reference_costs_what_chance_does() -> None:
    """All log-ratios 0: log(1 + number of wrong items) at once, log 2 in pairs."""
    ratios, hits = torch.zeros(1, 4), torch.tensor([[False, False, True, False]])
    assert float(s_dpo_losses(ratios, hits, 1.0)) == pytest.approx(math.log(4))
    assert float(dpo_losses(ratios, hits, 1.0)) == pytest.approx(math.log(2))


def test_a_target_drawn_twice_is_no_negative_of_itself() -> None:
    twice = s_dpo_losses(torch.tensor([[-0.1, 0.2, -0.1]]), torch.tensor([[True, False, True]]), 0.5)
    once = s_dpo_losses(torch.tensor([[-0.1, 0.2]]), torch.tensor([[True, False]]), 0.5)
    torch.testing.assert_close(twice, once)


@pytest.mark.parametrize("hits", [[[False, False]], [[True, True]]])
@pytest.mark.parametrize("losses", [s_dpo_losses, dpo_losses])
def test_a_group_without_a_preference_has_no_such_loss(losses, hits: list) -> None:
    with pytest.raises(ValueError, match="groups that hold the target and a wrong item"):
        losses(torch.zeros(1, 2), torch.tensor(hits), 1.0)


def test_preferences_need_the_target_and_a_wrong_item() -> None:
    rollouts = Rollouts(torch.tensor([[1, 2], [2, 3], [4, 4]]), torch.tensor([2, 7, 4]))
    assert preference_groups(rollouts).tolist() == [True, False, False]


@pytest.mark.parametrize(
    ("name", "live"),
    [("grpo", [False, True]), ("rloo", [False, True]), ("s_dpo", [True, False]), ("dpo", [True, False])],
)
def test_a_group_is_live_by_its_items_or_by_its_rewards(name, live: list[bool]) -> None:
    """The first has the target and no reward, the second rewards and no target."""
    rollouts = Rollouts(torch.tensor([[1, 2], [3, 4]]), torch.tensor([2, 7]))
    rewards = torch.tensor([[0.5, 0.5], [0.0, 1.0]])
    assert Objective(name).live(rollouts, rewards).tolist() == live


def test_a_ratio_is_clipped_once_per_rollout() -> None:
    policy = torch.tensor([[1.5, 1.0, 0.5]]).log().requires_grad_()
    advantages = torch.tensor([[1.0, 1.0, -1.0]])
    loss = rloo_loss(policy, torch.zeros(1, 3), advantages, epsilon=(0.2, 0.3))
    # min(1.5, 1.3) = 1.3; 1; min(-.5, -.8) = -.8; -(their mean) = -.5. First and last are clipped.
    assert loss.value.item() == pytest.approx(-0.5)
    assert loss.clipped == pytest.approx(2 / 3)
    assert gradient(loss.value, policy) == pytest.approx([0, -1 / 3, 0])


def test_rloo_is_the_loss_of_trls_rloo_trainer() -> None:
    generator = torch.Generator().manual_seed(0)
    policy, behaviour = (torch.randn(2, 3, 4, generator=generator) / 3 for _ in range(2))
    advantages = torch.randn(2, 3, generator=generator)
    theirs = SimpleNamespace(
        accelerator=SimpleNamespace(reduce=lambda values, **_: values, gather=lambda values: values),
        model=SimpleNamespace(training=True),
        aux_loss_enabled=False,
        epsilon_low=0.2,
        epsilon_high=0.3,
        _metrics={"train": {name: [] for name in ("entropy", "clip_ratio/region_mean")}},
        _get_per_token_logps_and_entropies=lambda *_, **__: (policy.flatten(0, 1), torch.zeros(6, 4), None),
    )
    for name in ("low_mean", "low_min", "high_mean", "high_max"):
        theirs._metrics["train"][f"clip_ratio/{name}"] = []
    ids = torch.zeros(6, 4, dtype=torch.int64)
    inputs = {"prompt_ids": ids, "prompt_mask": ids, "completion_ids": ids, "completion_mask": ids + 1}
    inputs |= {"old_logps": behaviour.flatten(0, 1).sum(1), "advantages": advantages.flatten()}
    expected = RLOOTrainer._compute_loss(theirs, None, inputs)
    loss = rloo_loss(policy.sum(-1), behaviour.sum(-1), advantages, epsilon=(0.2, 0.3))
    torch.testing.assert_close(loss.value, expected)
    assert loss.clipped == pytest.approx(theirs._metrics["train"]["clip_ratio/region_mean"][0])
    assert loss.clipped > 0


def test_rewards_are_measured_against_the_mean_of_the_others() -> None:
    # Others of a 1: (0 + 0 + 1) / 3; of a 0: (1 + 0 + 1) / 3.
    found = leave_one_out_advantages(torch.tensor([[1.0, 0, 0, 1], [0.1, 0.1, 0.1, 0.1]]))
    assert found[0].tolist() == pytest.approx([2 / 3, -2 / 3, -2 / 3, 2 / 3])
    assert found[1].tolist() == [0, 0, 0, 0]


def test_a_kl_in_the_reward_is_a_kl_taken_out_of_the_advantages() -> None:
    rewards = torch.tensor([[1.0, 0, 0]])
    behaviour, reference = torch.tensor([[-1.0, -2, -3]]), torch.tensor([[-1.5, -2, -2]])
    found = penalized(leave_one_out_advantages(rewards), behaviour, reference, 0.1)
    # Rewards less .1 * (.5, 0, -1): .95, 0, .1; others' means .05, .525, .475.
    assert found[0].tolist() == pytest.approx([0.9, -0.525, -0.375])


def test_rloo_reads_its_kl_from_the_policy_that_drew() -> None:
    groups = ScoredGroups(
        policy=torch.zeros(1, 2),
        behaviour=torch.zeros(1, 2),
        reference=torch.tensor([[0.0, 1.0]]),
        advantages=torch.zeros(1, 2),
        hits=torch.zeros(1, 2, dtype=torch.bool),
    )
    # KL 0 and -1: advantages -.5 * (1, -1) = (-.5, .5), whose mean is 0; only the gradient tells.
    policy = groups.policy.requires_grad_()
    loss = Objective("rloo").loss(groups, beta=0.5, epsilon=(0.2, 0.2))
    assert gradient(loss.value, policy) == pytest.approx([0.25, -0.25])


@pytest.mark.parametrize(
    ("scaling", "divisors"),
    [
        ("none", (1, 1)),
        ("group", (0.5**0.5 + 1e-4, 2**0.5 + 1e-4)),  # of 0, 1 and of 1, 3
        # Of 1, 0, 3, 1, .5, .5, the mean 1: (0 + 1 + 4 + 0 + .25 + .25) / 5 = 1.1
        ("batch", (1.1**0.5 + 1e-4,) * 2),
    ],
)
def test_advantages_are_divided_by_what_scale_rewards_names(scaling, divisors: tuple[float, float]) -> None:
    rewards = torch.tensor([[1.0, 0.0], [3.0, 1.0], [0.5, 0.5]])
    found = Objective("grpo", scaling).advantages(rewards)
    assert found[0].tolist() == pytest.approx([0.5 / divisors[0], -0.5 / divisors[0]])
    assert found[1].tolist() == pytest.approx([1 / divisors[1], -1 / divisors[1]])
    assert found[2].tolist() == [0, 0]


def test_each_objective_makes_its_own_of_rewards() -> None:
    rewards = torch.tensor([[1.0, 0.0, 0.0]])
    assert Objective("rloo").advantages(rewards)[0].tolist() == [1, -0.5, -0.5]
    assert Objective("s_dpo").advantages(rewards)[0].tolist() == [0, 0, 0]
    torch.testing.assert_close(Objective("gspo").advantages(rewards), group_advantages(rewards))


@pytest.mark.parametrize("advantages", [group_advantages, leave_one_out_advantages])
def test_advantages_need_two_finite_rewards(advantages) -> None:
    with pytest.raises(ConfigError, match=r"got rl\.num_generations=1"):
        advantages(torch.ones(2, 1))
    with pytest.raises(ValueError, match="finite rewards"):
        advantages(torch.tensor([[1.0, math.nan]]))


def settings(*overrides: str):
    return load_config(None, [f"rl.{each}" for each in overrides]).rl


def test_beta_begins_where_its_meaning_does() -> None:
    assert settings().beta == settings("objective=rloo").beta == 0.04
    assert settings("objective=s_dpo").beta == settings("objective=dpo").beta == 1
    assert settings("objective=dpo", "beta=0.2").beta == 0.2


@pytest.mark.parametrize(
    ("objective", "scaling"),
    [("grpo", "group"), ("dapo", "group"), ("gspo", "group"), ("dr_grpo", "none"), ("rloo", "none")],
)
def test_dr_grpo_and_rloo_do_not_scale(objective: str, scaling: str) -> None:
    assert settings(f"objective={objective}").scaling == scaling


def test_scaling_may_be_chosen() -> None:
    assert settings("objective=dr_grpo", "scale_rewards=batch").scaling == "batch"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["objective=grpp"], "rl.objective: expected 'grpo', 'dapo', 'dr_grpo', 'gspo', 'rloo', 's_dpo'"),
        (["updates_per_batch=0"], "rl.updates_per_batch: expected greater than or equal to 1"),
        (["objective=s_dpo", "beta=0"], "beta=0 leaves nothing of s_dpo"),
        (["objective=dpo", "scale_rewards=group"], "scale_rewards changes nothing with objective=dpo"),
        (["objective=rloo", "scale_rewards=group"], "rloo does not scale its advantages"),
        (
            ["objective=rloo", "trainer={entropy_coef: 0.1}"],
            "entropy_coef changes nothing with objective=rloo",
        ),
        (
            ["objective=s_dpo", "updates_per_batch=2", "trainer={epsilon: 0.1}"],
            "epsilon changes nothing with objective=s_dpo",
        ),
        (
            ["trainer={epsilon: 0.1, epsilon_high: 0.3}"],
            "epsilon, epsilon_high changes nothing with updates_per_batch=1",
        ),
        (
            ["beta=0", "trainer={use_bias_correction_kl: true}"],
            "use_bias_correction_kl changes nothing with beta=0",
        ),
        (
            ["updates_per_batch=2", "trainer={gradient_accumulation_steps: 2}"],
            "updates_per_batch=2 takes several steps on one batch, and trainer.gradient_accumulation_steps=2",
        ),
        (
            ["updates_per_batch=2", "trainer={save_steps: 3}"],
            "trainer.save_steps=3 would save in the middle of the updates_per_batch=2 steps",
        ),
        *(
            ([f"trainer={{{name}: 1}}"], f"rl.trainer: {name} is set by sidrec")
            for name in ("beta", "loss_type", "importance_sampling_level", "num_iterations", "sync_ref_model")
        ),
    ],
)
def test_what_would_change_nothing_is_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        settings(*overrides)
    assert message in str(caught.value)


@pytest.mark.parametrize("updates", [1, 3])
def test_checkpoints_and_lines_of_the_log_wait_for_the_last_update_of_a_batch(updates: int, tmp_path) -> None:
    config = load_config(None, [f"rl.updates_per_batch={updates}", "rl.steps=100", "rl.evaluations=7"])
    args = grpo_arguments(config, 3, tmp_path)
    assert args.num_iterations == updates
    assert args.save_steps % args.logging_steps == args.logging_steps % updates == 0
    assert args.save_steps == args.eval_steps == {1: 15, 3: 12}[updates]
