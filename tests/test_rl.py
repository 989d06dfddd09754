"""ReRe: which groups are trained on, with which weight, and what the stage keeps."""

import json
import logging
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import toy
from datasets import Dataset
from torch import Tensor

import sidrec
from sidrec.config import Config, load_config
from sidrec.objectives import Objective
from sidrec.rewards import Rollouts, combine_rewards, rule_reward
from sidrec.rl_config import ObjectiveName
from sidrec.shared_prefix import CompletionScores
from sidrec.sid_model import SIDModel
from sidrec.stages.rl import make_drawing
from sidrec.stages.rl.arguments import grpo_arguments
from sidrec.stages.rl.decision import decide
from sidrec.stages.run import load_run
from sidrec.stages.training import Validation
from sidrec.trainers.callbacks import TrainingReport
from sidrec.trainers.rl.curriculum import Curriculum
from sidrec.trainers.rl.trainer import ReReTrainer, _unused_reward

HISTORIES = [[(n + step) % 24 for step in range(3)] for n in range(24)]
TARGETS = [(n + 3) % 24 for n in range(24)]
# Every objective, and those that look at the ratio to the policy of before with several updates.
TRAJECTORIES = [
    *(("grpo", 1), ("grpo", 2), ("dapo", 2), ("dr_grpo", 1), ("gspo", 2), ("rloo", 1), ("rloo", 2)),
    *(("s_dpo", 1), ("dpo", 1)),
]


def prompts(histories: list[list[int]], targets: list[int]) -> Dataset:
    """Rows as `rl_prompts` makes them, but for `prompt_ids`, which `make_trainer` adds."""
    pairs = enumerate(zip(histories, targets, strict=True))
    return Dataset.from_list(
        [{"prompt": "", "history": history, "target": target, "row": row} for row, (history, target) in pairs]
    )


def rollouts_of(trainer: ReReTrainer, histories: list[list[int]], targets: list[int]) -> Rollouts:
    builder = trainer._sid_model.prompts
    pairs = zip(histories, targets, strict=True)
    return trainer.drawing.draw(
        [
            {"prompt_ids": builder.next_item(history), "target": target, "row": row}
            for row, (history, target) in enumerate(pairs)
        ],
        step=0,
    )


def make_trainer(
    run: Path,
    config: Config,
    rows: Dataset,
    folder: Path,
    *,
    cls: type[ReReTrainer] = ReReTrainer,
    curriculum: Curriculum | None = None,
    **settings: Any,
) -> ReReTrainer:
    """A trainer of the run's SFT model with the stage's own arguments; `settings` replace keys of `rl`."""
    config = config.model_copy(update={"rl": config.rl.model_copy(update=settings)})
    loaded = load_run(config)
    sid_model = SIDModel.load(run / "sft")
    return cls(
        sid_model,
        rows.map(lambda row: {"prompt_ids": sid_model.prompts.next_item(row["history"])}),
        grpo_arguments(config, 3, folder),
        drawing=make_drawing(sid_model, config),
        reward=partial(combine_rewards, weights=config.rl.rewards),
        validate=Validation(sid_model, loaded.split.valid, 60, config),
        callbacks=[TrainingReport("rl")],
        objective=Objective(config.rl.objective, config.rl.scaling),
        curriculum=curriculum,
    )


def groups_of(trainer: ReReTrainer) -> list[dict[str, Any]]:
    """Every row of the trainer, G times in a row, as TRL hands them over."""
    return [row for row in trainer.prompts for _ in range(trainer.args.num_generations)]


def worst_items(run: Path) -> list[int]:
    """For each of `HISTORIES` the item that the SFT model ranks last."""
    return SIDModel.load(run / "sft").rank(HISTORIES, num_beams=24).items[:, -1].tolist()


def weights(trainer: ReReTrainer) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in trainer.model.named_parameters()}


def test_a_batch_of_dead_groups_changes_no_weight(
    young_run: Path, young_config: Config, tmp_path: Path
) -> None:
    rows = prompts(HISTORIES, worst_items(young_run))  # 16 rollouts never reach the last of 24 items
    trainer = make_trainer(young_run, young_config, rows, tmp_path, steps=2, evaluations=1, beta=0.04)
    before = weights(trainer)
    trainer.train()
    logged = [entry for entry in trainer.state.log_history if "dead_groups" in entry]
    assert [(entry["dead_groups"], entry["loss"]) for entry in logged] == [(1, 0), (1, 0)]
    for name, value in weights(trainer).items():
        assert torch.equal(value, before[name]), name


def test_dead_groups_are_not_scored(young_run: Path, young_config: Config, tmp_path: Path) -> None:
    worst = worst_items(young_run)
    rows = prompts(HISTORIES[:4], [worst[0], *TARGETS[1:3], worst[3]])
    trainer = make_trainer(young_run, young_config, rows, tmp_path, num_generations=20)
    hits = rollouts_of(trainer, HISTORIES[:4], [worst[0], *TARGETS[1:3], worst[3]]).hits.any(1)
    batch = trainer._generate_and_score_completions(groups_of(trainer))
    assert hits.tolist() == [False, True, True, False]
    assert len(batch["codes"]) == len(batch["advantages"]) == len(batch["ref_per_token_logps"]) == 2
    assert batch["live_share"] == 0.5


def test_the_gradient_is_that_of_all_groups_with_advantage_0_for_the_dead(
    young_run: Path, young_config: Config, tmp_path: Path
) -> None:
    worst = worst_items(young_run)
    targets = [worst[0], *TARGETS[1:4], worst[4], *TARGETS[5:8]]
    rows = prompts(HISTORIES[:8], targets)
    trainer = make_trainer(young_run, young_config, rows, tmp_path, num_generations=20, beta=0.0)
    trainer.current_gradient_accumulation_steps = 1
    batch = trainer._generate_and_score_completions(groups_of(trainer))
    live = rollouts_of(trainer, HISTORIES[:8], targets).hits.any(1)
    assert live.sum() == 6
    everyone = dict(batch, live_share=torch.tensor(1.0))
    for name in ("prompt_ids", "prompt_mask", "codes", "advantages"):
        # A dead group may be any rollouts with advantage 0: those of the first live group will do.
        full = batch[name][:1].repeat(8, *[1] * (batch[name].ndim - 1))
        full[live] = batch[name]
        everyone[name] = full
    everyone["advantages"][~live] = 0
    gradients = []
    for inputs in (batch, everyone):
        trainer.model.zero_grad()
        trainer.compute_loss(trainer.model, inputs).backward()
        gradients.append([parameter.grad.clone() for parameter in trainer.model.parameters()])
    assert max(float(gradient.abs().max()) for gradient in gradients[0]) > 1e-3
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-4)


def test_two_users_with_the_same_history_keep_their_own_targets(
    young_run: Path, young_config: Config, tmp_path: Path
) -> None:
    rows = prompts([[0, 1, 2], [0, 1, 2]], [3, 17])
    trainer = make_trainer(young_run, young_config, rows, tmp_path, num_generations=24)
    batch = trainer._generate_and_score_completions(groups_of(trainer))
    best = batch["advantages"].argmax(1)
    rewarded = batch["codes"][torch.arange(2), best]
    assert rewarded.tolist() == trainer._sid_model.semantic_ids.codes[[3, 17]].tolist()


def test_a_batch_whose_groups_are_torn_is_a_fault(
    young_run: Path, young_config: Config, tmp_path: Path
) -> None:
    trainer = make_trainer(young_run, young_config, prompts(HISTORIES, TARGETS), tmp_path)
    torn = groups_of(trainer)[1:17]
    with pytest.raises(RuntimeError, match=r"groups are torn; is trl==1\.16 installed"):
        trainer._generate_and_score_completions(torn)


def test_trl_must_not_ask_for_rewards() -> None:
    with pytest.raises(RuntimeError, match="sidrec computes rewards itself"):
        _unused_reward(prompts=[""])


class RepeatingTrainer(ReReTrainer):
    """The slow reference: every rollout reads its own copy of the prompt."""

    def _policy_scores(self, prompt_ids: Tensor, prompt_mask: Tensor, codes: Tensor) -> CompletionScores:
        scorer, (num_groups, group_size, levels) = self._sid_model.scorer, codes.shape
        paths = scorer.trie.walk(codes).flatten(0, 1)  # (B * G, L + 1)
        prompt = prompt_ids.repeat_interleave(group_size, dim=0)
        mask = prompt_mask.repeat_interleave(group_size, dim=0).long()
        mask = torch.cat([mask, mask.new_ones(len(mask), levels - 1)], dim=1)
        hidden = scorer.hidden(
            input_ids=torch.cat([prompt, scorer.tokens(paths[:, 1:-1])], dim=1),
            attention_mask=mask,
            position_ids=(mask.cumsum(1) - 1).clamp(min=0),
        )
        width = prompt.shape[1]
        scored = [
            scorer.children(hidden[:, width - 1 + level], paths[:, level], level) for level in range(levels)
        ]
        log_probs = [each.pick(codes.flatten(0, 1)[:, level]) for level, each in enumerate(scored)]
        values = (log_probs, [each.entropy() for each in scored], [each.outside() for each in scored])
        return CompletionScores(*(torch.stack(each, 1).view(num_groups, group_size, -1) for each in values))


@pytest.mark.parametrize(("objective", "updates"), TRAJECTORIES)
def test_sharing_prompts_gives_the_trajectory_of_repeating_them(
    objective: ObjectiveName, updates: int, young_run: Path, young_config: Config, tmp_path: Path
) -> None:
    histories = [history[: 1 + n % 3] for n, history in enumerate(HISTORIES)]  # of unequal length: padding
    rows = prompts(histories, TARGETS)
    settings = {"objective": objective, "updates_per_batch": updates, "evaluations": 1}
    four_steps = {"steps": 4, "learning_rate": 3e-4, "beta": 0.04, "prompts_per_step": 6} | settings
    trained = []
    for cls in (ReReTrainer, RepeatingTrainer):
        trainer = make_trainer(young_run, young_config, rows, tmp_path / cls.__name__, cls=cls, **four_steps)
        before = weights(trainer)
        trainer.train()
        trained.append(weights(trainer))
    assert max(float((trained[0][name] - before[name]).abs().max()) for name in before) > 5e-4
    for name in before:
        torch.testing.assert_close(trained[0][name], trained[1][name], atol=1e-5, rtol=0)


def test_rewards_of_true_targets_are_higher_than_of_wrong_ones(
    toy_run: Path, toy_config: Config, tmp_path: Path
) -> None:
    trainer = make_trainer(toy_run, toy_config, prompts(HISTORIES, TARGETS), tmp_path, num_generations=2)
    right, wrong = (
        rule_reward(rollouts_of(trainer, HISTORIES, targets)).sum(1).mean()
        for targets in (TARGETS, [(target + 7) % 24 for target in TARGETS])
    )
    assert right > 0.8
    assert wrong < 0.2


def test_rl_improves_a_model_that_sft_left_early(young_run: Path) -> None:
    metrics = json.loads((young_run / "rl" / "metrics.json").read_text())
    assert metrics["kept"] == "rl"
    assert metrics["ndcg@10"]["difference"]["low"] > 0


def test_rl_on_wrong_targets_does_not_improve_the_ranking(
    young_run: Path, young_config: Config, tmp_path: Path
) -> None:
    rows = prompts(HISTORIES, [(target + 7) % 24 for target in TARGETS])
    trainer = make_trainer(young_run, young_config, rows, tmp_path)
    before = trainer.evaluate()["eval_ndcg@10"]
    trainer.train()
    assert trainer.evaluate()["eval_ndcg@10"] < before


def test_the_first_step_has_no_kl_and_later_ones_have(young_run: Path) -> None:
    rows = toy.history((young_run / "rl" / "history.csv").read_bytes())
    kl = [float(row["kl"]) for row in rows if row["kl"]]
    assert kl[0] == pytest.approx(0, abs=1e-6)
    assert kl[-1] > 1e-5


def test_rollouts_show_groups_that_a_person_can_read(young_run: Path) -> None:
    table = pd.read_parquet(young_run / "rl" / "rollouts.parquet")
    titles = dict(zip(toy.items()["item_id"], toy.items()["title"], strict=True))
    assert table.groupby("group").size().tolist() == [16] * 50
    assert table["rank"].tolist() == list(range(1, 17)) * 50
    assert table["title"].tolist() == [titles[item_id] for item_id in table["item_id"]]
    assert (table["is_target"] == (table["title"] == table["target"])).all()
    order = list(titles.values())
    for history, target in zip(table["history"], table["target"], strict=True):
        shown = history.split(" | ")
        assert order[(order.index(shown[-1]) + 1) % 24] == target  # the rule of the toy


def test_rollouts_hold_the_group_formula(young_run: Path) -> None:
    table = pd.read_parquet(young_run / "rl" / "rollouts.parquet")
    np.testing.assert_allclose(table["reward"], table["reward_rule"] + table["reward_ranking"], rtol=1e-6)
    assert (table["reward_rule"] == table["is_target"]).all()
    rewards = table.groupby("group")["reward"]
    expected = (table["reward"] - rewards.transform("mean")) / (rewards.transform("std") + 1e-4)
    np.testing.assert_allclose(table["advantage"], expected, atol=1e-5)


def test_a_gain_whose_interval_lies_above_0_keeps_rl(toy_config: Config) -> None:
    # NDCG of ranks 2, miss, 3, 1: (.6309 + 0 + .5 + 1) / 4 = .5327; three of four hit.
    found = decide(np.array([2, 0, 3, 1]), np.array([1, 1, 1, 1]), toy_config)
    assert (found["kept"], found["valid_users"]) == ("rl", 4)
    assert (found["ndcg@10"]["sft"], found["ndcg@10"]["rl"]) == (pytest.approx(0.5327, abs=1e-4), 1)
    assert found["hr@10"]["difference"]["value"] == 0.25
    difference = found["ndcg@10"]["difference"]
    assert difference["value"] == pytest.approx(0.4673, abs=1e-4)
    assert 0 < difference["low"] < 0.4673 < difference["high"] < 1


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([2, 0, 1, 1], [1, 3, 1, 1]),  # a gain for two of four: one resample in 16 has neither
        ([1, 2], [2, 1]),  # none
        ([1, 1], [2, 2]),  # a loss
    ],
)
def test_a_gain_that_the_interval_does_not_show_keeps_sft(
    before: list[int], after: list[int], toy_config: Config
) -> None:
    assert decide(np.array(before), np.array(after), toy_config)["kept"] == "sft"


def test_where_rl_is_worse_its_directory_holds_the_weights_of_sft(young_run: Path, tmp_path: Path) -> None:
    toy.copy(young_run, tmp_path, without=("rl", "evaluate"))
    config = load_config(
        toy.write(tmp_path, **toy.YOUNG), ["rl.learning_rate=1", "rl.steps=2", "rl.evaluations=1"]
    )
    sidrec.rl(config)
    metrics = json.loads((config.output / "rl" / "metrics.json").read_text())
    assert metrics["kept"] == "sft"
    assert metrics["ndcg@10"]["difference"]["value"] < 0
    of_rl, of_sft = ((config.output / name / "model.safetensors").read_bytes() for name in ("rl", "sft"))
    assert of_rl == of_sft


def test_a_step_is_reported_with_its_rewards_groups_and_kl(
    young_run: Path, young_config: Config, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trainer = make_trainer(
        young_run, young_config, prompts(HISTORIES, TARGETS), tmp_path, steps=1, evaluations=1
    )
    with caplog.at_level(logging.INFO, logger="sidrec"):
        trainer.train()
    step, policy, evaluation = (
        each.getMessage() for each in caplog.records if each.name.startswith("sidrec")
    )
    assert step.startswith("rl: step 1 of 1, reward ")
    for part in ("rule +", "ranking -", "HR@1 0.", "NDCG 0.", "dead "):
        assert part in step
    for part in ("KL 0.00000 (", "entropy ", "clipped 0.0%", "outside the trie 0.0%", "s per step: rollout "):
        assert part in policy
    assert evaluation.startswith("rl: step 1 of 1, loss ")
    assert "valid NDCG@10 0." in evaluation
