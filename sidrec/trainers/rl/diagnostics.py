"""What a person watches of RL beside its rewards: the policy's figures, time per phase, and when to worry."""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from sidrec.attention import evaluating
from sidrec.decoding import pad_prompts
from sidrec.processes import everyones
from sidrec.shared_prefix import CompletionScores, completion_scores
from sidrec.sid_model import SIDModel

logger = logging.getLogger(__name__)
PHASES = ("rollout", "reward", "reference", "policy", "backward")
DEAD_STEPS = 5
"""Steps in a row without a live group before that is said."""
DRIFT = 1.0
"""Nats per code away from the start that are worth a word where nothing holds the policy back."""
PROBES = 16
"""Prompts by which drift is measured, once per line of the log."""
SHARES = {"clip_share": "clipped", "outside_trie": "outside the trie"}
ADVICE = {
    "target": "all their rollouts are the target. SFT has learnt these prompts by heart: train RL on prompts "
    "that SFT has not seen (rl.prompts=held_out)",
    "miss": "none of their rollouts is the target. Raise rl.num_generations, set rl.add_target, or train SFT "
    "for longer",
    "equal": "their rewards do not tell rollouts apart. Choose others in rl.rewards",
}


def history_columns(rewards: Iterable[str]) -> list[str]:
    """Name the columns of RL's `history.csv` between loss and the valid metrics."""
    return [
        *("learning_rate", "grad_norm", "reward", "ranked_reward"),
        *(f"{figure}/{name}" for figure in ("reward", "ranked_reward", "reward_share") for name in rewards),
        *("group_hr@1", "group_ndcg", "dead_groups", "drawn_prompts", "distinct_items", "target_rate"),
        *("kl", "kl_p50", "kl_p95", "kl_max", "drift"),
        *("entropy", "clip_share", "outside_trie", "completion_length"),
        *(f"seconds/{phase}" for phase in PHASES),
    ]


def kl_per_code(policy: Tensor, reference: Tensor) -> Tensor:
    """Estimate KL(policy || reference) at each code from its log-probabilities, (...); never below 0.

    Source: Schulman's k3 (http://joschu.net/blog/kl-approx.html), as GRPO has it.
    """
    difference = reference - policy
    return difference.exp() - difference - 1


@torch.no_grad()
def policy_figures(
    scores: CompletionScores, reference: Tensor | None, mask: Tensor, clip_share: float
) -> dict[str, float]:
    """Sum up a pass of the policy over live groups.

    Args:
        scores: (B, G, L) each.
        reference: (B, G, L) log-probabilities under the reference, if there is one.
        mask: (B, G, L) bool: False after the last code of a rollout.
        clip_share: Share of the codes, or rollouts, whose ratio was clipped.

    Returns:
        Means over codes, and of KL quantiles over them: `kl_p50`, `kl_p95`, `kl_max`.
    """
    figures = {
        "entropy": float(scores.entropies[mask].mean()),
        "outside_trie": float(scores.outside[mask].mean()),
        "completion_length": float(mask.sum(-1).float().mean()),
        "clip_share": clip_share,
    }
    if reference is not None:
        kl = kl_per_code(scores.log_probs[mask], reference[mask])
        half, most = torch.quantile(kl, kl.new_tensor([0.5, 0.95])).tolist()
        figures |= {"kl": float(kl.mean()), "kl_p50": half, "kl_p95": most, "kl_max": float(kl.max())}
    return figures


class Figures:
    """What was noted since the last line of the log: the mean over the notes, of `kl_max` the greatest."""

    def __init__(self) -> None:
        self._noted: defaultdict[str, list[float]] = defaultdict(list)

    def note(self, figures: Mapping[str, float]) -> None:
        """Take down the figures of a step."""
        for name, value in figures.items():
            self._noted[name].append(value)

    def read(self) -> dict[str, float]:
        """Return them, of all processes, and start anew."""
        noted: defaultdict[str, list[float]] = defaultdict(list)
        for share in everyones(dict(self._noted)):
            for name, values in share.items():
                noted[name] += values
        self._noted.clear()
        return {
            name: max(values) if name == "kl_max" else sum(values) / len(values)
            for name, values in noted.items()
        }


class Stopwatch:
    """Divide the time of a step among its phases; a GPU is waited for at the end of each."""

    def __init__(self, device: torch.device) -> None:
        self._waits = device.type != "cpu"
        self._mark = 0.0
        self._seconds = dict.fromkeys(PHASES, 0.0)

    def start(self) -> None:
        """Begin a step."""
        self._seconds = dict.fromkeys(PHASES, 0.0)
        self._mark = time.perf_counter()

    def lap(self, phase: str) -> None:
        """Give what has gone by since the last lap, or the start, to a phase."""
        if self._waits:
            torch.accelerator.synchronize()
        now = time.perf_counter()
        self._seconds[phase] += now - self._mark
        self._mark = now

    def read(self) -> dict[str, float]:
        """Return `seconds/PHASE` of the step, 0 where it had none: rollouts may be used again."""
        return {f"seconds/{phase}": seconds for phase, seconds in self._seconds.items()}


class Drift:
    """How far a policy has gone from where it was when this was made, without a copy of the model.

    The mean, over the codes of what the start thought the G best items after a few prompts, of the k3
    estimate of KL(start || now), in nats per code. Beams are no sample of the start, so this is no KL that
    another figure could be compared with; it is 0 at the start, and grows.
    """

    def __init__(self, sid_model: SIDModel, prompts: Sequence[Sequence[int]], num_beams: int) -> None:
        """Remember how the model scores its own best items after these prompts."""
        self._sid_model = sid_model
        self._codes = sid_model.search(prompts, num_beams=num_beams).codes  # (B, G, L)
        lists = [list(prompt) for prompt in prompts]
        self._prompts = pad_prompts(lists, sid_model.prompts.pad_id, self._codes.device)
        self._before = self._log_probs()

    def measure(self) -> float:
        """Return the distance to the start with the weights as they are now."""
        mask = self._codes >= 0
        return float(kl_per_code(self._before[mask], self._log_probs()[mask]).mean())

    @torch.no_grad()
    def _log_probs(self) -> Tensor:
        with evaluating(self._sid_model.model):
            return completion_scores(self._sid_model.scorer, *self._prompts, self._codes).log_probs


def probes(num_prompts: int) -> list[int]:
    """Return the places of up to `PROBES` prompts, spread over all."""
    return np.unique(np.linspace(0, num_prompts - 1, PROBES).round().astype(int)).tolist()


class Watch:
    """Warn, once of each thing, when a training cannot become better than it is."""

    def __init__(self) -> None:
        self._dead_steps = 0
        self._said: set[str] = set()

    def groups(self, dead: float, hits: float) -> None:
        """Look at a step: the share of its groups without a signal, and of its rollouts that are targets."""
        self._dead_steps = 0 if dead < 1 else self._dead_steps + 1
        if self._dead_steps < DEAD_STEPS:
            return
        why = "target" if hits > 0.5 else "miss" if hits == 0 else "equal"
        self._say(
            "dead",
            "rl: no group of the last %d steps carried a signal: %s.",
            DEAD_STEPS,
            ADVICE[why],
        )

    def drift(self, value: float) -> None:
        """Look at `Drift` where beta is 0."""
        if value > DRIFT:
            self._say(
                "drift",
                "rl: the policy is %.1f nats per code away from where it began, and with rl.beta=0 nothing "
                "holds it. Set rl.beta (0.04 by default), or lower rl.learning_rate.",
                value,
            )

    def _say(self, thing: str, message: str, *values: object) -> None:
        if thing not in self._said:
            self._said.add(thing)
            logger.warning(message, *values)


class LinesEndAtCheckpoints(TrainerCallback):
    """Have a checkpoint end a line of the log, as what is summed for one is not part of it."""

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Ask for a line where there will be a checkpoint."""
        control.should_log |= control.should_save


def groups_line(logs: Mapping[str, float]) -> str:
    """Say how the groups of a line of the log do."""
    parts = ", ".join(f"{key[7:]} {value:+.4f}" for key, value in logs.items() if key.startswith("reward/"))
    return (
        f"reward {logs['reward']:+.4f} ({parts}), groups: HR@1 {logs['group_hr@1']:.3f}, "
        f"NDCG {logs['group_ndcg']:.3f}, dead {100 * logs['dead_groups']:.0f}% of {logs['drawn_prompts']:.0f}"
    )


def policy_line(logs: Mapping[str, float]) -> str:
    """Say how the policy of a line of the log does, and where its time went."""
    said = []
    if "kl" in logs:
        half, most, greatest = (max(0.0, logs[name]) for name in ("kl_p50", "kl_p95", "kl_max"))
        said.append(f"KL {max(0.0, logs['kl']):.5f} ({half:.5f} half, {most:.5f} 95%, {greatest:.5f} most)")
    if "drift" in logs:
        said.append(f"drift {logs['drift']:.5f}")
    if "entropy" in logs:
        said.append(f"entropy {logs['entropy']:.3f}")
        said += [f"{name} {100 * logs[key]:.1f}%" for key, name in SHARES.items()]
    times = ", ".join(f"{phase} {logs[f'seconds/{phase}']:.2f}" for phase in PHASES)
    return "; ".join([", ".join(said), f"s per step: {times}"] if said else [f"s per step: {times}"])
