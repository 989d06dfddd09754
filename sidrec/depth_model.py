"""A language model that reads an item as one position, and a small head that tells its codes one by one.

The trunk is that of any causal LM: it reads a prompt through `inputs_embeds`, in which an item of the
history is the sum of the embeddings of its L SID tokens; text stays text. After the trunk's state h, the code
of level l is told by

    z_0 = h,  z_l = z_(l-1) + E[c_(l-1)],  logits_l = LN(z_l + MLP_l(z_l)) E_l^T,

where E are the rows of the SID tokens in the input embeddings. So prompts are L times shorter, the trunk runs
once for a prompt however many beams there are, and beams cost additions and small layers.

Items of the history may have vectors of their own beside those of their codes, see `sidrec.item_embedding`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_outputs import BaseModelOutput, CausalLMOutput

from sidrec.item_embedding import ItemEmbedding
from sidrec.item_positions import ItemPositions, code_table, level_table, levels_of

if TYPE_CHECKING:
    from collections.abc import Sequence


class DepthConfig(PreTrainedConfig):
    """What a `DepthModel` is made from.

    Attributes:
        text_config: Of the causal LM whose trunk it has.
        token_ids: Level by level, the token id of every code.
        mlp_width: Width of the layer inside each MLP of the head.
        num_items: How many items have vectors of their own; 0: none has.
    """

    model_type = "sidrec_depth"
    sub_configs: ClassVar[dict[str, Any]] = {"text_config": AutoConfig}
    auto_map: ClassVar[dict[str, str]] = {}  # TRL looks there for code beside the weights; there is none

    def __init__(
        self,
        text_config: PreTrainedConfig | dict[str, Any] | None = None,
        token_ids: Sequence[Sequence[int]] = (),
        mlp_width: int | None = None,
        num_items: int = 0,
        **others: Any,
    ) -> None:
        """Take them; transformers makes one without any to compare with."""
        if isinstance(text_config, dict):
            text_config = AutoConfig.for_model(**text_config)
        self.text_config = AutoConfig.for_model("qwen3") if text_config is None else text_config
        self.token_ids = [list(ids) for ids in token_ids]
        self.mlp_width = mlp_width or self.text_config.hidden_size
        self.num_items = num_items
        others.setdefault("tie_word_embeddings", self.text_config.tie_word_embeddings)
        others.setdefault("attn_implementation", self.text_config._attn_implementation)
        super().__init__(**others)


class _Pretrained(PreTrainedModel):
    config: DepthConfig
    config_class = DepthConfig
    base_model_prefix = "trunk"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True


class ItemTrunk(_Pretrained):
    """The trunk of a causal LM that reads each item as one position and answers for every token."""

    def __init__(self, config: DepthConfig, language_model: PreTrainedModel | None = None) -> None:
        """Make it from its config; `language_model` brings weights."""
        super().__init__(config)
        if language_model is None:
            language_model = AutoModelForCausalLM.from_config(config.text_config)
        self.language_model = language_model
        self.item_embedding: ItemEmbedding | None = None
        if config.num_items:
            self.item_embedding = _item_embedding(config)
        self._levels: Tensor | None = None
        self._codes: Tensor | None = None
        self.post_init()

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, **_: object
    ) -> BaseModelOutput:
        """Return for each of (B, T) tokens the state that the next one is told from, (B, T, H)."""
        found = ItemPositions.find(self._levels_of(input_ids), len(self.config.token_ids), attention_mask)
        sums = found.sums(self.language_model.get_input_embeddings()(input_ids))  # (B, T, H)
        read = sums if self.item_embedding is None else self._with_own(sums, found, input_ids)
        states = self.language_model.base_model(
            inputs_embeds=found.gather(read),
            attention_mask=None if bool(found.mask.all()) else found.mask.long(),
            use_cache=False,
        ).last_hidden_state
        spread = found.spread(states)
        return BaseModelOutput(
            last_hidden_state=torch.where(found.is_inside.unsqueeze(-1), spread + sums, spread)
        )

    def _with_own(self, sums: Tensor, found: ItemPositions, input_ids: Tensor) -> Tensor:
        """Add to the (B, T, H) sums, where the last code of an item stands, the item's own vector."""
        assert self.item_embedding is not None
        num_levels = len(self.config.token_ids)
        rows, ends = (found.levels == num_levels - 1).nonzero(as_tuple=True)  # (S,) each
        places = ends.unsqueeze(1) + torch.arange(1 - num_levels, 1, device=ends.device)
        own = self.item_embedding.of_codes(self._codes_of(input_ids[rows.unsqueeze(1), places]))
        return sums.index_put((rows, ends), own.to(sums.dtype), accumulate=True)

    def _codes_of(self, token_ids: Tensor) -> Tensor:
        """Return the codes of SID tokens, of whatever level."""
        if self._codes is None or self._codes.device != token_ids.device:
            self._codes = code_table(self.config.token_ids).to(token_ids.device)
        return self._codes[token_ids]

    def _levels_of(self, input_ids: Tensor) -> Tensor:
        """(B, T) level of each SID token, -1 for all others."""
        if self._levels is None or self._levels.device != input_ids.device:
            self._levels = level_table(self.config.token_ids).to(input_ids.device)
        return levels_of(self._levels, input_ids)


class DepthHead(nn.Module):
    """What a state becomes before it is compared with the codes of a level."""

    def __init__(self, num_levels: int, hidden_size: int, mlp_width: int) -> None:
        """Make an MLP and a norm for each level."""
        super().__init__()
        self.levels = nn.ModuleList(_Level(hidden_size, mlp_width) for _ in range(num_levels))

    def forward(self, states: Tensor, level: int) -> Tensor:
        """Return LN(z + MLP(z)) of (..., H) states z that predict a code of `level`."""
        found: Tensor = self.levels[level](states)
        return found


class _Level(nn.Module):
    def __init__(self, hidden_size: int, mlp_width: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(hidden_size, mlp_width), nn.GELU(), nn.Linear(mlp_width, hidden_size)
        )
        self.norm = nn.LayerNorm(hidden_size)

    def forward(self, states: Tensor) -> Tensor:
        found: Tensor = self.norm(states + self.mlp(states))
        return found


class DepthModel(_Pretrained):
    """The trunk of a causal LM with a depth head; saved and loaded like any model of transformers.

    Its logits are the language model's own, of text; codes are scored by `sidrec.scoring.SIDScorer`.
    """

    def __init__(self, config: DepthConfig, language_model: PreTrainedModel | None = None) -> None:
        """Make it from its config; `language_model` brings weights for the trunk."""
        super().__init__(config)
        self.generation_config = GenerationConfig()  # trainers ask for one; nothing is generated
        self.trunk = ItemTrunk(config, language_model)
        self.depth_head = DepthHead(len(config.token_ids), config.text_config.hidden_size, config.mlp_width)
        self.post_init()

    @classmethod
    def around(cls, language_model: PreTrainedModel, token_ids: Sequence[Sequence[int]]) -> DepthModel:
        """Give a causal LM, which keeps its weights, a new depth head.

        Args:
            language_model: With a row for every SID token.
            token_ids: Level by level, the token id of every code.
        """
        return cls(DepthConfig(language_model.config, token_ids), language_model)

    @property
    def item_embedding(self) -> ItemEmbedding | None:
        """Vectors of items' own; None: an item is read as the sum of its codes alone."""
        return self.trunk.item_embedding

    def add_item_embedding(self, num_items: int) -> None:
        """Give so many items vectors of their own, zeros at first; `ItemEmbedding.take` says whose."""
        self.config.num_items = num_items
        self.trunk.item_embedding = _item_embedding(self.config).to(self.device)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, **_: object) -> CausalLMOutput:
        """Return the logits of text after each of (B, T) tokens, (B, T, V)."""
        states = self.trunk(input_ids, attention_mask).last_hidden_state
        return CausalLMOutput(logits=self.get_output_embeddings()(states))

    def get_input_embeddings(self) -> nn.Module:
        """Return those of the language model."""
        return self.trunk.language_model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace those of the language model."""
        self.trunk.language_model.set_input_embeddings(value)

    def get_output_embeddings(self) -> nn.Module:
        """Return the output layer of the language model, which tells text."""
        return self.trunk.language_model.get_output_embeddings()

    def set_output_embeddings(self, new_embeddings: nn.Module) -> None:
        """Replace the output layer of the language model."""
        self.trunk.language_model.set_output_embeddings(new_embeddings)


def _item_embedding(config: DepthConfig) -> ItemEmbedding:
    return ItemEmbedding(config.num_items, len(config.token_ids), config.text_config.hidden_size)


AutoConfig.register(DepthConfig.model_type, DepthConfig)
AutoModelForCausalLM.register(DepthConfig, DepthModel)
