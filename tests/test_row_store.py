"""Rows on disk: what was written comes back, an earlier start's are used, broken or other ones never."""

import logging
import multiprocessing
import time
import weakref
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import datasets
import numpy as np
import pytest

from sidrec.tasks.rows import IGNORED, NO_ITEM, TEXT, Row
from sidrec.trainers.flat_rows import FlatRows
from sidrec.trainers.row_store import CHUNK_ROWS, RowStore, open_rows

NAMES = ("lengths", "input_ids", "kinds", "items", "tasks")


def a_row(number: int) -> Row:
    """1 to 5 items of two codes behind a first token; the last item has a loss, or a word in its place."""
    count = 1 + number % 5
    items = [number + place for place in range(count) for _ in range(2)]
    ids = [1, *(7 * item % 1000 for item in items)]
    kinds = [IGNORED] * (len(ids) - 2) + ([0, 1] if number % 3 else [TEXT, TEXT])
    return Row(ids, kinds, [NO_ITEM, *items], task=number % 3)


def some_rows(count: int, start: int = 0) -> list[Row]:
    return [a_row(number) for number in range(start, start + count)]


def assert_holds(store: RowStore, rows: list[Row]) -> None:
    assert len(store) == len(rows)
    numbers = np.arange(len(rows))[::-1]
    found, expected = store.take(numbers), FlatRows.of(rows[::-1])
    for name in NAMES:
        mine, theirs = getattr(found, name), getattr(expected, name)
        assert mine.dtype == theirs.dtype
        assert np.array_equal(mine, theirs), name


def never() -> Iterator[Row]:
    raise AssertionError("the rows were made again")
    yield


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "sidrec")
    return caplog


@pytest.mark.parametrize("count", [1, CHUNK_ROWS - 1, CHUNK_ROWS, CHUNK_ROWS + 1, 2 * CHUNK_ROWS + 5])
def test_rows_come_back_as_they_were_written(count: int, tmp_path: Path) -> None:
    rows = some_rows(count)
    store = open_rows(tmp_path, {}, iter(rows), {})
    assert_holds(store, rows)
    assert store.lengths.tolist() == [len(row.input_ids) for row in rows]
    assert store.tasks.tolist() == [row.task for row in rows]
    assert store.supervised.tolist() == [sum(kind != IGNORED for kind in row.kinds) for row in rows]
    assert store.supervised_items.tolist() == [row.kinds.count(0) for row in rows]


def test_weights_come_back_and_take_no_column_where_there_are_none(tmp_path: Path) -> None:
    rows = some_rows(CHUNK_ROWS + 1)
    weighted = [replace(row, weights=[0.5 + len(row.items)] * len(row.input_ids)) for row in rows]
    assert open_rows(tmp_path, {}, rows, {}).take(np.arange(9)).weights is None
    for made in (weighted, never()):  # rows without weights are not taken for these
        store = open_rows(tmp_path, {}, made, {}, weighted=True)
        assert_holds(store, rows)
        numbers = np.array([CHUNK_ROWS, 3, 3])
        expected = FlatRows.of([weighted[number] for number in numbers.tolist()])
        found = store.take(numbers)
        assert found.weights.dtype == np.float32
        assert np.array_equal(found.weights, expected.weights)


def test_a_batch_may_hold_a_row_twice(tmp_path: Path) -> None:
    rows = some_rows(9)
    found = open_rows(tmp_path, {}, rows, {}).take(np.array([4, 2, 4]))
    assert found.input_ids.tolist() == [*rows[4].input_ids, *rows[2].input_ids, *rows[4].input_ids]


def test_the_file_opens_with_datasets(tmp_path: Path) -> None:
    rows = some_rows(CHUNK_ROWS + 3)
    open_rows(tmp_path, {}, rows, {})
    [path] = tmp_path.rglob("rows.arrow")
    table = datasets.Dataset.from_file(str(path))
    assert len(table) == len(rows)
    for number in (0, CHUNK_ROWS, len(rows) - 1):
        found, row = table[number], rows[number]
        assert (found["input_ids"], found["kinds"]) == (row.input_ids, row.kinds)
        assert (found["items"], found["task"]) == (row.items, row.task)


def test_a_second_start_makes_no_row_and_says_so_in_one_line(
    tmp_path: Path, said: pytest.LogCaptureFixture
) -> None:
    rows = some_rows(30)
    open_rows(tmp_path, {"seed": 1}, rows, {})
    said.clear()
    assert_holds(open_rows(tmp_path, {"seed": 1}, never(), {}), rows)
    [line] = said.messages
    assert line.startswith("sft: 30 rows are there from an earlier start (")


def test_truncations_are_read_when_all_rows_are_made_and_are_kept(tmp_path: Path) -> None:
    cut: Counter[str] = Counter()

    def counting() -> Iterator[Row]:
        for row in some_rows(5):
            cut["titles"] += 1
            yield row

    assert open_rows(tmp_path, {}, counting(), cut).truncated == {"titles": 5}
    assert open_rows(tmp_path, {}, never(), {}).truncated == {"titles": 5}


def test_rows_made_from_something_else_replace_those_of_before(tmp_path: Path) -> None:
    open_rows(tmp_path, {"seed": 1}, some_rows(3), {})
    others = some_rows(4, start=50)
    assert_holds(open_rows(tmp_path, {"seed": 2}, others, {}), others)
    assert len([path for path in tmp_path.iterdir() if path.is_dir()]) == 1


def stopped_while_writing(directory: Path) -> None:
    def torn() -> Iterator[Row]:
        yield from some_rows(CHUNK_ROWS + 1)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_rows(directory, {}, torn(), {})


def test_half_written_rows_are_not_used(tmp_path: Path) -> None:
    stopped_while_writing(tmp_path)
    rows = some_rows(4)
    assert_holds(open_rows(tmp_path, {}, rows, {}), rows)
    assert len([path for path in tmp_path.iterdir() if path.is_dir()]) == 1


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def overwritten(path: Path) -> None:
    path.write_bytes(b"no arrow at all")


def one_byte_changed(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def removed(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("name", ["rows.arrow", "facts.json"])
@pytest.mark.parametrize("damage", [cut_off, overwritten, one_byte_changed, removed])
def test_broken_rows_are_made_again_and_it_is_said(
    damage, name: str, tmp_path: Path, said: pytest.LogCaptureFixture
) -> None:
    rows = some_rows(CHUNK_ROWS + 9)
    open_rows(tmp_path, {}, rows, {})
    [path] = tmp_path.rglob(name)
    damage(path)
    said.clear()
    assert_holds(open_rows(tmp_path, {}, rows, {}), rows)
    assert said.messages[0].startswith("sft: the rows of an earlier start are broken and made again (")
    assert_holds(open_rows(tmp_path, {}, never(), {}), rows)


def test_facts_of_another_shape_are_broken_too(tmp_path: Path) -> None:
    rows = some_rows(3)
    open_rows(tmp_path, {}, rows, {})
    [path] = tmp_path.rglob("facts.json")
    path.write_text('["sha256"]')
    assert_holds(open_rows(tmp_path, {}, rows, {}), rows)


def test_no_more_rows_are_held_than_one_chunk(tmp_path: Path) -> None:
    alive: weakref.WeakSet[Row] = weakref.WeakSet()
    most = 0

    class Watched(Row):
        __hash__ = object.__hash__

    def watched() -> Iterator[Row]:
        nonlocal most
        for number in range(4 * CHUNK_ROWS):
            row = Watched(**vars(a_row(number)))
            alive.add(row)
            most = max(most, len(alive))
            yield row

    assert len(open_rows(tmp_path, {}, watched(), {})) == 4 * CHUNK_ROWS
    assert most <= 2 * CHUNK_ROWS  # the last chunk lives until the next one is whole


def slow_rows() -> Iterator[Row]:
    for row in some_rows(3):
        time.sleep(0.1)
        yield row


def open_in_a_process(directory: Path, queue) -> None:
    made = []
    store = open_rows(directory, {}, (made.append(1) or row for row in slow_rows()), {})
    queue.put((len(made), len(store)))


def test_of_two_processes_one_makes_the_rows_and_the_other_waits(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    processes = [context.Process(target=open_in_a_process, args=(tmp_path, queue)) for _ in range(2)]
    for process in processes:
        process.start()
    found = sorted(queue.get(timeout=60) for _ in processes)
    for process in processes:
        process.join()
    assert found == [(0, 3), (3, 3)]
