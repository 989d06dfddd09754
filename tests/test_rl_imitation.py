"""Continued SFT, the control of RL: the loss of the targets, and as many steps as RL could have paid."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import toy
from models import random_prompts, sid_token_ids, small_scorer
from test_rl import HISTORIES, TARGETS, groups_of, make_trainer, prompts

import sidrec
from sidrec.config import Config, load_config
from sidrec.errors import ConfigError
from sidrec.rl_config import RLConfig
from sidrec.stages.pipeline import result_directories
from sidrec.stages.rl import check_rl
from sidrec.stages.rl.continued_sft import affordable_steps
from sidrec.stages.run import load_run
from sidrec.trainers.rl.compute import Groups, StepCost, steps_within
from sidrec.trainers.rl.imitation import imitation_batch, imitation_loss
from sidrec.trainers.rl.prompt_order import PromptOrder

TARGET_ROWS = [5, 0, 17]


def competitors(
    normalization: str, codes: np.ndarray, target: np.ndarray, level: int, size: int
) -> list[int]:
    """Token ids that the code of a level competes with, from the definition."""
    tokens = sid_token_ids()[level]
    if normalization == "vocabulary":
        return list(range(size))
    if normalization == "level":
        return tokens
    beside = codes[(codes[:, :level] == target[:level]).all(axis=1), level]
    return [tokens[code] for code in sorted(set(beside.tolist()))]


@pytest.mark.parametrize("normalization", ["vocabulary", "level", "catalog"])
def test_the_loss_is_the_mean_cross_entropy_of_the_targets_codes(normalization: str) -> None:
    scorer, codes = small_scorer(normalization=normalization)
    rows = [
        {"prompt_ids": prompt, "target": target}
        for prompt, target in zip(random_prompts(), TARGET_ROWS, strict=True)
    ]
    losses = []
    for row in rows:  # one at a time, through the model's own logits
        target = codes[row["target"]]
        tokens = [ids[code] for ids, code in zip(sid_token_ids(), target, strict=True)]
        logits = scorer.model(torch.tensor([row["prompt_ids"] + tokens])).logits[0].double()
        for level, token in enumerate(tokens):
            step = logits[len(row["prompt_ids"]) - 1 + level]
            against = competitors(normalization, codes, target, level, len(step))
            losses.append(step[against].logsumexp(0) - step[token])
    batch = imitation_batch(rows, torch.tensor(codes), pad_id=0)
    loss = imitation_loss(scorer, batch)
    assert loss.item() == pytest.approx(torch.stack(losses).mean().item(), abs=1e-4)
    assert batch["codes"].shape == (3, 1, 3)


def test_continued_sft_draws_no_rollouts_and_learns_the_targets(
    young_run: Path, young_config: Config, tmp_path: Path
) -> None:
    settings = {
        "objective": "sft",
        "steps": 3,
        "evaluations": 1,
        "learning_rate": 1e-3,
        "prompts_per_step": 12,
    }
    trainer = make_trainer(young_run, young_config, prompts(HISTORIES, TARGETS), tmp_path, **settings)
    assert trainer._reference is None

    def refuse(rows: object) -> None:
        raise AssertionError("rollouts were drawn")

    trainer._draw = refuse  # type: ignore[assignment,method-assign]
    codes = trainer._codes
    batch = imitation_batch(list(trainer.prompts), codes, trainer._sid_model.prompts.pad_id)
    with torch.no_grad():
        before = imitation_loss(trainer._sid_model.scorer, batch).item()
    trainer.train()
    with torch.no_grad():
        after = imitation_loss(trainer._sid_model.scorer, batch).item()
    assert after < before - 0.02
    # 3 steps of 12 prompts; a pass over a prompt's tokens and two codes of the target, three times over.
    lengths = [len(row["prompt_ids"]) for row in trainer._stream.stretch(0, 36)]
    assert trainer.state.num_input_tokens_seen == 3 * (sum(lengths) + 36 * 2)


def test_the_gradient_of_continued_sft_is_not_that_of_rl(
    young_run: Path, young_config: Config, tmp_path: Path
) -> None:
    found = []
    for objective in ("sft", "grpo"):
        rows = prompts(HISTORIES[:8], TARGETS[:8])
        trainer = make_trainer(
            young_run, young_config, rows, tmp_path / objective, objective=objective, beta=0.0
        )
        trainer.current_gradient_accumulation_steps = 1
        batch = trainer._generate_and_score_completions(groups_of(trainer))
        trainer.model.zero_grad()
        loss = trainer.compute_loss(trainer.model, batch)
        loss.backward()
        found.append([parameter.grad.flatten() for parameter in trainer.model.parameters()])
        if objective == "sft":
            plain = imitation_batch(list(trainer.prompts), trainer._codes, trainer._sid_model.prompts.pad_id)
            expected = imitation_loss(trainer._sid_model.scorer, plain).item()
            assert loss.item() == expected
            trainer.current_gradient_accumulation_steps = 2  # of two batches each is half the step
            assert trainer.compute_loss(trainer.model, batch).item() == pytest.approx(expected / 2)
    cosine = torch.nn.functional.cosine_similarity(torch.cat(found[0]), torch.cat(found[1]), dim=0)
    assert cosine < 0.99


def test_rl_counts_the_tokens_that_it_reads(young_run: Path, young_config: Config, tmp_path: Path) -> None:
    rows = prompts(HISTORIES[:4], TARGETS[:4])
    trainer = make_trainer(young_run, young_config, rows, tmp_path, num_generations=24)  # every group hits
    trainer._generate_and_score_completions(groups_of(trainer))
    lengths = sum(len(row["prompt_ids"]) for row in trainer.prompts)
    # Rollouts, reference and policy, the last three times over: 5 passes over prompts and 24 times two codes.
    assert trainer.state.num_input_tokens_seen == 5 * (lengths + 4 * 24 * 2)


def test_a_step_of_rl_costs_rollouts_of_all_and_training_of_live_groups() -> None:
    drawn, trained = Groups(10, 100), Groups(3, 30)
    # G = 4, L = 3: eight codes of a group are read. Drawn: 100 + 80. Trained: 30 + 24, 3 times and once more.
    assert StepCost(4, 3, extra_passes=1).of_rl(drawn, trained) == 180 + 4 * 54
    assert StepCost(4, 3, updates=2, extra_passes=2).of_rl(drawn, trained) == 180 + 8 * 54
    assert StepCost(4, 3).of_rl(drawn, Groups(0, 0)) == 180
    assert StepCost(4, 3).of_imitation(trained) == 3 * (30 + 3 * 2)


def test_steps_are_as_many_as_the_budget_pays() -> None:
    assert steps_within(10, [3, 3, 4, 1]) == 3
    assert steps_within(9, [3, 3, 4, 1]) == 2
    assert steps_within(2, [3, 3]) == 1  # none would be no control


class Lengths:
    """Prompts of so many tokens each."""

    def __init__(self, *lengths: int) -> None:
        self.lengths = lengths

    def prompt_ids(self, row: int) -> list[int]:
        return [0] * self.lengths[row]


@pytest.mark.parametrize(
    ("accumulated", "iterations", "budget", "steps"),
    [
        # A batch of two prompts has 10 tokens and two times two codes: 3 * 14 = 42.
        (1, 1, 42 * 5, 5),
        (1, 1, 42 * 5 - 1, 4),
        (2, 1, 42 * 5, 2),
        (1, 2, 42 * 5, 5),
    ],
)
def test_affordable_steps_follow_the_order_of_the_prompts(
    accumulated: int, iterations: int, budget: int, steps: int
) -> None:
    order = PromptOrder(np.zeros(4, dtype=int), [1.0], ["next_item"], seed=0)
    found: Any = SimpleNamespace(rows=Lengths(5, 5, 5, 5), order=order)
    args: Any = SimpleNamespace(
        generation_batch_size=8,
        num_generations=4,
        gradient_accumulation_steps=accumulated,
        num_iterations=iterations,
    )
    assert affordable_steps(budget, found, args, num_levels=3) == steps


def test_continued_sft_is_a_control_of_what_rl_cost(young_run: Path, tmp_path: Path) -> None:
    toy.copy(young_run, tmp_path)
    path = toy.write(tmp_path, **toy.YOUNG)
    config = load_config(path, ["evaluation.controls=[continued_sft]", "rl.curriculum=live"])
    sidrec.run(config)
    control = config.output / "controls" / "continued_sft"
    ours, theirs = (
        json.loads((each / "rl" / "metrics.json").read_text()) for each in (config.output, control)
    )
    assert theirs["steps"] == ours["continued_sft_steps"] > 6
    assert ours["tokens"] * 0.9 < theirs["tokens"] <= ours["tokens"]
    settings = load_config(control / "rl" / "config.yaml").rl
    assert (settings.objective, settings.curriculum, settings.keep) == ("sft", "none", "rl")
    assert settings.learning_rate == config.rl.learning_rate
    sft = config.output / "sft" / "model.safetensors"
    assert (control / "sft" / "model.safetensors").stat().st_ino == sft.stat().st_ino  # not trained again
    assert "rl, continued_sft" in [label for label, _ in result_directories(config.output)]


def test_a_control_of_itself_is_refused(toy_config: Config, toy_run: Path) -> None:
    run = load_run(toy_config)
    config = toy_config.model_copy(
        update={
            "rl": RLConfig(objective="sft", prompts_per_step=4, num_generations=4),
            "evaluation": toy_config.evaluation.model_copy(update={"controls": ("continued_sft",)}),
        }
    )
    with pytest.raises(
        ConfigError, match=r"continued_sft is a control of RL, and rl\.objective=sft is the same"
    ):
        check_rl(config, run.catalog, run.split)
