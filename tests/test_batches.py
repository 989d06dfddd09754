"""Batches: planned for all processes from seed and epoch, within the budget, as many in every epoch."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate.data_loader import skip_first_batches
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import TrainingArguments

from sidrec.config import load_config
from sidrec.errors import ConfigError
from sidrec.tasks.rows import IGNORED, NO_ITEM, Row
from sidrec.trainers.batches import BatchDataset, BatchLoader, BatchPlan, BatchSize, ShareSampler
from sidrec.trainers.mixing import Mixture
from sidrec.trainers.row_store import open_rows

EPOCHS = 3


def plan_of(lengths, size: BatchSize, passes=(Fraction(1),), tasks=None, seed=0, epochs=EPOCHS) -> BatchPlan:
    tasks = np.zeros(len(lengths), dtype=int) if tasks is None else np.array(tasks)
    mixture = Mixture(tasks, passes, seed)
    return BatchPlan(np.array(lengths), mixture, size, seed=seed, epochs=epochs)


def as_lists(batches: list[np.ndarray]) -> list[list[int]]:
    return [batch.tolist() for batch in batches]


def row_counts(plan: BatchPlan) -> list[int]:
    return sorted(len(batch) for batch in plan.batches(0))


SIZES = st.one_of(
    st.builds(BatchSize, st.integers(2, 7)),
    st.builds(BatchSize, st.just(1), st.integers(60, 300)),  # at least two rows of 30 tokens
)


@settings(deadline=None)
@given(
    st.lists(st.integers(1, 30), min_size=4, max_size=80),
    SIZES,
    st.fractions(Fraction(1, 2), 3, max_denominator=9),
    st.integers(0, 99),
)
def test_every_sight_of_an_epoch_stands_in_one_batch_and_every_epoch_has_as_many(lengths, size, passes, seed):
    plan = plan_of(lengths, size, (passes,), seed=seed)
    mixture = Mixture(np.zeros(len(lengths), dtype=int), (passes,), seed)
    needed = [
        plan_of(lengths, size, (passes,), seed=seed, epochs=epoch + 1).num_batches for epoch in range(3)
    ]
    assert needed == sorted(needed)
    assert plan.num_batches == needed[-1]
    for epoch in range(EPOCHS):
        batches = plan.batches(epoch)
        assert len(batches) == plan.num_batches
        assert sorted(np.concatenate(batches).tolist()) == sorted(mixture.sights(epoch).tolist())
        for batch in batches:
            longest = max(lengths[row] for row in plan.rows_of(batch).tolist())
            if size.tokens is None:
                assert 1 <= len(batch) <= size.rows
            else:
                assert len(batch) * longest <= size.tokens


def test_batches_of_rows_are_full_but_the_last():
    assert row_counts(plan_of(range(1, 24), BatchSize(5))) == [3, 5, 5, 5, 5]


def test_a_budget_is_filled_by_as_many_rows_as_the_longest_allows():
    # Longest first: 60 // 20 = 3 rows of 20 tokens, 60 // 10 = 6 rows of 10, and the last one is left.
    assert row_counts(plan_of([20] * 3 + [10] * 7, BatchSize(1, tokens=60))) == [1, 3, 6]


def test_rows_of_a_batch_are_of_like_length():
    lengths = np.random.default_rng(0).integers(5, 60, size=5000)
    plan = plan_of(lengths, BatchSize(1, tokens=2000))
    batches = plan.batches(0)
    padded = sum(len(batch) * lengths[plan.rows_of(batch)].max() for batch in batches)
    assert lengths.sum() / padded > 0.95  # at random it is half of that
    assert lengths.sum() / (2000 * len(batches)) > 0.9


def test_long_and_short_batches_come_in_random_order():
    lengths = np.arange(1, 1001)
    longest = [lengths[batch].max() for batch in plan_of(lengths, BatchSize(10)).batches(0)]
    assert abs(np.corrcoef(longest, range(len(longest)))[0, 1]) < 0.4


def test_an_epoch_with_fewer_rows_halves_its_largest_batches():
    # 9 rows, half of them per epoch: 5 and 4 in turn, which are 3 and 2 batches of two.
    plan = plan_of([4] * 9, BatchSize(2), (Fraction(1, 2),))
    sizes = [sorted(len(batch) for batch in plan.batches(epoch)) for epoch in range(2)]
    assert sizes == [[1, 2, 2], [1, 1, 2]]


def test_an_epoch_of_single_rows_sees_one_once_more_to_have_as_many_batches():
    plan = plan_of([4] * 9, BatchSize(1), (Fraction(1, 2),))
    assert [len(set(np.concatenate(plan.batches(epoch)).tolist())) for epoch in range(2)] == [5, 4]
    assert [len(plan.batches(epoch)) for epoch in range(2)] == [5, 5]


def test_an_epoch_is_planned_from_seed_and_epoch_alone():
    lengths = np.random.default_rng(0).integers(5, 60, size=300)
    one, other = plan_of(lengths, BatchSize(8)), plan_of(lengths, BatchSize(8))
    one.batches(0)
    assert as_lists(one.batches(2)) == as_lists(other.batches(2))
    assert as_lists(one.batches(2)) != as_lists(one.batches(1))
    assert as_lists(one.batches(2)) != as_lists(plan_of(lengths, BatchSize(8), seed=1).batches(2))


def test_a_row_longer_than_the_budget_is_refused():
    message = (
        r"sft\.tokens_per_batch is 63, but the longest row has 64 tokens\. Set it to 64 or more, or shorten "
        r"the rows by prompt\.max_history or prompt\.max_title_tokens\."
    )
    with pytest.raises(ConfigError, match=message):
        plan_of([3, 64, 5], BatchSize(1, tokens=63))
    assert plan_of([3, 64, 5], BatchSize(1, tokens=64)).num_batches == 2


@pytest.mark.parametrize("size", [BatchSize(2), BatchSize(1, tokens=60)])
def test_weights_with_which_an_epoch_sees_no_row_are_refused(size):
    message = r"sft\.tasks: the weights are so small that an epoch sees no row at all\."
    with pytest.raises(ConfigError, match=message):
        plan_of([4] * 9, size, (Fraction(1, 20),))


def test_rows_and_tokens_of_a_batch_cannot_both_be_set():
    message = (
        r"sft: batch_size=16 and tokens_per_batch=400 both say how large a batch is; set one of them to n"
    )
    with pytest.raises(ConfigError, match=message):
        load_config(None, ["sft.batch_size=16", "sft.tokens_per_batch=400"])


@pytest.mark.parametrize(
    ("overrides", "rows"), [([], 128), (["sft.batch_size=16"], 16), (["sft.batch_size=null"], 128)]
)
def test_a_batch_has_128_rows_where_nothing_is_said(overrides, rows):
    assert load_config(None, overrides).sft.rows_per_batch == rows


@pytest.mark.parametrize("option", ["max_steps=5", "per_device_train_batch_size=2", "num_train_epochs=2"])
def test_what_the_plan_decides_is_no_option_of_the_trainer(option):
    with pytest.raises(ConfigError, match=r"\w+ is set by sidrec; use the options of the section instead"):
        load_config(None, [f"sft.trainer.{option}"])


@pytest.mark.parametrize("world", [1, 2, 3, 5])
def test_the_shares_of_all_processes_are_the_batch(world):
    plan = plan_of(np.arange(1, 24), BatchSize(4))  # the last batch has 3 rows
    shares = [list(ShareSampler(plan, process=process, world=world)) for process in range(world)]
    for number, batch in enumerate(plan.batches(0)):
        parts = [of_process[number] for of_process in shares]
        read = [sight for part in parts if part.supervised for sight in part.sights.tolist()]
        assert sorted(read) == sorted(batch.tolist())
        assert all(len(part.sights) for part in parts)
        idle = [part.sights.tolist() for part in parts if not part.supervised]
        assert idle == [batch[:1].tolist()] * max(0, world - len(batch))


LEVELS = 2


def history_row(number: int) -> Row:
    items = [number + place for place in range(2 + number % 6) for _ in range(LEVELS)]
    kinds = [IGNORED, *[0, 1] * (len(items) // LEVELS)]
    return Row([1, *(10 + item for item in items)], kinds, [NO_ITEM, *items])


def dataset_of(folder: Path, rows_per_batch=8, item_dropout=0.3) -> BatchDataset:
    store = open_rows(folder, {}, [history_row(number) for number in range(50)], {})
    plan = BatchPlan(
        store.lengths,
        Mixture(store.tasks, [Fraction(1)], seed=0),
        BatchSize(rows_per_batch),
        seed=0,
        epochs=EPOCHS,
    )
    return BatchDataset(store, plan, pad_id=0, num_levels=LEVELS, item_dropout=item_dropout, seed=0)


def read(loader, epoch: int) -> list[dict[str, torch.Tensor]]:
    """All batches of an epoch, as the Trainer reads them."""
    if hasattr(loader, "set_epoch"):
        loader.set_epoch(epoch)
    below = getattr(loader.batch_sampler, "batch_sampler", None)
    if below is not None:
        below.set_epoch(epoch)
    return list(loader)


def assert_same(found: list[dict[str, torch.Tensor]], expected: list[dict[str, torch.Tensor]]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture
def arguments(tmp_path: Path) -> TrainingArguments:
    return TrainingArguments(output_dir=str(tmp_path), report_to=[], dataloader_pin_memory=False)


def test_a_loader_reads_the_planned_batches_of_its_epoch(tmp_path, arguments):
    dataset = dataset_of(tmp_path, item_dropout=0)
    loader = BatchLoader(dataset, arguments)
    assert len(loader) == dataset.plan.num_batches == 7
    for epoch in (0, 2):
        for batch, sights in zip(read(loader, epoch), dataset.plan.batches(epoch), strict=True):
            rows = [history_row(number) for number in sights.tolist()]
            assert batch["attention_mask"].sum(dim=1).tolist() == [len(row.input_ids) for row in rows]
            for ids, row in zip(batch["input_ids"].tolist(), rows, strict=True):
                assert ids[: len(row.input_ids)] == row.input_ids


def test_a_resumed_loader_goes_on_with_the_same_batches(tmp_path, arguments):
    dataset = dataset_of(tmp_path)
    whole = read(BatchLoader(dataset, arguments), epoch=1)
    rest = read(skip_first_batches(BatchLoader(dataset, arguments), 3), epoch=1)
    assert_same(rest, whole[3:])


def test_worker_processes_read_the_same_batches(tmp_path, arguments):
    dataset = dataset_of(tmp_path)
    here = read(BatchLoader(dataset, arguments), epoch=2)
    arguments.dataloader_num_workers = 2
    assert_same(read(BatchLoader(dataset, arguments), epoch=2), here)


def test_items_are_left_out_anew_in_every_epoch(tmp_path, arguments):
    loader = BatchLoader(dataset_of(tmp_path), arguments)
    tokens = [sum(int(batch["attention_mask"].sum()) for batch in read(loader, epoch)) for epoch in range(3)]
    full = sum(len(history_row(number).input_ids) for number in range(50))
    assert len(set(tokens)) == 3
    assert max(tokens) < full


def test_two_processes_together_read_what_one_reads(tmp_path):
    dataset = dataset_of(tmp_path)
    shares = [
        [dataset.__getitems__(share) for share in ShareSampler(dataset.plan, process=process, world=world)]
        for process, world in ((0, 1), (0, 2), (1, 2))
    ]
    for whole, *parts in zip(*shares, strict=True):
        rows = [
            sorted(str(row) for part in batches for row in real_tokens(part)) for batches in ([whole], parts)
        ]
        assert rows[0] == rows[1]


def real_tokens(batch: dict[str, torch.Tensor]) -> list[list[list[int]]]:
    """Ids, kinds and items of each row, without padding."""
    lengths = batch["attention_mask"].sum(dim=1).tolist()
    return [
        [batch[name][row, :length].tolist() for name in ("input_ids", "kinds", "items")]
        for row, length in enumerate(lengths)
    ]


def test_a_process_without_a_row_learns_nothing(tmp_path):
    dataset = dataset_of(tmp_path, rows_per_batch=1)
    batch = dataset.__getitems__(next(iter(ShareSampler(dataset.plan, process=1, world=2))))
    assert len(batch["input_ids"]) == 1
    assert batch["kinds"].unique().tolist() == [IGNORED]
