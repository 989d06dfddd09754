"""What `sidrec catalog` says of a catalogue, and what it finds that looks wrong."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import toy
from conftest import Ended

from sidrec.artifacts import read_manifest
from sidrec.catalog import Catalog, CatalogConfig, SplitConfig, read_catalog, split_catalog
from sidrec.catalog.doubts import find_doubts
from sidrec.catalog.overview import long_tail, look_at
from sidrec.catalog.times import unit_of
from sidrec.config import load_config

Command = Callable[..., Ended]
DAY = 86_400
ITEMS = pd.DataFrame(
    {"item_id": [f"i{n}" for n in range(40)], "title": [f"A thing of number {n}" for n in range(40)]}
)


def events(sequences: dict[str, list[int]], start: float = 1.5e9, step: float = DAY) -> pd.DataFrame:
    rows = [
        (user, f"i{item}", start + step * place)
        for user, sequence in sequences.items()
        for place, item in enumerate(sequence)
    ]
    return pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"])


WELL = {f"u{n}": [(n + place) % 40 for place in range(5)] for n in range(40)}


def doubts(
    items: pd.DataFrame = ITEMS, interactions: pd.DataFrame | None = None, **split: object
) -> list[str]:
    catalog = Catalog(items, events(WELL) if interactions is None else interactions)
    config = SplitConfig(**split)
    return [doubt.what for doubt in find_doubts(catalog, config, split_catalog(catalog, config))]


def test_nothing_looks_wrong_in_a_good_catalogue():
    assert doubts() == []


@pytest.mark.parametrize(
    ("interactions", "what"),
    [
        (events(WELL, 1.5e12, 1000 * DAY), "the times look like milliseconds since 1970"),
        (events(WELL, 0, 1), r"the times, 0 to 4, are no dates between 1980 and 2100 in any unit"),
        (events(WELL, 4e9), "the newest event is of 2096-10-06, which is still to come"),
        (events(WELL, step=0), "80% of the events have the very time of their user's event before"),
        (events({**WELL, "bot": list(range(40))}), 'user "bot" has 17% of all events'),
        (
            events({**WELL, "U1": [1, 2, 3, 4]}),
            '2 user ids differ from another only by case or leading zeros, such as "u1" and "U1"',
        ),
        (
            events({u: [1, 2, *[1] * 18] for u in WELL}),
            "90% of the events repeat an item that their user had before",
        ),
        (
            events({**{u: row[:2] for u, row in WELL.items()}, "v": [0, 1, 2]}),
            "40 of 41 users have fewer than 3 events",
        ),
        (events({u: [1, 2, 3] for u in WELL}), "37 of 40 items have no event"),
    ],
)
def test_events_that_look_wrong_are_told(interactions, what):
    assert what in doubts(interactions=interactions)


@pytest.mark.parametrize(
    ("titles", "what"),
    [
        (
            ["The same"] * 4 + [f"A thing of number {n}" for n in range(36)],
            '4 of 40 items share their text with another, such as "i0", "i1", "i2"',
        ),
        (
            [f"A thing {n}" for n in range(39)] + ["x" * 20_000],
            '1 texts have more than 10,000 characters, the longest 20,000 (item "i39")',
        ),
        (
            [f"SKU {n}" for n in range(40)],
            'half of the texts have fewer than 8 characters, such as "SKU 0"',
        ),
    ],
)
def test_texts_that_look_wrong_are_told(titles, what):
    assert what in doubts(ITEMS.assign(title=titles))


def test_ids_alike_but_for_leading_zeros_are_told():
    items = pd.concat([ITEMS, pd.DataFrame({"item_id": ["007", "7"], "title": ["A spy", "A number"]})])
    assert '2 item ids differ from another only by case or leading zeros, such as "007" and "7"' in doubts(
        items
    )


def test_parts_in_the_files_that_are_not_used_are_told():
    frame = events(WELL).assign(split=["train", "train", "train", "valid", "test"] * 40)
    what = "the files say which events are train, valid and test, but split.method is leave_one_out"
    assert what in doubts(interactions=frame)
    assert doubts(interactions=frame, method="given") == []


def test_targets_that_nobody_had_before_are_told():
    # each user's last item is one that only they have
    sequences = {f"u{n}": [0, 1, 2, 3 + n] for n in range(37)}
    assert "100% of the test targets are items without a train event" in doubts(
        interactions=events(sequences)
    )


@pytest.mark.parametrize(
    ("times", "name"),
    [
        ([1e9, 1.7e9], "seconds"),
        ([1e12, 1.7e12], "milliseconds"),
        ([1e15, 1.7e15], "microseconds"),
        ([1e18, 1.7e18], "nanoseconds"),
        ([-1.0, 1e9], None),
        ([0, 5], None),
    ],
)
def test_the_unit_of_times_is_told_by_their_size(times, name):
    unit = unit_of(np.array(times))
    assert (unit and unit.name) == name


def test_the_long_tail_is_counted():
    # 40 items, one with 61 of 100 events, the others with one each
    frame = events({"u": [0] * 61, "v": list(range(1, 40))})
    tail = dict(long_tail(Catalog(ITEMS, frame)))
    assert tail[0.01] == pytest.approx(0.61)  # one item at least
    assert tail[0.5] == pytest.approx((61 + 19) / 100)
    assert tail[1.0] == 1


def test_a_catalogue_that_cannot_be_split_is_still_shown():
    found = look_at(Catalog(ITEMS, events({"u": [1, 2]})), SplitConfig())
    assert "needs users with 3 events or more" in found.split["error"]
    assert found.statistics["events"] == 2


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = toy.write(tmp_path)
    text = path.read_text().replace(
        "catalog:\n", "catalog:\n  filters: {min_history: 6, drop_titles: red rug}\n"
    )
    path.write_text(text)
    return path


def test_the_command_shows_files_rows_filters_split_and_advice(config: Path, command: Command):
    ended = command("catalog", config)
    assert (ended.status, ended.err) == (0, "")
    words = " ".join(ended.out.split())
    for said in (
        "items.csv 24 CSV",
        "i00 red lamp red lamp. A red lamp for th...",
        # item 8: users who begin at 3 to 8, of 24, have it: 18 of 60
        "drop_titles=red rug 1 items, 18 events 60 23 342",
        "split leave_one_out: 168 train events of 42 users, 42 valid and 42 test targets",
    ):
        assert said in words
    assert "Look: the times, 1000 to 1005, are no dates" in ended.out


def test_json_holds_everything(config: Path, command: Command):
    found = json.loads(command("catalog", config, "--json").out)
    assert [each["rows"] for each in found["files"]] == [24, 360]
    assert [step["name"] for step in found["filters"]] == ["drop_titles=red rug", "min_history=6"]
    assert found["statistics"]["items"] == 23
    # user u starts at item u: those who pass item 8, "red rug", within 6 steps have 5 events left
    assert found["statistics"]["users"] == sum(8 not in [(u + s) % 24 for s in range(6)] for u in range(60))
    assert found["split"]["test_targets"] == found["statistics"]["users"]


def test_the_figure_is_a_picture(config: Path, command: Command, tmp_path: Path):
    assert command("catalog", config, "--figure", tmp_path / "new" / "tail.png").status == 0
    assert (tmp_path / "new" / "tail.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("form", ["recbole", "lcrec"])
def test_what_is_left_can_be_taken_elsewhere(form: str, config: Path, command: Command, tmp_path: Path):
    out = tmp_path / "mine"
    ended = command("catalog", config, "--export", out, "--form", form)
    assert ended.status == 0, ended.err
    assert "Written: " in ended.out
    ours, theirs = read_catalog(load_config(config).catalog), read_catalog(CatalogConfig(items=out))
    assert theirs.items["item_id"].tolist() == ours.items["item_id"].tolist()
    assert theirs.interactions["item_id"].tolist() == ours.interactions["item_id"].tolist()
    assert command("catalog", config, "--export", out, "--form", form).status == 2  # it is there already


def test_an_unknown_form_to_write_is_refused(config: Path, command: Command, tmp_path: Path):
    ended = command("catalog", config, "--export", tmp_path / "mine", "--form", "arff")
    assert (ended.status, "expected one of recbole, lcrec" in ended.err) == (2, True)
    assert not (tmp_path / "mine").exists()


def test_the_manifest_says_what_was_read_and_removed(config: Path, command: Command):
    assert command("tokenize", config).status == 0
    loaded = load_config(config)
    manifest = read_manifest(loaded.output / "tokenize")
    assert manifest["catalog"] == json.loads(json.dumps(read_catalog(loaded.catalog).provenance()))
    assert [each["rows"] for each in manifest["catalog"]["files"]] == [24, 360]
    assert manifest["catalog"]["filters"][0]["name"] == "drop_titles=red rug"


def test_nothing_is_written_by_a_look(config: Path, command: Command):
    before = toy.contents(config.parent)
    command("catalog", config)
    assert toy.contents(config.parent) == before


def test_a_catalogue_that_cannot_be_read_is_refused(tmp_path: Path, command: Command):
    ended = command("catalog", f"catalog.items={tmp_path / 'no.csv'}", f"catalog.interactions={tmp_path}")
    assert ended.status == 2
    assert "there is no file" in ended.err
