"""The figures of a table of semantic IDs, against numbers computed by hand."""

import json

import numpy as np
import pytest

from tokenizer.health import health

CODES = np.array([[0, 0], [0, 1], [1, 2], [0, 0]])


def test_use_perplexity_and_the_largest_code_are_counted_per_level():
    first, second = health(CODES, (4, 3))["levels"]
    # Level a: 2 of 4 codes, shares 3/4 and 1/4: perplexity 1 / (.75^.75 * .25^.25) = 1.7548.
    assert first == {
        "level": "a",
        "codebook_size": 4,
        "codes_used": 2,
        "share_used": 0.5,
        "perplexity": pytest.approx(1.7548, abs=1e-4),
        "largest_share": 0.75,
    }
    # Level b: all 3 codes, shares 1/2, 1/4, 1/4: perplexity 2^1.5.
    assert (second["codes_used"], second["share_used"], second["largest_share"]) == (3, 1.0, 0.5)
    assert second["perplexity"] == pytest.approx(2**1.5)


def test_codes_used_alike_have_a_perplexity_of_their_number():
    assert health(np.arange(8)[:, None], (8,))["levels"][0]["perplexity"] == pytest.approx(8)
    assert health(np.zeros((8, 1), int), (8,))["levels"][0]["perplexity"] == pytest.approx(1)


def test_collisions_moves_and_reconstruction_are_reported():
    report = health(
        CODES,
        (4, 3),
        moved=np.array([True, False, True, False]),
        collision_rate_before=0.5,
        reconstruction_error=0.3,
        variance=1.2,
    )
    # 3 distinct of 4: .25. Explained: 1 - .3 / 1.2 = .75.
    assert report["collision_rate_after"] == 0.25
    assert (report["items"], report["items_moved"], report["collision_rate_before"]) == (4, 2, 0.5)
    assert report["explained"] == pytest.approx(0.75)


def test_the_report_is_ready_for_json_whatever_number_types_came_in():
    report = health(
        CODES.astype(np.int32),
        np.array([4, 3]),
        moved=np.ones(4, bool),
        collision_rate_before=np.float32(0.5),
        reconstruction_error=np.float32(0.25),
        variance=np.float64(0.5),
    )
    assert json.loads(json.dumps(report, allow_nan=False)) == report


def test_what_was_not_given_and_what_cannot_be_said_is_none():
    report = health(CODES, (4, 3))
    names = ("collision_rate_before", "items_moved", "reconstruction_error", "variance", "explained")
    assert [report[name] for name in names] == [None] * 5
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
