"""Draw the rollouts of a step: G items for each prompt, with the policy as it is now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sidrec.attention import evaluating
from sidrec.decoding import Beams
from sidrec.decoding.beam_search import read_in_groups
from sidrec.decoding.prompts import as_lists
from sidrec.decoding.sampling import sample_items, score_items
from sidrec.decoding.search import search
from sidrec.decoding.stochastic_beam import log_inclusion, sample_distinct
from sidrec.rewards import Rollouts, importance_weights
from sidrec.rl_config import OffPolicy, Sampling
from sidrec.sid_model import SIDModel
from sidrec.trainers.rl.drawn import Drawn, beams_and_samples, is_repeated, joined, most_distinct, with_target


@dataclass(frozen=True)
class Drawing:
    """How rollouts are drawn; nothing of it changes from step to step.

    Attributes:
        sid_model: The policy.
        num_generations: G.
        sampling: As `rl.sampling`, with the next four.
        temperature: As there.
        add_target: As there.
        off_policy: As there.
        seed: As there.
    """

    sid_model: SIDModel
    num_generations: int
    sampling: Sampling = "beam"
    temperature: float = 1.0
    add_target: bool = False
    off_policy: OffPolicy = "ignore"
    seed: int = 0

    @torch.no_grad()
    def draw(self, rows: Sequence[dict[str, Any]], step: int) -> Rollouts:
        """Return the rollouts of some rows, best first by the policy's log-probability.

        Args:
            rows: With `prompt_ids`, tokens; `target`, a catalogue row; `row`, a number of the row's own; and
                `history`, catalogue rows, which a row whose prompt tells of none may lack.
            step: The optimizer step. Chance depends on the seed, it and the row's number alone.
        """
        policy = self.sid_model
        prompts = as_lists([row["prompt_ids"] for row in rows], None)
        all_targets = torch.tensor([row["target"] for row in rows], device=policy.reader.device)
        drawn: list[Drawn] = []
        seen: list[Tensor] = []
        order: list[int] = []
        with evaluating(policy.model):
            for places, beams in read_in_groups(policy.reader, prompts, width=self._width()):
                targets = all_targets[places]
                group = self._drawn(beams, targets, [(self.seed, step, rows[i]["row"]) for i in places])
                seen.append((group.items == targets.unsqueeze(1)).any(dim=1))
                if self.add_target and not bool(seen[-1].all()):
                    beams.rewind(0)
                    scores = score_items(beams, policy.trie, targets.unsqueeze(1)).squeeze(1)
                    group = with_target(group, targets, scores)
                drawn.append(group)
                order += places
        back = torch.tensor(order, device=all_targets.device).argsort()
        whole = joined(drawn, dim=0).pick_rows(back)
        return Rollouts(
            whole.items,
            all_targets,
            histories=[row.get("history") or [] for row in rows],
            log_probs=whole.scores.float(),
            weights=self._weights(whole) if self.off_policy == "importance" else None,
            target_drawn=torch.cat(seen)[back],
        )

    def _width(self) -> int:
        """How many beams a prompt needs room for."""
        num_generations = self.num_generations
        width = {"dynamic": oversampled(num_generations), "sample_without_replacement": num_generations + 1}
        return min(width.get(self.sampling, num_generations), self.sid_model.trie.num_leaves)

    def _drawn(self, beams: Beams, targets: Tensor, seeds: list[tuple[int, int, int]]) -> Drawn:
        """Draw G items of each prompt, best first."""
        trie, num_generations = self.sid_model.trie, self.num_generations
        if self.sampling == "beam":
            return Drawn.found(search(beams, trie, num_beams=num_generations))
        generators = [generator_of(*seed) for seed in seeds]
        sample = partial(sample_items, beams, trie, generators=generators, temperature=self.temperature)
        if self.sampling == "sample":
            return Drawn.sampled(sample(num_samples=num_generations)).best_first()
        if self.sampling == "dynamic":
            drawn = Drawn.sampled(sample(num_samples=oversampled(num_generations)))
            return most_distinct(drawn, targets, num_generations)
        if self.sampling == "mixed":
            best = Drawn.found(search(beams, trie, num_beams=num_generations // 2))
            beams.rewind(0)
            rest = Drawn.sampled(sample(num_samples=num_generations - num_generations // 2))
            return beams_and_samples(best, rest)
        assert self.sampling == "sample_without_replacement"
        distinct = sample_distinct(
            beams, trie, num_samples=num_generations, generators=generators, temperature=self.temperature
        )
        assert distinct.threshold is not None
        inclusion = log_inclusion(distinct.log_probs, distinct.threshold)
        return Drawn(distinct.items, distinct.scores, inclusion).best_first()

    def _weights(self, drawn: Drawn) -> Tensor:
        """Return importance weights of items, which share the probability of their SID."""
        trie = self.sid_model.trie
        sharing = trie.leaf_sizes(trie.state_of(drawn.items)).double()
        return importance_weights(drawn.scores - sharing.log(), drawn.log_inclusion).float()


def oversampled(num_generations: int) -> int:
    """How many items `dynamic` draws to keep G of: 1.5 G, rounded up."""
    return (3 * num_generations + 1) // 2


def generator_of(seed: int, step: int, row: int) -> torch.Generator:
    """Return the source of a prompt's randomness in a step."""
    state = np.random.SeedSequence((seed, step, row)).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]))


def drawing_metrics(rollouts: Rollouts) -> dict[str, float]:
    """Say what a person wants to know of a draw.

    Returns:
        `distinct_items` of a group on average; `target_rate`: the share of groups in which the target was
        drawn, before `rl.add_target` put it in.
    """
    distinct = (~is_repeated(rollouts.items)).sum(dim=1)  # (B,)
    drawn = rollouts.hits.any(dim=1) if rollouts.target_drawn is None else rollouts.target_drawn
    return {"distinct_items": float(distinct.float().mean()), "target_rate": float(drawn.float().mean())}
