"""Item dropout: what stays reads like a prompt for the shorter history, and depends on the row alone."""

import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from models import text_tokenizer

from sidrec.prompts import PromptBuilder, PromptSettings
from sidrec.tasks.rows import IGNORED, NO_ITEM, TEXT, Row
from sidrec.trainers.flat_rows import FlatRows
from sidrec.trainers.item_dropout import drop_items
from sidrec.vocabulary import SIDVocabulary

LEVELS = 2
BOS, COMMA, END = 1, 8, 9  # text around the SIDs of the rows below


def tokens_of(item: int) -> list[int]:
    return [100 + 2 * item, 101 + 2 * item]


def user_row(*items: int, context: int = 0, task: int = 0) -> Row:
    """A whole history with a loss at every item after the first `context`."""
    return Row(
        [BOS, *(token for item in items for token in tokens_of(item))],
        [IGNORED, *[IGNORED, IGNORED] * context, *[0, 1] * (len(items) - context)],
        [NO_ITEM, *(item for item in items for _ in range(LEVELS))],
        task,
    )


def prefix_row(*items: int, task: int = 0) -> Row:
    """A prompt in words, "BOS a , b , c END", and its target."""
    *history, target = items
    ids, owners = [BOS], [NO_ITEM]
    for place, item in enumerate(history):
        ids += [*([COMMA] if place else []), *tokens_of(item)]
        owners += [*([NO_ITEM] if place else []), item, item]
    return Row(
        [*ids, END, *tokens_of(target)],
        [IGNORED] * (len(ids) + 1) + [0, 1],
        [*owners, NO_ITEM, target, target],
        task,
    )


def split(rows: FlatRows) -> list[Row]:
    ends = rows.offsets.tolist()
    return [
        Row(
            rows.input_ids[start:end].tolist(),
            rows.kinds[start:end].tolist(),
            rows.items[start:end].tolist(),
            task,
        )
        for start, end, task in zip(ends, ends[1:], rows.tasks.tolist(), strict=False)
    ]


def dropped(rows: list[Row], probability: float, *, seed=0, epoch=0, sights=None) -> list[Row]:
    sights = np.arange(len(rows)) if sights is None else np.array(sights)
    flat = drop_items(FlatRows.of(rows), LEVELS, probability, seed=seed, epoch=epoch, sights=sights)
    return split(flat)


def items_of(row: Row) -> list[int]:
    return [item for item in row.items if item != NO_ITEM][::LEVELS]


def test_probability_0_returns_the_very_same_rows():
    rows = FlatRows.of([user_row(1, 2, 3), prefix_row(4, 5)])
    assert drop_items(rows, LEVELS, 0, seed=0, epoch=0, sights=np.arange(2)) is rows


def test_rows_without_items_stay_as_they_are():
    row = Row([1, 5, 6], [IGNORED, TEXT, TEXT], [NO_ITEM] * 3)
    assert dropped([row], 0.9) == [row]


@given(st.integers(0, 2**31), st.integers(0, 50))
def test_a_user_row_is_the_row_of_the_items_that_stay(seed, sight):
    [row] = dropped([user_row(3, 1, 4, 1, 5, task=2)], 0.5, seed=seed, sights=[sight])
    stayed = items_of(row)
    assert row == user_row(*stayed, task=2)
    waiting = iter([3, 1, 4, 1, 5])
    assert all(item in waiting for item in stayed)  # in their order, none twice
    assert stayed


@given(st.integers(0, 2**31), st.floats(0.05, 0.95))
def test_the_target_and_an_item_of_the_history_stay(seed, probability):
    [row] = dropped([prefix_row(3, 1, 4, 7)], probability, seed=seed)
    *history, target = items_of(row)
    assert target == 7
    assert history
    assert row == prefix_row(*history, target)  # separators too are those of the shorter history


@given(st.integers(0, 2**31))
def test_of_a_window_context_and_targets_each_keep_an_item(seed):
    [row] = dropped([user_row(3, 1, 4, 5, context=2)], 0.9, seed=seed)
    learned = row.kinds.count(0)
    stayed = items_of(row)
    assert set(stayed[-learned:]) <= {4, 5}
    assert stayed[: len(stayed) - learned]
    assert learned
    assert row == user_row(*stayed, context=len(stayed) - learned)


def test_the_same_item_twice_in_a_row_are_two_items():
    found = {tuple(items_of(row)) for row in dropped([user_row(6, 6, 6)] * 200, 0.5)}
    assert found == {(6,), (6, 6), (6, 6, 6)}


@functools.cache
def instruct() -> PromptBuilder:
    words = text_tokenizer()
    prompt_settings = PromptSettings(
        template="instruct", max_history=9, max_title_tokens=4, normalization="catalog"
    )
    codes = np.stack(np.divmod(np.arange(16), 4), axis=1)
    return PromptBuilder(prompt_settings, words, SIDVocabulary.add_to(words, (4, 4)), codes)


@settings(deadline=None)
@given(st.lists(st.integers(0, 15), min_size=2, max_size=7), st.integers(0, 2**31))
def test_a_prompt_in_words_becomes_the_prompt_for_the_shorter_history(items, seed):
    prompts = instruct()
    owner = {token: item for item in items for token in prompts.item_tokens[item]}
    *history, target = items
    prompt = prompts.next_item(history)
    # Tokens of a SID are read off the prompt: two ids in turn that belong together.
    owners, waiting = [NO_ITEM] * len(prompt), list(history)
    for place, token in enumerate(prompt):
        if waiting and token in owner and prompt[place : place + 2] == prompts.item_tokens[waiting[0]]:
            owners[place : place + 2] = [waiting.pop(0)] * 2
    row = Row(
        [*prompt, *prompts.item_tokens[target]],
        [IGNORED] * len(prompt) + [0, 1],
        [*owners, target, target],
    )
    [found] = dropped([row], 0.5, seed=seed)
    *stayed, last = items_of(found)
    assert last == target
    assert found.input_ids == [*prompts.next_item(stayed), *prompts.item_tokens[target]]


def test_what_goes_depends_on_the_sight_and_not_on_the_batch():
    rows = [user_row(*range(n, n + 8)) for n in range(20)]
    together = dropped(rows, 0.5, sights=range(20))
    alone = [row for n in range(20) for row in dropped([rows[n]], 0.5, sights=[n])]
    backwards = dropped(rows[::-1], 0.5, sights=range(19, -1, -1))[::-1]
    assert together == alone == backwards


@pytest.mark.parametrize("change", [{"epoch": 1}, {"seed": 1}, {"sights": range(20, 40)}])
def test_every_pass_leaves_out_other_items(change):
    rows = [user_row(*range(8))] * 20
    same = [one == other for one, other in zip(dropped(rows, 0.5), dropped(rows, 0.5, **change), strict=True)]
    assert sum(same) <= 2  # two draws of 8 coins agree once in 256


@pytest.mark.parametrize("probability", [0.1, 0.5, 0.8])
def test_items_go_as_often_as_the_probability_says(probability):
    # 5000 rows of 8 items: 40,000 coins, standard deviation below 0.0025. One of 8 is put back when all go.
    places = np.array(
        [np.isin(range(8), items_of(row)) for row in dropped([user_row(*range(8))] * 5000, probability)]
    )
    expected = 1 - probability + probability**8 / 8
    assert places.mean() == pytest.approx(expected, abs=0.01)
    assert places.mean(axis=0) == pytest.approx([expected] * 8, abs=0.03)  # each place alike
    both = (places[:, :-1] & places[:, 1:]).mean()  # neighbours go independently of each other
    assert both == pytest.approx((1 - probability) ** 2, abs=0.03)
