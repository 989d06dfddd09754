"""The figures of a table of semantic IDs, against numbers computed by hand."""

import json

import numpy as np
import pytest

from tokenizer.health.measures import health

CODES = np.array([[0, 0], [0, 1], [1, 2], [0, 0]])


def test_use_perplexity_and_the_largest_code_are_counted_per_level():
    first, second = health(CODES, (4, 3))["levels"]
    # Level a: 2 of 4 codes, shares 3/4 and 1/4: perplexity 1 / (.75^.75 * .25^.25) = 1.7548.
    assert first == {
        "level": "a",
        "codebook_size": 4,
        "codes_used": 2,
        "share_used": 0.5,
        # .75 * log2(4/3) + .25 * log2(4) = .31128 + .5
        "entropy": pytest.approx(0.81128, abs=1e-5),
        "perplexity": pytest.approx(1.7548, abs=1e-4),
        "largest_share": 0.75,
    }
    # Level b: all 3 codes, shares 1/2, 1/4, 1/4: perplexity 2^1.5.
    assert (second["codes_used"], second["share_used"], second["largest_share"]) == (3, 1.0, 0.5)
    assert second["perplexity"] == pytest.approx(2**1.5)


def test_codes_used_alike_have_a_perplexity_of_their_number():
    assert health(np.arange(8)[:, None], (8,))["levels"][0]["perplexity"] == pytest.approx(8)
    assert health(np.zeros((8, 1), int), (8,))["levels"][0]["perplexity"] == pytest.approx(1)


def test_what_the_resolution_of_collisions_did_is_told_from_the_codes_before():
    before = np.array([[0, 0], [0, 0], [0, 0], [1, 2]])
    after = np.array([[0, 0], [0, 1], [0, 2], [1, 2]])
    report = health(after, (4, 3), codes_before=before, extra_error=0.1, events=np.array([1, 2, 3, 4]))
    # Before, 2 distinct of 4; one group of 3, with 6 of 10 events. Two items moved.
    assert (report["collision_rate_before"], report["collision_rate_after"]) == (0.5, 0.0)
    assert report["collision_groups"]["before"] == {
        "groups": 1,
        "items": 3,
        "largest": 3,
        "sizes": [[3, 1]],
        "events": 0.6,
    }
    assert report["collision_groups"]["after"]["groups"] == 0
    assert (report["items_moved"], report["extra_error"], report["distinct"]) == (2, 0.1, 4)


def test_a_level_that_numbers_items_shows_the_collisions_without_it():
    report = health(np.array([[0, 0], [0, 1], [1, 0], [2, 0]]), (3, 2))
    assert report["numbered"]
    assert report["collision_rate_before"] == 0.25
    assert report["items_moved"] == 0


def test_the_quantizers_own_error_is_put_in_relation_to_the_variance():
    report = health(CODES, (4, 3), reconstruction_error=0.3, variance=1.2)
    assert report["explained"] == pytest.approx(0.75)  # 1 - .3 / 1.2


def test_groups_are_looked_at_apart():
    """Items 0 and 3 share an ID. In one dimension, with a code of their own the others are exact."""
    vectors = np.array([[1.0], [0.0], [0.0], [3.0]])
    groups = {"head": np.array([True, True, False, False]), "cold": np.zeros(4, dtype=bool)}
    found = health(CODES, (4, 3), vectors=vectors, codes_before=CODES[::-1], groups=groups)["groups"]
    assert set(found) == {"head"}  # an empty group has no figures
    assert (found["head"]["items"], found["head"]["colliding"], found["head"]["moved"]) == (2, 0.5, 0.5)
    # The mean is 1. Code a_0: mean 4/3, left -1/3, -4/3, -, 5/3; then b_0: mean 2/3, b_1: -4/3. Item 0 is off
    # by 1, item 1 by 0; their squared distances to the mean of all are 0 and 1: 1 - 1 / 1.
    assert found["head"]["explained"] == pytest.approx(0.0)


def test_the_report_is_ready_for_json_whatever_number_types_came_in():
    rng = np.random.default_rng(0)
    report = health(
        CODES.astype(np.int32),
        np.array([4, 3]),
        codes_before=CODES.astype(np.int16),
        extra_error=np.float32(0.5),
        reconstruction_error=np.float32(0.25),
        variance=np.float64(0.5),
        vectors=rng.normal(size=(4, 3)).astype(np.float32),
        events=np.arange(4, dtype=np.uint8),
        categories=np.array(["x", "y", "", "x"]),
        groups={"tail": np.ones(4, bool)},
    )
    assert json.loads(json.dumps(report, allow_nan=False)) == report


def test_equal_vectors_have_no_variance_to_be_explained():
    report = health(CODES, (4, 3), vectors=np.full((4, 2), 0.1), groups={"head": np.ones(4, bool)})
    assert report["levels_explained"] is None
    assert report["groups"]["head"]["explained"] is None


def test_one_item_has_a_report():
    report = health(np.array([[3]]), (8,), vectors=np.ones((1, 2)), events=np.ones(1))
    assert (report["distinct"], report["unique_depth"], report["neighbours"]) == (1, 1.0, None)


def test_what_was_not_given_and_what_cannot_be_said_is_none():
    report = health(CODES, (4, 3))
    missing = {name for name, value in report.items() if value is None}
    assert missing == {
        "collision_rate_before",
        "items_moved",
        "extra_error",
        "reconstruction_error",
        "variance",
        "explained",
        "levels_explained",
        "purity",
        "neighbours",
    }
    assert report["collision_groups"]["before"] is None
    assert report["collision_groups"]["after"]["events"] is None
    assert health(CODES, (4, 3), reconstruction_error=0.0, variance=0.0)["explained"] is None


@pytest.mark.parametrize(
    ("codes", "sizes", "message"),
    [
        (np.zeros((0, 2), int), (4, 3), "Health is of one or more items"),
        (CODES, (4, 3, 2), r"3 levels do not fit int64 codes of shape \(4, 2\)"),
        (CODES.astype(float), (4, 3), "do not fit float64 codes"),
        (CODES, (4, 2), r"outside the codebook sizes \[4, 2\]"),
        (-CODES, (4, 3), r"outside the codebook sizes \[4, 3\]"),
    ],
)
def test_codes_that_do_not_fit_are_refused(codes, sizes, message):
    with pytest.raises(ValueError, match=message):
        health(codes, sizes)
