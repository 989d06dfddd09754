"""Flat rows: padding them at once gives what padding lists one by one does."""

from dataclasses import replace

import torch
from hypothesis import given
from hypothesis import strategies as st

from sidrec.tasks.rows import IGNORED, NO_ITEM, TEXT, Row
from sidrec.trainers.flat_rows import FlatRows


def padded_one_by_one(rows: list[Row], pad_id: int) -> dict[str, torch.Tensor]:
    """The slow reference."""
    width = max(len(row.input_ids) for row in rows)

    def padded(values: list[list[int]], fill: int) -> torch.Tensor:
        return torch.tensor([value + [fill] * (width - len(value)) for value in values])

    return {
        "input_ids": padded([row.input_ids for row in rows], pad_id),
        "attention_mask": padded([[1] * len(row.input_ids) for row in rows], 0),
        "kinds": padded([row.kinds for row in rows], IGNORED),
        "items": padded([row.items for row in rows], NO_ITEM),
        "tasks": torch.tensor([row.task for row in rows]),
    }


tokens = st.tuples(st.integers(0, 200_000), st.integers(TEXT, 4), st.integers(NO_ITEM, 10**6))
any_row = st.builds(
    lambda columns, task: Row(*(list(column) for column in zip(*columns, strict=True)), task),
    st.lists(tokens, min_size=1, max_size=9),
    st.integers(0, 300),
)


def test_rows_are_padded_on_the_right():
    short, long = (
        Row([1, 7], [IGNORED, 0], [NO_ITEM, 5], task=2),
        Row([1, 8, 9], [IGNORED, TEXT, TEXT], [NO_ITEM] * 3),
    )
    batch = FlatRows.of([short, long]).padded(pad_id=0)
    assert {name: tensor.tolist() for name, tensor in batch.items()} == {
        "input_ids": [[1, 7, 0], [1, 8, 9]],
        "attention_mask": [[1, 1, 0], [1, 1, 1]],
        "kinds": [[IGNORED, 0, IGNORED], [IGNORED, TEXT, TEXT]],
        "items": [[NO_ITEM, 5, NO_ITEM], [NO_ITEM] * 3],
        "tasks": [2, 0],
    }


def test_weights_are_padded_too_and_stay_away_where_no_row_has_any():
    rows = [
        Row([1, 7], [IGNORED, 0], [NO_ITEM, 5], weights=[1.0, 0.25]),
        Row([1, 8, 9], [IGNORED, TEXT, TEXT], [NO_ITEM] * 3, weights=[3.0] * 3),
    ]
    weights = FlatRows.of(rows).padded(pad_id=0)["weights"]
    assert weights.dtype == torch.float32
    assert weights.tolist() == [[1, 0.25, 1], [3, 3, 3]]
    without = FlatRows.of([replace(row, weights=None) for row in rows])
    assert without.weights is None
    assert "weights" not in without.padded(pad_id=0)


@given(st.lists(any_row, min_size=1, max_size=8), st.integers(0, 3))
def test_padding_at_once_equals_padding_lists(rows, pad_id):
    batch, expected = FlatRows.of(rows).padded(pad_id), padded_one_by_one(rows, pad_id)
    assert batch.keys() == expected.keys()
    for name, tensor in expected.items():
        assert batch[name].dtype == tensor.dtype == torch.int64
        assert torch.equal(batch[name], tensor), name


def test_marked_tokens_are_counted_row_by_row():
    rows = FlatRows.of(
        [
            Row([1, 7, 8], [IGNORED, 0, 1], [NO_ITEM, 5, 5]),
            Row([1], [IGNORED], [NO_ITEM]),
            Row([1, 8, 9, 9], [IGNORED, TEXT, TEXT, TEXT], [NO_ITEM] * 4),
        ]
    )
    assert rows.count(rows.kinds != IGNORED).tolist() == [2, 0, 3]
    assert rows.offsets.tolist() == [0, 3, 4, 8]
