"""SFT rows: where the loss stands, and that it is the mean of log-probabilities computed naively."""

import functools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from models import small_model, text_tokenizer
from task_rows import alignment_rows, history_rows

from sidrec.prompts import PromptBuilder, PromptSettings
from sidrec.scoring import SIDScorer
from sidrec.tasks.rows import IGNORED, NO_ITEM, TEXT, Row
from sidrec.trainers.flat_rows import FlatRows
from sidrec.trainers.sft import sft_losses
from sidrec.trie import SIDTrie
from sidrec.vocabulary import SIDVocabulary

CODES = np.array([[0, 1], [2, 0], [1, 1], [2, 1]])  # items 0 to 3; a_2 has two children, a_0 and a_1 one each
SIZES = (3, 2)


def builder(template="compact", max_history=3, codes=CODES, sizes=SIZES) -> PromptBuilder:
    words = text_tokenizer()
    prompt_settings = PromptSettings(
        template=template, max_history=max_history, max_title_tokens=4, normalization="catalog"
    )
    return PromptBuilder(prompt_settings, words, SIDVocabulary.add_to(words, sizes), codes)


def tokens_of(prompts: PromptBuilder, *items: int) -> list[int]:
    return [token for item in items for token in prompts.item_tokens[item]]


def encode(text: str) -> list[int]:
    return text_tokenizer()(text, add_special_tokens=False)["input_ids"]


def test_a_short_history_is_one_row_with_a_loss_at_every_item():
    prompts = builder()
    [row] = history_rows(prompts, [2, 0, 3])
    assert row.input_ids == [prompts.bos_id, *tokens_of(prompts, 2, 0, 3)]
    assert row.kinds == [IGNORED, 0, 1, 0, 1, 0, 1]
    assert row.items == [NO_ITEM, 2, 2, 0, 0, 3, 3]


def test_a_long_history_is_cut_into_windows_with_context():
    # max_history 3: windows of 4 items. Of the second window the first 4 // 2 = 2 items are context only.
    prompts = builder(max_history=3)
    first, second, third = history_rows(prompts, [0, 1, 2, 3, 0, 1, 2])
    assert first.items == [NO_ITEM, 0, 0, 1, 1, 2, 2, 3, 3]
    assert first.kinds == [IGNORED, 0, 1, 0, 1, 0, 1, 0, 1]
    assert second.items == [NO_ITEM, 2, 2, 3, 3, 0, 0, 1, 1]
    assert second.kinds == [IGNORED, *[IGNORED] * 4, 0, 1, 0, 1]
    assert third.items == [NO_ITEM, 0, 0, 1, 1, 2, 2]
    assert third.kinds == [IGNORED, *[IGNORED] * 4, 0, 1]


GRID = np.stack(np.divmod(np.arange(60), 8), axis=1)  # 60 items, told apart by their codes


@functools.cache
def grid_builder(max_history: int) -> PromptBuilder:
    return builder(max_history=max_history, codes=GRID, sizes=(8, 8))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 60), st.sampled_from([1, 2, 3, 5, 20]))
def test_every_target_is_supervised_once_after_its_own_predecessors(length, max_history):
    history = list(range(length))
    supervised = []
    for row in history_rows(grid_builder(max_history), history):
        items = row.items[1::2]
        assert (
            items == history[items[0] : items[0] + len(items)]
        )  # a stretch of the history, nothing left out
        assert len(items) <= max_history + 1
        targets = [item for item, kind in zip(items, row.kinds[1::2], strict=True) if kind == 0]
        assert row.kinds[1::2].count(0) == row.kinds[2::2].count(1)
        assert targets[0] == 0 or targets[0] > items[0]  # later windows have context
        supervised += targets
    assert supervised == history


def test_with_instruct_every_target_has_a_prompt_of_its_own():
    prompts = builder("instruct")
    rows = list(history_rows(prompts, [2, 0, 3]))
    for row, history, target in zip(rows, ([2], [2, 0]), (0, 3), strict=True):
        prompt = prompts.next_item(history)
        assert row.input_ids == [*prompt, *tokens_of(prompts, target)]
        assert row.kinds == [IGNORED] * len(prompt) + [0, 1]
        assert [item for item in row.items if item != NO_ITEM] == [
            item for item in [*history, target] for _ in range(2)
        ]


def test_with_instruct_a_history_of_one_item_has_nothing_to_learn():
    assert list(history_rows(builder("instruct"), [2])) == []


def test_an_empty_history_gives_no_row():
    assert list(history_rows(builder(), [])) == []


def test_the_title_row_asks_for_the_item():
    prompts = builder()
    question, _ = alignment_rows(prompts, 1, "The red lamp")
    prompt = [prompts.bos_id, *encode("The red lamp"), *encode(" =>")]
    assert question.input_ids == [*prompt, *tokens_of(prompts, 1)]
    assert question.kinds == [IGNORED] * len(prompt) + [0, 1]
    assert question.items == [NO_ITEM] * len(prompt) + [1, 1]


def test_the_item_row_asks_for_the_title_and_its_end():
    prompts = builder()
    _, answer = alignment_rows(prompts, 1, "The red lamp")
    prompt, title = [prompts.bos_id, *tokens_of(prompts, 1), *encode(" =>")], encode("The red lamp")
    assert answer.input_ids == [*prompt, *title, prompts.eos_id]
    assert answer.kinds == [IGNORED] * len(prompt) + [TEXT] * (len(title) + 1)
    assert answer.items == [NO_ITEM, 1, 1] + [NO_ITEM] * (len(answer.input_ids) - 3)


def test_a_long_title_is_cut_and_still_ends():
    prompts = builder()  # max_title_tokens 4
    _, answer = alignment_rows(prompts, 1, "The red garden chair and a blue lamp by Lumo")
    assert answer.kinds.count(TEXT) == 5
    assert answer.input_ids[-1] == prompts.eos_id


def make_scorer(prompts: PromptBuilder, normalization: str, sizes=SIZES) -> SIDScorer:
    words = text_tokenizer()
    token_ids = SIDVocabulary.add_to(words, sizes).token_ids
    model = small_model(vocab_size=len(words) + 3)
    return SIDScorer(model, token_ids, SIDTrie(prompts.codes), normalization)


def loss_of(scorer: SIDScorer, prompts: PromptBuilder, rows: list[Row]) -> torch.Tensor:
    codes = torch.tensor(prompts.codes)
    batch = FlatRows.of(rows).padded(prompts.pad_id)
    return sft_losses(scorer, batch, codes, scorer.trie.walk(codes))[0].mean()


def naive_losses(scorer: SIDScorer, prompts: PromptBuilder, row: Row) -> list[float]:
    """Token by token from the model's own logits, in double precision."""
    with torch.no_grad():
        logits = scorer.model(torch.tensor([row.input_ids])).logits[0].double()
    losses = []
    for place, kind in enumerate(row.kinds):
        if kind == IGNORED:
            continue
        allowed = list(range(logits.shape[1]))
        if kind != TEXT and scorer.normalization == "level":
            allowed = scorer.token_ids[kind].tolist()
        if kind != TEXT and scorer.normalization == "catalog":
            prefix = prompts.codes[row.items[place]][:kind]
            siblings = prompts.codes[(prompts.codes[:, :kind] == prefix).all(1)][:, kind]
            allowed = [int(scorer.token_ids[kind][code]) for code in set(siblings.tolist())]
        before = logits[place - 1]
        losses.append(float(before[allowed].logsumexp(0) - before[row.input_ids[place]]))
    return losses


@pytest.mark.parametrize("normalization", ["vocabulary", "level", "catalog"])
@pytest.mark.parametrize("template", ["compact", "instruct"])
def test_the_loss_is_the_mean_over_supervised_tokens_computed_naively(normalization, template):
    prompts = builder(template, max_history=2)
    scorer = make_scorer(prompts, normalization)
    rows = [*history_rows(prompts, [2, 0, 3, 1, 3]), *alignment_rows(prompts, 1, "The red lamp")]
    expected = [loss for row in rows for loss in naive_losses(scorer, prompts, row)]
    assert len(expected) == sum(kind != IGNORED for row in rows for kind in row.kinds)
    torch.testing.assert_close(
        loss_of(scorer, prompts, rows).item(), float(np.mean(expected)), atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("normalization", ["vocabulary", "level", "catalog"])
def test_a_title_is_normalized_over_the_vocabulary_whatever_the_codes_are(normalization):
    prompts = builder()
    scorer = make_scorer(prompts, normalization)
    _, answer = alignment_rows(prompts, 1, "The red lamp")
    with torch.no_grad():
        log_probs = scorer.model(torch.tensor([answer.input_ids])).logits[0].log_softmax(-1)
    first = answer.kinds.index(TEXT)
    title = answer.input_ids[first:]
    expected = -log_probs[range(first - 1, len(answer.input_ids) - 1), title].mean()
    torch.testing.assert_close(loss_of(scorer, prompts, [answer]), expected, atol=1e-5, rtol=0)


def test_a_forced_code_costs_nothing_over_the_catalogue():
    # After a_0 only b_1 can follow, so item 0 costs what its first code costs, halved by the mean.
    prompts = builder()
    scorer = make_scorer(prompts, "catalog")
    row, _ = alignment_rows(prompts, 0, "lamp")
    first, second = naive_losses(scorer, prompts, row)
    assert second == pytest.approx(0)
    assert loss_of(scorer, prompts, [row]).item() == pytest.approx(first / 2, abs=1e-5)


def test_with_one_item_the_catalogue_loss_is_zero():
    prompts = builder(codes=np.array([[1, 1]]))
    [row] = history_rows(prompts, [0, 0])
    assert loss_of(make_scorer(prompts, "catalog"), prompts, [row]).item() == pytest.approx(0, abs=1e-6)


def test_padding_does_not_change_the_loss():
    prompts = builder()
    scorer = make_scorer(prompts, "vocabulary")
    [short], [long] = history_rows(prompts, [2]), history_rows(prompts, [0, 1, 3, 2])
    apart = [loss_of(scorer, prompts, [row]) for row in (short, long)]
    # 1 * 2 and 4 * 2 supervised tokens
    torch.testing.assert_close(
        loss_of(scorer, prompts, [short, long]), (2 * apart[0] + 8 * apart[1]) / 10, atol=1e-5, rtol=0
    )


def test_the_loss_moves_the_model():
    prompts = builder()
    scorer = make_scorer(prompts, "catalog")
    [row] = history_rows(prompts, [1, 3, 0])
    loss_of(scorer, prompts, [row]).backward()
    for name, parameter in scorer.model.named_parameters():
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0, name
