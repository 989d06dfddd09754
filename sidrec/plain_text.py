"""Texts of a catalogue are data: they are encoded so that nothing in them becomes a token of control.

Whoever writes a title may write `<a_1>` or `<|im_end|>` into it. A text tokenizer finds such added tokens
before its model sees a text, so each is broken by a space after its first character. Words of a prompt are
no data; `encode_inside` takes them as they are.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from tokenizer.semantic_ids import sid_token

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ANCHOR = sid_token(0, 0)
_SID_IN_TEXT = r"<(?=[a-z]+_\d+>)"


def encode_inside(text_tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    """Encode texts as what they are, parts of a longer one: some tokenizers open a text with a space."""
    return [tokens[1:] for tokens in _after_anchor(text_tokenizer, texts)["input_ids"]] if texts else []


class PlainText:
    """Encodes the texts of a catalogue with a text tokenizer that holds the SID tokens."""

    def __init__(self, text_tokenizer: PreTrainedTokenizerBase) -> None:
        self._text_tokenizer = text_tokenizer
        # Runs of spaces and single characters are added by some text tokenizers, and control nothing.
        added = {
            token: number
            for token, number in text_tokenizer.get_added_vocab().items()
            if len(token.strip()) > 1
        }
        others = [token for token in added if not re.match(_SID_IN_TEXT, token)]
        starts = [f"{re.escape(token[0])}(?={re.escape(token[1:])})" for token in others]
        self._reserved = re.compile("|".join([_SID_IN_TEXT, *starts]))
        # Of an unknown character this one is said rightly.
        self._control = set(added.values()) - {text_tokenizer.unk_token_id}

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the tokens of texts as they stand within a prompt, whole, none of them a token of control.

        What looks like one stays text, also after decoding.
        """
        if not texts:
            return []
        shown = [self._reserved.sub(r"\g<0> ", text) for text in texts]
        encoded = _after_anchor(self._text_tokenizer, shown, split_special_tokens=True)["input_ids"]
        return [
            self._encode_normalized(text) if self._has_control(tokens) else tokens[1:]
            for text, tokens in zip(shown, encoded, strict=True)
        ]

    def _has_control(self, tokens: Sequence[int]) -> bool:
        return not self._control.isdisjoint(tokens[1:])

    def _encode_normalized(self, text: str) -> list[int]:
        """Break what is an added token only to a text tokenizer that normalizes: `<MARK>` for `<mark>`."""
        encoded = _after_anchor(
            self._text_tokenizer, [text], split_special_tokens=True, return_offsets_mapping=True
        )
        found = zip(encoded["input_ids"][0], encoded["offset_mapping"][0], strict=True)
        cuts = [start + 1 - len(ANCHOR) for token, (start, _) in found if token in self._control]
        cuts[0] = 0  # that of the anchor
        broken = " ".join(text[left:right] for left, right in pairwise([*cuts, len(text)]))
        return _after_anchor(self._text_tokenizer, [broken], split_special_tokens=True)["input_ids"][0][1:]


def _after_anchor(text_tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], **options: bool) -> Any:
    """Encode texts behind a SID token, the first of each result."""
    return text_tokenizer(
        [ANCHOR + text for text in texts], add_special_tokens=False, return_attention_mask=False, **options
    )
