"""Trainings whose rollouts are drawn by chance, or whose policy is normalized otherwise."""

from pathlib import Path
from typing import Any

import pytest
import test_resume
import test_rl
import torch
import toy
from datasets import Dataset
from test_rl import HISTORIES, TARGETS, RepeatingTrainer, make_trainer

import sidrec
from sidrec.config import Config, load_config
from sidrec.errors import ConfigError
from sidrec.sid_model import SIDModel
from sidrec.trainers.rl.trainer import ReReTrainer

NORMALIZATIONS = ["vocabulary", "level", "catalog"]


def rows() -> Dataset:
    return test_rl.prompts(HISTORIES[:8], TARGETS[:8])


def gradient(trainer: ReReTrainer, batch: dict[str, Any]) -> torch.Tensor:
    trainer.current_gradient_accumulation_steps = 1
    trainer.model.zero_grad()
    trainer.compute_loss(trainer.model, batch).backward()
    return torch.cat([parameter.grad.flatten().clone() for parameter in trainer.model.parameters()])


def test_the_normalization_of_the_policy_changes_the_gradient_and_equals_the_slow_reference(
    young_run: Path, young_config: Config, tmp_path: Path
) -> None:
    assert SIDModel.load(young_run / "sft").scorer.normalization == "catalog"
    found = {}
    for normalization in [None, *NORMALIZATIONS]:
        both = []
        for cls in (ReReTrainer, RepeatingTrainer):
            folder = tmp_path / f"{normalization}-{cls.__name__}"
            settings = {"logprobs": normalization, "num_generations": 8}
            trainer = make_trainer(young_run, young_config, rows(), folder, cls=cls, **settings)
            batch = trainer._generate_and_score_completions(test_rl.groups_of(trainer))
            # The reference is normalized alike: what has not been trained has no KL.
            own = trainer._policy_scores(*(batch[name] for name in ("prompt_ids", "prompt_mask", "codes")))
            torch.testing.assert_close(own.log_probs, batch["ref_per_token_logps"], atol=1e-4, rtol=0)
            both.append(gradient(trainer, batch))
        torch.testing.assert_close(both[0], both[1], atol=1e-5, rtol=1e-3)
        found[normalization] = both[0]
    assert torch.equal(found[None], found["catalog"])
    for one, other in (("vocabulary", "level"), ("level", "catalog"), ("vocabulary", "catalog")):
        assert float((found[one] - found[other]).norm() / found[one].norm()) > 1e-3, (one, other)


def test_importance_weights_reach_the_gradient(young_run: Path, young_config: Config, tmp_path: Path) -> None:
    found, batches = [], []
    for off_policy in ("ignore", "importance"):
        settings = {"sampling": "sample_without_replacement", "num_generations": 8, "off_policy": off_policy}
        trainer = make_trainer(young_run, young_config, rows(), tmp_path / off_policy, **settings)
        batches.append(trainer._generate_and_score_completions(test_rl.groups_of(trainer)))
        found.append(gradient(trainer, batches[-1]))
    assert torch.equal(batches[0]["codes"], batches[1]["codes"])
    assert not torch.allclose(batches[0]["advantages"], batches[1]["advantages"], atol=0.01)
    assert float((found[0] - found[1]).norm() / found[0].norm()) > 0.05


@pytest.mark.parametrize("sampling", ["sample", "dynamic", "sample_without_replacement", "mixed"])
def test_what_is_drawn_is_in_the_log(
    sampling: str, young_run: Path, young_config: Config, tmp_path: Path
) -> None:
    settings = {"sampling": sampling, "num_generations": 8, "prompts_per_step": 8, "add_target": True}
    trainer = make_trainer(young_run, young_config, rows(), tmp_path, steps=2, evaluations=1, **settings)
    trainer.train()
    logged = [entry for entry in trainer.state.log_history if "dead_groups" in entry]
    assert len(logged) == 2
    for entry in logged:
        assert entry["dead_groups"] == 0  # every group has its target now, and other items
        assert 0 <= entry["target_rate"] < 1
        assert 1 < entry["distinct_items"] <= 8
        assert entry["seconds/rollout"] > 0


def test_a_training_by_chance_that_is_stopped_goes_on_to_the_same_files(
    young_run: Path, tmp_path: Path
) -> None:
    settings = {
        "steps": 6,
        "evaluations": 3,
        "prompts_per_step": 12,
        "num_generations": 8,
        "learning_rate": 1e-3,
        "sampling": "sample_without_replacement",
        "off_policy": "importance",
        "logprobs": "catalog",
        "keep": "rl",
    }
    results = []
    for name in ("undisturbed", "stopped"):
        toy.copy(young_run, tmp_path / name, without=("rl", "evaluate"))
        config = load_config(toy.write(tmp_path / name, **{**toy.YOUNG, "rl": settings}))
        if name == "stopped":
            with test_resume.stopped_after(2):
                sidrec.rl(config)
        sidrec.rl(config)
        results.append(test_resume.results_of(config.output / "rl"))
    assert results[0] == results[1]
    assert results[0]["metrics.json"]["kept"] == "rl"
    assert sum(float(row["target_rate"] or 0) for row in results[0]["history.csv"]) > 0


def test_weights_without_a_distribution_over_items_are_refused(young_run: Path, tmp_path: Path) -> None:
    toy.copy(young_run, tmp_path, without=("rl", "evaluate"))
    path = toy.write(tmp_path, **toy.YOUNG)
    message = (
        "rl.off_policy=importance needs a policy that is a distribution over items, but log-probabilities "
        "are normalized over the level. Set rl.logprobs=catalog."
    )
    for settings in (["rl.logprobs=level"], ["sft.loss=level"]):
        with pytest.raises(ConfigError) as refused:
            sidrec.rl(load_config(path, ["rl.off_policy=importance", *settings]))
        assert str(refused.value) == message
