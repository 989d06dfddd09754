"""Make codes tokens of a text tokenizer and find them again.

The token of a code is written `<a_12>` (level a, code 12); after level z come aa, ab, ... as in a
spreadsheet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sidrec.errors import ArtifactError
from tokenizer.semantic_ids import sid_token

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class SIDVocabulary:
    """The token ids of all SID tokens, level by level.

    Attributes:
        token_ids: For each level, the token id of every code, in the order of the codes.
    """

    def __init__(self, token_ids: list[list[int]]) -> None:
        self.token_ids = token_ids

    @classmethod
    def add_to(
        cls, text_tokenizer: PreTrainedTokenizerBase, codebook_sizes: tuple[int, ...]
    ) -> SIDVocabulary:
        """Add a token for every (level, code) that `text_tokenizer` lacks, and return where they are."""
        from transformers import AddedToken

        tokens = [sid_token(level, c) for level, size in enumerate(codebook_sizes) for c in range(size)]
        # Not special: decoding with skip_special_tokens must keep them. Not normalized: found as written.
        text_tokenizer.add_tokens([AddedToken(t, special=False, normalized=False) for t in tokens])
        return cls.find_in(text_tokenizer, codebook_sizes)

    @classmethod
    def find_in(
        cls, text_tokenizer: PreTrainedTokenizerBase, codebook_sizes: tuple[int, ...]
    ) -> SIDVocabulary:
        """Return where the SID tokens of `text_tokenizer` are.

        Raises:
            ArtifactError: If one is missing; text would silently be split into pieces.
        """
        known = text_tokenizer.get_vocab()
        token_ids: list[list[int]] = []
        for level, size in enumerate(codebook_sizes):
            tokens = [sid_token(level, code) for code in range(size)]
            missing = [token for token in tokens if token not in known]
            if missing:
                raise ArtifactError(
                    f"The text tokenizer lacks {len(missing)} of the {size} SID tokens of level {level} "
                    f"({missing[0]}, ...): the model was not trained on these semantic IDs. Rerun: sidrec sft"
                )
            token_ids.append([known[token] for token in tokens])
        return cls(token_ids)

    def tokens_of(self, codes: np.ndarray) -> np.ndarray:
        """Return the token ids of (N, L) codes, (N, L) int64."""
        columns = [np.asarray(ids)[codes[:, level]] for level, ids in enumerate(self.token_ids)]
        return np.stack(columns, axis=1)
