"""Prompt and completion of a task, written for one row after the other from parts that are encoded once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from sidrec.prompts import Gap, Pieces, PromptBuilder
from sidrec.tasks.rows import IGNORED, NO_ITEM, TEXT, Row, RowSource
from sidrec.tasks.values import Column, Values


@dataclass(frozen=True)
class _Part:
    """What fills a gap in one row; no tokens: there is no text."""

    tokens: list[int]
    items: list[int]
    is_cut: bool = False


class _Filler(Protocol):
    """Knows what fills a gap."""

    def enter(self, user: int, history: list[int]) -> None:
        """Turn to the rows of another user."""

    def fill(self, item: int, place: int) -> _Part:
        """Return what fills the gap in the row of this item, the user's `place`-th (from 0)."""


class _SIDFiller:
    """The SID of the row's item, or the title in its place."""

    def __init__(self, prompts: PromptBuilder, *, is_answer: bool) -> None:
        self._tokens = prompts.item_tokens if is_answer else prompts.shown_tokens

    def enter(self, user: int, history: list[int]) -> None:
        """Nothing depends on the user."""

    def fill(self, item: int, place: int) -> _Part:
        return _Part(self._tokens[item], [item] * len(self._tokens[item]))


class _TextFiller:
    """A column of the row's item, or of the user."""

    def __init__(self, gap: Gap, values: Values) -> None:
        self._column = values.column(gap)
        self._user = 0 if gap.slot.of == "user" else None

    def enter(self, user: int, history: list[int]) -> None:
        if self._user is not None:
            self._user = user

    def fill(self, item: int, place: int) -> _Part:
        cell = item if self._user is None else self._user
        tokens = self._column.tokens[cell]
        return _Part(tokens, [NO_ITEM] * len(tokens), self._column.cut[cell])


class _HistoryFiller:
    """The newest items before the row's, as SIDs or as texts; those whose text is empty are left out.

    A user's whole history is put together once, and each row has a stretch of it.
    """

    def __init__(self, gap: Gap, source: RowSource) -> None:
        prompts = source.prompts
        self._max_history = prompts.settings.max_history
        self._is_sid = gap.slot.column is None
        if self._is_sid:
            self._first = self._later = Column(prompts.shown_tokens, [False] * len(prompts.shown_tokens))
            self._between = prompts.between_items
        else:
            self._first = source.values.column(gap)
            self._later = source.values.column(Gap(gap.slot, is_spaced=True))
            self._between = prompts.between_texts

    def enter(self, user: int, history: list[int]) -> None:
        self._history = history
        self._tokens: list[int] = []
        self._items: list[int] = []
        self._ends, self._cuts = [0], [0]  # after so many items: tokens, and texts that were cut
        for item in history:
            tokens = self._later.tokens[item]
            if tokens:
                self._tokens += self._between + tokens
                self._items += [NO_ITEM] * len(self._between) + self._owners(item, tokens)
            self._ends.append(len(self._tokens))
            self._cuts.append(self._cuts[-1] + self._later.cut[item])

    def fill(self, item: int, place: int) -> _Part:
        start = max(0, place - self._max_history)
        opening = next((at for at in range(start, place) if self._first.tokens[self._history[at]]), None)
        if opening is None:
            return _Part([], [])
        first_item = self._history[opening]
        first = self._first.tokens[first_item]
        rest = slice(self._ends[opening + 1], self._ends[place])
        is_rest_cut = self._cuts[place] > self._cuts[opening + 1]
        return _Part(
            first + self._tokens[rest],
            self._owners(first_item, first) + self._items[rest],
            is_cut=start > 0 or self._first.cut[first_item] or is_rest_cut,
        )

    def _owners(self, item: int, tokens: list[int]) -> list[int]:
        return [item if self._is_sid else NO_ITEM] * len(tokens)


class Side:
    """Prompt or completion: words and gaps, written into one row after the other."""

    def __init__(self, pieces: Pieces, source: RowSource, *, is_supervised: bool) -> None:
        self._words = pieces.words
        self._gaps = pieces.gaps
        self._is_supervised = is_supervised
        self._fillers = [self._filler(gap, source) for gap in pieces.gaps]

    def enter(self, user: int, history: list[int]) -> None:
        for filler in self._fillers:
            filler.enter(user, history)

    def write(self, row: Row, item: int, place: int) -> bool | None:
        """Put this side at the end of a row; return whether something was cut, None if a text is empty."""
        is_cut = False
        self._write_words(row, self._words[0])
        for gap, filler, words in zip(self._gaps, self._fillers, self._words[1:], strict=True):
            part = filler.fill(item, place)
            if gap.slot.column is not None and not part.tokens:
                return None
            is_cut = is_cut or part.is_cut
            row.input_ids.extend(part.tokens)
            row.items.extend(part.items)
            is_answer = self._is_supervised and gap.slot.column is None
            row.kinds.extend(range(len(part.tokens)) if is_answer else [self._kind] * len(part.tokens))
            self._write_words(row, words)
        return is_cut

    @property
    def _kind(self) -> int:
        return TEXT if self._is_supervised else IGNORED

    def _write_words(self, row: Row, words: list[int]) -> None:
        row.input_ids.extend(words)
        row.kinds.extend([self._kind] * len(words))
        row.items.extend([NO_ITEM] * len(words))

    def _filler(self, gap: Gap, source: RowSource) -> _Filler:
        if gap.slot.of == "history":
            return _HistoryFiller(gap, source)
        if gap.slot.column is None:
            return _SIDFiller(source.prompts, is_answer=self._is_supervised)
        return _TextFiller(gap, source.values)
