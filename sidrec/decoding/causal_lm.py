"""Prompts read by a Hugging Face causal LM: once, with all beams beside each other, or the plain way."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sidrec.attention import AppendCache
from sidrec.decoding.prompts import Group
from sidrec.decoding.search import Beams
from sidrec.scoring import ChildScores, SIDScorer
from sidrec.trie import SIDTrie

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from sidrec.sections import Normalization

logger = logging.getLogger(__name__)
MEMORY_BUDGET = 2**26
"""Bytes that a group of prompts may take beside the weights on a CPU, 64 MiB: with 1 GiB the
preset tiny took twice as long."""

TOKENS = 2**14
"""Tokens that are read at once where prompts cannot be shared."""


@dataclass(frozen=True)
class Prefix:
    """Tokens that prompts begin with, read: keys and values, worthless once the weights change.

    Attributes:
        token_ids: The T tokens.
    """

    token_ids: tuple[int, ...]
    cache: AppendCache


class CausalLM:
    """A causal LM as the search sees it.

    Prompts are shared between beams where the model allows it. Where it does not (recurrent layers, kernels
    without masks), each beam is read anew with its prompt, in rows of equal length without padding: slower,
    and as right.
    """

    def __init__(self, scorer: SIDScorer, *, memory_budget: int | None = None) -> None:
        """Take the model.

        Args:
            scorer: The model with its SID rows.
            memory_budget: Bytes that a group of prompts may take; None: 64 MiB on a CPU, half of what is
                free on a GPU.
        """
        self.scorer = scorer
        self.device = scorer.trie.device
        self.memory_budget = memory_budget
        if not scorer.shares_prompts:
            logger.warning(
                "%s %s: every beam is decoded with a prompt of its own, which is slower.",
                type(scorer.model).__name__,
                scorer.why_not,
            )

    @classmethod
    def from_model(
        cls,
        model: PreTrainedModel,
        trie: SIDTrie,
        *,
        scores: Normalization = "vocabulary",
        memory_budget: int | None = None,
    ) -> CausalLM:
        """Take a model whose token ids are the codes of the trie; for many searches, do it once.

        Raises:
            ArtifactError: If a code is no token of the model.
        """
        return cls(SIDScorer(model, None, trie, scores), memory_budget=memory_budget)

    @torch.no_grad()
    def read_prefix(self, token_ids: Sequence[int]) -> Prefix:
        """Read what prompts begin with, once for all searches until the weights change.

        Where items are merged, that ends before the first of them.
        """
        token_ids = self._words_of(token_ids)
        cache = AppendCache(capacity=len(token_ids))
        if token_ids and self.scorer.shares_prompts and not self.scorer.sums_codes:
            ids = torch.tensor([list(token_ids)], device=self.scorer.model.device)
            places = torch.arange(len(token_ids), device=ids.device).unsqueeze(0)
            visible = torch.ones(
                (1, len(token_ids), len(token_ids)), dtype=torch.bool, device=ids.device
            ).tril()
            masks = self.scorer.attention.masks(visible, places, places, self.scorer.model.dtype)
            self.scorer.hidden(
                input_ids=ids,
                attention_mask=masks,
                position_ids=places,
                past_key_values=cache,
                use_cache=True,
            )
        return Prefix(tuple(token_ids), cache)

    def _words_of(self, token_ids: Sequence[int]) -> Sequence[int]:
        """Cut tokens off where an item may begin, if items are merged."""
        if self.scorer.merger is None or not token_ids:
            return token_ids
        is_code = self.scorer.merger.is_code(torch.tensor(token_ids, device=self.device))
        return token_ids[: int((is_code.cumsum(0) == 0).sum())]

    @torch.no_grad()
    def read(self, group: Group, prefix: Prefix, num_beams: int) -> Beams:
        """Read the prompts of a group, which stand behind `prefix`, and make room for so many beams.

        Raises:
            ValueError: If a prompt and its item have more tokens than the model has positions.
        """
        longest = len(prefix.token_ids) + group.input_ids.shape[1] + self.scorer.trie.num_levels - 1
        positions = getattr(self.scorer.model.config.get_text_config(), "max_position_embeddings", None)
        if positions is not None and longest > positions:
            raise ValueError(
                f"A prompt and its item have {longest} tokens, the model {positions} positions. "
                "Shorten the history."
            )
        if self.scorer.sums_codes:
            return SummedBeams(self.scorer, group, prefix.token_ids)
        if self.scorer.shares_prompts:
            return TreeBeams(self.scorer, group, prefix, num_beams)
        return PlainBeams(self.scorer, group, prefix.token_ids)

    def rows_that_fit(self, prompt_tokens: int, num_beams: int) -> int:
        """Estimate how many prompts of so many tokens can be read and searched at once, at least 1."""
        config = self.scorer.model.config.get_text_config()
        levels, width = self.scorer.trie.num_levels, config.hidden_size
        if self.scorer.sums_codes:
            prompt_tokens = -(-prompt_tokens // levels)
        keys = prompt_tokens + (levels - 1) * num_beams
        queries = max(prompt_tokens, num_beams)
        heads = config.num_attention_heads
        groups = getattr(config, "num_key_value_heads", None) or heads
        head_width = getattr(config, "head_dim", None) or width // heads
        inner = getattr(config, "intermediate_size", None) or 4 * width
        eager = heads if getattr(config, "_attn_implementation", "sdpa") == "eager" else 0
        numbers = (
            2 * config.num_hidden_layers * groups * head_width * keys  # keys and values
            + queries * keys * (2 + 2 * eager)  # masks and attention
            + queries * (6 * width + 3 * inner)  # activations of a layer
            + num_beams * (width + 4 * max(map(len, self.scorer.token_ids)))
        )
        return max(1, self.budget() // (numbers * self.scorer.model.dtype.itemsize))

    def budget(self) -> int:
        """Bytes that a group of prompts may take."""
        device = self.scorer.model.device
        if self.memory_budget is not None:
            return self.memory_budget
        return torch.cuda.mem_get_info(device)[0] // 2 if device.type == "cuda" else MEMORY_BUDGET


@dataclass(frozen=True)
class _Depth:
    """The beams of one depth, and which of the keys after the prompt they see."""

    hidden: Tensor  # (B, M, H)
    ancestors: Tensor  # (B, M, generated) bool


class TreeBeams:
    """Beams in the *sequence* dimension of their prompt's row, each seeing the prompt and its own ancestors.

    Each level appends one key per kept beam to the cache, and `rewind` cuts them off again; nothing is
    reordered or repeated.
    """

    def __init__(self, scorer: SIDScorer, group: Group, prefix: Prefix, num_beams: int) -> None:
        """Read the prompts, with room for `num_beams` at each level; more is made when needed."""
        self.batch_size = len(group.input_ids)
        self._scorer = scorer
        begun = len(prefix.token_ids)
        inputs, mask = scorer.prompt_inputs(group.input_ids, group.mask)
        ones = mask.new_ones((self.batch_size, begun))
        self._seen = torch.cat([ones, mask], dim=1)  # (B, T + P)
        self._positions = (self._seen.cumsum(1) - 1).clamp(min=0)
        self._lengths = self._seen.sum(1)
        room = self._seen.shape[1] + (scorer.trie.num_levels - 1) * min(num_beams, scorer.trie.num_leaves)
        self._cache = AppendCache(room, prefix.cache if begun else None, self.batch_size)
        hidden = scorer.last_hidden(
            **inputs, **self._options(self._positions[:, begun:], self._prompt_masks(mask, begun))
        ).unsqueeze(1)  # (B, 1, H); prompts are padded on the left
        ancestors = torch.zeros((self.batch_size, 1, 0), dtype=torch.bool, device=mask.device)
        self._depths = [_Depth(hidden, ancestors)]

    def _prompt_masks(self, mask: Tensor, begun: int) -> Tensor | dict[str, Tensor] | None:
        """Causal masks over real tokens; None, which is faster, where the model makes the same itself."""
        if begun == 0 and self._scorer.attention.window is None and bool(mask.all()):
            return None
        width = mask.shape[1]
        causal = torch.ones((width, begun + width), dtype=torch.bool, device=mask.device).tril(diagonal=begun)
        own = torch.eye(width, dtype=torch.bool, device=mask.device)
        # A padding token sees itself, so that no row of the softmax is empty.
        own = torch.cat([own.new_zeros((width, begun)), own], dim=1)
        visible = (causal & self._seen.unsqueeze(1)) | own  # (B, P, T + P)
        return self._scorer.attention.masks(
            visible, self._positions[:, begun:], self._positions, self._scorer.model.dtype
        )

    def _options(self, positions: Tensor, masks: Tensor | dict[str, Tensor] | None) -> dict[str, Any]:
        return {
            "attention_mask": masks,
            "position_ids": positions,
            "past_key_values": self._cache,
            "use_cache": True,
        }

    @property
    def prompt_states(self) -> Tensor:
        """The states that predict a first code, (B, H)."""
        return self._depths[0].hidden[:, 0]

    def score(self, states: Tensor, level: int) -> ChildScores:
        """Score the children of the beams' states."""
        return self._scorer.children(self._depths[level].hidden, states, level)

    @torch.no_grad()
    def advance(self, parents: Tensor, states: Tensor, level: int) -> None:
        """Feed the kept beams' new tokens, all beams of a row in one sequence."""
        before = self._depths[level]
        num_beams = parents.shape[1]
        index = parents.unsqueeze(-1).expand(-1, -1, before.ancestors.shape[-1])
        own = torch.eye(num_beams, dtype=torch.bool, device=parents.device).expand(self.batch_size, -1, -1)
        ancestors = torch.cat([before.ancestors.gather(1, index), own], dim=-1)  # (B, M, generated)
        visible = torch.cat([self._seen.unsqueeze(1).expand(-1, num_beams, -1), ancestors], dim=-1)
        depth = torch.full((self.batch_size, num_beams), level, device=parents.device)
        positions = self._lengths.unsqueeze(1) + depth
        self._positions = torch.cat([self._positions, positions], dim=1)
        masks = self._scorer.attention.masks(visible, positions, self._positions, self._scorer.model.dtype)
        hidden = self._scorer.hidden(input_ids=self._scorer.tokens(states), **self._options(positions, masks))
        later = self._scorer.later_states(hidden, boundary=self._depths[0].hidden)
        self._depths.append(_Depth(later, ancestors))

    def rewind(self, level: int) -> None:
        """Forget what was advanced at `level` and below it: the beams are again those of depth `level`."""
        del self._depths[level + 1 :]
        length = self._seen.shape[1] + self._depths[level].ancestors.shape[-1]
        self._cache.rewind(length)
        self._positions = self._positions[:, :length]


class SummedBeams:
    """Beams of a depth head: the trunk reads the prompts once, and a beam's code is added to its state."""

    def __init__(self, scorer: SIDScorer, group: Group, prefix: Sequence[int]) -> None:
        """Read the prompts, which stand behind `prefix`."""
        self.batch_size = len(group.input_ids)
        self._scorer = scorer
        begun = group.input_ids.new_tensor(prefix).expand(self.batch_size, -1)
        mask = torch.cat([group.mask.new_ones(begun.shape), group.mask], dim=1)
        hidden = scorer.hidden(input_ids=torch.cat([begun, group.input_ids], dim=1), attention_mask=mask)
        self._depths = [hidden[:, -1:]]  # (B, M, H) of each depth; prompts are padded on the left

    @property
    def prompt_states(self) -> Tensor:
        """The states that predict a first code, (B, H)."""
        return self._depths[0][:, 0]

    def score(self, states: Tensor, level: int) -> ChildScores:
        """Score the children of the beams' states."""
        return self._scorer.children(self._depths[level], states, level)

    @torch.no_grad()
    def advance(self, parents: Tensor, states: Tensor, level: int) -> None:
        """Add the kept beams' new codes."""
        before = self._depths[level]
        kept = before.gather(1, parents.unsqueeze(-1).expand(-1, -1, before.shape[-1]))
        self._depths.append(self._scorer.add_codes(kept, states))

    def rewind(self, level: int) -> None:
        """Forget what was advanced at `level` and below it."""
        del self._depths[level + 1 :]


class PlainBeams:
    """Beams that are read anew at every level, each with its whole prompt: right for any causal LM."""

    def __init__(self, scorer: SIDScorer, group: Group, prefix: Sequence[int]) -> None:
        """Take the prompts, which stand behind `prefix`."""
        input_ids = group.input_ids
        self.batch_size = len(input_ids)
        self._scorer = scorer
        begun = torch.tensor(prefix, dtype=torch.int64, device=input_ids.device)
        self._prompts = [
            torch.cat([begun, row[real]]) for row, real in zip(input_ids, group.mask, strict=True)
        ]
        takes = inspect.signature(scorer.model.forward).parameters
        self._options = {"logits_to_keep": 1} if "logits_to_keep" in takes else {}
        self._depths = [input_ids.new_zeros((self.batch_size, 1, 0))]  # (B, M, l) tokens of the beams

    @torch.no_grad()
    def score(self, states: Tensor, level: int) -> ChildScores:
        """Score the children of the beams' states."""
        rows = torch.stack([self._logits(row, level) for row in range(self.batch_size)])  # (B, M, V)
        return self._scorer.children_by_logits(rows, states, level)

    def _logits(self, row: int, level: int) -> Tensor:
        """Read one prompt with each of its beams: (M, V) logits of the next token."""
        tokens = self._depths[level][row]  # (M, l)
        ids = torch.cat([self._prompts[row].expand(len(tokens), -1), tokens], dim=1)
        parts = ids.split(max(1, TOKENS // ids.shape[1]))
        return torch.cat([self._logits_after(part, level) for part in parts])

    def _logits_after(self, ids: Tensor, level: int) -> Tensor:
        """The model's own logits, unless they are of a later code that is told from another state."""
        if not (self._scorer.skips and level):
            logits: Tensor = self._scorer.model(input_ids=ids, use_cache=False, **self._options).logits
            return logits[:, -1]
        hidden = self._scorer.hidden(input_ids=ids, use_cache=False)
        return self._scorer.logits(self._scorer.later_states(hidden[:, -1], boundary=hidden[:, -1 - level]))

    def advance(self, parents: Tensor, states: Tensor, level: int) -> None:
        """Note the kept beams' tokens."""
        before = self._depths[level]
        kept = before.gather(1, parents.unsqueeze(-1).expand(-1, -1, level))
        self._depths.append(torch.cat([kept, self._scorer.tokens(states).unsqueeze(-1)], dim=-1))

    def rewind(self, level: int) -> None:
        """Forget what was advanced at `level` and below it."""
        del self._depths[level + 1 :]
