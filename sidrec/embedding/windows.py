"""Long texts as windows that a model can read at once; what a window says is left as it was written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from sidrec.errors import ConfigError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Windows:
    """W windows of texts.

    Attributes:
        texts: W substrings, without prefix. Between two windows of a text only white space is left out.
        tokens: (W,) int64 number of tokens of each, at least 1, without prefix and special tokens; 1 for
            a text that is a window as a whole.
        owners: (W,) int64 number of the text that each is of, ascending.
    """

    texts: list[str]
    tokens: np.ndarray
    owners: np.ndarray


def cut(
    texts: Sequence[str],
    text_tokenizer: PreTrainedTokenizerBase | None,
    *,
    prefix: str,
    max_length: int | None,
) -> Windows:
    """Cut texts that are too long into windows of about equally many tokens, as few as will do.

    Args:
        texts: As they are; one that is short enough is a window as a whole.
        text_tokenizer: A fast one; read only where there is a `max_length`.
        prefix: Put before each window.
        max_length: Tokens that a window may have with prefix and special tokens. None: any number.

    Raises:
        ConfigError: If `max_length` leaves no room for the text.
    """
    if max_length is None or text_tokenizer is None:
        return Windows(list(texts), np.ones(len(texts), dtype=np.int64), np.arange(len(texts)))
    cutter = _Cutter(text_tokenizer, prefix, max_length)
    fits = cutter.fit(texts)
    windows, tokens, owners = [], [], []
    for owner, text in enumerate(texts):
        for window, count in [(text, 1)] if fits[owner] else cutter.windows_of(text):
            windows.append(window)
            tokens.append(count)
            owners.append(owner)
    return Windows(windows, np.array(tokens, dtype=np.int64), np.array(owners, dtype=np.int64))


@dataclass(frozen=True)
class _Cutter:
    text_tokenizer: PreTrainedTokenizerBase
    prefix: str
    max_length: int

    def fit(self, texts: Sequence[str]) -> list[bool]:
        """Say of each text whether it can be read at once."""
        encoded = self.text_tokenizer([self.prefix + text for text in texts], verbose=False)
        return [len(ids) <= self.max_length for ids in encoded["input_ids"]]

    def windows_of(self, text: str) -> Iterator[tuple[str, int]]:
        """Yield the windows of a text and their numbers of tokens.

        Cut out, a word's pieces may be more tokens than they were in it: such a window is cut again.
        """
        encoded = self.text_tokenizer(
            text, add_special_tokens=False, return_offsets_mapping=True, verbose=False
        )
        tokens = len(encoded["offset_mapping"])
        if self.fit([text])[0]:
            yield text, max(1, tokens)
            return
        room = self.max_length - len(self.text_tokenizer(self.prefix)["input_ids"])
        starts = sorted(
            {start for start, _ in encoded["offset_mapping"]}
        )  # bytes of a character share theirs
        parts = min(max(2, -(-tokens // max(1, room))), len(starts))
        cuts = [starts[part * len(starts) // parts] for part in range(1, parts)]
        windows = [text[left:right].strip() for left, right in pairwise([0, *cuts, len(text)])]
        windows = [window for window in windows if window]
        if room < 1 or not windows or windows == [text]:
            raise ConfigError(
                f"embedding.max_length={self.max_length} is too little: special tokens and prefix take "
                f"{self.max_length - room} of it, and {text[:20]!r} cannot be cut smaller. Raise it."
            )
        for window in windows:
            yield from self.windows_of(window)
