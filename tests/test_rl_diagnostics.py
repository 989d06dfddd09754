"""What is measured of RL, what is warned of, and where it is written."""

from __future__ import annotations

import csv
import logging
import math
from pathlib import Path

import pytest
import torch
from models import random_prompts, small_scorer
from test_rl import HISTORIES, TARGETS, make_trainer, prompts
from transformers import TrainerControl

from sidrec.config import Config
from sidrec.decoding import pad_prompts
from sidrec.shared_prefix import CompletionScores, completion_scores
from sidrec.sid_model import SIDModel
from sidrec.stages.rl.figure import _drawn, curve, draw_history
from sidrec.trainers.rl import diagnostics as rl_diagnostics
from sidrec.trainers.rl.diagnostics import (
    Drift,
    Figures,
    LinesEndAtCheckpoints,
    Stopwatch,
    Watch,
    groups_line,
    history_columns,
    kl_per_code,
    policy_figures,
    policy_line,
    probes,
)


def test_kl_is_never_below_0_and_0_at_the_reference() -> None:
    found = kl_per_code(torch.tensor([-1.0, -1.0, -1.0]), torch.tensor([-1.0, -2.0, 0.0]))
    # e^0 - 0 - 1; e^-1 + 1 - 1; e^1 - 1 - 1
    assert found.tolist() == pytest.approx([0, math.exp(-1), math.e - 2])


def test_figures_of_the_policy_are_of_real_codes_alone() -> None:
    """One group of two rollouts, of two codes and of one."""
    mask = torch.tensor([[[True, True], [True, False]]])
    scores = CompletionScores(
        log_probs=torch.tensor([[[-1.0, -1.0], [-1.0, -torch.inf]]]),
        entropies=torch.tensor([[[0.1, 0.2], [0.6, 9.0]]]),
        outside=torch.tensor([[[0.0, 0.3], [0.3, 9.0]]]),
    )
    reference = torch.tensor([[[-1.0, -2.0], [0.0, -torch.inf]]])
    found = policy_figures(scores, reference, mask, 0.25)
    kl = [0, math.exp(-1), math.e - 2]  # .3679, .7183
    expected = {
        "entropy": 0.3,
        "outside_trie": 0.2,
        "completion_length": 1.5,
        "clip_share": 0.25,
        "kl": sum(kl) / 3,
        "kl_p50": kl[1],
        "kl_p95": kl[1] + 0.9 * (kl[2] - kl[1]),  # .95 of the way through two gaps is .9 into the second
        "kl_max": kl[2],
    }
    assert found == pytest.approx(expected)
    assert not [name for name in policy_figures(scores, None, mask, 0.0) if name.startswith("kl")]


def test_a_line_of_the_log_has_means_and_the_greatest_kl() -> None:
    figures = Figures()
    figures.note({"entropy": 1.0, "kl_max": 5.0})
    figures.note({"entropy": 2.0, "kl_max": 3.0})
    figures.note({"seconds/policy": 0.5})
    assert figures.read() == {"entropy": 1.5, "kl_max": 5.0, "seconds/policy": 0.5}
    assert figures.read() == {}


@pytest.mark.parametrize("normalization", ["vocabulary", "level", "catalog"])
def test_mass_outside_the_trie_is_what_the_allowed_codes_leave(normalization: str) -> None:
    scorer, codes = small_scorer(normalization=normalization)
    ids, mask = pad_prompts(random_prompts(), 0)
    items = torch.tensor(codes[:6]).view(3, 2, 3)
    found = completion_scores(scorer, ids, mask, items).outside
    for group, prompt in enumerate(random_prompts()):
        for rollout in range(2):
            path = items[group, rollout].tolist()
            read = [int(scorer.token_ids[level][code]) for level, code in enumerate(path[:-1])]
            with torch.no_grad():
                logits = scorer.model(torch.tensor([prompt + read])).logits[0, len(prompt) - 1 :]
            for level in range(3):
                children = {int(c[level]) for c in codes.tolist() if c[:level] == path[:level]}
                allowed = scorer.token_ids[level][sorted(children)]
                over = {
                    "vocabulary": torch.arange(logits.shape[1]),
                    "level": scorer.token_ids[level],
                    "catalog": allowed,
                }[normalization]
                total = logits[level][over].logsumexp(0)
                expected = 1 - float((logits[level][allowed] - total).exp().sum())
                assert float(found[group, rollout, level]) == pytest.approx(expected, abs=1e-5)
    if normalization != "catalog":
        assert float(found.max()) > 0.1


def test_seconds_are_divided_among_phases(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([10.0, 11.0, 13.0, 13.5, 20.0, 20.25])
    monkeypatch.setattr(rl_diagnostics.time, "perf_counter", lambda: next(now))
    watch = Stopwatch(torch.device("cpu"))
    watch.start()
    for phase in ("rollout", "policy", "rollout"):
        watch.lap(phase)
    found = watch.read()
    assert (found["seconds/rollout"], found["seconds/policy"], found["seconds/reward"]) == (1.5, 2, 0)
    watch.start()
    watch.lap("backward")
    assert sum(watch.read().values()) == watch.read()["seconds/backward"] == 0.25


@pytest.mark.parametrize(
    ("hits", "advice"),
    [
        (1.0, "all their rollouts are the target. SFT has learnt these prompts by "),
        (0.0, "none of their rollouts is the target. Raise rl.num_generations"),
        (0.25, "their rewards do not tell rollouts apart. Choose others"),
    ],
)
def test_steps_without_a_live_group_are_warned_of_once(
    hits: float, advice: str, caplog: pytest.LogCaptureFixture
) -> None:
    watch = Watch()
    for _ in range(4):
        watch.groups(1.0, hits)
    watch.groups(0.5, hits)  # counts from here
    for _ in range(4):
        watch.groups(1.0, hits)
    assert caplog.messages == []
    for _ in range(9):
        watch.groups(1.0, hits)
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith(f"rl: no group of the last 5 steps carried a signal: {advice}")


def test_a_policy_that_nothing_holds_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    watch = Watch()
    watch.drift(0.9)
    assert caplog.messages == []
    watch.drift(1.5)
    watch.drift(2.5)
    assert caplog.messages == [
        "rl: the policy is 1.5 nats per code away from where it began, and with rl.beta=0 nothing holds it. "
        "Set rl.beta (0.04 by default), or lower rl.learning_rate."
    ]


def test_drift_is_the_kl_on_the_best_items_of_the_start(young_run: Path) -> None:
    sid_model = SIDModel.load(young_run / "sft")
    asked = [sid_model.prompts.next_item(history) for history in ([0, 1, 2], [5], [7, 8])]
    items = sid_model.search(asked, num_beams=4).items.tolist()
    drift = Drift(sid_model, asked, 4)
    assert drift.measure() == 0

    def log_probs() -> torch.Tensor:
        """The slow reference: one prompt, one item at a time."""
        found = []
        for prompt, best in zip(asked, items, strict=True):
            for item in best:
                codes = torch.tensor(sid_model.semantic_ids.codes[item]).view(1, 1, -1)
                ids = torch.tensor([prompt])
                found.append(completion_scores(sid_model.scorer, ids, torch.ones_like(ids), codes).log_probs)
        return torch.cat(found)

    with torch.no_grad():
        before = log_probs()
        generator = torch.Generator().manual_seed(0)
        for weight in sid_model.model.parameters():
            weight += 0.02 * torch.randn(weight.shape, generator=generator)
        difference = log_probs() - before
    expected = (difference.exp() - difference - 1).mean()
    assert drift.measure() == pytest.approx(float(expected), rel=1e-4)
    assert drift.measure() > 0.01


def test_probes_are_spread_over_all_prompts() -> None:
    assert probes(3) == [0, 1, 2]
    assert len(probes(1000)) == 16
    assert (probes(1000)[0], probes(1000)[-1]) == (0, 999)


def test_a_training_without_a_reference_logs_its_drift(
    young_run: Path, young_config: Config, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = {"steps": 3, "evaluations": 1, "beta": 0.0, "learning_rate": 0.1}
    trainer = make_trainer(young_run, young_config, prompts(HISTORIES, TARGETS), tmp_path, **settings)
    with caplog.at_level(logging.INFO, logger="sidrec"):
        trainer.train()
    lines = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert all("kl" not in entry for entry in lines)
    assert lines[-1]["drift"] > 1
    assert any("rl.beta=0 nothing holds it" in message for message in caplog.messages)
    assert any("drift " in message for message in caplog.messages)


def test_the_history_has_a_row_per_line_of_the_log_with_every_figure(young_run: Path) -> None:
    with (young_run / "rl" / "history.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == [
        *("step", "epoch", "loss"),
        *history_columns(["rule", "ranking"]),
        *("valid_ndcg@10", "valid_hr@10"),
    ]
    assert [int(row["step"]) for row in rows] == [0, 1, 2, 3, 4, 5, 6]
    start = rows.pop(0)
    assert {name for name in start if start[name]} == {"step", "epoch", "valid_ndcg@10"}
    for row in rows:
        empty = {name for name in row if row[name] == ""} - {"valid_ndcg@10", "valid_hr@10"}
        assert empty == {"drift"}
        assert float(row["completion_length"]) == 3
        assert float(row["outside_trie"]) == pytest.approx(
            0, abs=1e-6
        )  # presets normalize over the catalogue
        assert 0 <= float(row["kl_p50"]) <= float(row["kl_p95"]) <= float(row["kl_max"])
        assert all(float(row[name]) > 0 for name in row if name.startswith("seconds/"))
    assert sum(row["valid_ndcg@10"] != "" for row in rows) == 2


def test_the_lines_of_a_step_say_figures_and_seconds() -> None:
    logs = {"reward": 0.5, "reward/rule": 0.25, "group_hr@1": 0.5, "group_ndcg": 0.75}
    logs |= {"dead_groups": 0.1, "drawn_prompts": 20}
    assert (
        groups_line(logs) == "reward +0.5000 (rule +0.2500), groups: HR@1 0.500, NDCG 0.750, dead 10% of 20"
    )
    logs = {f"seconds/{phase}": 0.125 for phase in rl_diagnostics.PHASES}
    seconds = "s per step: rollout 0.12, reward 0.12, reference 0.12, policy 0.12, backward 0.12"
    assert policy_line(logs) == seconds
    logs |= {"entropy": 1.25, "clip_share": 0.125, "outside_trie": 0.5}
    assert policy_line(logs) == f"entropy 1.250, clipped 12.5%, outside the trie 50.0%; {seconds}"
    assert policy_line(logs | {"drift": 0.25}).startswith("drift 0.25000, entropy 1.250")
    logs |= {"kl": 0.03, "kl_p50": -1e-9, "kl_p95": 0.04, "kl_max": 0.05}
    assert policy_line(logs).startswith("KL 0.03000 (0.00000 half, 0.04000 95%, 0.05000 most), entropy")


def test_a_checkpoint_ends_a_line_of_the_log() -> None:
    for saves in (False, True):
        control = TrainerControl(should_save=saves)
        LinesEndAtCheckpoints().on_step_end(None, None, control)
        assert control.should_log is saves


ROWS = [
    {"step": 1, "loss": 0.1, "reward": 0.2, "reward/rule": 0.3, "group_ndcg": 0.4, "kl": 0.0, "entropy": 1.0},
    {"step": 2, "loss": 0.1, "reward": 0.1, "reward/rule": 0.2, "kl": 0.1, "valid_ndcg@10": 0.25},
    {"step": 3, "valid_ndcg@10": 0.2},
]


def test_a_curve_has_the_steps_where_something_was_measured() -> None:
    assert curve(ROWS, "valid_ndcg@10") == ([2, 3], [0.25, 0.2])
    assert curve(ROWS, "drift") == ([], [])


def test_the_picture_has_a_line_per_figure_and_names_the_best_step(tmp_path: Path) -> None:
    rewards, groups, policy, valid, entropy = _drawn(ROWS).axes
    labels = [[str(line.get_label()) for line in axes.lines] for axes in (rewards, groups, policy, entropy)]
    assert labels == [["weighted sum", "rule"], ["NDCG"], ["KL, mean"], ["entropy (right)"]]
    assert [text.get_text() for text in valid.texts] == ["best: 0.2500, step 2"]
    assert list(valid.lines[0].get_ydata()) == [0.25, 0.2]


@pytest.mark.parametrize("rows", [ROWS, ROWS[:1], []])
def test_the_same_history_is_the_same_picture(rows: list, tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        draw_history(rows, tmp_path / name)
    assert (tmp_path / "a.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
