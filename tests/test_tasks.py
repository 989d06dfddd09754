"""The tasks that are built in, as the model sees them, and how a table of tasks can be wrong."""

import functools
import itertools

import numpy as np
import pytest
from models import qwen3_tokenizer, text_tokenizer
from task_rows import catalog_of, rows_of

from sidrec.errors import CatalogError, ConfigError
from sidrec.prompts import PromptBuilder, PromptSettings
from sidrec.sections import DEFAULT_TASKS, SFTConfig
from sidrec.tasks.rows import IGNORED
from sidrec.tasks.task import check_rows, column_inputs, tasks_of
from sidrec.tasks.wordings import BUILT_IN
from sidrec.vocabulary import SIDVocabulary

CODES = np.array([[0, 1], [2, 0], [1, 1], [2, 1]])  # items 0 to 3
SIZES = (3, 2)
CATALOG = catalog_of(
    {
        "title": ["Red lamp", "Blue chair", "Green rug", "Black clock"],
        "description": ["It glows.", "Four legs.", "Soft.", "It ticks."],
        "price": [12.5, 30.0, 7.0, 19.9],
    },
    users={"preference": ["Likes light."]},
)
HISTORY = [2, 0, 3]  # the last target is item 3, after items 2 and 0
plain_words = functools.cache(text_tokenizer)
qwen3_words = functools.cache(qwen3_tokenizer)
COMPACT = {
    "next_item": "<|bos|>[[<a_1><b_1><a_0><b_1><a_2><b_1>]]",
    "item_to_title": "<|bos|><a_2><b_1> =>[[Black clock<|eos|>]]",
    "title_to_item": "<|bos|>Black clock =>[[<a_2><b_1>]]",
    "description_to_item": "<|bos|>Description: It ticks. =>[[<a_2><b_1>]]",
    "history_to_title": "<|bos|>Next title: <a_1><b_1><a_0><b_1> =>[[Black clock<|eos|>]]",
    "titles_to_item": "<|bos|>Next item: Green rug; Red lamp =>[[<a_2><b_1>]]",
    "titles_to_title": "<|bos|>Next title: Green rug; Red lamp =>[[Black clock<|eos|>]]",
    "preference_to_item": "<|bos|>Preference: Likes light. =>[[<a_2><b_1>]]",
}
INSTRUCT = {
    "next_item": (
        "Below is the history of a user, oldest first, each item written as its semantic ID: <a_1><b_1>, "
        "<a_0><b_1>. Answer with the semantic ID of the item the user will choose next.",
        "<a_2><b_1>",
    ),
    "item_to_title": ("What is the title of the item <a_2><b_1>?", "Black clock{end}"),
    "title_to_item": ('Which semantic ID names the item with the title "Black clock"?', "<a_2><b_1>"),
    "description_to_item": (
        "Answer with the semantic ID of the item with this description: It ticks.",
        "<a_2><b_1>",
    ),
    "history_to_title": (
        "Below is the history of a user, oldest first, each item written as its semantic ID: <a_1><b_1>, "
        "<a_0><b_1>. Answer with the title of the item the user will choose next.",
        "Black clock{end}",
    ),
    "titles_to_item": (
        "Answer with the semantic ID of the item a user will choose next, whose items so far have these "
        "titles, oldest first: Green rug; Red lamp",
        "<a_2><b_1>",
    ),
    "titles_to_title": (
        "Answer with the title of the item a user will choose next, whose items so far have these titles, "
        "oldest first: Green rug; Red lamp",
        "Black clock{end}",
    ),
    "preference_to_item": (
        "Answer with the semantic ID of an item for a user who prefers this: Likes light.",
        "<a_2><b_1>",
    ),
}
PLAIN = "<|bos|>### Instruction:\n{}\n\n### Response:\n[[{}]]"
QWEN3 = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n[[{}]]"


def builder(words, template, max_history=3) -> PromptBuilder:
    settings = PromptSettings(
        template=template, max_history=max_history, max_title_tokens=24, normalization="catalog"
    )
    return PromptBuilder(settings, words, SIDVocabulary.add_to(words, SIZES), CODES)


def read(words, row) -> str:
    """The text of a row, what is supervised between [[ and ]]."""
    text = ""
    pairs = zip(row.input_ids, [kind != IGNORED for kind in row.kinds], strict=True)
    for supervised, part in itertools.groupby(pairs, key=lambda pair: pair[1]):
        shown = words.decode([token for token, _ in part])
        text += f"[[{shown}]]" if supervised else shown
    return text


def last_row(words, template, name, own=None) -> str:
    """The row about item 3: of an item task the fourth, of the others the last."""
    return read(words, rows_of(name, builder(words, template), CATALOG, [HISTORY], own=own)[-1])


def test_every_built_in_task_has_a_golden_row_in_each_style():
    assert set(COMPACT) == set(INSTRUCT) == set(BUILT_IN)
    assert all(set(wordings) == {"compact", "instruct"} for wordings in BUILT_IN.values())


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_compact_row_reads_so(name):
    assert last_row(plain_words(), "compact", name) == COMPACT[name]


@pytest.mark.parametrize("name", BUILT_IN)
def test_an_instruct_row_reads_so(name):
    prompt, completion = INSTRUCT[name]
    expected = PLAIN.format(prompt, completion.format(end="<|eos|>"))
    assert last_row(plain_words(), "instruct", name) == expected


@pytest.mark.parametrize("name", BUILT_IN)
def test_an_instruct_row_of_qwen3_is_a_conversation(name):
    prompt, completion = INSTRUCT[name]
    expected = QWEN3.format(prompt, completion.format(end="<|im_end|>"))
    assert last_row(qwen3_words(), "instruct", name) == expected


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_prompt_in_parts_has_the_tokens_that_it_would_have_as_a_whole(name):
    """So the words of a pretrained model are met as it knows them."""
    words = qwen3_words()
    for template in ("compact", "instruct"):
        row = rows_of(name, builder(words, template), CATALOG, [HISTORY], rows="prefix")[-1]
        prompt = row.input_ids[: row.kinds.index(next(kind for kind in row.kinds if kind != IGNORED))]
        assert words(words.decode(prompt), add_special_tokens=False)["input_ids"] == prompt


def test_compact_prompts_tell_the_tasks_apart_whatever_the_texts_are():
    same = catalog_of({"title": ["x"] * 4, "description": ["x"] * 4}, users={"preference": ["x"]})
    prompts = builder(plain_words(), "compact")
    seen = {}
    for name in BUILT_IN:
        row = rows_of(name, prompts, same, [[0, 0]], rows="prefix")[-1 if name == "next_item" else 0]
        seen[name] = row.input_ids[: next(at for at, kind in enumerate(row.kinds) if kind != IGNORED)]
    for one, other in itertools.permutations(seen, 2):
        assert seen[one] != seen[other], (one, other)


def test_a_task_of_ones_own_is_worded_alike_in_either_style():
    own = {"prompt": "{{{brand}}} {user.preference} After {history}:", "completion": "{price} for {title}"}
    catalog = catalog_of(
        {"title": ["Red lamp", "Blue chair"], "brand": ["Lumo", "Zed"], "price": [12.5, 30.0]},
        users={"preference": ["Likes light."]},
    )
    words = plain_words()

    def shown(template):
        return read(words, rows_of("mine", builder(words, template), catalog, [[1, 1, 0]], own=own)[-1])

    asked = "{{Lumo}} Likes light. After <a_2><b_0>{}<a_2><b_0>:"
    answered = "12.5 for Red lamp<|eos|>"
    assert shown("compact") == f"<|bos|>{asked.format('')}[[{answered}]]"
    assert shown("instruct") == PLAIN.format(asked.format(", "), answered)


def test_a_completion_that_goes_on_after_a_sid_has_an_end_and_one_that_ends_in_it_has_none():
    words = plain_words()
    own = {"prompt": "{description}", "completion": "{sid} {title}"}
    assert last_row(words, "compact", "mine", own) == "<|bos|>It ticks.[[<a_2><b_1> Black clock<|eos|>]]"
    own = {"prompt": "{description}", "completion": "{title}: {sid}"}
    assert last_row(words, "compact", "mine", own) == "<|bos|>It ticks.[[Black clock: <a_2><b_1>]]"


def test_a_built_in_task_can_be_asked_for_in_other_words():
    own = {"prompt": "About {user.preference}:"}
    expected = "<|bos|>About Likes light.:[[<a_2><b_1>]]"
    assert last_row(plain_words(), "compact", "preference_to_item", own) == expected


def table(tasks: object) -> dict:
    return SFTConfig.model_validate({"tasks": tasks}).tasks


def test_without_a_table_next_items_and_titles_are_trained():
    tasks = tasks_of(SFTConfig().tasks, "compact", CATALOG)
    assert {task.name: task.weight for task in tasks} == DEFAULT_TASKS
    assert list(DEFAULT_TASKS) == ["next_item", "title_to_item", "item_to_title"]


def test_a_task_without_weight_is_left_out_and_the_order_is_that_of_the_table():
    tasks = tasks_of(table({"title_to_item": 2, "item_to_title": 0, "next_item": 0.5}), "compact", CATALOG)
    assert [(task.name, task.weight) for task in tasks] == [("title_to_item", 2), ("next_item", 0.5)]


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        (
            {"next_itm": 1},
            r'sft\.tasks: there is no task "next_itm"\. Did you mean "next_item"\? Known: next_',
        ),
        ({"mine": 1}, r'there is no task "mine"\. .* A task of your own needs a prompt and a completion\.'),
        (
            {"mine": {"prompt": "{title}"}},
            r"sft\.tasks\.mine has no completion, and a task of your own needs both\. Set sft\.tasks\.mine",
        ),
        ({"mine": {"completion": "{title}"}}, r"sft\.tasks\.mine has no prompt, and a task"),
        ({}, r"sft\.tasks: the table is empty, so there is nothing to train on"),
        ({"next_item": 0, "item_to_title": 0}, r"sft\.tasks: all weights are 0, so there is nothing"),
        (
            {"mine": {"prompt": "{titel} =>", "completion": "{sid}"}},
            r'sft\.tasks\.mine\.prompt: "\{titel\}" names a column that the items do not have\. Did you mean '
            r'"title"\? Columns: item_id, title, text, description, price\.',
        ),
        (
            {"mine": {"prompt": "{history.titel}", "completion": "{sid}"}},
            r'"\{history\.titel\}" names a column that the items do not have\. Did you mean "title"\?',
        ),
        (
            {"mine": {"prompt": "{history}", "completion": "{brand}"}},
            r'sft\.tasks\.mine\.completion: "\{brand\}" names a column that the items do not have',
        ),
        (
            {"mine": {"prompt": "{user.age}", "completion": "{sid}"}},
            r'sft\.tasks\.mine\.prompt: "\{user\.age\}" names a column that the users do not have\. '
            r"Columns: user_id, preference\. Set sft\.tasks\.mine\.prompt to a text over these\.",
        ),
        (
            {"mine": {"prompt": "{title}", "completion": "{title}"}},
            r'sft\.tasks\.mine: "\{title\}" stands in the prompt and in the completion, so that there',
        ),
        (
            {"mine": {"prompt": "{title}", "completion": "{history}"}},
            r'sft\.tasks\.mine\.completion: "\{history\}" is of the past; a completion is what the',
        ),
        (
            {"next_item": {"prompt": "After {history} comes"}},
            r"sft\.tasks\.next_item: its words are those that recommendations are asked for with",
        ),
    ],
)
def test_a_table_that_cannot_be_trained_on_is_refused(tasks, message):
    with pytest.raises(ConfigError, match=message):
        tasks_of(table(tasks), "compact", CATALOG)


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("Which?", r'sft\.tasks\.mine\.prompt: "Which\?" names no column'),
        ("{title", r'sft\.tasks\.mine\.prompt: "\{title" has an unmatched "\{" at character 1'),
    ],
)
def test_a_template_that_cannot_be_read_is_named(prompt, message):
    with pytest.raises(CatalogError, match=message):
        tasks_of(table({"mine": {"prompt": prompt, "completion": "{sid}"}}), "compact", CATALOG)


def test_a_task_about_users_needs_a_table_of_them():
    catalog = catalog_of({"title": ["Red lamp"]})
    message = (
        r'sft\.tasks\.preference_to_item\.prompt: "\{user\.preference\}" is a column of the users, and the '
        r"catalogue has no table of users\. Set catalog\.users"
    )
    with pytest.raises(ConfigError, match=message):
        tasks_of(table({"preference_to_item": 1}), "compact", catalog)


def test_a_row_per_user_is_refused_when_asked_for_where_no_task_allows_it():
    tasks = tasks_of(table({"next_item": 1, "titles_to_item": 1}), "instruct", CATALOG)
    message = (
        r"sft\.rows=user puts a whole history into one row, which next_item with prompt\.template=compact "
        r"allows, but not next_item, titles_to_item with prompt\.template=instruct\. Set sft\.rows=prefix"
    )
    with pytest.raises(ConfigError, match=message):
        check_rows("user", tasks, "instruct")
    check_rows(None, tasks, "instruct")
    check_rows("prefix", tasks, "instruct")
    check_rows("user", tasks_of(table({"next_item": 1}), "compact", CATALOG), "compact")


def test_columns_that_the_hash_of_the_catalogue_leaves_out_are_hashed_with_the_tasks():
    def hashes(catalog, *names):
        return column_inputs(tasks_of(table(dict.fromkeys(names, 1)), "compact", catalog), catalog)

    assert hashes(CATALOG, "next_item", "item_to_title", "titles_to_item", "preference_to_item") == {}
    other = catalog_of({"title": list("abcd"), "text": list("abcd"), "description": list("efgh")})
    first, second = (hashes(catalog, "description_to_item")["columns"] for catalog in (CATALOG, other))
    assert first != second
    assert hashes(CATALOG, "description_to_item", "next_item")["columns"] == first
