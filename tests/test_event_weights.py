"""`catalog.weight`: what a weight changes, by hand; what it leaves as it was; and what is no weight."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import Ended

from sidrec.baselines.neighbours import item_knn
from sidrec.baselines.popularity import popularity, recent_popularity
from sidrec.baselines.ranking import ScoreItems, rank_by_scores
from sidrec.catalog import Catalog, CatalogConfig, Split, SplitConfig, read_catalog, split_catalog
from sidrec.catalog.writers import write_lcrec, write_recbole
from sidrec.errors import CatalogError

Command = Callable[..., Ended]
ITEMS = pd.DataFrame({"item_id": list("ABC"), "title": ["lamp", "chair", "rug"]})
# Leave-one-out: the last two events of u, v and w are valid and test; x is too short to be split.
EVENTS = pd.DataFrame(
    {"user_id": list("uuuuvvvwwwwxx"), "item_id": list("ABCCBCCACBBAA"), "timestamp": range(13)}
)
TRAIN = np.array([0, 1, 4, 7, 8, 11, 12])  # A B of u, B of v, A C of w, A A of x
HISTORIES = [np.array([0]), np.array([1, 2]), np.array([], dtype=np.int64)]
BASELINES: dict[str, Callable[[Split], ScoreItems]] = {
    "popularity": lambda split: popularity(split, num_items=3),
    "recent_popularity": lambda split: recent_popularity(split, num_items=3, window=0.6),
    "item_knn": lambda split: item_knn(split, num_items=3, neighbours=2, decay=0.5),
}


def weighted(*weights: float, others: float = 1.0) -> Catalog:
    """The catalogue with these weights of its train events, and `others` for valid and test."""
    column = np.full(len(EVENTS), float(others))
    column[TRAIN] = weights
    return Catalog(ITEMS, EVENTS.assign(times_read=column), weight="times_read")


def split_of(catalog: Catalog) -> Split:
    return split_catalog(catalog, SplitConfig())


def scores_of(name: str, catalog: Catalog) -> np.ndarray:
    return BASELINES[name](split_of(catalog))(HISTORIES)


def test_train_weights_stand_beside_the_train_items() -> None:
    split = split_of(weighted(1, 2, 3, 4, 5, 6, 7, others=9))
    assert np.concatenate(split.train).tolist() == [0, 1, 1, 0, 2, 0, 0]
    assert split.train_weights.tolist() == [1, 2, 3, 4, 5, 6, 7]


def test_scaled_weights_have_the_mean_1_and_are_none_where_all_are_equal() -> None:
    # the sum of the train weights is 28, their mean 4
    scaled = split_of(weighted(1, 2, 3, 4, 5, 6, 7, others=9)).scaled_weights()
    assert [each.tolist() for each in scaled] == [[0.25, 0.5], [0.75], [1, 1.25], [1.5, 1.75]]
    assert {each.dtype for each in scaled} == {np.dtype(np.float32)}
    for catalog in (Catalog(ITEMS, EVENTS), weighted(*[0.1] * 7, others=9)):
        assert split_of(catalog).scaled_weights() is None


def test_weights_follow_their_events_when_these_are_sorted_and_filtered() -> None:
    events = pd.DataFrame(
        {"user_id": ["u"] * 4, "item_id": list("ABAC"), "timestamp": [3, 1, 4, 2], "w": [0.3, 0.1, 0.4, 0.2]}
    )
    assert Catalog(ITEMS, events, weight="w").interactions["weight"].tolist() == [0.1, 0.2, 0.3, 0.4]


def test_an_event_of_weight_2_counts_as_two_events() -> None:
    # A: 1 + 4 + .5 + .5, B: 2 + 2, C: 3
    catalog = weighted(1, 2, 2, 4, 3, 0.5, 0.5)
    assert scores_of("popularity", catalog)[0].tolist() == [6, 4, 3]
    # The latest .6 of 7 events are 4: A of weight 4 at 7, C at 8, A A of .5 at 11 and 12.
    assert scores_of("recent_popularity", catalog)[0].tolist() == [5, 0, 3]


def test_item_knn_is_the_cosine_between_the_weights_of_two_items() -> None:
    # A: u 1, w 4, x max(.5, 2) = 2; B: u 2, v 2; C: w 3
    scores = scores_of("item_knn", weighted(1, 2, 2, 4, 3, 0.5, 2))
    with_b = 1 * 2 / math.sqrt((1 + 16 + 4) * (4 + 4))
    with_c = 4 * 3 / math.sqrt((1 + 16 + 4) * 9)
    assert scores[0] == pytest.approx([0, with_b, with_c])
    assert scores[1] == pytest.approx([0.5 * with_b + with_c, 0, 0])


@pytest.mark.parametrize("name", BASELINES)
def test_weights_of_1_change_no_byte(name: str) -> None:
    plain, ones = Catalog(ITEMS, EVENTS), weighted(*[1] * 7)
    assert scores_of(name, ones).tobytes() == scores_of(name, plain).tobytes()


@pytest.mark.parametrize("name", BASELINES)
def test_weights_of_valid_and_test_change_nothing(name: str) -> None:
    weights = (1, 2, 2, 4, 3, 0.5, 2)
    before, after = weighted(*weights), weighted(*weights, others=50)
    assert scores_of(name, before).tobytes() == scores_of(name, after).tobytes()


@pytest.mark.parametrize("factor", [0.1, 3, 1e-300, 1e300])
@pytest.mark.parametrize("name", BASELINES)
def test_weights_in_another_unit_leave_the_lists(name: str, factor: float) -> None:
    # A: .1 + .1 + .1 and B: .2 + .1 tie in popularity, whatever is added first and in whatever unit
    weights = np.array([0.1, 0.2, 0.1, 0.1, 0.3, 0.05, 0.05])
    lists = [
        rank_by_scores(BASELINES[name](split_of(weighted(*each))), HISTORIES, k=3)[0].tolist()
        for each in (weights, weights * factor)
    ]
    assert lists[0] == lists[1]
    if name == "popularity":
        assert lists[0][0] == [0, 1, 2]


def test_a_column_that_is_not_named_is_not_read() -> None:
    plain, with_column = Catalog(ITEMS, EVENTS), Catalog(ITEMS, EVENTS.assign(weight="heavy"))
    assert with_column.interactions.columns.tolist() == ["user_id", "item_id", "timestamp"]
    assert with_column.sha256 == plain.sha256


def test_weights_are_in_the_hash_of_the_catalogue_and_not_of_the_split() -> None:
    catalogs = [Catalog(ITEMS, EVENTS), weighted(*[1] * 7), weighted(*[2] * 7)]
    assert len({catalog.sha256 for catalog in catalogs}) == 3
    assert len({split_of(catalog).sha256 for catalog in catalogs}) == 1


def test_hashes_without_weights_are_those_of_before_there_were_any() -> None:
    catalog = Catalog(ITEMS, EVENTS)
    assert catalog.sha256 == "ecd1bda60d0287e50b16e8468c897cf2f9faf8f5df4d714bc576564c22df5255"
    assert split_of(catalog).sha256 == "e0bb8b4969a5e2f03e493911d91eb20c0e5c31ee312980fc986fc2e89e5535d2"


def test_saved_weights_come_back_the_same(tmp_path: Path) -> None:
    catalog = weighted(1, 2, 2, 4, 3, 0.1, 2)
    catalog.save(tmp_path)
    loaded = Catalog.load(tmp_path)
    pd.testing.assert_frame_equal(loaded.interactions, catalog.interactions)
    assert loaded.sha256 == catalog.sha256


def test_recbole_holds_weights_and_lcrec_says_that_it_does_not(tmp_path: Path) -> None:
    catalog = weighted(1, 2, 2, 4, 3, 0.1, 2)
    write_recbole(catalog, tmp_path / "recbole", "books")
    read = read_catalog(CatalogConfig(items=tmp_path / "recbole", weight="weight"))
    assert read.interactions["weight"].tolist() == catalog.interactions["weight"].tolist()
    assert "Weights left out: 13." in write_lcrec(catalog, tmp_path / "lcrec", "books").notes


@pytest.mark.parametrize(
    ("cells", "told"),
    [
        (["1", "much"], '2 has "much"'),
        (["1", ""], '2 has ""'),
        ([1, None], '2 has ""'),
        ([1, 0], '2 has "0"'),
        (["-0.5", "1"], '1 has "-0.5"'),
        ([1.0, math.inf], '2 has "inf"'),
        ([1.0, math.nan], '2 has ""'),
        (["1", "1e999"], '2 has "1e999"'),
        ([True, True], '1 has "True"'),
        (pd.to_datetime(["2024-01-01", "2024-01-02"]), '1 has "2024-01-01 00:00:00"'),
    ],
)
def test_what_is_no_weight_is_refused(cells: object, told: str) -> None:
    events = pd.DataFrame({"user_id": "u", "item_id": ["A", "B"], "times_read": cells})
    with pytest.raises(CatalogError) as raised:
        Catalog(ITEMS, events, weight="times_read")
    assert str(raised.value) == (
        f"interactions: data row {told} as times_read, expected a positive number, not infinite. Mend the "
        "row, or set catalog.weight to another column."
    )


def test_weights_whose_sum_is_no_number_are_refused() -> None:
    with pytest.raises(CatalogError, match=r"times_read, up to 1e\+308, add up to more than .* Divide all"):
        weighted(*[1e308] * 7)


def test_a_column_of_weights_that_is_not_there_is_refused() -> None:
    message = (
        r'no column "weigth" \(catalog\.weight\)\. Did you mean "weight"\? .* Set catalog\.weight to one'
    )
    with pytest.raises(CatalogError, match=message):
        Catalog(ITEMS, EVENTS.assign(weight=1), weight="weigth")


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    """What names the catalogue as two files, and their weights."""
    ITEMS.to_csv(tmp_path / "items.csv", index=False)
    EVENTS.assign(times_read=[0.5, *[1] * 11, 12]).to_csv(tmp_path / "events.csv", index=False)
    named = {"items": "items.csv", "interactions": "events.csv"}
    return [f"catalog.{key}={tmp_path / name}" for key, name in named.items()] + ["catalog.weight=times_read"]


def test_the_command_says_the_range_of_the_weights(arguments: list[str], command: Command) -> None:
    assert "weights of events: 0.5 to 12\n" in command("catalog", *arguments).out
    assert json.loads(command("catalog", *arguments, "--json").out)["weights"] == {"min": 0.5, "max": 12}
    assert "weights" not in command("catalog", *arguments[:2]).out


def test_the_command_refuses_a_bad_weight_by_file_and_row(
    arguments: list[str], command: Command, tmp_path: Path
) -> None:
    EVENTS.assign(times_read=[1, 0, *[1] * 11]).to_csv(tmp_path / "events.csv", index=False)
    ended = command("catalog", *arguments)
    assert ended.status == 2
    assert 'events.csv: data row 2 has "0" as times_read, expected a positive number' in ended.err
    assert "Traceback" not in ended.err
