"""RL's prompts: those of SFT's rows, in the shares of their weights, of targets that SFT saw or did not."""

from collections import Counter
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from models import text_tokenizer

from sidrec.catalog import Catalog, split_catalog
from sidrec.catalog.reservation import reservation_input, reserved_users, without_reserved
from sidrec.config import Config
from sidrec.errors import ConfigError
from sidrec.prompts import PromptBuilder, PromptSettings
from sidrec.stages.rl.prompts import RLPrompts, check_prompts, rl_prompts
from sidrec.stages.run import Run
from sidrec.stages.sft_tasks import check_sft, row_source
from sidrec.tasks.row_making import task_rows
from sidrec.tasks.rows import IGNORED
from sidrec.trainers.rl.prompt_order import PromptOrder, PromptSampler, PromptStream
from sidrec.trainers.rl.thinned_prompts import ThinnedPrompts
from sidrec.vocabulary import SIDVocabulary
from tokenizer.semantic_ids import SemanticIDs

SIZES = (3, 3)
CODES = np.array([[0, 0], [0, 1], [1, 0], [1, 1], [2, 0], [2, 1]])
TITLES = ["red lamp", "blue chair", "rug", "garden hose", "shelf", "a lamp by Lumo"]
BRANDS = ["Lumo", "Sitz", "", "Wasser", " ", "Lumo"]
HISTORIES = ["012345", "543210", "24013", "42105", "1023", "135", "24240", "531"]
OWN = {
    "maker": {"weight": 0, "prompt": "By {brand}:", "completion": "{sid}"},
    "makers": {"weight": 0, "prompt": "After {history.brand}:", "completion": "{sid}"},
    "mine": {"weight": 0, "prompt": "{user.age}, {history.brand}, {title}?", "completion": "{sid}"},
}
WORDS = text_tokenizer()


def run_of(config: Config) -> Run:
    items = pd.DataFrame({"item_id": list("012345"), "title": TITLES, "brand": BRANDS})
    events = [(f"u{user}", item) for user, history in enumerate(HISTORIES) for item in history]
    ages = ["young", "", "old", "old", "young", "", "old", "young"]
    users = pd.DataFrame({"user_id": [f"u{n}" for n in range(len(HISTORIES))], "age": ages})
    catalog = Catalog(items, pd.DataFrame(events, columns=["user_id", "item_id"]), users=users, title="title")
    split = split_catalog(catalog, config.split)
    reserved = reserved_users(split.train, config.split.rl_share, config.seed)
    ids = SemanticIDs(list("012345"), CODES, SIZES)
    return Run(Path("runs/none"), catalog, split, ids, reserved=reserved)


def config_of(share: float = 0, **rl: Any) -> Config:
    sft = {"tasks": {"next_item": 1, **OWN}}
    sections = {"split": {"rl_share": share}, "sft": sft, "rl": {"prompts_per_step": 1} | rl}
    return Config.model_validate(sections)


def builder(template: str = "compact", max_history: int = 3) -> PromptBuilder:
    settings = PromptSettings(
        template=template, normalization="catalog", max_history=max_history, max_title_tokens=6
    )
    return PromptBuilder(settings, WORDS, SIDVocabulary.add_to(WORDS, SIZES), CODES)


def prompts_of(config: Config, **build: Any) -> RLPrompts:
    return rl_prompts(config, run_of(config), builder(**build))


def rows_of(found: RLPrompts) -> list[dict[str, Any]]:
    return [found.rows[row] for row in range(len(found.rows))]


@pytest.mark.parametrize("template", ["compact", "instruct"])
@pytest.mark.parametrize("name", ["next_item", "title_to_item", "titles_to_item", *OWN])
def test_prompts_are_those_of_the_rows_that_sft_has_of_the_task(name: str, template: str) -> None:
    config = config_of(tasks={name: 1})
    run, prompts = run_of(config), builder(template)
    found = rows_of(rl_prompts(config, run, prompts))
    sft = {"tasks": {name: OWN.get(name, {}) | {"weight": 1}}, "rows": "prefix"}
    table = Config.model_validate({"sft": sft, "prompt": {"template": template}})
    (task,) = check_sft(table, run.catalog)
    expected = []
    for row in task_rows(task, 0, row_source(table, run, prompts)):
        asked = [token for token, kind in zip(row.input_ids, row.kinds, strict=True) if kind == IGNORED]
        if len(asked) > 1:  # a next item after no item at all is for SFT alone
            expected.append((asked, row.items[-1]))
    assert [(row["prompt_ids"], row["target"]) for row in found] == expected
    assert len(found) > 3


def test_a_prompt_for_a_next_item_is_the_one_that_recommendations_are_asked_for_with() -> None:
    prompts = builder("instruct")
    for row in rows_of(rl_prompts(config_of(), run_of(config_of()), prompts)):
        assert row["prompt_ids"] == prompts.next_item(row["history"])


def test_rows_carry_the_whole_history_the_target_and_the_task() -> None:
    # Train is all but the last two of each user: 0123, 5432, 240, 421, 10, 1, 242, 5.
    found = rows_of(prompts_of(config_of(tasks={"next_item": 1, "maker": 0.5})))
    of_users = [row for row in found if row["task"] == "next_item"]
    assert [(row["history"], row["target"]) for row in of_users[:5]] == [
        ([0], 1),
        ([0, 1], 2),
        ([0, 1, 2], 3),
        ([5], 4),
        ([5, 4], 3),
    ]
    of_items = [row for row in found if row["task"] == "maker"]
    assert [(row["history"], row["target"]) for row in of_items] == [([], n) for n in (0, 1, 3, 5)]
    assert [row["row"] for row in found] == list(range(13 + 4))


def test_a_prompt_that_would_show_no_text_is_left_out() -> None:
    # Items 2 and 4 have no brand, and a prompt shows two items: after 2, 4 there is nothing to say.
    found = rows_of(prompts_of(config_of(tasks={"makers": 1}), max_history=2))
    assert [(row["history"], row["target"]) for row in found] == [
        *([([0], 1), ([0, 1], 2), ([0, 1, 2], 3)]),
        *([([5], 4), ([5, 4], 3), ([5, 4, 3], 2)]),
        ([1], 0),
    ]


def test_shares_of_a_pass_are_the_weights() -> None:
    found = prompts_of(config_of(tasks={"next_item": 0.8, "maker": 0.2}))
    names = [found.rows[row]["task"] for row in found.order.rows(0, found.order.size).tolist()]
    assert Counter(names) == {"next_item": 13, "maker": 3}  # 13 * .2 / .8 = 3.25
    assert found.facts() == {"next_item": 13, "maker": 4}


def test_every_step_has_its_share_of_each_task() -> None:
    kinds = np.repeat([0, 1, 2], [100, 10, 400])  # more rows than there is room for, and fewer
    order = PromptOrder(kinds, [0.5, 0.3, 0.2], ["a", "b", "c"], seed=0)
    assert order.size == 100 + 60 + 40
    for start in range(0, 200, 20):
        counts = np.bincount(kinds[order.rows(start, 20)], minlength=3)
        assert np.abs(counts - [10, 6, 4]).max() < 2  # less than the number of kinds


def test_no_row_comes_again_before_the_others_of_its_task_came() -> None:
    kinds = np.repeat([0, 1], [30, 10])
    order = PromptOrder(kinds, [1.0, 1.0], ["a", "b"], seed=0)
    seen = order.rows(0, order.size)
    assert sorted(seen[kinds[seen] == 0]) == list(range(30))
    of_b = seen[kinds[seen] == 1]
    for start in range(0, 30, 10):
        assert sorted(of_b[start : start + 10]) == list(range(30, 40))


def test_the_order_is_by_the_seed_alone_wherever_it_is_read() -> None:
    def order(seed: int) -> PromptOrder:
        return PromptOrder(np.zeros(7, dtype=int), [1.0], ["a"], seed)

    whole = order(0).rows(0, 21)
    assert order(0).rows(5, 10).tolist() == whole[5:15].tolist()
    assert [sorted(whole[start : start + 7]) for start in (0, 7, 14)] == [list(range(7))] * 3
    assert whole[:7].tolist() != whole[7:14].tolist()
    assert whole.tolist() != order(1).rows(0, 21).tolist()


def test_a_batch_has_each_place_g_times_and_again_for_each_update() -> None:
    sampler = PromptSampler(prompts=2, group_size=2, updates=2, stride=5, batches=4)
    assert list(sampler) == [0, 0, 1, 1] * 2 + [5, 5, 6, 6] * 2
    assert len(sampler) == len(list(sampler))


def test_a_group_is_made_once() -> None:
    found = prompts_of(config_of())
    stream = PromptStream(found.rows, found.order, length=4)
    batch = stream.__getitems__([1, 1, 0, 0])
    assert batch[0] is batch[1]
    assert [row["place"] for row in batch] == [1, 1, 0, 0]
    assert [row["row"] for row in stream] == found.order.rows(0, 4).tolist()


@pytest.mark.parametrize("template", ["compact", "instruct"])
def test_a_thinned_prompt_asks_for_a_part_of_the_history_anew_each_time(template: str) -> None:
    found, prompts = prompts_of(config_of(), template=template), builder(template)
    stream = PromptStream(found.rows, found.order, 400, ThinnedPrompts(found.rows, 0.5, seed=0))
    seen: dict[int, Counter[int]] = {}
    for place, row in enumerate(stream):
        plain = found.rows[row["row"]]
        shown = row["history"][-3:]  # as many as these prompts show
        parts = {
            tuple(prompts.next_item(list(part))): len(part)
            for count in range(1, len(shown) + 1)
            for part in combinations(shown, count)
        }
        assert row == plain | {"place": place, "prompt_ids": row["prompt_ids"]}
        seen.setdefault(len(shown), Counter())[parts[tuple(row["prompt_ids"])]] += 1
    assert seen.keys() == {1, 2, 3}
    assert seen[1].keys() == {1}, "one item at least stays"
    # All of them go with probability 1/8, and then one of them stays: one item is left with (3 + 1) / 8.
    assert [seen[3][left] / seen[3].total() for left in (1, 2, 3)] == pytest.approx(
        [1 / 2, 3 / 8, 1 / 8], abs=0.1
    )


def test_what_is_left_out_follows_from_the_seed_and_the_place() -> None:
    found = prompts_of(config_of())
    streams = [
        PromptStream(found.rows, found.order, 60, ThinnedPrompts(found.rows, 0.4, seed=seed))
        for seed in (0, 0, 1)
    ]
    first, again, other = ([row["prompt_ids"] for row in stream] for stream in streams)
    assert first == again != other
    assert streams[0].stretch(31, 3) == [streams[0][place] for place in (31, 32, 33)]
    size = found.order.size
    one_pass, next_pass = (
        {row["row"]: row["prompt_ids"] for row in streams[0].stretch(start, size)} for start in (0, size)
    )
    assert one_pass.keys() == next_pass.keys()
    assert one_pass != next_pass


def test_shuffled_targets_are_dealt_within_their_task() -> None:
    tasks = {"next_item": 1, "title_to_item": 1}
    plain, dealt = (rows_of(prompts_of(config_of(tasks=tasks, shuffle_targets=on))) for on in (False, True))
    assert [row["prompt_ids"] for row in plain] == [row["prompt_ids"] for row in dealt]
    for task in tasks:
        before, after = ([row["target"] for row in rows if row["task"] == task] for rows in (plain, dealt))
        assert before != after
        assert Counter(before) == Counter(after)


def test_a_share_of_the_users_is_reserved_by_the_seed() -> None:
    train = [np.arange(length) for length in (1, 2, 3, 4, 5, 6, 7)]  # six can give an event away
    reserved = reserved_users(train, 0.5, seed=0)
    assert reserved.sum() == 3
    assert not reserved[0]
    assert reserved.tolist() == reserved_users(train, 0.5, seed=0).tolist()
    assert len({tuple(reserved_users(train, 0.5, seed)) for seed in range(5)}) > 1
    assert not reserved_users(train, 0, seed=0).any()


def test_sft_learns_from_all_but_the_last_event_of_reserved_users() -> None:
    train = [np.array([0, 1, 2]), np.array([3, 4])]
    learned = without_reserved(train, np.array([True, False]))
    assert [items.tolist() for items in learned] == [[0, 1], [3, 4]]


def test_no_row_of_sft_about_a_user_has_the_reserved_target() -> None:
    config = config_of(share=1)
    run, prompts = run_of(config), builder()
    table = Config.model_validate({"sft": {"tasks": {"next_item": 1, "titles_to_item": 1}}})
    for number, task in enumerate(check_sft(table, run.catalog)):
        rows = list(task_rows(task, number, row_source(table, run, prompts)))
        assert rows
        user_zero = [row for row in rows if row.items[-1] == 3 and 0 in row.items]  # 012 -> 3 is reserved
        assert user_zero == []


def test_seen_and_held_out_divide_the_prompts() -> None:
    # Users with two train events or more: 0 to 4 and 6. All of them give their last one away.
    seen, held, mixed = (
        rows_of(prompts_of(config_of(share=1, prompts=which))) for which in ("seen", "held_out", "mixed")
    )
    lasts = [([0, 1, 2], 3), ([5, 4, 3], 2), ([2, 4], 0), ([4, 2], 1), ([1], 0), ([2, 4], 2)]
    assert [(row["history"], row["target"]) for row in held] == lasts
    assert len(seen) == 13 - 6
    assert not [row for row in seen if (row["history"], row["target"]) in lasts]
    assert len(mixed) == 13


def test_mixed_prompts_are_half_of_each_in_every_stretch() -> None:
    found = prompts_of(config_of(share=0.5, prompts="mixed"))  # 3 held out, 10 seen
    config = config_of(share=0.5, prompts="held_out")
    held = {(tuple(row["history"]), row["target"]) for row in rows_of(prompts_of(config))}
    assert len(held) == 3
    drawn = [found.rows[row] for row in found.order.rows(0, 20).tolist()]
    is_held = [(tuple(row["history"]), row["target"]) in held for row in drawn]
    assert sum(is_held) == 10
    assert all(abs(sum(is_held[start : start + 4]) - 2) < 1 for start in range(0, 20, 4))


@pytest.mark.parametrize("which", ["seen", "held_out", "mixed"])
def test_prompts_about_items_alone_are_asked_whatever_is_held_out(which: str) -> None:
    found = prompts_of(config_of(share=0.5, prompts=which, tasks={"next_item": 1, "title_to_item": 1}))
    assert found.facts()["title_to_item"] == 6


def test_a_reservation_leaves_what_is_evaluated_and_its_hash() -> None:
    plain, reserving = run_of(config_of()), run_of(config_of(share=0.5))
    assert plain.split.sha256 == reserving.split.sha256
    assert plain.inputs() == reserving.inputs() == plain.training_inputs()
    assert [history.tolist() for history in reserving.split.valid.histories] == [
        history.tolist() for history in plain.split.valid.histories
    ]
    assert [items.tolist() for items in plain.split.train] == [
        items.tolist() for items in reserving.split.train
    ]


def test_what_is_reserved_is_an_input_of_training() -> None:
    hashes = {run_of(config_of(share=share)).training_inputs().get("reserved") for share in (0, 0.5, 1)}
    assert len(hashes) == 3
    assert reservation_input(np.zeros(4, dtype=bool)) == {}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"tasks": {"title_to_itm": 1}},
            r'rl\.tasks: there is no task "title_to_itm"\. Did you mean "title_to',
        ),
        (
            {"tasks": {"item_to_title": 1}},
            r"rl\.tasks\.item_to_title is not answered with a semantic ID alone",
        ),
        ({"prompts": "held_out"}, r"rl\.prompts=held_out asks for targets .* split\.rl_share=0 keeps none"),
        ({"prompts": "mixed"}, r"rl\.prompts=mixed asks for targets that SFT does not see"),
        (
            {"item_dropout": 0.1, "tasks": {"title_to_item": 1}},
            r"rl\.item_dropout would change nothing: no task of rl\.tasks shows a history\. Leave it out",
        ),
        (
            {"prompts_per_step": 14},
            r"rl\.prompts_per_step: 14 prompts .* give 13 for rl\.tasks with rl\.prompts",
        ),
    ],
)
def test_prompts_that_cannot_be_made_are_refused(settings: dict[str, Any], message: str) -> None:
    config = config_of(**settings)
    run = run_of(config)
    with pytest.raises(ConfigError, match=message):
        check_prompts(config, run.catalog, run.split, run.reserved)


def test_a_task_without_a_prompt_is_refused() -> None:
    config = config_of(tasks={"next_item": 1, "maker": 1})
    run = run_of(config)
    catalog = Catalog(run.catalog.items.assign(brand=""), run.catalog.interactions, title="title")
    message = (
        r"rl\.tasks\.maker has a weight, but the catalogue gives no prompt of it\. Set rl\.tasks\.maker=0"
    )
    with pytest.raises(ConfigError, match=message):
        check_prompts(config, catalog, run.split, run.reserved)


def test_a_share_that_reserves_nobody_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"split\.rl_share=0\.01 reserves .* of no user: 6 have two train"):
        run_of(config_of(share=0.01))


def test_a_prompt_longer_than_the_model_is_refused() -> None:
    config = config_of(tasks={"titles_to_item": 1})
    message = r"rl\.tasks\.titles_to_item: a row has \d+ tokens, but the model has 20 positions"
    with pytest.raises(ConfigError, match=message):
        rl_prompts(config, run_of(config), builder(), max_positions=20)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tasks": {"next_item": 0}}, "tasks: no task has a weight above 0"),
        ({"tasks": {"next_item": -1}}, "greater than or equal to 0"),
        ({"objective": "sft", "curriculum": "live"}, "objective=sft draws none; set curriculum=none"),
        ({"max_draws": 8}, "max_draws changes nothing with curriculum=none"),
        (
            {"curriculum": "live", "replay_after": 2},
            "replay_after changes nothing unless curriculum is replay",
        ),
    ],
)
def test_settings_that_do_nothing_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        config_of(**settings)
