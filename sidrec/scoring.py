"""Turn hidden states of a language model into log-probabilities of codes, for search, SFT and RL alike.

Three ways to normalize a step, one definition for all who need it: `vocabulary` over all tokens (as
MiniOneRec does), `level` over the K codes of the level, `catalog` over the trie's children, so that the
product over levels is a distribution over items. `level` and `catalog` multiply only the SID rows of the
output layer.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from sidrec.attention import (
    AttentionKind,
    evaluating,
    last_token_only,
    last_token_suffices,
    sharing_problem,
)
from sidrec.errors import ArtifactError, ConfigError
from sidrec.merged_items import ItemMerger
from sidrec.output_rows import OutputRows
from sidrec.trie import Children, SIDTrie

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from sidrec.sections import Normalization

LOGITS = 2**24
"""Logits of the whole vocabulary that are held at once where no gradient is needed: 64 MiB."""


@dataclass(frozen=True)
class ChildScores:
    """The children of some states and their log-probabilities; -inf where a child is not `allowed`."""

    children: Children
    log_probs: Tensor  # (..., C)
    logits: Tensor | None = None  # (..., K): of the codes of the level

    def pick(self, codes: Tensor) -> Tensor:
        """Return the log-probabilities of `codes` (...), broadcast against the states; -inf if forbidden."""
        match = (self.children.codes == codes.unsqueeze(-1)) & self.children.allowed  # (..., C)
        index = match.int().argmax(-1, keepdim=True)
        chosen = self.log_probs.expand(match.shape).gather(-1, index).squeeze(-1)
        return torch.where(match.any(-1), chosen, -torch.inf)

    def mean(self) -> Tensor:
        """Return the mean log-probability of the allowed children, (...)."""
        allowed = self.children.allowed
        return self.log_probs.masked_fill(~allowed, 0.0).sum(-1) / allowed.sum(-1)

    def entropy(self) -> Tensor:
        """Return the entropy over the children in nats, (...); mass outside the trie is not counted."""
        terms = self.log_probs.exp() * self.log_probs.masked_fill(~self.children.allowed, 0.0)
        return -terms.sum(-1)

    def outside(self) -> Tensor:
        """Return the probability of all that is not allowed, (...) in [0, 1]; 0 normalized over `catalog`."""
        return (1 - self.log_probs.detach().exp().sum(-1)).clamp(min=0)


class SIDScorer:
    """Score codes after hidden states with the output layer of a causal language model.

    Holds no weights of its own: gradients flow into the model's output layer.

    Attributes:
        head: The model's output layer, to be called; `head.weight` may be without the rows that are trained.
        rows: The rows that codes are compared with, as they are now: of that layer, or, with a depth head, of
            the input embeddings.
        sums_codes: Whether the codes of an item are added to the state of its prompt, as a depth head wants
            it; else the trunk reads them as tokens.
        skips: Whether the state that tells an item's first code is added to those that tell its later ones.
        merger: Reads an item of a history as one position; None: as its tokens, or the model sees to it.
        codes_are_tokens: Whether the trie's codes are token ids.
        token_ids: Level by level, (K,) token ids of its codes.
        attention: How the model attends.
        shares_prompts: Whether one prompt can be read once for many continuations; if not, `why_not` says
            why.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        token_ids: list[list[int]] | None,
        trie: SIDTrie,
        normalization: Normalization,
        *,
        merges_items: bool = False,
        skips: bool = False,
    ) -> None:
        """Find out what the model can do, once, before anything is decoded.

        Args:
            model: A causal LM.
            token_ids: Level by level, the token id of every code; None: the trie's codes are token ids.
            trie: The catalogue's SIDs.
            normalization: What the log-probabilities of a step sum to one over.
            merges_items: Whether items before a target are read as one position each, see `ItemMerger`.
            skips: As the attribute.

        Raises:
            ArtifactError: If the vocabulary lacks a SID token.
            ConfigError: If items are to be merged, and prompts of the model cannot be shared, or it has a
                depth head; or if `skips` would change nothing.
            ValueError: If levels differ, a code has no token, or a depth head is to be normalized over the
                vocabulary.
        """
        self.head: nn.Module = model.get_output_embeddings()
        self._depth_head: nn.Module | None = getattr(model, "depth_head", None)
        self.sums_codes = self._depth_head is not None
        if self.sums_codes and normalization == "vocabulary":
            raise ValueError("A depth head compares codes with codes: normalize over level or catalog.")
        self.rows = OutputRows(model.get_input_embeddings() if self.sums_codes else self.head)
        device = self.rows.layer.weight.device
        self.codes_are_tokens = token_ids is None
        self.model, self.trie, self.normalization = model, trie.to(device), normalization
        if token_ids is None:
            self.token_ids = [self.trie.codes_at(level).unique() for level in range(trie.num_levels)]
        else:
            self.token_ids = [torch.tensor(ids, device=device) for ids in token_ids]
        if len(self.token_ids) != trie.num_levels:
            raise ValueError(
                f"The vocabulary has {len(self.token_ids)} levels of SID tokens, the trie {trie.num_levels}."
            )
        largest = max(int(ids.max()) for ids in self.token_ids)
        if largest >= len(self.rows):
            raise ArtifactError(
                f"The model's vocabulary has {len(self.rows)} entries, but a SID token has id "
                f"{largest}: it was not trained on these semantic IDs. Rerun: sidrec sft"
            )
        self.skips = skips
        self._columns, self._tokens = self._by_state()
        self._soft_cap = getattr(model.config.get_text_config(), "final_logit_softcapping", None)
        self.attention = AttentionKind.of(model)
        self._problem = self._logits_problem()
        if skips:
            self._require_later_states()
        if self.sums_codes:
            self.why_not = self._problem
        else:
            self.why_not = self._problem or sharing_problem(
                model, self.attention, self.token_ids[0][:1].item()
            )
        self.shares_prompts = self.why_not is None
        cuts = self.shares_prompts and not self.sums_codes
        self._cuts = cuts and last_token_suffices(model, int(self.token_ids[0][0]))
        self.merger: ItemMerger | None = None
        if merges_items:
            self._require_mergeable()
            self.merger = ItemMerger(model, [ids.tolist() for ids in self.token_ids], self.attention)

    def of(self, model: PreTrainedModel, normalization: Normalization) -> SIDScorer:
        """Return the same for another model, or normalized otherwise."""
        token_ids = None if self.codes_are_tokens else [ids.tolist() for ids in self.token_ids]
        return SIDScorer(
            model,
            token_ids,
            self.trie,
            normalization,
            merges_items=self.merger is not None,
            skips=self.skips,
        )

    def _by_state(self) -> tuple[Tensor, Tensor]:
        """For each state of the trie, the code that leads to it: its place in its level, and its token."""
        device = self.trie.device
        columns = [torch.zeros(1, dtype=torch.int32, device=device)]
        tokens = [torch.zeros(1, dtype=torch.int32, device=device)]
        for level, ids in enumerate(self.token_ids):
            codes = self.trie.codes_at(level).long()
            column = torch.searchsorted(ids, codes) if self.codes_are_tokens else codes
            if int(column.max()) >= len(ids):
                raise ValueError(
                    f"The trie has code {int(column.max())} at level {level}, the vocabulary {len(ids)} "
                    "codes."
                )
            columns.append(column.int())
            tokens.append(ids[column].int())
        return torch.cat(columns), torch.cat(tokens)

    @torch.no_grad()
    def _logits_problem(self) -> str | None:
        """Compare one step with the model's own logits: scales of some architectures show here."""
        ids = self.token_ids[-1][:1].unsqueeze(0)
        with evaluating(self.model):
            theirs = self.model(input_ids=ids).logits.float()
            ours = self.logits(self.hidden(input_ids=ids))
        # NaN weights pass here, and the search says so.
        if torch.allclose(theirs, ours, atol=1e-2, rtol=1e-2, equal_nan=True):
            return None
        return "does more to its logits than its output layer (a scale)"

    def require_linear_logits(self) -> None:
        """Refuse a model that cannot be trained with SID rows alone.

        Raises:
            ConfigError: If its logits are more than a linear map of its last hidden state, softly capped.
        """
        if self._problem is not None:
            raise ConfigError(
                f"{type(self.model).__name__} {self._problem}; sidrec scores SID rows alone and would be "
                "wrong. Choose another model."
            )

    def require_shared_prompts(self) -> None:
        """Refuse a model whose prompts cannot be read once for many continuations.

        Raises:
            ConfigError: If so; the message says why.
        """
        if not self.shares_prompts:
            raise ConfigError(
                f"{type(self.model).__name__} {self.why_not}: one prompt cannot be shared between rollouts. "
                "Choose a model whose layers all attend (Qwen2, Qwen3, Llama, ...)."
            )

    def _require_mergeable(self) -> None:
        problem = "merges items by itself" if self.sums_codes else self.why_not
        if problem is not None:
            raise ConfigError(
                f"prompt.history=merged: {type(self.model).__name__} {problem}, so its items cannot be "
                "merged for it. Choose a model whose layers all attend (Qwen2, Qwen3, Llama, ...), or set "
                "prompt.history=codes."
            )

    def _require_later_states(self) -> None:
        self.require_linear_logits()
        problem = None
        if self.sums_codes:
            problem = "a depth head tells every code from the state before the item already"
        elif self.trie.num_levels == 1:
            problem = "every item has one code, and that is told from the state before the item already"
        if problem is not None:
            raise ConfigError(
                f"model.skip_connection=true would change nothing: {problem}. Set it to false, or choose "
                "model.head=lm and semantic IDs of several levels (tokenizer.codebook_sizes)."
            )

    def states(self, input_ids: Tensor, mask: Tensor, told: Tensor) -> Tensor:
        """Return for each of (B, T) tokens the state that the next one is told from, (B, T, H).

        Args:
            input_ids: Of rows.
            mask: (B, T), nonzero = a real token.
            told: (B, T) bool: tokens whose states are asked for; others may be wrong.
        """
        if self.merger is not None:
            return self.merger.states(input_ids, mask, told)
        return self.hidden(input_ids=input_ids, attention_mask=mask)

    def prompt_inputs(
        self, input_ids: Tensor, mask: Tensor, after: Tensor | None = None
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Return what the trunk takes of prompts, and the (B, W) mask of the positions they are.

        Args:
            input_ids: (B, P), padded on the left.
            mask: (B, P), nonzero = a real token.
            after: (B, A) tokens that stand after the prompts; the mask is without them.
        """
        if self.merger is None:
            ids = input_ids if after is None else torch.cat([input_ids, after], dim=1)
            return {"input_ids": ids}, mask
        vectors, mask = self.merger.prompts(input_ids, mask)
        if after is not None:
            vectors = torch.cat([vectors, self.merger.embed(after)], dim=1)
        return {"inputs_embeds": vectors}, mask

    def hidden(self, **inputs: object) -> Tensor:
        """Run the trunk and return the last hidden states, (B, T, H)."""
        return self.model.base_model(**inputs).last_hidden_state

    def add_codes(self, hidden: Tensor, states: Tensor) -> Tensor:
        """Add to (..., H) the embeddings of the codes that lead to (...) `states`, for a depth head."""
        return hidden + self.model.get_input_embeddings()(self.tokens(states))

    def later_states(self, hidden: Tensor, boundary: Tensor) -> Tensor:
        """Return what the later codes of items are told from.

        Args:
            hidden: (..., H) states after the first code or a later one.
            boundary: (..., H) states before the same items, which tell their first codes; added to `hidden`
                if the scorer `skips`.
        """
        return hidden + boundary if self.skips else hidden

    def last_hidden(self, **inputs: object) -> Tensor:
        """Run the trunk for the state of each row's last token alone, (B, H): less work than `hidden`."""
        with last_token_only(self.model) if self._cuts else nullcontext():
            return self.hidden(**inputs)[:, -1]

    def tokens(self, states: Tensor) -> Tensor:
        """Return the token id of the code that leads to each of `states`."""
        return self._tokens[states].long()

    def children(self, hidden: Tensor, states: Tensor, level: int) -> ChildScores:
        """Score every child of every state.

        Args:
            hidden: (..., H) hidden states that predict the code of `level`.
            states: (...) trie states of depth `level`.
            level: 0 to L - 1.

        Returns:
            Children (..., C) and their float32 log-probabilities.
        """
        ids = self.token_ids[level]
        if self._depth_head is not None:
            hidden = self._depth_head(hidden, level)
        logits = self._capped(nn.functional.linear(hidden, self.rows(ids), self.rows.bias(ids)))  # (..., K)
        total = self._log_total(hidden) if self.normalization == "vocabulary" else None
        return self._scored(logits, total, states, level)

    def children_by_logits(self, logits: Tensor, states: Tensor, level: int) -> ChildScores:
        """As `children`, from the model's own (..., V) logits."""
        total = logits.float().logsumexp(-1) if self.normalization == "vocabulary" else None
        return self._scored(logits[..., self.token_ids[level]].float(), total, states, level)

    def _scored(self, logits: Tensor, total: Tensor | None, states: Tensor, level: int) -> ChildScores:
        """(..., K) logits of the level's codes, and the log-sum-exp that makes them probabilities."""
        children = self.trie.children(states, level)
        columns = self._columns[children.states].long()
        chosen = logits.gather(-1, columns).masked_fill(~children.allowed, -torch.inf)
        if total is None:
            total = (logits if self.normalization == "level" else chosen).logsumexp(-1)
        return ChildScores(children, chosen - total.unsqueeze(-1), logits)

    def _log_total(self, hidden: Tensor) -> Tensor:
        """Return the log-sum-exp of the logits of the whole vocabulary, (...)."""
        if torch.is_grad_enabled():
            return self.logits(hidden).logsumexp(-1)
        rows = max(1, LOGITS // len(self.rows))
        parts = [self.logits(part).logsumexp(-1) for part in hidden.flatten(0, -2).split(rows)]
        return torch.cat(parts).view(hidden.shape[:-1])

    def logits(self, hidden: Tensor) -> Tensor:
        """Return the float32 logits of the whole vocabulary, (..., V)."""
        return self._capped(self.head(hidden))

    def _capped(self, logits: Tensor) -> Tensor:
        logits = logits.float()
        return logits if self._soft_cap is None else self._soft_cap * torch.tanh(logits / self._soft_cap)

    def log_probs(self, hidden: Tensor, states: Tensor, codes: Tensor, level: int) -> Tensor:
        """Return the log-probability of a code after each state, (...); -inf for one the trie forbids."""
        return self.children(hidden, states, level).pick(codes)

    def token_losses(self, hidden: Tensor, tokens: Tensor, *, smoothing: float = 0.0) -> Tensor:
        """Return the cross entropy of `tokens`, (S,) ids, over the vocabulary after (S, H) states, (S,)."""
        return nn.functional.cross_entropy(
            self.logits(hidden), tokens, reduction="none", label_smoothing=smoothing
        )

    def code_losses(
        self, hidden: Tensor, states: Tensor, codes: Tensor, level: int, *, smoothing: float = 0.0
    ) -> Tensor:
        """Return the cross entropy of `codes`, (...), over what `normalization` names, in nats.

        With `smoothing` that share of the target's mass is spread evenly: over the allowed children for
        `catalog`, so that no forbidden code gets any, or over the K codes for `level`.

        Raises:
            ValueError: For `vocabulary`, whose losses are those of `token_losses`.
        """
        if self.normalization == "vocabulary":
            raise ValueError("Normalized over the vocabulary, a code is a token: use token_losses.")
        scores = self.children(hidden, states, level)
        losses = -scores.pick(codes)
        if smoothing == 0:
            return losses
        assert scores.logits is not None
        even = -(scores.mean() if self.normalization == "catalog" else scores.logits.log_softmax(-1).mean(-1))
        return (1 - smoothing) * losses + smoothing * even
