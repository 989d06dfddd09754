"""Every prompt of the project, built in one place for SFT, RL, evaluation and `recommend` alike.

`compact` holds SIDs and little else, for models from scratch: `<bos>` and the history's SIDs, so that a
user's whole history is one row with a prediction at every item. `instruct` says in words what is asked
(MiniOneRec's way), through the text tokenizer's chat template where it has one.

A prompt is put together from parts: the words of its template, which are encoded once, and what stands
between them, which is encoded once per item. One space before a text belongs to the text, since the words of
a text tokenizer begin with their space.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from sidrec.artifacts import read_json, write_json
from sidrec.decoding.prompts import shared_beginning
from sidrec.plain_text import PlainText, encode_inside
from sidrec.sections import Normalization
from sidrec.tasks.template import Slot, Template, read_template
from sidrec.tasks.wordings import BUILT_IN, Style
from sidrec.trie_arrays import code_table
from sidrec.vocabulary import SIDVocabulary

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PLAIN_CHAT = "### Instruction:\n{instruction}\n\n### Response:\n"
MARK = "\ue000"  # for private use: stands in no template of a chat


class PromptSettings(BaseModel):
    """What a prompt looks like; saved beside the weights: it knows only the prompts it was trained on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    template: Style
    max_history: int = Field(ge=1)
    max_title_tokens: int = Field(ge=1)
    max_text_tokens: int = Field(128, ge=1)
    normalization: Normalization
    last_token: Literal["code", "sum"] = "code"
    identifiers: Literal["sid", "title"] = "sid"
    head: Literal["lm", "depth"] = "lm"
    skip_connection: bool = False
    history: Literal["codes", "merged"] = "codes"
    tells_items: bool = False

    def longest_name(self, num_levels: int) -> int:
        """Return how many tokens name an item at most, if its SID has `num_levels`."""
        return num_levels if self.identifiers == "sid" else self.max_title_tokens + 1

    def save(self, path: Path) -> None:
        """Write `prompts.json`."""
        write_json(path, self.model_dump())

    @classmethod
    def load(cls, path: Path) -> PromptSettings:
        """Read `prompts.json`."""
        return cls.model_validate(read_json(path))


@dataclass(frozen=True)
class Gap:
    """A slot between words; `is_spaced` if what is put there begins with a space."""

    slot: Slot
    is_spaced: bool


@dataclass(frozen=True)
class Pieces:
    """A template in tokens: n + 1 words, and the n gaps between them."""

    words: tuple[list[int], ...]
    gaps: tuple[Gap, ...]


class PromptBuilder:
    """Turn templates and histories into token ids.

    Attributes:
        settings: Template and lengths.
        codes: (N, L) what the trie knows items by: SIDs, or the token ids of titles, -1 after the last.
        item_tokens: N lists of the tokens that answer with an item: its SID, or its title with an end.
        shown_tokens: N lists of those that stand for it in a prompt: the same, without an end between words.
    """

    def __init__(
        self,
        settings: PromptSettings,
        text_tokenizer: PreTrainedTokenizerBase,
        vocabulary: SIDVocabulary,
        codes: np.ndarray,
        titles: Sequence[str] | None = None,
    ) -> None:
        """Take what prompts are made of.

        Args:
            settings: Template and lengths.
            text_tokenizer: Holds the SID tokens.
            vocabulary: Where they are.
            codes: (N, L) SIDs of the catalogue.
            titles: N, for `settings.identifiers=title`.
        """
        self.settings = settings
        self._text_tokenizer = text_tokenizer
        self._plain_text = PlainText(text_tokenizer)
        bos = text_tokenizer.bos_token_id
        self.bos_id: int = text_tokenizer.eos_token_id if bos is None else bos
        self.eos_id: int = text_tokenizer.eos_token_id
        self.pad_id: int = text_tokenizer.pad_token_id
        self.between_texts = self._encode_words(";")
        self._name_items(vocabulary, codes, titles)
        wording = BUILT_IN["next_item"][settings.template]
        self._next_item = self.prompt(read_template(wording.prompt, "next_item"))

    def _name_items(self, vocabulary: SIDVocabulary, codes: np.ndarray, titles: Sequence[str] | None) -> None:
        in_words = self.settings.template == "instruct"
        if self.settings.identifiers == "sid":
            self.codes = codes
            self.item_tokens: list[list[int]] = vocabulary.tokens_of(codes).tolist()  # (N, L)
            self.shown_tokens = self.item_tokens
            self.between_items = self._encode_words(", ") if in_words else []
            return
        assert titles is not None, "items are to be named by titles that nobody gave"
        cut = [
            tokens[: self.settings.max_title_tokens] for tokens in self.encode_texts(titles, is_spaced=False)
        ]
        # Without an end a title could be the beginning of another.
        self.item_tokens = [[*tokens, self.eos_id] for tokens in cut]
        self.shown_tokens = cut if in_words else self.item_tokens
        self.between_items = self._encode_words("; ") if in_words else []
        self.codes = code_table(self.item_tokens)

    def next_item(self, history: Sequence[int]) -> list[int]:
        """Return the prompt that asks what follows `history` (catalogue rows, oldest first; newest are kept).

        Raises:
            ValueError: If the history is empty.
        """
        if len(history) == 0:
            raise ValueError("The history is empty; a next item can be asked for only after at least one.")
        first, *others = (int(item) for item in history[-self.settings.max_history :])
        written = [token for item in others for token in (*self.between_items, *self.shown_tokens[item])]
        before, after = self._next_item.words
        return [*before, *self.shown_tokens[first], *written, *after]

    def next_item_prefix(self) -> list[int]:
        """Return the tokens that every prompt for a next item begins with, whatever the history."""
        # Prompts of two items whose first codes differ have nothing else in common.
        other = int((self.codes[:, 0] != self.codes[0, 0]).argmax())
        return shared_beginning(self.next_item([0]), self.next_item([other])) if other else []

    def prompt(self, template: Template) -> Pieces:
        """Return a prompt's parts, with what opens it and what asks the model to answer."""
        words, slots, opening = template.words, template.slots, [self.bos_id]
        if self.settings.template == "instruct":
            marks = [f"{MARK}{place}{MARK}" for place in range(len(slots))]
            filled = "".join(part for pair in zip(words, [*marks, ""], strict=True) for part in pair)
            chat, opening = self._chat(filled)
            parts = re.split(f"{MARK}(\\d+){MARK}", chat)
            words, slots = tuple(parts[::2]), tuple(slots[int(place)] for place in parts[1::2])
        pieces = self._pieces(words, slots)
        return Pieces((opening + pieces.words[0], *pieces.words[1:]), pieces.gaps)

    def completion(self, template: Template) -> Pieces:
        """Return the parts of an answer; one that does not end with a SID has an end token."""
        pieces = self._pieces(template.words, template.slots)
        if template.words[-1] == "" and template.slots[-1].column is None:
            return pieces
        return Pieces((*pieces.words[:-1], [*pieces.words[-1], self.eos_id]), pieces.gaps)

    def encode_texts(self, texts: Sequence[str], *, is_spaced: bool) -> list[list[int]]:
        """Return the tokens of texts as they stand within a prompt, whole; [] for an empty text.

        No token of them is a token of control, see `sidrec.plain_text`.

        Args:
            texts: From the catalogue.
            is_spaced: Whether a space stands before a text, and belongs to it.
        """
        space = " " if is_spaced else ""
        encoded = iter(self._plain_text.encode([space + text for text in texts if text]))
        return [next(encoded) if text else [] for text in texts]

    def _pieces(self, words: Sequence[str], slots: Sequence[Slot]) -> Pieces:
        gaps = [
            Gap(slot, slot.column is not None and text.endswith(" "))
            for slot, text in zip(slots, words[:-1], strict=True)
        ]
        shown = [
            text.removesuffix(" ") if gap.is_spaced else text
            for gap, text in zip(gaps, words[:-1], strict=True)
        ]
        return Pieces(tuple(self._encode_words(text) for text in [*shown, words[-1]]), tuple(gaps))

    def _chat(self, instruction: str) -> tuple[str, list[int]]:
        """Return a question as a conversation, and what opens it beside."""
        if self._text_tokenizer.chat_template is None:
            return PLAIN_CHAT.format(instruction=instruction), [self.bos_id]
        chat: Any = self._text_tokenizer.apply_chat_template(
            [{"role": "user", "content": instruction}],
            tokenize=False,
            add_generation_prompt=True,
            enable_thinking=False,  # Qwen3's template: the answer comes at once
        )
        return chat, []

    def _encode_words(self, text: str) -> list[int]:
        return encode_inside(self._text_tokenizer, [text])[0]
