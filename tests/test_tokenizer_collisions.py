"""Making semantic IDs unique: by hand, against brute force, and for any codes at all."""

import itertools
import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenizer.collisions.unique import CodeSpaceError, collision_groups, collision_rate, make_unique


def square_error(codes: np.ndarray, latents: np.ndarray, books: list[np.ndarray]) -> float:
    sums = sum(book[codes[:, level]] for level, book in enumerate(books))
    return float(np.square(latents - sums).sum())


def column(*values: float) -> np.ndarray:
    return np.array(values, dtype=float)[:, None]


# Finding


def test_the_collision_rate_is_1_less_distinct_ids_per_item():
    # 5 items, 3 distinct: 1 - 3/5.
    assert collision_rate(np.array([[0, 1], [0, 1], [2, 2], [0, 1], [1, 0]])) == pytest.approx(0.4)
    assert collision_rate(np.array([[0, 1], [1, 0]])) == 0
    assert collision_rate(np.zeros((0, 2), np.int64)) == 0


def test_collision_groups_are_rows_of_shared_ids_in_the_order_of_first_rows():
    codes = np.array([[9, 9], [0, 1], [5, 5], [9, 9], [0, 1], [0, 1]])
    assert [rows.tolist() for rows in collision_groups(codes)] == [[0, 3], [1, 4, 5]]
    assert collision_groups(codes[:3]) == []


# Resolving, by hand


def test_the_item_that_fits_worse_moves_to_the_free_code_of_least_cost():
    # One level, codes at 0, 1 and 5. Both items have code 0.
    # A (.1) stays, B (.4) to code 1: .01 + .36 = .37. B stays, A to code 1: .16 + .81 = .97. Code 5 is
    # further. Before: .01 + .16 = .17. Extra: (.37 - .17) / 2 = .1.
    result = make_unique(np.array([[0], [0]]), column(0.1, 0.4), [column(0, 1, 5)])
    assert result.codes.tolist() == [[0], [1]]
    assert result.moved.tolist() == [False, True]
    assert result.collision_rate_before == 0.5
    assert result.extra_error == pytest.approx(0.1)


def test_an_item_alone_on_its_code_stays_even_where_moving_it_would_be_cheaper_for_all():
    # Codes at 0, 1, 2; items 0, .9 and 1.9 with codes 0, 0 and 1. Least cost of all is 0, 1, 2, moving two
    # items; moving only one, the second goes to code 2.
    result = make_unique(np.array([[0], [0], [1]]), column(0, 0.9, 1.9), [column(0, 1, 2)])
    assert result.codes.tolist() == [[0], [2], [1]]


def test_groups_without_a_collision_are_not_touched():
    # The second group would be cheaper the other way round.
    codes = np.array([[0, 0], [0, 0], [1, 1], [1, 0]])
    books = [column(0, 10), column(0, 1)]
    result = make_unique(codes, column(0, 0.3, 10, 11), books)
    assert result.codes.tolist() == [[0, 0], [0, 1], [1, 1], [1, 0]]


def test_the_residual_and_not_the_latent_chooses_the_last_code():
    # Prefix vector 10. Residuals .2 and -.9; of the free codes 3 (at 3) and -1 (at -1) the second is nearer
    # to -.9.
    result = make_unique(np.array([[0, 0], [0, 0]]), column(10.2, 9.1), [column(10), column(0, 3, -1)])
    assert result.codes.tolist() == [[0, 0], [0, 2]]


def test_an_item_without_a_slot_spills_to_the_nearest_prefix_with_one_even_if_no_item_has_it():
    # Prefixes at 0, 4 and 1 offer two codes each. Three items have the first; the one nearest to another
    # prefix (.9, to the one at 1) is cheapest to spill, and there code 0 (at 1 + 0) is nearest.
    books = [column(0, 4, 1), column(0, 0.1)]
    result = make_unique(np.array([[0, 0], [0, 0], [0, 0]]), column(0, 0.9, 0.1), books)
    assert result.codes.tolist() == [[0, 0], [2, 0], [0, 1]]


def test_a_full_prefix_is_passed_over():
    # As above, but the prefix at 1 is full with items of its own, which stay.
    books = [column(0, 4, 1), column(0, 0.1)]
    codes = np.array([[0, 0], [0, 0], [0, 0], [2, 0], [2, 1]])
    result = make_unique(codes, column(0, 0.9, 0.1, 1, 1.1), books)
    assert result.codes.tolist() == [[0, 0], [1, 0], [0, 1], [2, 0], [2, 1]]


def test_newcomers_take_what_the_residents_leave_after_their_own_collisions():
    # Prefix 1 (at 1) has two items on code 0; the second moves to code 1. The item that spills from prefix 0
    # (at 0, one slot more than it has) takes code 2, the last one.
    books = [column(0, 1), column(0, 0.01, 0.02)]
    codes = np.array([[0, 0], [0, 1], [0, 2], [0, 2], [1, 0], [1, 0]])
    result = make_unique(codes, column(0, 0.01, 0.02, 0.5, 1, 1.01), books)
    assert result.codes.tolist() == [[0, 0], [0, 1], [0, 2], [1, 2], [1, 0], [1, 1]]


def test_the_item_nearest_to_a_contested_prefix_gets_it():
    # Prefixes at 0, 1 and -3, one code each. Items .6, .7 and 0 on the first: 0 stays, .7 is nearer to 1.
    books = [column(0, 1, -3), column(0)]
    result = make_unique(np.zeros((3, 2), np.int64), column(0.6, 0.7, 0), books)
    assert result.codes[:, 0].tolist() == [2, 1, 0]


def test_equal_items_are_served_in_the_order_of_rows():
    # Codes at distance 0, 1, 4 in the group; then the other prefix (at 10) at distance 100, 121, 144.
    books = [column(0, 10), column(0, 1, 2)]
    result = make_unique(np.zeros((5, 2), np.int64), np.zeros((5, 1)), books)
    assert result.codes.tolist() == [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1]]
    assert result.moved.tolist() == [False, True, True, True, True]


def test_negative_zero_is_zero():
    books = [column(0, 10), column(0)]
    result = make_unique(np.zeros((2, 2), np.int64), column(-0.0, 0.0), books)
    assert result.codes.tolist() == [[0, 0], [1, 0]]


def test_a_catalogue_as_large_as_the_code_space_fills_it():
    sizes = (3, 1, 2, 2)
    books = [np.random.default_rng(level).normal(size=(size, 2)) for level, size in enumerate(sizes)]
    result = make_unique(np.zeros((12, 4), np.int64), np.ones((12, 2)), books)
    assert {tuple(code) for code in result.codes.tolist()} == set(itertools.product(*map(range, sizes)))


def test_unique_codes_and_no_codes_come_back_as_they_are():
    codes = np.array([[0, 1], [1, 0]])
    result = make_unique(codes, column(3, 4), [column(0, 1), column(0, 1)])
    assert (result.codes == codes).all()
    assert (result.moved.any(), result.collision_rate_before, result.extra_error) == (False, 0.0, 0.0)
    assert result.codes is not codes
    assert make_unique(codes[:0], np.zeros((0, 1)), [column(0, 1), column(0, 1)]).codes.shape == (0, 2)


# Resolving, against brute force


@pytest.mark.parametrize("seed", range(25))
def test_one_group_is_resolved_with_the_fewest_moves_and_then_at_the_least_cost(seed):
    rng = np.random.default_rng(seed)
    books = [rng.normal(size=(1, 2)), rng.normal(size=(5, 2))]
    codes = np.column_stack([np.zeros(4, np.int64), rng.integers(3, size=4)])
    latents = rng.normal(size=(4, 2))
    options = []
    for last in itertools.permutations(range(5), 4):
        option = np.column_stack([codes[:, 0], last])
        options.append(((option != codes).any(axis=1).sum(), square_error(option, latents, books), last))
    fewest, least, _ = min(options)
    if collision_rate(codes) == 0:
        fewest, least = 0, square_error(codes, latents, books)
    result = make_unique(codes, latents, books)
    assert result.moved.sum() == fewest
    assert square_error(result.codes, latents, books) == pytest.approx(least)


@pytest.mark.parametrize("seed", range(25))
def test_the_one_item_that_must_leave_is_the_cheapest_choice_of_all(seed):
    rng = np.random.default_rng(seed)
    books = [rng.normal(size=(4, 2)), 0.3 * rng.normal(size=(3, 2))]
    codes = np.column_stack([np.zeros(4, np.int64), [0, 0, 0, 1]])
    latents = rng.normal(size=(4, 2))
    options = []
    for leaver in range(3):  # the item alone on code 1 stays
        nearest = 1 + np.square(latents[leaver] - books[0][1:]).sum(axis=1).argmin()
        others = [row for row in range(3) if row != leaver]
        for stay, move in itertools.permutations(others):
            for code in range(3):
                option = codes.copy()
                option[stay], option[move], option[leaver] = (0, 0), (0, 2), (nearest, code)
                options.append(square_error(option, latents, books))
    result = make_unique(codes, latents, books)
    assert square_error(result.codes, latents, books) == pytest.approx(min(options))


@pytest.mark.parametrize(("beam_width", "candidates"), [(256, 32), (2, 1), (1, 1)])
def test_equal_items_fill_prefixes_from_near_to_far(monkeypatch, beam_width, candidates):
    """With three prefix levels and a narrow beam the search must grow until it has seen all."""
    for module in ("prefix_search", "resolver"):
        monkeypatch.setattr(f"tokenizer.collisions.{module}.BEAM_WIDTH", beam_width)
        monkeypatch.setattr(f"tokenizer.collisions.{module}.CANDIDATES", candidates)
    rng = np.random.default_rng(0)
    books = [rng.normal(size=(3, 2)) for _ in range(3)] + [np.zeros((2, 2))]
    latents = np.tile(rng.normal(size=(1, 2)), (54, 1))
    result = make_unique(np.zeros((54, 4), np.int64), latents, books)
    assert collision_rate(result.codes) == 0
    if beam_width == 256:
        sums = sum(book[result.codes[:, level]] for level, book in enumerate(books[:-1]))
        distances = np.square(latents - sums).sum(axis=1)[2:]  # the first two stay in their group
        assert (np.diff(distances) > -1e-9).all()


# Resolving, whatever comes


@st.composite
def tables(draw):
    sizes = draw(st.lists(st.integers(1, 5), min_size=1, max_size=4))
    num_items = draw(st.integers(0, min(40, math.prod(sizes) + 2)))
    # Small whole numbers, so that equal latents and equal code vectors are common.
    small = st.integers(-2, 2).map(float)
    row = st.tuples(small, small)
    code = st.tuples(*(st.integers(0, draw(st.integers(0, size - 1))) for size in sizes))
    codes = np.array(draw(st.lists(code, min_size=num_items, max_size=num_items)), dtype=np.int64)
    latents = np.array(draw(st.lists(row, min_size=num_items, max_size=num_items)), dtype=float)
    books = [np.array(draw(st.lists(row, min_size=size, max_size=size))) for size in sizes]
    return codes.reshape(num_items, len(sizes)), latents.reshape(num_items, 2), books


@settings(max_examples=200, deadline=None)
@given(tables())
def test_any_codes_become_unique_or_the_code_space_is_named_as_too_small(table):
    codes, latents, books = table
    sizes = [len(book) for book in books]
    if len(codes) > math.prod(sizes):
        with pytest.raises(CodeSpaceError, match="cannot have unique semantic IDs"):
            make_unique(codes, latents, books)
        return
    given_codes = codes.copy()
    result = make_unique(codes, latents, books)
    assert (codes == given_codes).all()
    assert collision_rate(result.codes) == 0
    assert ((result.codes >= 0) & (result.codes < sizes)).all()
    assert (result.moved == (result.codes != codes).any(axis=1)).all()
    # Every distinct ID keeps exactly one of its items: nobody moves who need not.
    assert (~result.moved).sum() == len(np.unique(codes, axis=0))
    prefixes = [tuple(code) for code in codes[:, :-1].tolist()]
    colliding = {prefixes[rows[0]] for rows in collision_groups(codes)}
    assert not any(
        moved and prefix not in colliding for moved, prefix in zip(result.moved, prefixes, strict=True)
    )
    # Only groups larger than K lose items, and only those that are too many.
    left = (result.codes[:, :-1] != codes[:, :-1]).any(axis=1).sum()
    assert left == sum(max(0, prefixes.count(prefix) - sizes[-1]) for prefix in set(prefixes))
    error = (
        square_error(result.codes, latents, books) - square_error(codes, latents, books) if len(codes) else 0
    )
    assert result.extra_error == pytest.approx(error / max(1, len(codes)), abs=1e-9)
    assert (make_unique(codes, latents, books).codes == result.codes).all()


def test_a_large_group_is_resolved_in_seconds():
    rng = np.random.default_rng(0)
    books = [rng.normal(size=(64, 8)) / 2**level for level in range(3)]
    codes = np.column_stack([np.zeros((1500, 2), np.int64), rng.integers(64, size=1500)])
    start = time.perf_counter()
    result = make_unique(codes, 0.2 * rng.normal(size=(1500, 8)), books)
    assert collision_rate(result.codes) == 0
    assert time.perf_counter() - start < 10


# Refusing


def test_more_items_than_codes_is_an_error_that_says_what_to_do():
    with pytest.raises(
        CodeSpaceError,
        match=r"^5 items cannot have unique semantic IDs: tokenizer.codebook_sizes=\[2, 2\] holds 4\. "
        r"Raise tokenizer.codebook_sizes or add a level\.$",
    ):
        make_unique(np.zeros((5, 2), np.int64), np.zeros((5, 1)), [column(0, 1), column(0, 1)])


@pytest.mark.parametrize(
    ("codes", "latents", "books", "message"),
    [
        (
            np.zeros((2, 1), int),
            column(0, 0),
            [column(0), column(0)],
            "one column for each of the 2 codebooks",
        ),
        (np.zeros((2, 0), int), column(0, 0), [], "one column for each of the 0 codebooks"),
        (np.zeros((2, 1)), column(0, 0), [column(0)], "Codes are integers, got float64"),
        (np.zeros((2, 1), int), column(0), [column(0, 1)], "Each of the 2 items needs one latent"),
        (np.zeros((1, 1), int), column(0), [np.zeros((2, 3))], "vectors of the latents' width 1"),
        (
            np.zeros((2, 1), int),
            column(0, np.nan),
            [column(0, 1)],
            "latent in row 1 holds a NaN or an infinity",
        ),
        (np.array([[2]]), column(0), [column(0, 1)], "A code lies outside its codebook"),
        (np.array([[-1]]), column(0), [column(0, 1)], "A code lies outside its codebook"),
    ],
)
def test_input_that_does_not_fit_is_refused(codes, latents, books, message):
    with pytest.raises(ValueError, match=message):
        make_unique(codes, latents, books)
