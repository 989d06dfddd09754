"""Weights of tasks: the share of supervised tokens is what they say, and every row has its turn."""

import math
import tempfile
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidrec.errors import ConfigError
from sidrec.tasks.rows import IGNORED, NO_ITEM, TEXT, Row
from sidrec.trainers.flat_rows import FlatRows
from sidrec.trainers.item_dropout import drop_items
from sidrec.trainers.mixing import Mixture, share_table, task_shares
from sidrec.trainers.row_store import RowStore, open_rows

LEVELS = 2


def text_row(words: int, task: int) -> Row:
    return Row([1, *[5] * words], [IGNORED, *[TEXT] * words], [NO_ITEM] * (1 + words), task)


def history_row(items: int, task: int) -> Row:
    owners = [item for item in range(items) for _ in range(LEVELS)]
    return Row([1, *(10 + item for item in owners)], [IGNORED, *[0, 1] * items], [NO_ITEM, *owners], task)


@pytest.fixture
def store(tmp_path: Path) -> RowStore:
    """Task 0: 3 rows, 12 supervised tokens; task 1: 4 rows, 8; task 2: 2 rows, 10."""
    rows = [history_row(items, 0) for items in (1, 2, 3)]
    rows += [text_row(2, 1) for _ in range(4)] + [text_row(5, 2) for _ in range(2)]
    return open_rows(tmp_path, {}, rows, {"b": 3})


def passes(store: RowStore, weights: dict[str, float], weighting="tokens", **options) -> list[Fraction]:
    return [task.passes for task in task_shares(store, weights, weighting, num_levels=LEVELS, **options)]


def test_the_first_task_with_the_largest_weight_is_passed_over_once(store):
    # 12 tokens of a; b at the same weight needs 12 of its 8, c at half the weight 6 of its 10.
    assert passes(store, {"a": 2, "b": 2, "c": 1}) == [1, Fraction(3, 2), Fraction(3, 5)]
    # 8 tokens of b; a at a quarter of the weight needs 2 of its 12.
    assert passes(store, {"a": 0.5, "b": 2, "c": 1}) == [Fraction(1, 6), 1, Fraction(2, 5)]


def test_by_rows_a_weight_is_the_number_of_passes(store):
    assert passes(store, {"a": 1, "b": 1, "c": 2.5}, "rows") == [1, 1, Fraction(5, 2)]


def test_weight_0_leaves_a_task_out(store):
    assert passes(store, {"a": 1, "b": 0, "c": 1})[1] == 0
    times = passes(store, {"a": 1, "b": 0, "c": 1})
    seen = np.concatenate([Mixture(store.tasks, times, seed=0).sights(epoch) for epoch in range(20)])
    assert set(store.tasks[seen % len(store)].tolist()) == {0, 2}


def test_shares_are_the_weights(store):
    shares = [task.share for task in task_shares(store, {"a": 1, "b": 2, "c": 5}, "tokens", num_levels=2)]
    assert shares == pytest.approx([0.125, 0.25, 0.625])


def test_by_rows_shares_follow_from_the_tokens(store):
    shares = [task.share for task in task_shares(store, {"a": 1, "b": 1, "c": 1}, "rows", num_levels=2)]
    assert shares == pytest.approx([12 / 30, 8 / 30, 10 / 30])


def test_every_weight_0_is_refused(store):
    with pytest.raises(ConfigError, match=r"Every weight of sft\.tasks is 0: there is nothing to train on"):
        passes(store, {"a": 0, "b": 0, "c": 0})


@pytest.mark.parametrize("weighting", ["tokens", "rows"])
def test_a_task_without_rows_is_refused(store, weighting):
    with pytest.raises(ConfigError, match=r"sft\.tasks\.d has the weight 2, but the catalogue gives no row"):
        passes(store, {"a": 1, "b": 1, "c": 1, "d": 2}, weighting)


def test_a_task_without_rows_and_without_weight_is_fine(store):
    assert passes(store, {"a": 1, "b": 1, "c": 1, "d": 0})[3] == 0


def test_the_table_has_a_line_per_task(store):
    table = share_table(task_shares(store, {"a": 2, "b": 2, "c": 1}, "tokens", num_levels=LEVELS))
    assert table.splitlines() == [
        "task  rows  tokens  supervised  share  passes per epoch  truncated",
        "----  ----  ------  ----------  -----  ----------------  ---------",
        "a     3     15      12          40.0%  1                 0",
        "b     4     12      8           40.0%  1.5               3",
        "c     2     12      10          20.0%  0.6               0",
    ]


def test_the_facts_are_those_of_the_table(store):
    facts = [
        task.facts() for task in task_shares(store, {"a": 2, "b": 2, "c": 1}, "tokens", num_levels=LEVELS)
    ]
    assert facts[1] == {
        "rows": 4,
        "tokens": 12,
        "supervised_tokens": 8,
        "share": 0.4,
        "passes_per_epoch": 1.5,
        "truncated": 3,
    }


@pytest.mark.parametrize("probability", [0.3, 0.9])
def test_shares_hold_with_item_dropout(store, probability):
    tasks = task_shares(store, {"a": 1, "b": 3, "c": 0}, "tokens", num_levels=2, item_dropout=probability)
    # Rows of 1, 2 and 3 items. Of m items m (1 - p) stay, and one where none would: p to the m.
    left = sum(m * (1 - probability) + probability**m for m in (1, 2, 3))
    assert tasks[0].expected == pytest.approx(LEVELS * left)
    assert [task.share for task in tasks] == pytest.approx([0.25, 0.75, 0])
    rows = FlatRows.of([history_row(m, 0) for m in (1, 2, 3)] * 4000)
    kept = drop_items(rows, LEVELS, probability, seed=0, epoch=0, sights=np.arange(12_000))
    assert (kept.kinds != IGNORED).sum() / 4000 == pytest.approx(tasks[0].expected, rel=0.01)


TIMES = st.fractions(0, 4, max_denominator=50)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 12), TIMES), min_size=1, max_size=4),
    st.integers(0, 1000),
    st.integers(0, 30),
)
def test_a_row_is_seen_between_floor_and_ceil_of_the_passes(tasks, seed, epoch):
    numbers = np.concatenate([np.full(count, task) for task, (count, _) in enumerate(tasks)])
    mixture = Mixture(numbers, [times for _, times in tasks], seed)
    sights = mixture.sights(epoch)
    assert len(sights) == mixture.count(epoch)
    assert len(set(sights.tolist())) == len(sights)  # each sight once, and copies in turn from 0
    seen = np.bincount(sights % len(numbers), minlength=len(numbers))
    for task, (_, times) in enumerate(tasks):
        counts = seen[numbers == task]
        assert counts.min() >= math.floor(times)
        assert counts.max() <= math.ceil(times)
    copies = sights // len(numbers)
    assert all(
        sorted(copies[sights % len(numbers) == row]) == list(range(seen[row])) for row in range(len(seen))
    )


@settings(deadline=None, max_examples=30)
@given(
    st.lists(
        st.tuples(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(0, 8)),
        min_size=1,
        max_size=4,
    ).filter(lambda tasks: any(weight for _, weight in tasks)),
    st.integers(0, 100),
)
def test_over_many_epochs_the_supervised_tokens_are_in_the_proportion_of_the_weights(tasks, seed):
    weights = {str(task): weight for task, (_, weight) in enumerate(tasks)}
    rows = [text_row(words, task) for task, (lengths, _) in enumerate(tasks) for words in lengths]
    with tempfile.TemporaryDirectory() as folder:
        store = open_rows(Path(folder), {}, rows, {})
    mixture = Mixture(store.tasks, passes(store, weights), seed)
    total, epochs = np.zeros(len(tasks)), 400
    for epoch in range(epochs):
        seen = mixture.sights(epoch) % len(store)
        total += np.bincount(store.tasks[seen], weights=store.supervised[seen], minlength=len(tasks))
    wanted = np.array(list(weights.values())) / sum(weights.values())
    assert total / total.sum() == pytest.approx(wanted, abs=0.05)


def test_the_rows_seen_in_so_many_epochs_are_the_passes_to_the_nearest_row():
    mixture = Mixture(np.zeros(7, dtype=int), [Fraction(13, 50)], seed=3)  # 1.82 rows per epoch
    counts = [len(mixture.sights(epoch)) for epoch in range(50)]
    assert set(counts) == {1, 2}
    assert sum(counts) == 91  # 50 * 1.82
    assert len(set(np.concatenate([mixture.sights(epoch) for epoch in range(50)]).tolist())) == 7


def test_an_epoch_is_drawn_from_seed_and_epoch_alone():
    one, other = (Mixture(np.zeros(90, dtype=int), [Fraction(1, 3)], seed=5) for _ in range(2))
    one.sights(0)
    assert one.sights(7).tolist() == other.sights(7).tolist()
    assert one.sights(7).tolist() != one.sights(8).tolist()
    assert one.sights(7).tolist() != Mixture(np.zeros(90, dtype=int), [Fraction(1, 3)], 6).sights(7).tolist()
