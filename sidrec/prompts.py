"""Every prompt of the project, built in one place for SFT, RL, evaluation and `recommend` alike.

`compact` holds SIDs and little else, for models from scratch: `<bos>` and the history's SIDs, so that a
user's whole history is one row with a prediction at every item. `instruct` says in words what is asked
(MiniOneRec's way), through the text tokenizer's chat template where it has one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from sidrec.artifacts import read_json, write_json
from sidrec.decoding.prompts import shared_beginning
from sidrec.sections import Normalization
from sidrec.vocabulary import SIDVocabulary
from tokenizer.semantic_ids import sid_token

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

NEXT_ITEM = (
    "Below is the history of a user, oldest first, each item written as its semantic ID: {history}. "
    "Answer with the semantic ID of the item the user will choose next."
)
TITLE_TO_ITEM = 'Which semantic ID names the item with the title "{title}"?'
ITEM_TO_TITLE = "What is the title of the item {item}?"
PLAIN_CHAT = "### Instruction:\n{instruction}\n\n### Response:\n"
SID_IN_TEXT = r"<(?=[a-z]+_\d+>)"


class PromptSettings(BaseModel):
    """What a prompt looks like; saved beside the weights: it knows only the prompts it was trained on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    template: Literal["compact", "instruct"]
    max_history: int = Field(ge=1)
    max_title_tokens: int = Field(ge=1)
    normalization: Normalization
    last_token: Literal["code", "sum"] = "code"

    def save(self, path: Path) -> None:
        """Write `prompts.json`."""
        write_json(path, self.model_dump())

    @classmethod
    def load(cls, path: Path) -> PromptSettings:
        """Read `prompts.json`."""
        return cls.model_validate(read_json(path))


class PromptBuilder:
    """Turn histories, titles and items into token ids."""

    def __init__(
        self,
        settings: PromptSettings,
        text_tokenizer: PreTrainedTokenizerBase,
        vocabulary: SIDVocabulary,
        codes: np.ndarray,
    ) -> None:
        """Take what prompts are made of.

        Args:
            settings: Template and lengths.
            text_tokenizer: Holds the SID tokens.
            vocabulary: Where they are.
            codes: (N, L) SIDs of the catalogue.
        """
        self.settings = settings
        self.codes = codes
        self.item_tokens: list[list[int]] = vocabulary.tokens_of(codes).tolist()  # (N, L)
        self._text_tokenizer = text_tokenizer
        others = [token for token in text_tokenizer.get_added_vocab() if not re.match(SID_IN_TEXT, token)]
        starts = [f"{re.escape(token[0])}(?={re.escape(token[1:])})" for token in others if len(token) > 1]
        self._reserved = re.compile("|".join([SID_IN_TEXT, *starts]))
        bos = text_tokenizer.bos_token_id
        self.bos_id: int = text_tokenizer.eos_token_id if bos is None else bos
        self.eos_id: int = text_tokenizer.eos_token_id
        self.pad_id: int = text_tokenizer.pad_token_id

    def next_item(self, history: Sequence[int]) -> list[int]:
        """Return the prompt that asks what follows `history` (catalogue rows, oldest first; newest are kept).

        Raises:
            ValueError: If the history is empty.
        """
        if len(history) == 0:
            raise ValueError("The history is empty; a next item can be asked for only after at least one.")
        newest = [int(item) for item in history[-self.settings.max_history :]]
        if self.settings.template == "compact":
            return [self.bos_id, *(token for item in newest for token in self.item_tokens[item])]
        return self._instruct(NEXT_ITEM.format(history=", ".join(self._written(item) for item in newest)))

    def next_item_prefix(self) -> list[int]:
        """Return the tokens that every prompt for a next item begins with, whatever the history."""
        # Prompts of two items whose first codes differ have nothing else in common.
        other = int((self.codes[:, 0] != self.codes[0, 0]).argmax())
        return shared_beginning(self.next_item([0]), self.next_item([other])) if other else []

    def title_to_item(self, title: str) -> list[int]:
        """Return the prompt that asks for the SID of the item with this title."""
        cut = self.title_tokens(title)
        if self.settings.template == "compact":
            return [self.bos_id, *cut, *self._encode(" =>")]
        return self._instruct(TITLE_TO_ITEM.format(title=self._text_tokenizer.decode(cut)))

    def item_to_title(self, item: int) -> list[int]:
        """Return the prompt that asks for the title of an item."""
        if self.settings.template == "compact":
            return [self.bos_id, *self.item_tokens[item], *self._encode(" =>")]
        return self._instruct(ITEM_TO_TITLE.format(item=self._written(item)))

    def title_tokens(self, title: str) -> list[int]:
        """Return the tokens of a title, cut to `max_title_tokens`.

        What looks like a SID token or another added token (`<|im_end|>`) in it stays text, also after
        decoding.
        """
        plain = self._text_tokenizer(
            self._reserved.sub(r"\g<0> ", title), add_special_tokens=False, split_special_tokens=True
        )
        return plain["input_ids"][: self.settings.max_title_tokens]

    def _written(self, item: int) -> str:
        return "".join(sid_token(level, code) for level, code in enumerate(self.codes[item].tolist()))

    def _encode(self, text: str) -> list[int]:
        return self._text_tokenizer(text, add_special_tokens=False)["input_ids"]

    def _instruct(self, instruction: str) -> list[int]:
        if self._text_tokenizer.chat_template is None:
            return [self.bos_id, *self._encode(PLAIN_CHAT.format(instruction=instruction))]
        chat: Any = self._text_tokenizer.apply_chat_template(
            [{"role": "user", "content": instruction}],
            tokenize=False,
            add_generation_prompt=True,
            enable_thinking=False,  # Qwen3's template: the answer comes at once
        )
        return self._encode(chat)
