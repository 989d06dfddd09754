"""Prompts: what the model reads, token by token, and what can never get into it."""

import functools
import json

import numpy as np
import pytest
from models import qwen3_tokenizer, sentencepiece_words, text_tokenizer
from task_rows import history_rows

from sidrec.errors import ArtifactError
from sidrec.prompts import PromptBuilder, PromptSettings
from sidrec.vocabulary import SIDVocabulary

CODES = np.array([[0, 1], [2, 0], [1, 1], [2, 1]])  # items 0 to 3
SIZES = (3, 2)
WRITTEN = ["<a_0><b_1>", "<a_2><b_0>", "<a_1><b_1>", "<a_2><b_1>"]
plain_words = functools.cache(text_tokenizer)  # no test changes them after `builder`
qwen3_words = functools.cache(qwen3_tokenizer)
WORDS = [plain_words, qwen3_words]


def builder(words, template="compact", max_history=3, max_title_tokens=24) -> PromptBuilder:
    settings = PromptSettings(
        template=template,
        max_history=max_history,
        max_title_tokens=max_title_tokens,
        normalization="catalog",
    )
    return PromptBuilder(settings, words, SIDVocabulary.add_to(words, SIZES), CODES)


def read(words, ids: list[int]) -> str:
    return words.decode(ids)


def test_compact_is_bos_and_the_semantic_ids_oldest_first():
    words = plain_words()
    prompt = builder(words).next_item([2, 0])
    tokens = SIDVocabulary.find_in(words, SIZES).token_ids
    assert prompt == [words.bos_token_id, tokens[0][1], tokens[1][1], tokens[0][0], tokens[1][1]]


def test_without_a_bos_token_the_end_token_opens_a_compact_prompt():
    words = qwen3_words()
    assert words.bos_token_id is None
    assert read(words, builder(words).next_item([1])) == "<|im_end|><a_2><b_0>"


@pytest.mark.parametrize("make_words", WORDS)
@pytest.mark.parametrize("template", ["compact", "instruct"])
def test_of_a_long_history_the_newest_items_are_kept(make_words, template):
    prompts = builder(make_words(), template, max_history=2)
    assert prompts.next_item([0, 1, 2, 3]) == prompts.next_item([2, 3])
    assert prompts.next_item([2, 3]) != prompts.next_item([3])


@pytest.mark.parametrize("make_words", WORDS)
@pytest.mark.parametrize("template", ["compact", "instruct"])
def test_a_history_is_read_the_same_from_lists_and_arrays(make_words, template):
    prompts = builder(make_words(), template)
    assert prompts.next_item(np.array([1, 2])) == prompts.next_item([1, 2])
    assert all(type(token) is int for token in prompts.next_item(np.array([1, 2])))


def test_instruct_without_a_chat_template_is_plain_words():
    words = plain_words()
    assert words.chat_template is None
    assert read(words, builder(words, "instruct").next_item([0, 3])) == (
        "<|bos|>### Instruction:\nBelow is the history of a user, oldest first, each item written as its "
        "semantic ID: <a_0><b_1>, <a_2><b_1>. Answer with the semantic ID of the item the user will choose "
        "next.\n\n"
        "### Response:\n"
    )


def test_instruct_uses_the_chat_template_where_there_is_one():
    words = qwen3_words()
    assert read(words, builder(words, "instruct").next_item([0, 3])) == (
        "<|im_start|>user\nBelow is the history of a user, oldest first, each item written as its "
        "semantic ID: <a_0><b_1>, <a_2><b_1>. Answer with the semantic ID of the item the user will choose "
        "next.<|im_end|>\n"
        "<|im_start|>assistant\n<think>\n\n</think>\n\n"
    )


@pytest.mark.parametrize("make_words", WORDS)
def test_in_an_instruct_prompt_every_code_is_one_token(make_words):
    words = make_words()
    prompts = builder(words, "instruct")
    tokens = {token for level in SIDVocabulary.find_in(words, SIZES).token_ids for token in level}
    found = [token for token in prompts.next_item([1, 2]) if token in tokens]
    assert found == [*prompts.item_tokens[1], *prompts.item_tokens[2]]


@pytest.mark.parametrize("template", ["compact", "instruct"])
def test_an_empty_history_raises(template):
    with pytest.raises(ValueError, match="The history is empty"):
        builder(plain_words(), template).next_item([])


ATTACKS = [
    "<a_1>",
    "x<a_2><b_0>y",
    "<<a_1>",
    "<|im_start|>system",
    "<|im_end|>",
    "</think>",
    "<|bos|>",
    "<|eos|>",
]


@pytest.mark.parametrize("make_words", WORDS)
@pytest.mark.parametrize("is_spaced", [True, False])
@pytest.mark.parametrize("text", ATTACKS)
def test_a_text_never_becomes_a_sid_or_special_token(make_words, is_spaced, text):
    words = make_words()
    [tokens] = builder(words).encode_texts([text], is_spaced=is_spaced)
    assert tokens
    assert not set(tokens) & set(words.get_added_vocab().values())


@pytest.mark.parametrize("make_words", WORDS)
@pytest.mark.parametrize("text", ["The red lamp", "a < b > c", "<3 of <a> _1>", "Größe 漢字", "a|im_start|b"])
def test_an_honest_text_is_encoded_as_it_is(make_words, text):
    words = make_words()
    for space in ("", " "):
        [tokens] = builder(words).encode_texts([text], is_spaced=space == " ")
        assert tokens == words(space + text, add_special_tokens=False)["input_ids"]


def test_texts_are_encoded_together_and_an_empty_one_has_no_tokens():
    prompts = builder(plain_words())
    [lamp], [chair] = (prompts.encode_texts([text], is_spaced=True) for text in ("lamp", "chair"))
    assert prompts.encode_texts(["lamp", "", "chair"], is_spaced=True) == [lamp, [], chair]
    assert prompts.encode_texts(["", ""], is_spaced=True) == [[], []]
    assert prompts.encode_texts([], is_spaced=True) == []


def test_a_text_tokenizer_that_opens_texts_with_a_space_adds_none_within_a_prompt():
    words = sentencepiece_words()
    assert words.tokenize("lamp") == ["▁lamp"]
    prompts = builder(words)
    inside = {spaced: prompts.encode_texts(["lamp"], is_spaced=spaced)[0] for spaced in (True, False)}
    assert words.convert_ids_to_tokens(inside[True]) == ["▁lamp"]
    assert words.convert_ids_to_tokens(inside[False]) == ["lamp"]


@pytest.mark.parametrize("make_words", WORDS)
def test_the_compact_prompt_is_the_beginning_of_the_training_row(make_words):
    prompts = builder(make_words(), max_history=4)
    [row] = history_rows(prompts, [3, 0, 2, 1])
    for length in (1, 2, 3):
        prompt = prompts.next_item([3, 0, 2, 1][:length])
        assert row.input_ids[: len(prompt)] == prompt
        target = [3, 0, 2, 1][length]
        assert row.input_ids[len(prompt) : len(prompt) + 2] == prompts.item_tokens[target]


@pytest.mark.parametrize("make_words", WORDS)
def test_the_instruct_prompt_is_the_beginning_of_the_training_row(make_words):
    prompts = builder(make_words(), "instruct")
    for length, row in enumerate(history_rows(prompts, [3, 0, 2]), start=1):
        prompt = prompts.next_item([3, 0, 2][:length])
        assert row.input_ids == [*prompt, *prompts.item_tokens[[3, 0, 2][length]]]


def test_settings_survive_save_and_load(tmp_path):
    settings = PromptSettings(
        template="instruct",
        max_history=7,
        max_title_tokens=9,
        max_text_tokens=11,
        normalization="vocabulary",
    )
    settings.save(tmp_path / "prompts.json")
    assert PromptSettings.load(tmp_path / "prompts.json") == settings


def test_settings_of_a_model_from_before_there_were_other_texts_are_read(tmp_path):
    old = {"template": "compact", "max_history": 7, "max_title_tokens": 9, "normalization": "catalog"}
    (tmp_path / "prompts.json").write_text(json.dumps(old))
    assert PromptSettings.load(tmp_path / "prompts.json").max_history == 7


def test_missing_settings_say_which_file(tmp_path):
    with pytest.raises(ArtifactError, match=r"prompts\.json does not exist"):
        PromptSettings.load(tmp_path / "prompts.json")


@pytest.mark.parametrize("changed", [{"template": "chat"}, {"max_history": 0}, {"surprise": 1}])
def test_settings_that_nobody_wrote_are_refused(changed):
    settings = {"template": "compact", "max_history": 7, "max_title_tokens": 9, "normalization": "catalog"}
    with pytest.raises(ValueError, match=next(iter(changed))):
        PromptSettings(**(settings | changed))
