"""Baselines without a network: by hand, against plain loops, and blind to every event after train."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from sidrec.baselines.neighbours import item_knn, text_knn
from sidrec.baselines.popularity import popularity, recent_popularity, repeat_history
from sidrec.baselines.ranking import ScoreItems, history_events, rank_by_scores, top_items
from sidrec.catalog import Catalog, Split, SplitConfig, split_catalog
from sidrec.metrics import PADDING

NUM_ITEMS = 5
ITEMS = pd.DataFrame({"item_id": list("ABCDE"), "title": ["lamp", "chair", "rug", "vase", "mirror"]})
NO_SCORE = -np.inf


def split_of(times: dict[str, list[float]] | None = None, /, **sequences: str) -> Split:
    """`split_of(u1="ABC")` is a user who had A, B and C in turn; `times` says when, else rows count."""
    events = [(user, item) for user, items in sequences.items() for item in items]
    table = pd.DataFrame(events, columns=["user_id", "item_id"])
    if times is not None:
        table["timestamp"] = [time for user in sequences for time in times[user]]
    return split_catalog(Catalog(ITEMS, table), SplitConfig())


def histories_of(*sequences: str) -> list[np.ndarray]:
    """`histories_of("AB")` is one history of items 0 and 1."""
    return [np.array(["ABCDE".index(item) for item in items], dtype=np.int64) for items in sequences]


# Train: u1 has A B, u2 has B, u3 has B C, u4 has A B C; u5 (too short to be split) has B B. D and E are cold.
TRAIN = {"u1": "ABDE", "u2": "BED", "u3": "BCDD", "u4": "ABCEE", "u5": "BB"}
VECTORS = np.array([[2, 0], [3, 4], [0, 1], [0, 0], [-1, 0]], dtype=np.float32)


# Ranking


def top_by_sorting(scores: list[float], k: int) -> tuple[list[int], list[float]]:
    """`top_items` for one row, slowly."""
    best = sorted(range(len(scores)), key=lambda item: (-scores[item], item))[:k]
    return [item if scores[item] > NO_SCORE else PADDING for item in best], [scores[item] for item in best]


@given(
    arrays.arrays(
        np.float64,
        st.tuples(st.integers(1, 4), st.integers(1, 12)),
        elements=st.sampled_from([NO_SCORE, -1.5, -0.0, 0.0, 1.0, 2.0, np.inf]),  # few values: many ties
    ),
    st.integers(1, 14),
)
@settings(max_examples=300, deadline=None)
def test_the_top_equals_sorting_the_whole_row(scores: np.ndarray, k: int) -> None:
    items, kept = top_items(scores, k)
    expected = [top_by_sorting(row, k) for row in scores.tolist()]
    assert items.tolist() == [row_items for row_items, _ in expected]
    assert kept.tolist() == [row_scores for _, row_scores in expected]
    assert items.dtype == np.int64


@given(arrays.arrays(np.float32, (3, 40), elements=st.floats(-9, 9, width=32)), st.integers(1, 40))
@settings(max_examples=50, deadline=None)
def test_the_top_of_any_floats_equals_sorting(scores: np.ndarray, k: int) -> None:
    items, kept = top_items(scores, k)
    assert items.tolist() == [top_by_sorting(row, k)[0] for row in scores.tolist()]
    assert kept.dtype == np.float32


def test_ties_at_the_end_of_the_list_go_to_the_first_of_the_catalogue() -> None:
    items, scores = top_items(np.array([[1.0, 2.0, 1.0, 3.0, 1.0]]), 4)
    assert items.tolist() == [[3, 1, 0, 2]]
    assert scores.tolist() == [[3, 2, 1, 1]]


def test_what_is_never_recommended_is_padding_at_the_end() -> None:
    items, scores = top_items(np.array([[NO_SCORE, 0.5, NO_SCORE], [NO_SCORE] * 3]), 2)
    assert items.tolist() == [[1, PADDING], [PADDING, PADDING]]
    assert scores.tolist() == [[0.5, NO_SCORE], [NO_SCORE, NO_SCORE]]


def test_a_nan_score_is_never_ranked() -> None:
    with pytest.raises(RuntimeError, match="A score is NaN, so items cannot be ranked by it"):
        top_items(np.array([[1.0, np.nan]]), 1)


def test_a_list_of_no_items_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Lists of 0 items cannot be made\. Ask for k of 1 or more"):
        top_items(np.zeros((1, 3)), 0)


def test_nobody_to_rank_for_is_refused() -> None:
    with pytest.raises(ValueError, match=r"There is no history to rank for\. Give one or more"):
        rank_by_scores(repeat_history(num_items=NUM_ITEMS), [], k=3)


def test_histories_are_laid_end_to_end() -> None:
    events = history_events(histories_of("CA", "", "BBD"))
    assert events.rows.tolist() == [0, 0, 2, 2, 2]
    assert events.items.tolist() == [2, 0, 1, 1, 3]
    assert events.steps_back.tolist() == [1, 0, 2, 1, 0]


def test_the_batch_size_changes_nothing_and_every_batch_is_told() -> None:
    histories = histories_of("AB", "C", "BBE", "D", "ECA")
    score_items = item_knn(split_of(**TRAIN), num_items=NUM_ITEMS, neighbours=2, decay=0.5)
    told: list[tuple[int, int]] = []
    all_at_once = rank_by_scores(score_items, histories, k=3)
    in_twos = rank_by_scores(
        score_items, histories, k=3, batch_size=2, on_batch=lambda done, total: told.append((done, total))
    )
    assert told == [(2, 5), (4, 5), (5, 5)]
    for whole, pieces in zip(all_at_once, in_twos, strict=True):
        np.testing.assert_array_equal(whole, pieces)


def test_items_of_the_history_can_be_left_out_for_each_user_alone() -> None:
    # Train events: A 2, B 6, C 2.
    score_items = popularity(split_of(**TRAIN), num_items=NUM_ITEMS)
    items, scores = rank_by_scores(score_items, histories_of("AB", "E", "BB"), k=4, exclude_history=True)
    assert items.tolist() == [[2, 3, 4, PADDING], [1, 0, 2, 3], [0, 2, 3, 4]]
    assert scores.tolist() == [[2, 0, 0, NO_SCORE], [6, 2, 2, 0], [2, 2, 0, 0]]


def test_leaving_out_changes_no_array_of_the_baseline() -> None:
    kept = np.arange(5.0)[None, :]
    rank_by_scores(lambda histories: kept, histories_of("ABC"), k=2, exclude_history=True)
    assert kept.tolist() == [[0, 1, 2, 3, 4]]


def test_who_had_everything_gets_an_empty_list_when_that_is_left_out() -> None:
    score_items = popularity(split_of(**TRAIN), num_items=NUM_ITEMS)
    items, _ = rank_by_scores(score_items, histories_of("ABCDE", "A"), k=2, exclude_history=True)
    assert items.tolist() == [[PADDING, PADDING], [1, 2]]


# By hand


def test_popularity_ranks_by_train_events_and_ties_by_catalogue_order() -> None:
    items, scores = rank_by_scores(
        popularity(split_of(**TRAIN), num_items=NUM_ITEMS), histories_of("A", "DE"), k=4
    )
    assert items.tolist() == [[1, 0, 2, 3]] * 2
    assert scores.tolist() == [[6, 2, 2, 0]] * 2


def test_popularity_lists_no_more_items_than_there_are() -> None:
    score_items = popularity(split_of(u1="ABC"), num_items=NUM_ITEMS)
    items, scores = rank_by_scores(score_items, histories_of("A"), k=20)
    assert items.shape == scores.shape == (1, NUM_ITEMS)


RECENT = {"u1": [1, 2, 9, 9], "u2": [3, 3, 9, 9], "u3": [4, 3]}
RECENT_TRAIN = {"u1": "ABEE", "u2": "CBEE", "u3": "AD"}  # by time: A at 1, B at 2, C B D at 3, A at 4


def test_recent_popularity_counts_the_latest_events_of_all_users() -> None:
    score_items = recent_popularity(split_of(RECENT, **RECENT_TRAIN), num_items=NUM_ITEMS, window=1 / 6)
    assert score_items(histories_of("B")).tolist() == [[1, 0, 0, 0, 0]]  # one event: A at 4


def test_recent_popularity_counts_all_events_at_the_time_of_the_cut() -> None:
    # A third of six events is two: A at 4 and one of the three at 3, so all three count.
    score_items = recent_popularity(split_of(RECENT, **RECENT_TRAIN), num_items=NUM_ITEMS, window=1 / 3)
    assert score_items(histories_of("B", "C")).tolist() == [[1, 1, 1, 1, 0]] * 2


def test_the_share_of_recent_events_is_rounded_and_at_least_one_event() -> None:
    split = split_of(RECENT, **RECENT_TRAIN)
    smallest = recent_popularity(split, num_items=NUM_ITEMS, window=0.001)
    assert smallest(histories_of("B")).tolist() == [[1, 0, 0, 0, 0]]
    five = recent_popularity(split, num_items=NUM_ITEMS, window=0.8)  # 4.8 events: all but A at 1
    assert five(histories_of("B")).tolist() == [[1, 2, 1, 1, 0]]


def test_a_window_of_everything_is_popularity() -> None:
    split = split_of(RECENT, **RECENT_TRAIN)
    recent = recent_popularity(split, num_items=NUM_ITEMS, window=1)
    assert (
        recent(histories_of("A")).tolist()
        == popularity(split, num_items=NUM_ITEMS)(histories_of("A")).tolist()
    )


def test_without_times_recent_is_late_in_the_file() -> None:
    # Train: u1 has A, u2 has B, u3 has B C. Half of four events: B C of u3.
    split = split_of(u1="AEE", u2="BEE", u3="BCEE")
    score_items = recent_popularity(split, num_items=NUM_ITEMS, window=0.5)
    assert score_items(histories_of("A")).tolist() == [[0, 1, 1, 0, 0]]


def test_repeat_history_lists_the_most_recent_item_first_and_nothing_else() -> None:
    items, scores = rank_by_scores(
        repeat_history(num_items=NUM_ITEMS), histories_of("CABA", "E", "ABCDE"), k=4
    )
    # C A B A: A is the newest, B one step back, C three.
    assert items.tolist() == [[0, 1, 2, PADDING], [4, PADDING, PADDING, PADDING], [4, 3, 2, 1]]
    assert scores[0].tolist() == [0, -1, -3, NO_SCORE]


def test_repeat_history_is_empty_when_the_history_is_left_out() -> None:
    items, _ = rank_by_scores(
        repeat_history(num_items=NUM_ITEMS), histories_of("CAB"), k=2, exclude_history=True
    )
    assert items.tolist() == [[PADDING, PADDING]]


# Users of TRAIN who had A: u1 u4; B: u1 u2 u3 u4 u5 (u5 twice, counted once); C: u3 u4.
AB, BC, AC = 2 / math.sqrt(2 * 5), 2 / math.sqrt(5 * 2), 1 / math.sqrt(2 * 2)


def test_item_knn_is_the_cosine_between_the_users_of_two_items() -> None:
    score_items = item_knn(split_of(**TRAIN), num_items=NUM_ITEMS, neighbours=4, decay=1)
    assert score_items(histories_of("A"))[0] == pytest.approx([0, AB, AC, 0, 0])
    assert score_items(histories_of("B"))[0] == pytest.approx([AB, 0, BC, 0, 0])


def test_item_knn_weighs_an_event_by_the_events_after_it() -> None:
    score_items = item_knn(split_of(**TRAIN), num_items=NUM_ITEMS, neighbours=4, decay=0.5)
    expected = [0.25 * AC + 0.5 * AB, BC * 0.25, 0.5 * BC, 0, 0]
    assert score_items(histories_of("CBD"))[0] == pytest.approx(expected)


def test_an_item_that_is_there_twice_counts_twice() -> None:
    for decay, weight in ((1.0, 2.0), (0.5, 1.25)):  # 0.5: A two steps back and A now, 0.25 + 1
        score_items = item_knn(split_of(**TRAIN), num_items=NUM_ITEMS, neighbours=4, decay=decay)
        assert score_items(histories_of("ADA"))[0] == pytest.approx([0, weight * AB, weight * AC, 0, 0])


def test_item_knn_keeps_the_nearest_and_of_equal_ones_the_first_of_the_catalogue() -> None:
    score_items = item_knn(split_of(**TRAIN), num_items=NUM_ITEMS, neighbours=1, decay=1)
    assert score_items(histories_of("A"))[0] == pytest.approx([0, AB, 0, 0, 0])  # AB = .63 > AC = .5
    assert score_items(histories_of("B"))[0] == pytest.approx([AB, 0, 0, 0, 0])  # AB = BC


@pytest.mark.parametrize("history", ["D", "E", "DE", ""])
def test_a_history_of_items_without_train_events_scores_nothing(history: str) -> None:
    score_items = item_knn(split_of(**TRAIN), num_items=NUM_ITEMS, neighbours=4, decay=0.5)
    assert score_items(histories_of(history)).tolist() == [[0] * NUM_ITEMS]
    assert rank_by_scores(score_items, histories_of(history), k=3)[0].tolist() == [[0, 1, 2]]


def test_a_catalogue_of_several_blocks_has_the_same_neighbours() -> None:
    """One user had all 2,500 items, so every pair (6.25 million) has the cosine 1."""
    names = [f"i{number:04d}" for number in range(2500)]
    events = pd.DataFrame({"user_id": "u", "item_id": [*names, *names[:2]]})
    catalog = Catalog(pd.DataFrame({"item_id": names, "title": names}), events)
    split = split_catalog(catalog, SplitConfig())
    score_items = item_knn(split, num_items=2500, neighbours=3, decay=1)
    scores = score_items([np.array([item]) for item in (0, 2, 1700, 2499)])
    nearest = [np.flatnonzero(row).tolist() for row in scores]
    assert nearest == [[1, 2, 3], [0, 1, 3], [0, 1, 2], [0, 1, 2]]
    assert set(scores[scores > 0]) == {1.0}


def test_text_knn_is_the_cosine_between_vectors() -> None:
    # Directions: A (1, 0), B (.6, .8), C (0, 1), D none, E (-1, 0).
    score_items = text_knn(VECTORS, decay=1)
    assert score_items(histories_of("A"))[0] == pytest.approx([0, 0.6, 0, 0, -1])
    assert score_items(histories_of("B"))[0] == pytest.approx([0.6, 0, 0.8, 0, -0.6])


def test_text_knn_weighs_an_event_by_the_events_after_it() -> None:
    # A one step back: 0.5 x (1, 0); B now. A gets .6 from B, B gets .5 x .6 from A, none from itself.
    score_items = text_knn(VECTORS, decay=0.5)
    assert score_items(histories_of("AB"))[0] == pytest.approx([0.6, 0.3, 0.8, 0, -0.5 - 0.6])


def test_an_item_without_a_vector_is_similar_to_none() -> None:
    assert text_knn(VECTORS, decay=0.5)(histories_of("D", "DD", "")).tolist() == [[0] * NUM_ITEMS] * 3


def test_an_item_gets_exactly_nothing_from_itself() -> None:
    vectors = np.random.default_rng(0).normal(size=(40, 33))
    scores = text_knn(vectors, decay=0.7)([np.array([item, item]) for item in range(40)])
    assert np.diagonal(scores).tolist() == [0] * 40


def test_items_with_equal_vectors_tie_in_catalogue_order() -> None:
    rng = np.random.default_rng(0)
    vectors = np.tile(rng.normal(size=(7, 33)), (6, 1))  # items 0, 7, 14 ... are the same
    histories = [rng.integers(42, size=4) for _ in range(40)]
    scores = text_knn(vectors, decay=0.7)(histories)
    for history, row in zip(histories, scores, strict=True):
        for item in range(7):
            same = [row[other] for other in range(item, 42, 7) if other not in history]
            assert len(set(same)) == 1


# Against plain loops


def user_sets(split: Split, num_items: int) -> list[set[int]]:
    """The users of each item in train."""
    users: list[set[int]] = [set() for _ in range(num_items)]
    for user, items in enumerate(split.train):
        for item in items.tolist():
            users[item].add(user)
    return users


def slow_item_knn(
    split: Split, history: list[int], num_items: int, neighbours: int, decay: float
) -> list[float]:
    users = user_sets(split, num_items)
    scores = [0.0] * num_items
    for position, item in enumerate(history):
        cosines = {}
        for other in range(num_items):
            shared = len(users[item] & users[other])
            if other != item and shared:
                cosines[other] = shared / math.sqrt(len(users[item]) * len(users[other]))
        for other in sorted(cosines, key=lambda other: (-cosines[other], other))[:neighbours]:
            scores[other] += decay ** (len(history) - 1 - position) * cosines[other]
    return scores


def slow_text_knn(vectors: np.ndarray, history: list[int], decay: float) -> list[float]:
    scores = [0.0] * len(vectors)
    for position, item in enumerate(history):
        for other in range(len(vectors)):
            norm = math.dist(vectors[item], [0] * vectors.shape[1]) * math.dist(
                vectors[other], [0] * vectors.shape[1]
            )
            if other != item and norm:
                cosine = sum(float(x) * float(y) for x, y in zip(vectors[item], vectors[other], strict=True))
                scores[other] += decay ** (len(history) - 1 - position) * cosine / norm
    return scores


def slow_recent_popularity(split: Split, num_items: int, window: float) -> list[float]:
    items = [item for sequence in split.train for item in sequence.tolist()]
    events = sorted(zip(split.train_times.tolist(), items, strict=True), reverse=True)
    cut = events[max(1, round(window * len(events))) - 1][0]
    counts = Counter(item for time, item in events if time >= cut)
    return [counts[item] for item in range(num_items)]


def slow_repeat_history(history: list[int], num_items: int) -> list[float]:
    newest_first = history[::-1]
    return [-newest_first.index(item) if item in newest_first else NO_SCORE for item in range(num_items)]


some_items = st.lists(st.integers(0, NUM_ITEMS - 1), max_size=7)
some_users = st.lists(some_items.filter(len), min_size=1, max_size=8)


def random_split(users: list[list[int]]) -> Split:
    """Users with the given train items and, after them, an event of valid and one of test."""
    sequences = {
        f"u{number}": "".join("ABCDE"[item] for item in [*items, 0, 0]) for number, items in enumerate(users)
    }
    times = {user: [7 * place % 5 for place in range(len(items) - 2)] for user, items in sequences.items()}
    return split_of({user: [*sorted(early), 8, 9] for user, early in times.items()}, **sequences)


@given(some_users, some_items, st.integers(1, 6), st.sampled_from([0.3, 0.7, 1.0]))
@settings(max_examples=100, deadline=None)
def test_item_knn_equals_loops_over_items_and_users(
    users: list[list[int]], history: list[int], neighbours: int, decay: float
) -> None:
    split = random_split(users)
    fast = item_knn(split, num_items=NUM_ITEMS, neighbours=neighbours, decay=decay)(
        [np.array(history, dtype=np.int64)]
    )
    slow = slow_item_knn(split, history, NUM_ITEMS, neighbours, decay)
    np.testing.assert_allclose(fast, [slow], rtol=1e-12)


@given(
    arrays.arrays(np.float32, (NUM_ITEMS, 3), elements=st.integers(-3, 3).map(float)),
    some_items,
    st.sampled_from([0.3, 0.7, 1.0]),
)
@settings(max_examples=100, deadline=None)
def test_text_knn_equals_loops_over_items(vectors: np.ndarray, history: list[int], decay: float) -> None:
    fast = text_knn(vectors, decay=decay)([np.array(history, dtype=np.int64)])
    np.testing.assert_allclose(fast, [slow_text_knn(vectors, history, decay)], atol=1e-11)


@given(some_users, some_items, st.floats(0.01, 1))
@settings(max_examples=60, deadline=None)
def test_popularities_and_repetition_equal_loops_over_events(
    users: list[list[int]], history: list[int], window: float
) -> None:
    split = random_split(users)
    histories = [np.array(history, dtype=np.int64)]
    counts = Counter(item for items in users for item in items)
    expected = [counts[item] for item in range(NUM_ITEMS)]
    assert popularity(split, num_items=NUM_ITEMS)(histories).tolist() == [expected]
    recent = recent_popularity(split, num_items=NUM_ITEMS, window=window)(histories)
    assert recent.tolist() == [slow_recent_popularity(split, NUM_ITEMS, window)]
    assert repeat_history(num_items=NUM_ITEMS)(histories).tolist() == [
        slow_repeat_history(history, NUM_ITEMS)
    ]


# What a baseline may know

BASELINES: dict[str, Callable[[Split], ScoreItems]] = {
    "popularity": lambda split: popularity(split, num_items=NUM_ITEMS),
    "recent_popularity": lambda split: recent_popularity(split, num_items=NUM_ITEMS, window=0.4),
    "repeat_history": lambda split: repeat_history(num_items=NUM_ITEMS),
    "item_knn": lambda split: item_knn(split, num_items=NUM_ITEMS, neighbours=2, decay=0.7),
    "text_knn": lambda split: text_knn(VECTORS, decay=0.7),
}


def poisoned(sequence: str) -> str:
    """The last two events replaced by others, where they are valid and test."""
    return sequence if len(sequence) < 3 else sequence[:-2] + "AC"


@pytest.mark.parametrize("name", BASELINES)
@pytest.mark.parametrize("timed", [False, True])
def test_events_of_valid_and_test_change_nothing(name: str, timed: bool) -> None:
    before = {user: [float(place) for place in range(len(items))] for user, items in TRAIN.items()}
    after = {user: times if len(times) < 3 else [*times[:-2], 1e6, 2e6] for user, times in before.items()}
    clean = split_of(before if timed else None, **TRAIN)
    changed = split_of(after if timed else None, **{user: poisoned(items) for user, items in TRAIN.items()})
    assert clean.test.targets.tolist() != changed.test.targets.tolist()
    assert clean.valid.targets.tolist() != changed.valid.targets.tolist()
    histories = histories_of("A", "BC", "DAEB", "")
    of_clean, of_changed = (BASELINES[name](split)(histories) for split in (clean, changed))
    np.testing.assert_array_equal(of_clean, of_changed)


@pytest.mark.parametrize("name", ["popularity", "recent_popularity", "item_knn"])
def test_a_train_event_does_change_something(name: str) -> None:
    """Negative control of the test above."""
    histories = histories_of("A", "BC", "DAEB")
    of_clean = BASELINES[name](split_of(**TRAIN))(histories)
    of_changed = BASELINES[name](split_of(**{**TRAIN, "u5": "DC"}))(histories)
    assert not np.array_equal(of_clean, of_changed)


@pytest.mark.parametrize("name", BASELINES)
def test_two_users_with_the_same_history_get_the_same_list(name: str) -> None:
    score_items = BASELINES[name](split_of(**TRAIN))
    items, scores = rank_by_scores(score_items, histories_of("ABC", "E", "ABC"), k=4)
    np.testing.assert_array_equal(items[0], items[2])
    np.testing.assert_array_equal(scores[0], scores[2])


@pytest.mark.parametrize("name", BASELINES)
@pytest.mark.parametrize("exclude_history", [False, True])
def test_no_list_holds_an_item_twice_or_one_that_was_left_out(name: str, exclude_history: bool) -> None:
    histories = histories_of("ABC", "E", "DDB", "ABCDE")
    items, scores = rank_by_scores(
        BASELINES[name](split_of(**TRAIN)), histories, k=5, exclude_history=exclude_history
    )
    assert (scores[:, 1:] <= scores[:, :-1]).all()
    for history, row in zip(histories, items, strict=True):
        listed = row[row != PADDING].tolist()
        assert len(set(listed)) == len(listed)
        assert not (exclude_history and set(listed) & set(history.tolist()))
