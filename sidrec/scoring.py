"""Turn hidden states of a language model into log-probabilities of codes, for search, SFT and RL alike.

Three ways to normalize a step, one definition for all who need it: `vocabulary` over all tokens (as
MiniOneRec does), `level` over the K codes of the level, `catalog` over the trie's children, so that the
product over levels is a distribution over items. `level` and `catalog` multiply only the SID rows of the
output layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from sidrec.errors import ArtifactError, ConfigError
from sidrec.trie import Children, SIDTrie

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from sidrec.sections import Normalization


def require_full_attention(model: PreTrainedModel) -> None:
    """Refuse models whose layers a 4-D attention mask would make silently wrong.

    Raises:
        ConfigError: If a layer is anything but full attention, or attention runs through a kernel without 4-D
            masks.
    """
    config = model.config.get_text_config()
    layer_types = getattr(config, "layer_types", None)
    if layer_types is None:
        window = getattr(config, "sliding_window", None)
        layer_types = ["sliding_attention" if window is not None else "full_attention"]
    other = sorted(set(layer_types) - {"full_attention"})
    if other:
        raise ConfigError(
            f"{type(model).__name__} has layers of type {', '.join(other)}; sidrec shares one prompt between "
            "beams only in models whose layers are all full_attention. Choose such a model (Qwen2, Qwen3, "
            "Llama, ...)."
        )
    implementation = getattr(config, "_attn_implementation", "sdpa")
    if implementation not in ("sdpa", "eager"):
        raise ConfigError(
            f"Attention implementation {implementation!r} takes no 4-D mask. Load the model with "
            'attn_implementation="sdpa" or "eager".'
        )


@dataclass(frozen=True)
class ChildScores:
    """The children of some states and their log-probabilities; -inf where a child is not `allowed`."""

    children: Children
    log_probs: Tensor  # (..., C)

    def pick(self, codes: Tensor) -> Tensor:
        """Return the log-probabilities of `codes` (...), broadcast against the states; -inf if forbidden."""
        match = (self.children.codes == codes.unsqueeze(-1)) & self.children.allowed  # (..., C)
        index = match.int().argmax(-1, keepdim=True)
        chosen = self.log_probs.expand(match.shape).gather(-1, index).squeeze(-1)
        return torch.where(match.any(-1), chosen, -torch.inf)

    def entropy(self) -> Tensor:
        """Return the entropy over the children in nats, (...); mass outside the trie is not counted."""
        terms = self.log_probs.exp() * self.log_probs.masked_fill(~self.children.allowed, 0.0)
        return -terms.sum(-1)


class SIDScorer:
    """Score codes after hidden states with the output layer of a causal language model.

    Holds no weights of its own: gradients flow into the model's output layer.
    """

    def __init__(
        self, model: PreTrainedModel, token_ids: list[list[int]], trie: SIDTrie, normalization: Normalization
    ) -> None:
        """Check that the model can be scored so, once, before anything is decoded.

        Args:
            model: A causal LM with full attention whose logits are a linear map of its last hidden state.
            token_ids: Level by level, the token id of every code.
            trie: The catalogue's SIDs.
            normalization: What the log-probabilities of a step sum to one over.

        Raises:
            ArtifactError: If the vocabulary lacks a SID token or levels differ.
            ConfigError: If logits are more than a linear map, or attention cannot share a prompt.
        """
        require_full_attention(model)
        self.model, self.trie, self.normalization = model, trie, normalization
        self.head: nn.Linear = model.get_output_embeddings()
        if len(token_ids) != trie.num_levels:
            raise ValueError(
                f"The vocabulary has {len(token_ids)} levels of SID tokens, the trie {trie.num_levels}."
            )
        largest = max(max(ids) for ids in token_ids)
        if largest >= self.head.weight.shape[0]:
            raise ArtifactError(
                f"The model's vocabulary has {self.head.weight.shape[0]} entries, but a SID token has id "
                f"{largest}: it was not trained on these semantic IDs. Rerun: sidrec sft"
            )
        device = self.head.weight.device
        self.token_ids = [torch.tensor(ids, device=device) for ids in token_ids]
        self._check_logits_are_linear()

    @torch.no_grad()
    def _check_logits_are_linear(self) -> None:
        """Compare one step with the model's own logits.

        Soft caps and scales of some architectures show here.
        """
        was_training = self.model.training
        self.model.eval()
        ids = self.token_ids[0][:1].unsqueeze(0)
        output = self.model(input_ids=ids, output_hidden_states=False)
        ours = self.head(self.hidden(input_ids=ids))
        self.model.train(was_training)
        # A soft cap is hardly seen while logits are small, so it is asked for by name as well.
        capped = getattr(self.model.config.get_text_config(), "final_logit_softcapping", None) is not None
        # NaN weights pass here, and the search says so.
        theirs, ours = output.logits.float(), ours.float()
        if capped or not torch.allclose(theirs, ours, atol=1e-2, rtol=1e-2, equal_nan=True):
            raise ConfigError(
                f"{type(self.model).__name__} does more to its logits than its output layer (a soft cap or a "
                "scale); sidrec scores SID rows alone and would be wrong. Choose another model."
            )

    def hidden(self, **inputs: object) -> Tensor:
        """Run the trunk and return the last hidden states, (B, T, H)."""
        return self.model.base_model(**inputs).last_hidden_state

    def children(self, hidden: Tensor, states: Tensor, level: int) -> ChildScores:
        """Score every child of every state.

        Args:
            hidden: (..., H) hidden states that predict the code of `level`.
            states: (...) trie states of depth `level`.
            level: 0 to L - 1.

        Returns:
            Children (..., C) and their float32 log-probabilities.
        """
        children = self.trie.children(states, level)
        if self.normalization == "vocabulary":
            logits = self.head(hidden).float()  # (..., V)
            chosen = logits.gather(-1, self.token_ids[level][children.codes])
            chosen = chosen.masked_fill(~children.allowed, -torch.inf)
            return ChildScores(children, chosen - logits.logsumexp(-1, keepdim=True))
        rows = self.head.weight[self.token_ids[level]]  # (K, H)
        bias = None if self.head.bias is None else self.head.bias[self.token_ids[level]]
        logits = nn.functional.linear(hidden, rows, bias).float()  # (..., K)
        chosen = logits.gather(-1, children.codes).masked_fill(~children.allowed, -torch.inf)
        total = logits if self.normalization == "level" else chosen
        return ChildScores(children, chosen - total.logsumexp(-1, keepdim=True))

    def log_probs(self, hidden: Tensor, states: Tensor, codes: Tensor, level: int) -> Tensor:
        """Return the log-probability of a code after each state, (...); -inf for one the trie forbids."""
        return self.children(hidden, states, level).pick(codes)
