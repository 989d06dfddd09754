"""Constrain a `generate` call of one's own: a logits processor without memory.

`constrained_beam_search` is many times faster, and where there are fewer items than beams it returns what
exists while `generate` repeats items; this is for those who must keep `generate`. The place in the trie is
read from the token ids at every step, never counted, so one processor serves any number of calls and prompts
of any length.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import LogitsProcessor
from transformers.generation.logits_process import (
    LogitNormalization,
    LogitsProcessorList,
    TemperatureLogitsWarper,
)

from sidrec.trie import NOWHERE, ROOT, SIDTrie

HARMLESS = (TemperatureLogitsWarper, LogitNormalization)
"""Processors that may come after the constraint: they keep -inf and take away no item."""
SWITCHES = (
    "do_sample=False, or top_k=0, top_p=1.0, min_p=None, typical_p=1.0, epsilon_cutoff=0.0, eta_cutoff=0.0"
)


class SIDLogitsProcessor(LogitsProcessor):
    """Allow only token ids that go on to an item, for greedy decoding, sampling and beams.

    The tokens of the SID that is being written are found in one of two ways. Without `start`, by their level:
    no token stands on two levels of the trie, so the last tokens of a row say how far it is, and behind a
    whole SID a new one begins; stop `generate` by `max_new_tokens=trie.num_levels`. With `start`, behind the
    last place where these tokens stand (the end of the prompt's template); the trie may then be of any depth,
    as for titles, and behind a whole item only `eos_token_id` is allowed.
    """

    def __init__(
        self, trie: SIDTrie, *, start: Sequence[int] | None = None, eos_token_id: int | None = None
    ) -> None:
        """Take the trie.

        Args:
            trie: Its codes are token ids.
            start: Tokens behind which an item begins, and which no item holds.
            eos_token_id: What may follow a whole item, with `start`.

        Raises:
            ValueError: If it cannot be told from the tokens where an item begins.
        """
        levels = [trie.codes_at(level).unique() for level in range(trie.num_levels)]
        self._trie, self._eos = trie, eos_token_id
        self._start = None if start is None else torch.tensor(list(start))
        if start is None:
            every = torch.cat(levels)
            if len(every.unique()) < len(every) or any(trie.ends[:-1]):
                raise ValueError(
                    "Some tokens stand on two levels of the trie, or items end on different levels, so the "
                    "tokens do not say where an item begins. Give start=, the tokens at the end of your "
                    "prompt, and eos_token_id=."
                )
            self._level_of = torch.full((int(every.max()) + 1,), -1)
            for level, tokens in enumerate(levels):
                self._level_of[tokens.cpu().long()] = level
        elif eos_token_id is None or not len(start):
            raise ValueError("start= needs at least one token, and eos_token_id=, which ends an item.")

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Return (B, V) scores with -inf for every token that leads to no item.

        Raises:
            ValueError: If a row holds the beginning of no item, or a processor that filters comes after this
                one.
        """
        self._check_order(sys._getframe(1).f_locals.get("self"))
        states, depth, ended = self._places(input_ids)
        lost = (states == NOWHERE) & ~ended
        if bool(lost.any()):
            row = input_ids[lost][0].tolist()
            raise ValueError(
                f"The row that ends with the tokens {row[-self._trie.num_levels :]} holds the beginning "
                "of no item. A prompt must not be cut within an item's tokens."
            )
        allowed = torch.zeros_like(scores, dtype=torch.bool)
        for level in depth.unique().tolist():
            rows = (depth == level) & ~ended
            if level == self._trie.num_levels or not bool(rows.any()):
                continue
            children = self._trie.children(states[rows].to(self._trie.device), level)
            tokens = torch.where(children.allowed, children.codes, -1).to(scores.device)
            part = torch.zeros((int(rows.sum()), scores.shape[1] + 1), dtype=torch.bool, device=scores.device)
            allowed[rows] = part.scatter(1, tokens % part.shape[1], True)[:, :-1]  # -1 is the last column
        if self._eos is not None and self._start is not None:
            whole = self._trie.leaf_sizes(states.clamp(min=0).to(self._trie.device)).to(scores.device) > 0
            allowed[:, self._eos] |= whole | ended
        return scores.masked_fill(~allowed, -torch.inf)

    def _places(self, input_ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The state of each row, its depth, and whether its item has ended: (B,) each."""
        if self._start is None:
            return self._places_by_level(input_ids)
        start = self._start.to(input_ids.device)
        windows = input_ids.unfold(1, len(start), 1)  # (B, T - S + 1, S)
        found = (windows == start).all(-1)
        if not bool(found.any(1).all()):
            raise ValueError(f"A prompt does not hold the start tokens {start.tolist()}.")
        places = torch.arange(found.shape[1], device=found.device)
        begins = torch.where(found, places, -1).amax(1) + len(start)  # (B,)
        states, depth, ended = [], [], []
        for row, begin in zip(input_ids.tolist(), begins.tolist(), strict=True):
            codes = row[begin:]
            over = self._eos in codes
            codes = codes[: codes.index(self._eos)] if over else codes
            path = self._trie.find(torch.tensor(codes, dtype=torch.int64, device=self._trie.device))
            states.append(int(path[-1]))
            depth.append(len(codes))
            ended.append(over)
        device = input_ids.device
        return (
            torch.tensor(states, device=device),
            torch.tensor(depth, device=device),
            torch.tensor(ended, device=device),
        )

    def _places_by_level(self, input_ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        level_of = self._level_of.to(input_ids.device)
        last = input_ids[:, -1]
        level = torch.where(last < len(level_of), level_of[last.clamp(max=len(level_of) - 1)], -1)
        depth = (level + 1) % self._trie.num_levels  # behind the last level, and behind text, an item begins
        states = torch.full_like(depth, ROOT)
        for length in depth.unique().tolist():
            rows = depth == length
            if length and length <= input_ids.shape[1]:
                codes = input_ids[rows][:, input_ids.shape[1] - length :]
                states[rows] = self._trie.find(codes.to(self._trie.device))[:, -1].to(states.device)
            elif length:
                states[rows] = NOWHERE
        return states, depth, torch.zeros_like(depth, dtype=torch.bool)

    def _check_order(self, caller: object) -> None:
        """Look at the list that this processor is called from: the constraint must be what filters last."""
        if not isinstance(caller, LogitsProcessorList):
            return
        after = caller[caller.index(self) + 1 :] if self in caller else []
        filters = [type(each).__name__ for each in after if not isinstance(each, HARMLESS)]
        if filters:
            raise ValueError(
                f"{', '.join(filters)} would come after the constraint and could undo it. Switch it off in "
                f"generate(), also where it comes from the model's generation_config: {SWITCHES}."
            )
