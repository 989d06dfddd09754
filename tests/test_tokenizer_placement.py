"""Placing new items in a table whose items stay: by hand, against brute force, and for any codes at all."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenizer.collisions.placement import next_numbers, place_new
from tokenizer.collisions.unique import CodeSpaceError, add_level, collision_rate


def column(*values: float) -> np.ndarray:
    return np.array(values, dtype=float)[:, None]


def square_error(codes: np.ndarray, latents: np.ndarray, books: list[np.ndarray]) -> float:
    sums = sum(book[codes[:, level]] for level, book in enumerate(books))
    return float(np.square(latents - sums).sum())


def is_free(codes: np.ndarray, taken: np.ndarray) -> np.ndarray:
    return np.array([not (taken == row).all(axis=1).any() for row in codes], dtype=bool)


# By hand


def test_a_new_item_with_free_codes_keeps_them():
    result = place_new(np.array([[0, 0]]), np.array([[0, 1]]), column(5), [column(0), column(0, 1, 2)])
    assert result.codes.tolist() == [[0, 1]]
    assert (result.moved.tolist(), result.left_prefix.tolist()) == ([False], [False])


def test_a_new_item_gives_way_to_a_resident_even_where_it_fits_better():
    # The resident has code 1 (at 1). The new item, at 1 exactly, goes to the next free code: 0 is nearer
    # (1) than 5 (16).
    result = place_new(np.array([[1]]), np.array([[1]]), column(1), [column(0, 1, 5)])
    assert result.codes.tolist() == [[0]]
    assert (result.moved.tolist(), result.left_prefix.tolist()) == ([True], [False])


def test_of_new_items_that_want_the_same_free_codes_the_one_stays_that_makes_it_cheapest():
    # Codes at 0, 1, 5; a resident has 5. A (.1) stays on 0, B (.4) to 1: .01 + .36 = .37. The other way
    # round: .81 + .16 = .97.
    result = place_new(np.array([[2]]), np.array([[0], [0]]), column(0.1, 0.4), [column(0, 1, 5)])
    assert result.codes.tolist() == [[0], [1]]


def test_equal_new_items_are_served_in_the_order_of_rows():
    # Codes at 0, 1, 2, the first one taken; then the prefix at 10.
    books = [column(0, 10), column(0, 1, 2)]
    result = place_new(np.array([[0, 0]]), np.zeros((4, 2), np.int64), np.zeros((4, 1)), books)
    assert result.codes.tolist() == [[0, 1], [0, 2], [1, 0], [1, 1]]
    assert result.left_prefix.tolist() == [False, False, True, True]


def test_an_item_whose_prefix_is_full_goes_to_the_nearest_with_a_free_code():
    # Prefixes at 0, 4, 1 and 1.5, two codes each; those at 0 and 1 are full. The item is at .9.
    books = [column(0, 4, 1, 1.5), column(0, 0.1)]
    taken = np.array([[0, 0], [0, 1], [2, 0], [2, 1], [3, 0]])
    result = place_new(taken, np.array([[0, 1]]), column(0.9), books)
    assert result.codes.tolist() == [[3, 1]]
    assert (result.moved.tolist(), result.left_prefix.tolist()) == ([True], [True])


def test_the_new_item_nearest_to_a_contested_prefix_gets_it():
    # Prefixes at 0 (full), 1 and -3, one code each. Of .6 and .7 the second is nearer to 1.
    books = [column(0, 1, -3), column(0)]
    result = place_new(np.array([[0, 0]]), np.zeros((2, 2), np.int64), column(0.6, 0.7), books)
    assert result.codes[:, 0].tolist() == [2, 1]


def test_residents_who_share_a_semantic_id_take_it_once():
    result = place_new(np.array([[0], [0]]), np.array([[0]]), column(0), [column(0, 1)])
    assert result.codes.tolist() == [[1]]


def test_no_new_items_have_no_codes():
    books = [column(0, 1)]
    assert place_new(np.array([[0]]), np.zeros((0, 1), np.int64), np.zeros((0, 1)), books).codes.shape == (
        0,
        1,
    )


def test_the_first_items_of_all_may_be_new():
    books = [column(0, 1)]
    assert place_new(np.zeros((0, 1), np.int64), np.array([[1]]), column(0), books).codes.tolist() == [[1]]


# Numbers of an added level


def test_new_items_get_the_least_free_numbers_of_their_prefix_in_the_order_of_rows():
    # Prefix 5 has the numbers 0 and 2 taken; prefix 7 none.
    taken = np.array([[5, 0], [5, 2], [6, 1]])
    assert next_numbers(taken, np.array([[5], [7], [5], [7]]), 5).tolist() == [1, 0, 3, 1]


def test_beyond_the_numbers_of_a_prefix_new_items_go_to_the_least_free_number_of_the_nearest_one():
    # Prefixes at 0, 10 and 3. Numbers 0 and 1. The first has both taken, the nearest, at 3, number 0.
    books = [column(0, 10, 3), np.zeros((2, 1))]
    taken = np.array([[0, 0], [0, 1], [2, 0]])
    prefixes = np.array([[0], [0]])
    codes = np.column_stack([prefixes, next_numbers(taken, prefixes, 2)])
    result = place_new(taken, codes, column(0.1, 0.2), books)
    # The second is nearer to 3; what is left for the first is the prefix at 10, where no item is.
    assert result.codes.tolist() == [[1, 0], [2, 1]]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 2), max_size=12), st.lists(st.integers(0, 2), max_size=8))
def test_numbers_go_on_as_if_all_items_had_been_numbered_at_once(old, new):
    prefixes = np.array(old + new, dtype=np.int64).reshape(-1, 1)
    together = add_level(prefixes)
    numbers = next_numbers(together[: len(old)], prefixes[len(old) :], 30)
    assert numbers.tolist() == together[len(old) :, -1].tolist()


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 6), st.sets(st.integers(0, 5)), st.integers(0, 7), st.integers(0, 2**32 - 1))
def test_newcomers_to_a_level_without_vectors_take_the_least_free_numbers(size, there, number, seed):
    """All come from a full prefix at 0; the nearer of the two others has the numbers `there` taken."""
    there = sorted(number for number in there if number < size)
    number = min(number, size - len(there))
    books = [column(0, 10, 1000), np.zeros((size, 1))]
    taken = np.array([*([0, n] for n in range(size)), *([1, n] for n in there)])
    codes = np.tile([[0, size - 1]], (number, 1))
    latents = np.random.default_rng(seed).normal(size=(number, 1))
    result = place_new(taken, codes, latents, books)
    free = [n for n in range(size) if n not in there]
    assert result.codes.tolist() == [[1, n] for n in free[:number]]


# Against brute force


@pytest.mark.parametrize("seed", range(25))
def test_one_prefix_is_shared_out_with_the_fewest_moves_and_then_at_the_least_cost(seed):
    rng = np.random.default_rng(seed)
    books = [rng.normal(size=(1, 2)), rng.normal(size=(6, 2))]
    there = rng.permutation(6)[:2]
    taken = np.column_stack([np.zeros(2, np.int64), there])
    codes = np.column_stack([np.zeros(3, np.int64), rng.integers(4, size=3)])
    latents = rng.normal(size=(3, 2))
    options = []
    for last in itertools.permutations(sorted(set(range(6)) - set(there.tolist())), 3):
        option = np.column_stack([codes[:, 0], last])
        options.append(((option != codes).any(axis=1).sum(), square_error(option, latents, books)))
    fewest, least = min(options)
    result = place_new(taken, codes, latents, books)
    assert result.moved.sum() == fewest
    assert square_error(result.codes, latents, books) == pytest.approx(least)


@pytest.mark.parametrize("seed", range(25))
def test_the_one_item_that_must_leave_is_the_cheapest_choice_of_all(seed):
    """Prefix 0 has one code left for two items; every other prefix has two of three."""
    rng = np.random.default_rng(seed)
    books = [rng.normal(size=(4, 2)), 0.3 * rng.normal(size=(3, 2))]
    taken = np.array([[0, 0], [0, 1], *([prefix, 2] for prefix in (1, 2, 3))])
    codes = np.array([[0, 0], [0, 1]])
    latents = rng.normal(size=(2, 2))
    options = []
    for leaver in range(2):
        nearest = 1 + np.square(latents[leaver] - books[0][1:]).sum(axis=1).argmin()
        for code in (0, 1):
            option = codes.copy()
            option[leaver], option[1 - leaver] = (nearest, code), (0, 2)
            options.append(square_error(option, latents, books))
    result = place_new(taken, codes, latents, books)
    assert result.left_prefix.sum() == 1
    assert square_error(result.codes, latents, books) == pytest.approx(min(options))


# Whatever comes


@st.composite
def tables(draw):
    sizes = draw(st.lists(st.integers(1, 4), min_size=1, max_size=3))
    space = list(itertools.product(*map(range, sizes)))
    residents = sorted(draw(st.sets(st.sampled_from(space), max_size=len(space))))
    number = draw(st.integers(0, min(20, len(space) - len(residents) + 1)))
    # Small whole numbers, so that equal latents and equal code vectors are common.
    row = st.tuples(*[st.integers(-2, 2).map(float)] * 2)
    codes = draw(st.lists(st.sampled_from(space), min_size=number, max_size=number))
    latents = draw(st.lists(row, min_size=number, max_size=number))
    books = [np.array(draw(st.lists(row, min_size=size, max_size=size))) for size in sizes]
    shape = (-1, len(sizes))
    taken = np.array(residents, dtype=np.int64).reshape(shape)
    return taken, np.array(codes, dtype=np.int64).reshape(shape), np.array(latents).reshape(number, 2), books


@settings(max_examples=300, deadline=None)
@given(tables())
def test_any_new_items_get_free_codes_or_the_code_space_is_named_as_too_small(table):
    taken, codes, latents, books = table
    sizes = [len(book) for book in books]
    if len(codes) > math.prod(sizes) - len(taken):
        with pytest.raises(CodeSpaceError, match="cannot have semantic IDs of their own"):
            place_new(taken, codes, latents, books)
        return
    given_taken, given_codes = taken.copy(), codes.copy()
    result = place_new(taken, codes, latents, books)
    assert (taken == given_taken).all()
    assert (codes == given_codes).all()
    assert collision_rate(np.concatenate([taken, result.codes])) == 0
    assert ((result.codes >= 0) & (result.codes < sizes)).all()
    assert (result.moved == (result.codes != codes).any(axis=1)).all()
    assert (result.left_prefix == (result.codes[:, :-1] != codes[:, :-1]).any(axis=1)).all()
    # Every free semantic ID keeps exactly one of the items that want it: nobody moves who need not.
    wanted = np.unique(codes[is_free(codes, taken)], axis=0) if len(codes) else codes
    assert (~result.moved).sum() == len(wanted)
    # Items leave a prefix only as far as they are too many for it.
    prefixes = [tuple(code) for code in codes[:, :-1].tolist()]
    there = [tuple(code) for code in taken[:, :-1].tolist()]
    too_many = sum(max(0, prefixes.count(p) + there.count(p) - sizes[-1]) for p in set(prefixes))
    assert result.left_prefix.sum() == too_many
    assert (place_new(taken, codes, latents, books).codes == result.codes).all()


# Refusing


def test_more_new_items_than_free_codes_is_an_error_that_says_what_to_do():
    with pytest.raises(
        CodeSpaceError,
        match=r"^2 new items cannot have semantic IDs of their own: of the 4 of "
        r"tokenizer.codebook_sizes=\[2, 2\] only 1 are free\. Tokenize all items anew",
    ):
        place_new(
            np.array([[0, 0], [0, 1], [1, 1]]),
            np.zeros((2, 2), np.int64),
            np.zeros((2, 1)),
            [column(0, 1), column(0, 1)],
        )


@pytest.mark.parametrize(
    ("taken", "message"),
    [
        (np.zeros((1, 1), int), "one column for each of the 2 codebooks"),
        (np.array([[0, 2]]), "A code lies outside its codebook"),
    ],
)
def test_a_table_that_does_not_fit_the_codebooks_is_refused(taken, message):
    with pytest.raises(ValueError, match=message):
        place_new(taken, np.zeros((1, 2), int), column(0), [column(0, 1), column(0, 1)])
