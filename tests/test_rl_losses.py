"""The losses of RL: each setting changes the gradients as by hand, and where objectives coincide."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import toy
from test_resume import results_of, stopped_after
from test_rl import HISTORIES, TARGETS, groups_of, make_trainer, prompts, weights, worst_items
from torch import Tensor

import sidrec
from sidrec.config import Config, load_config
from sidrec.metrics import PADDING
from sidrec.rewards import Rollouts, combine_rewards
from sidrec.shared_prefix import CompletionScores
from sidrec.trainers.rl.trainer import ReReTrainer

BY_TRL = ["grpo", "dapo", "dr_grpo", "gspo"]
LEVELS = 3


class Given(ReReTrainer):
    """Scores are given, so that gradients are of the loss alone."""

    given: CompletionScores

    def _policy_scores(self, *_: object) -> CompletionScores:
        return self.given


@dataclass
class Batch:
    """Two groups of three rollouts of three codes, or fewer."""

    policy: Tensor
    entropies: Tensor
    inputs: dict[str, Any]

    @classmethod
    def make(cls, *, lengths: tuple[int, ...] = (3,) * 6, used_before: bool = True) -> Batch:
        generator = torch.Generator().manual_seed(1)

        def draw(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator)

        policy, entropies = draw(2, 3, LEVELS) - 2, draw(2, 3, LEVELS).abs()
        mask = torch.arange(LEVELS) < torch.tensor(lengths).view(2, 3, 1)
        inputs = {
            "prompt_ids": torch.zeros(2, 4, dtype=torch.int64),
            "prompt_mask": torch.ones(2, 4, dtype=torch.bool),
            "codes": torch.zeros(2, 3, LEVELS, dtype=torch.int64).masked_fill(~mask, PADDING),
            "advantages": draw(2, 3),
            "hits": torch.tensor([[False, True, False], [True, False, False]]),
            "num_items_in_batch": mask.sum(),
            "live_share": torch.tensor(0.5),
            # As pick() gives them after the last code.
            "ref_per_token_logps": (policy + draw(2, 3, LEVELS) / 2).masked_fill(~mask, -torch.inf),
        }
        if used_before:
            inputs["old_per_token_logps"] = (policy + draw(2, 3, LEVELS) / 2).masked_fill(~mask, -torch.inf)
        policy = policy.masked_fill(~mask, -torch.inf)
        return cls(policy.requires_grad_(), entropies.requires_grad_(), inputs)

    def gradients(self, trainer: Given) -> tuple[Tensor, Tensor, Tensor]:
        """The loss and its gradients at log-probabilities and entropies."""
        trainer.given = CompletionScores(self.policy, self.entropies, torch.zeros_like(self.policy))
        trainer.current_gradient_accumulation_steps = 1
        loss = trainer.compute_loss(trainer.model, self.inputs)
        return loss.detach(), *self.at(loss)

    def at(self, loss: Tensor) -> tuple[Tensor, Tensor]:
        leaves = (self.policy, self.entropies)
        found = torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True)
        return found[0], found[1]


def by_hand(
    batch: Batch,
    objective: str,
    *,
    beta: float = 0.04,
    low: float = 0.2,
    high: float = 0.2,
    entropy_coef: float = 0.0,
    bias_correction: bool = False,
) -> Tensor:
    """The slow reference: rollout by rollout and code by code, as the papers write them."""
    per_rollout: list[list[Tensor]] = []
    entropies = []
    for group in range(2):
        for rollout in range(3):
            here = (group, rollout)
            length = int((batch.inputs["codes"][here] != PADDING).sum())
            policy = batch.policy[here][:length]
            old = batch.inputs.get("old_per_token_logps", batch.policy.detach())[here][:length]
            reference = batch.inputs["ref_per_token_logps"][here][:length]
            advantage = batch.inputs["advantages"][here]
            ratios = (policy - old).exp()
            if objective == "gspo":
                ratios = (policy - old).mean().exp().repeat(length)
            losses = []
            for code in range(length):
                clipped = ratios[code].clamp(1 - low, 1 + high)
                loss = -torch.minimum(ratios[code] * advantage, clipped * advantage)
                difference = reference[code] - policy[code]
                kl = difference.exp() - difference - 1
                losses.append(loss + beta * kl * (ratios[code] if bias_correction else 1))
                entropies.append(batch.entropies[here][code])
            per_rollout.append(losses)
    codes = [loss for losses in per_rollout for loss in losses]
    if objective == "dapo":
        value = sum(codes) / len(codes)
    elif objective == "dr_grpo":
        value = sum(codes) / (len(per_rollout) * LEVELS)
    else:
        value = sum(sum(losses) / len(losses) for losses in per_rollout) / len(per_rollout)
    return batch.inputs["live_share"] * (value - entropy_coef * sum(entropies) / len(entropies))


@pytest.fixture
def made(young_run: Path, young_config: Config, tmp_path: Path):
    """Make a trainer whose scores are given."""

    def make(objective: str = "grpo", **settings: Any) -> Given:
        rows = prompts(HISTORIES[:2], TARGETS[:2])
        return make_trainer(
            young_run, young_config, rows, tmp_path, cls=Given, objective=objective, **settings
        )

    return make


def close(found: tuple[Tensor, ...], expected: tuple[Tensor, ...]) -> bool:
    return all(torch.allclose(a, b, atol=1e-6) for a, b in zip(found, expected, strict=True))


def check(batch: Batch, trainer: Given, expected: Tensor) -> None:
    loss, *gradients = batch.gradients(trainer)
    torch.testing.assert_close(loss, expected.detach(), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(tuple(gradients), batch.at(expected), atol=1e-6, rtol=1e-4)
    assert float(gradients[0].abs().max()) > 1e-3


@pytest.mark.parametrize("objective", BY_TRL)
def test_a_loss_of_trl_is_what_the_papers_write(objective: str, made) -> None:
    """Of rollouts of unequal length, and of a policy that is no longer the one that drew them."""
    batch = Batch.make(lengths=(3, 1, 2, 3, 3, 2))
    high = 0.28 if objective == "dapo" else 0.2
    check(batch, made(objective), by_hand(batch, objective, high=high))


@pytest.mark.parametrize("used_before", [True, False])
def test_rloo_is_what_the_paper_writes(used_before: bool, made) -> None:
    """One ratio for a rollout, the KL in its reward."""
    batch = Batch.make(lengths=(3, 1, 2, 3, 3, 2), used_before=used_before)
    mask = batch.inputs["codes"] != PADDING
    policy, reference = (
        each.masked_fill(~mask, 0).sum(-1) for each in (batch.policy, batch.inputs["ref_per_token_logps"])
    )
    old = batch.inputs.get("old_per_token_logps", batch.policy.detach()).masked_fill(~mask, 0).sum(-1)
    losses = []
    for group in range(2):
        kl = (old - reference)[group].tolist()
        for rollout in range(3):
            others = (sum(kl) - kl[rollout]) / 2
            advantage = batch.inputs["advantages"][group, rollout] - 0.3 * (kl[rollout] - others)
            ratio = (policy - old)[group, rollout].exp()
            losses.append(-torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage))
    check(batch, made("rloo", beta=0.3), batch.inputs["live_share"] * sum(losses) / 6)


@pytest.mark.parametrize("objective", ["s_dpo", "dpo"])
def test_a_preference_is_what_the_papers_write(objective: str, made) -> None:
    batch = Batch.make(lengths=(3, 1, 2, 3, 3, 2), used_before=False)
    mask = batch.inputs["codes"] != PADDING
    ratios = (batch.policy - batch.inputs["ref_per_token_logps"]).masked_fill(~mask, 0).sum(-1)
    losses = []
    for group, target in enumerate((1, 0)):
        wrong = [place for place in range(3) if place != target]
        margins = [0.7 * (ratios[group, place] - ratios[group, target]) for place in wrong]
        if objective == "s_dpo":
            losses.append(-(-torch.stack(margins).exp().sum().log()).sigmoid().log())
        else:
            losses.append(-sum((-margin).sigmoid().log() for margin in margins) / 2)
    check(batch, made(objective, beta=0.7), batch.inputs["live_share"] * sum(losses) / 2)


FIELDS = {
    "epsilon": ({"trainer": {"epsilon": 0.05}}, {"low": 0.05, "high": 0.05}),
    "epsilon_high": ({"trainer": {"epsilon_high": 0.6}}, {"high": 0.6}),
    "entropy_coef": ({"trainer": {"entropy_coef": 0.1}}, {"entropy_coef": 0.1}),
    "use_bias_correction_kl": ({"trainer": {"use_bias_correction_kl": True}}, {"bias_correction": True}),
    "beta": ({"beta": 0.5}, {"beta": 0.5}),
    "no beta": ({"beta": 0.0}, {"beta": 0.0}),
}


@pytest.mark.parametrize("field", FIELDS)
def test_a_field_of_the_loss_acts_as_it_says(field: str, made) -> None:
    batch = Batch.make()
    settings, in_words = FIELDS[field]
    check(batch, made(**settings), by_hand(batch, "grpo", **in_words))
    assert not close(batch.at(by_hand(batch, "grpo", **in_words)), batch.at(by_hand(batch, "grpo")))


def test_epsilon_acts_on_rloo(made) -> None:
    batch = Batch.make()
    usual, narrow = (
        batch.gradients(made("rloo", trainer=trainer))
        for trainer in ({}, {"epsilon": 0.05, "epsilon_high": 2})
    )
    assert not close(usual, narrow)


def test_of_one_update_and_equal_lengths_four_objectives_are_one(made) -> None:
    batch = Batch.make(used_before=False)
    grpo = batch.gradients(made("grpo"))
    for objective in BY_TRL:
        assert close(batch.gradients(made(objective)), grpo), objective


def test_of_one_update_rloo_is_grpo_for_whole_rollouts(made) -> None:
    """Equal but for the mean over codes, given the same advantages and no KL."""
    batch = Batch.make(used_before=False)
    rloo, grpo = (batch.gradients(made(objective, beta=0.0))[1] for objective in ("rloo", "grpo"))
    torch.testing.assert_close(rloo, LEVELS * grpo)


@pytest.mark.parametrize(
    ("objective", "trainer", "lengths", "same"),
    [
        ("dapo", {}, (3,) * 6, False),  # it clips higher
        ("dapo", {"epsilon_high": 0.2}, (3,) * 6, True),
        ("dr_grpo", {}, (3,) * 6, True),  # but for its advantages, which are given here
        ("gspo", {}, (3,) * 6, False),
        ("dapo", {"epsilon_high": 0.2}, (3, 1, 2, 3, 3, 2), False),
        ("dr_grpo", {}, (3, 1, 2, 3, 3, 2), False),
    ],
)
def test_objectives_differ_by_clipping_after_an_update_and_by_length(
    objective: str, trainer: dict[str, float], lengths: tuple[int, ...], same: bool, made
) -> None:
    batch = Batch.make(lengths=lengths)
    found = batch.gradients(made(objective, trainer=trainer))
    assert close(found, batch.gradients(made("grpo"))) == same


def test_a_clipped_share_is_noted_whoever_has_the_loss(made) -> None:
    for objective in ("grpo", "rloo"):
        trainer = made(objective, beta=0.0)
        Batch.make().gradients(trainer)
        noted = trainer._figures.read()
        assert 0 < noted["clip_share"] < 1
        assert not [name for name in trainer._metrics["eval"] if name.startswith(("clip", "kl", "entropy"))]


def test_preferences_look_at_hits_and_not_at_rewards(made) -> None:
    batch = Batch.make(used_before=False)
    trainer = made("s_dpo", beta=1.0)
    before = batch.gradients(trainer)
    batch.inputs["advantages"] = -batch.inputs["advantages"]
    assert close(batch.gradients(trainer), before)
    batch.inputs["hits"] = batch.inputs["hits"].flip(1)
    assert not close(batch.gradients(trainer), before)


def test_preferences_score_groups_with_a_target_and_a_wrong_item_alone(
    young_run: Path, young_config: Config, tmp_path: Path
) -> None:
    """Rewards say nothing here: they are all 0."""
    worst = worst_items(young_run)
    rows = prompts(HISTORIES[:4], [worst[0], *TARGETS[1:3], worst[3]])
    settings = {"num_generations": 20, "beta": 1.0}
    nothing = {"rule": lambda rollouts: torch.zeros(rollouts.items.shape)}
    counts = {}
    for objective in ("grpo", "s_dpo"):
        trainer = make_trainer(young_run, young_config, rows, tmp_path, objective=objective, **settings)
        trainer.reward = partial(combine_rewards, weights={"rule": 1.0}, functions=nothing)
        batch = trainer._generate_and_score_completions(groups_of(trainer))
        counts[objective] = len(batch["codes"])
        if objective == "s_dpo":
            hits = batch["hits"]
            assert batch["live_share"] == 0.5
            assert len(batch["ref_per_token_logps"]) == 2
            assert hits.sum(1).tolist() == [1, 1]
    assert counts == {"grpo": 0, "s_dpo": 2}


class Counted:
    """Draws as another does, and counts the prompts of each time."""

    def __init__(self, drawing: Any) -> None:
        self._drawing, self.prompts = drawing, []

    def draw(self, rows: list[dict[str, Any]], step: int) -> Rollouts:
        self.prompts.append(len(rows))
        return self._drawing.draw(rows, step)


def test_several_updates_are_steps_on_the_same_rollouts(
    young_run: Path, young_config: Config, tmp_path: Path
) -> None:
    rows = prompts(HISTORIES, TARGETS)
    settings = {"steps": 4, "evaluations": 1, "prompts_per_step": 6, "learning_rate": 3e-3}
    found, draws, clipped = [], [], []
    for updates in (1, 2):
        trainer = make_trainer(
            young_run, young_config, rows, tmp_path / str(updates), updates_per_batch=updates, **settings
        )
        trainer.drawing = Counted(trainer.drawing)
        trainer.train()
        found.append(weights(trainer))
        draws.append(trainer.drawing.prompts)
        clipped.append(max(entry.get("clip_share", 0) for entry in trainer.state.log_history))
    assert draws == [[6, 6, 6, 6], [6, 6]]
    assert clipped[0] == 0 < clipped[1]
    assert max(float((found[0][name] - found[1][name]).abs().max()) for name in found[0]) > 1e-4


UPDATES = {"steps": 6, "updates_per_batch": 2, "evaluations": 3, "objective": "gspo", "keep": "rl"}


def test_rl_with_several_updates_stopped_at_a_checkpoint_goes_on_to_the_same_files(
    young_run: Path, tmp_path: Path
) -> None:
    results = []
    for name in ("whole", "stopped"):
        toy.copy(young_run, tmp_path / name, without=("rl", "evaluate"))
        path = toy.write(tmp_path / name, **toy.YOUNG | {"rl": toy.YOUNG["rl"] | UPDATES})
        config = load_config(path)
        if name == "stopped":
            with stopped_after(1):
                sidrec.rl(config)
        sidrec.rl(config)
        results.append(results_of(config.output / "rl"))
    assert results[0] == results[1]
    assert [row["step"] for row in results[0]["history.csv"]] == ["0", "2", "4", "6"]
    assert float(results[0]["history.csv"][-1]["kl"]) > 0


@pytest.mark.parametrize("objective", ["rloo", "s_dpo"])
def test_an_objective_of_ours_improves_a_model_that_sft_left_early(
    objective: str, young_run: Path, young_config: Config, tmp_path: Path
) -> None:
    rows = prompts(HISTORIES, TARGETS)
    beta = 1.0 if objective == "s_dpo" else 0.04
    trainer = make_trainer(young_run, young_config, rows, tmp_path, objective=objective, beta=beta)
    before = trainer.evaluate()["eval_ndcg@10"]
    trainer.train()
    assert trainer.evaluate()["eval_ndcg@10"] > before + 0.02
