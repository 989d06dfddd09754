"""Rows of tasks: equal to a slow construction from the definition, whole, and never longer than said."""

import functools
import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from models import qwen3_tokenizer, small_model, text_tokenizer
from task_rows import catalog_of, rows_of, task

from sidrec.errors import ConfigError
from sidrec.prompts import PLAIN_CHAT, PromptBuilder, PromptSettings
from sidrec.tasks.lengths import most_tokens
from sidrec.tasks.row_making import all_rows
from sidrec.tasks.rows import IGNORED, NO_ITEM, TEXT, RowSource
from sidrec.tasks.values import Values
from sidrec.tasks.wordings import BUILT_IN
from sidrec.vocabulary import SIDVocabulary

CODES = np.array([[0, 1], [2, 0], [1, 1], [2, 1]])  # items 0 to 3
SIZES = (3, 2)
OWN = {"prompt": "{{Of}} {user.preference}: {history.title} or {history}? ", "completion": "{title} {sid}!"}
TASKS = [*BUILT_IN, "mine"]
plain_words = functools.cache(text_tokenizer)
qwen3_words = functools.cache(qwen3_tokenizer)


def builder(template="compact", words=None, **changes) -> PromptBuilder:
    words = plain_words() if words is None else words
    lengths = {"max_history": 3, "max_title_tokens": 6, "max_text_tokens": 9} | changes
    prompt_settings = PromptSettings(template=template, normalization="catalog", **lengths)
    return PromptBuilder(prompt_settings, words, SIDVocabulary.add_to(words, SIZES), CODES)


class Reference:
    """Builds one row after the other, each from the text of its templates."""

    def __init__(self, prompts: PromptBuilder, words, catalog) -> None:
        self.settings, self.words, self.catalog = prompts.settings, words, catalog
        self.sids = SIDVocabulary.find_in(words, SIZES).tokens_of(CODES).tolist()
        self.bos = words.eos_token_id if words.bos_token_id is None else words.bos_token_id

    def rows(self, prompt: str, completion: str, histories) -> list[tuple]:
        found = []
        if "{history" not in prompt and "{user." not in prompt:
            found = [self.row(prompt, completion, item, [], 0) for item in range(len(CODES))]
        for user, history in enumerate(histories if not found else []):
            first = 0 if prompt == "{history}" or "{history" not in prompt else 1
            for place in range(first, len(history)):
                found.append(self.row(prompt, completion, history[place], history[:place], user))
        return [row for row in found if row is not None]

    def row(self, prompt, completion, item, history, user):
        """Token ids, kinds and items; None for a row in which a text is empty."""
        asked, values = self.expand(prompt, item, history, user, 0)
        answer, more = self.expand(completion, item, history, user, len(values))
        if None in values + more:
            return None
        opening = [self.bos]
        if self.settings.template == "instruct":
            if self.words.chat_template is None:
                asked = PLAIN_CHAT.format(instruction=asked)
            else:
                opening = []
                asked = self.words.apply_chat_template(
                    [{"role": "user", "content": asked}],
                    tokenize=False,
                    add_generation_prompt=True,
                    enable_thinking=False,
                )
        ids, kinds, items = self.encode(asked, values + more)
        whole = [*opening, *ids], [IGNORED] * len(opening + ids), [NO_ITEM] * len(opening) + items
        ids, kinds, items = self.encode(answer, values + more)
        if kinds[-1] == TEXT:
            ids, kinds, items = [*ids, self.words.eos_token_id], [*kinds, TEXT], [*items, NO_ITEM]
        return [*whole[0], *ids], [*whole[1], *kinds], [*whole[2], *items]

    def expand(self, template, item, history, user, so_far):
        """The template with a mark for each value, and the values; None where all of a slot is empty."""
        values = []

        def mark(value):
            values.append(value)
            return chr(0xE100 + so_far + len(values) - 1)

        def written(name):
            of_history = name.group(1).startswith("history")
            column = name.group(1).removeprefix("history").removeprefix(".").removeprefix("user.")
            rows = history[-self.settings.max_history :] if of_history else [item]
            if column in ("", "sid"):
                separator = ", " if self.settings.template == "instruct" else ""
                return separator.join(mark(row) for row in rows)
            table, rows = (
                (self.catalog.users, [user]) if "user." in name.group(1) else (self.catalog.items, rows)
            )
            limit = self.settings.max_title_tokens if column == "title" else self.settings.max_text_tokens
            texts = [str(table[column][row]).strip() for row in rows]
            return "; ".join(mark((text, limit)) for text in texts if text) or mark(None)

        text = re.sub(r"(?<!\{)\{([^{}]+)\}", written, template)
        return text.replace("{{", "{").replace("}}", "}"), values

    def encode(self, text, values):
        ids, kinds, items = [], [], []
        parts = re.split("([\ue100-\uf8ff])", text)
        for words, following in zip(parts[::2], [*parts[1::2], ""], strict=True):
            value = values[ord(following) - 0xE100] if following else None
            is_spaced = isinstance(value, tuple) and words.endswith(" ")
            found = self.words(words[:-1] if is_spaced else words, add_special_tokens=False)["input_ids"]
            ids, kinds, items = ids + found, kinds + [TEXT] * len(found), items + [NO_ITEM] * len(found)
            if isinstance(value, tuple):
                shown = " " * is_spaced + escaped(value[0], self.words)
                tokens = self.words(shown, add_special_tokens=False, split_special_tokens=True)["input_ids"]
                tokens = tokens[: value[1]]
                ids, kinds, items = (
                    ids + tokens,
                    kinds + [TEXT] * len(tokens),
                    items + [NO_ITEM] * len(tokens),
                )
            elif following:
                ids, kinds, items = ids + self.sids[value], [*kinds, 0, 1], items + [value] * 2
        return ids, kinds, items


def escaped(text, words) -> str:
    """A text with a space in what looks like a SID or another added token."""
    text = re.sub(r"<(?=[a-z]+_\d+>)", "< ", text)
    for token in words.get_added_vocab():
        text = text.replace(token, f"{token[0]} {token[1:]}")
    return text


TEXTS = st.lists(
    st.sampled_from(
        ["Red ", "lamp", " ", ".", "<a_1>", "<<a_2><b_0>", "<|eos|>", "<|im_end|>", "{sid}", "é漢", "\n"]
    ),
    max_size=6,
).map("".join)
HISTORIES = st.lists(st.lists(st.integers(0, 3), max_size=6), min_size=2, max_size=2)


def assert_equal_to_the_reference(name, template, words, titles, descriptions, histories):
    catalog = catalog_of(
        {"title": titles, "description": descriptions, "kind": ["thing"] * 4},
        users={"preference": descriptions[:2]},
    )
    prompts = builder(template, words)
    own = OWN if name == "mine" else None
    made = rows_of(name, prompts, catalog, histories, own=own, rows="prefix")
    wording = None if name == "mine" else BUILT_IN[name][template]
    texts = (OWN["prompt"], OWN["completion"]) if wording is None else (wording.prompt, wording.completion)
    expected = Reference(prompts, words, catalog).rows(*texts, histories)
    assert [(row.input_ids, row.kinds, row.items) for row in made] == expected


@pytest.mark.parametrize("template", ["compact", "instruct"])
@pytest.mark.parametrize("name", TASKS)
@settings(max_examples=25, deadline=None)
@given(titles=st.tuples(*[TEXTS] * 4), descriptions=st.tuples(*[TEXTS] * 4), histories=HISTORIES)
def test_rows_equal_those_built_one_by_one_from_the_definition(
    name, template, titles, descriptions, histories
):
    assert_equal_to_the_reference(name, template, plain_words(), titles, descriptions, histories)


@pytest.mark.parametrize("template", ["compact", "instruct"])
@pytest.mark.parametrize("name", TASKS)
def test_rows_of_qwen3_equal_those_built_one_by_one_from_the_definition(name, template):
    titles = ["Red lamp, 20 W", "<a_1> chair", "Größe <|im_end|> 漢字", "x" * 40]
    descriptions = ["It glows. " * 9, "", "Soft.", "<think>It ticks</think>"]
    histories = [[0, 1, 2, 3, 3, 1], [2]]
    assert_equal_to_the_reference(name, template, qwen3_words(), titles, descriptions, histories)


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=30))
def test_the_answer_of_a_row_is_the_title_whatever_stands_in_it(title):
    catalog = catalog_of({"title": [title, "b", "c", "d"], "kind": ["thing"] * 4})
    words = plain_words()
    row = rows_of("item_to_title", builder(max_title_tokens=1000), catalog)[0]
    answer = [token for token, kind in zip(row.input_ids, row.kinds, strict=True) if kind == TEXT]
    assert answer[-1] == words.eos_token_id
    assert words.decode(answer[:-1]) == escaped(catalog.items["title"][0], words)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 3), TEXTS)
def test_the_answer_of_a_row_is_the_sid_whatever_stands_in_its_text(item, title):
    catalog = catalog_of({"title": [title] * 4, "kind": ["thing"] * 4})
    prompts = builder("instruct")
    row = rows_of("title_to_item", prompts, catalog)[item]
    assert row.input_ids[-2:] == prompts.item_tokens[item]
    assert row.kinds[-2:] == [0, 1]
    assert set(row.kinds[:-2]) == {IGNORED}
    sids = {token for tokens in prompts.item_tokens for token in tokens}
    assert not set(row.input_ids[:-2]) & sids


PLAIN = {"title": ["Red lamp", "Blue chair", "Green rug", "Black clock"]}


def test_every_task_says_which_items_its_sids_are():
    catalog = catalog_of(PLAIN)
    for template in ("compact", "instruct"):
        prompts = builder(template)
        for name in ("history_to_title", "titles_to_item"):
            row = rows_of(name, prompts, catalog, [[1, 1, 2]])[-1]
            owners = [item for item in row.items if item != NO_ITEM]
            assert owners == ([1, 1, 1, 1] if name == "history_to_title" else [2, 2])
            for token, item in zip(row.input_ids, row.items, strict=True):
                assert item == NO_ITEM or token in prompts.item_tokens[item]


def target_losses(model, rows) -> list[float]:
    """Of each supervised item in turn the negative log-probability of its SID."""
    losses = []
    for row in rows:
        with torch.no_grad():
            logs = model(torch.tensor([row.input_ids])).logits[0].double().log_softmax(-1)
        each = [
            -float(logs[place - 1, row.input_ids[place]])
            for place, kind in enumerate(row.kinds)
            if kind != IGNORED
        ]
        losses += np.array(each).reshape(-1, 2).sum(1).tolist()
    return losses


def test_a_row_per_user_and_a_row_per_target_give_every_target_the_same_loss():
    prompts = builder(max_history=5)
    model = small_model(vocab_size=len(plain_words()))
    histories = [[2, 0, 3, 1, 3, 0], [1], [0, 0]]  # none is longer than a window of 6 items
    per_user, per_target = (
        rows_of("next_item", prompts, catalog_of(PLAIN), histories, rows=rows) for rows in ("user", "prefix")
    )
    assert (len(per_user), len(per_target)) == (3, 9)
    losses = target_losses(model, per_user)
    assert len(losses) == 9
    np.testing.assert_allclose(losses, target_losses(model, per_target), atol=1e-5)
    assert np.std(losses) > 0.1  # the test would notice


def test_a_row_per_user_is_the_default_where_it_is_allowed():
    history = [[2, 0, 3]]
    assert len(rows_of("next_item", builder(), catalog_of(PLAIN), history)) == 1
    assert len(rows_of("next_item", builder("instruct"), catalog_of(PLAIN), history)) == 2
    assert len(rows_of("history_to_title", builder(), catalog_of(PLAIN), history)) == 2


def test_a_task_of_ones_own_that_ends_in_the_history_has_a_row_per_user_too():
    own = {"prompt": "Shop: {history}", "completion": "{sid}"}
    [row] = rows_of("mine", builder(), catalog_of(PLAIN), [[2, 0, 3]], own=own)
    assert plain_words().decode(row.input_ids) == "<|bos|>Shop: <a_1><b_1><a_0><b_1><a_2><b_1>"
    assert row.kinds[-6:] == [0, 1] * 3
    assert set(row.kinds[:-6]) == {IGNORED}


def test_rows_in_which_something_is_missing_are_told():
    catalog = catalog_of(
        {"title": ["Red lamp and a blue chair by Lumo", "a", "b", "c"], "description": list("abcd")}
    )
    for template in ("compact", "instruct"):
        prompts = builder(template)  # titles of 6 tokens, histories of 3 items
        assert [row.is_cut for row in rows_of("item_to_title", prompts, catalog)] == [
            True,
            False,
            False,
            False,
        ]
        assert [row.is_cut for row in rows_of("description_to_item", prompts, catalog)] == [False] * 4
        # Targets 2, 3, 1, 1 after 1; 1 2; 1 2 3; 1 2 3 1, of which three are shown. Then with item 0 in it.
        short = rows_of("history_to_title", prompts, catalog, [[1, 2, 3, 1, 1]])
        assert [row.is_cut for row in short] == [False, False, False, True]
        titles = rows_of("titles_to_item", prompts, catalog, [[1, 2, 0, 1]])
        assert [row.is_cut for row in titles] == [False, False, True]
        first = rows_of("titles_to_item", prompts, catalog, [[0, 2, 3]])
        assert [row.is_cut for row in first] == [True, True]
    windows = rows_of("next_item", builder(), catalog, [[1, 2, 3, 1, 2], [1, 2, 3, 1]])
    assert [row.is_cut for row in windows] == [False, True, False]


def test_an_item_without_the_text_that_is_asked_for_has_no_row():
    catalog = catalog_of({"title": list("abcd"), "description": ["Soft.", " ", None, "Hard."]})
    rows = rows_of("description_to_item", builder(), catalog)
    assert [row.items[-1] for row in rows] == [0, 3]
    own = {"prompt": "{history.description} =>", "completion": "{sid}"}
    rows = rows_of("mine", builder(), catalog, [[1, 2, 0, 1, 3, 2]], own=own)
    read = [plain_words().decode(row.input_ids) for row in rows]
    # Nothing is known of items 1 and 2, so nothing is asked before item 0 was had.
    assert read == [
        "<|bos|>Soft. =><a_2><b_0>",
        "<|bos|>Soft. =><a_2><b_1>",
        "<|bos|>Soft.; Hard. =><a_1><b_1>",
    ]


def test_all_rows_carry_the_place_of_their_task_and_truncations_are_counted():
    catalog = catalog_of({"title": ["Red lamp and a blue chair by Lumo", "a", "b", "c"]})
    prompts = builder()
    tasks = [task(name, catalog, "compact") for name in ("title_to_item", "next_item")]
    truncated: dict[str, int] = {}
    source = RowSource(prompts, Values(prompts, catalog.items, None), [np.array([0, 1, 2, 3, 0])])
    rows = list(all_rows(tasks, source, truncated))
    assert [row.task for row in rows] == [0, 0, 0, 0, 1, 1]
    assert truncated == {"title_to_item": 1, "next_item": 1}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "next_item",
            r"sft\.tasks\.next_item: a row has 9 tokens, but the model has 8 positions "
            r"\(max_position_embeddings\)\. Lower prompt\.max_history \(now 3\), or take a model with more",
        ),
        (
            "titles_to_item",
            r"Lower prompt\.max_history \(now 3\) or prompt\.max_title_tokens \(now 6\), or take",
        ),
        (
            "description_to_item",
            r"Lower prompt\.max_text_tokens \(now 9\), or take",
        ),
    ],
)
def test_a_row_longer_than_the_model_has_positions_is_refused(name, message):
    catalog = catalog_of({"title": list("abcd"), "description": ["An item."] * 4})
    with pytest.raises(ConfigError, match=message):
        rows_of(name, builder(), catalog, [[0, 1, 2, 3]], max_positions=8)


def test_a_row_of_as_many_tokens_as_positions_is_taken():
    [row] = rows_of("next_item", builder(), catalog_of(PLAIN), [[0, 1, 2, 3]], max_positions=9)
    assert len(row.input_ids) == 9


@pytest.mark.parametrize("template", ["compact", "instruct"])
@pytest.mark.parametrize("name", TASKS)
def test_no_row_is_longer_than_was_said_before_there_was_a_text_tokenizer(name, template):
    long = ["Größe 漢字 and more of it, again and again"] * 4
    catalog = catalog_of({"title": long, "description": long}, users={"preference": long[:1]})
    prompts = builder(template)
    own = OWN if name == "mine" else {}
    rows = rows_of(name, prompts, catalog, [[0, 1, 2, 3, 0, 1]], own=own)
    assert max(len(row.input_ids) for row in rows) <= most_tokens(
        task(name, catalog, template, **own), prompts.settings, 2
    )
