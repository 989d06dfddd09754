"""One small data set, written in the forms in which research projects hand theirs on.

Twelve items and eight users with six events each: user u has the items u, u + 5, u + 10, ... modulo 12,
oldest first. Where a form divides them, the last event of a user is test and the one before valid.
"""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable, Sequence
from pathlib import Path

TITLES = (
    "Steel Mug", "Clay Pot", "Oak Board", "Linen Towel", "Glass Jar", "Iron Pan",
    "Wool Rug", "Paper Lamp", "Brass Bell", "Cork Mat", "Silk Scarf", "Tin Box",
)  # fmt: skip
BRANDS = ("Acme", "Bolt", "Crow")
MINIONEREC_COLUMNS = (
    "user_id", "history_item_title", "item_title", "history_item_id", "item_id", "history_item_sid",
    "item_sid",
)  # fmt: skip
NUM_USERS = 8
NUM_EVENTS = 6
ASINS = tuple(f"B{item:03}" for item in range(len(TITLES)))
USERS = tuple(f"A{user}X" for user in range(NUM_USERS))


def sequence(user: int) -> list[int]:
    """The items of a user, oldest first."""
    return [(user + 5 * event) % len(TITLES) for event in range(NUM_EVENTS)]


def codes(item: int) -> list[str]:
    """A semantic ID of an item, as the index files spell it."""
    return [f"<a_{item % 4}>", f"<b_{item % 3}>"]


def fields(item: int) -> dict[str, str]:
    """What is known of an item."""
    return {
        "title": TITLES[item],
        "brand": BRANDS[item % 3],
        "description": f"A {TITLES[item].lower()} for the home.",
    }


def my_data(root: Path) -> Path:
    """Make the directory that all of the forms are written into."""
    directory = root / "my_data"
    directory.mkdir(parents=True)
    return directory


def write_json(path: Path, document: object) -> None:
    path.write_text(json.dumps(document), encoding="utf-8")


def write_lcrec(root: Path) -> None:
    directory = my_data(root)
    write_json(directory / "Home.item.json", {str(item): fields(item) for item in range(len(TITLES))})
    write_json(directory / "Home.inter.json", {str(user): sequence(user) for user in range(NUM_USERS)})
    write_json(directory / "Home.index.json", {str(item): codes(item) for item in range(len(TITLES))})


def write_minionerec(root: Path, parts: Sequence[str] = ("train", "valid", "test")) -> None:
    """Rows for the targets from the second event on, in the columns of the original."""
    directory = my_data(root)
    targets = {"train": range(1, NUM_EVENTS - 2), "valid": [NUM_EVENTS - 2], "test": [NUM_EVENTS - 1]}
    for part in parts:
        (directory / part).mkdir()
        path = directory / part / "Home_5_2016-10-2018-11.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file, lineterminator="\n")
            rows.writerow(MINIONEREC_COLUMNS)
            for target in targets[part]:
                rows.writerows(minionerec_row(user, target) for user in range(NUM_USERS))
    for folder in ("index", "info"):
        (directory / folder).mkdir()
    write_json(directory / "index" / "Home.item.json", {str(i): fields(i) for i in range(len(TITLES))})
    write_json(directory / "index" / "Home.index.json", {str(i): codes(i) for i in range(len(TITLES))})
    lines = [f"{''.join(codes(item))}\t{title}\t{item}\n" for item, title in enumerate(TITLES)]
    (directory / "info" / "Home_5_2016-10-2018-11.txt").write_text("".join(lines), encoding="utf-8")


def minionerec_row(user: int, target: int) -> list[object]:
    """The row for one event of a user; its lists are written as Python's `repr`."""
    *history, item = sequence(user)[: target + 1]
    return [
        f"A{user}", [TITLES[other] for other in history], TITLES[item], history, item,
        ["".join(codes(other)) for other in history], "".join(codes(item)),
    ]  # fmt: skip


def write_minionerec_without_train(root: Path) -> None:
    write_minionerec(root, parts=("valid", "test"))


def write_p5(root: Path) -> None:
    """Numbers in the sequences, original ids in the maps, metadata as the `repr` of a dict per line."""
    directory = my_data(root)
    lines = [f"{user} {' '.join(map(str, sequence(user)))}\n" for user in range(NUM_USERS)]
    (directory / "sequential_data.txt").write_text("".join(lines), encoding="utf-8")
    maps = {
        "user2id": {name: str(number) for number, name in enumerate(USERS)},
        "item2id": {name: str(number) for number, name in enumerate(ASINS)},
        "id2user": {str(number): name for number, name in enumerate(USERS)},
        "id2item": {str(number): name for number, name in enumerate(ASINS)},
    }
    write_json(directory / "datamaps.json", maps)
    metadata = [
        {"asin": asin, **fields(item), "price": 1.5 + item, "categories": [["Home", BRANDS[item % 3]]]}
        for item, asin in enumerate(ASINS)
    ]
    metadata.append(
        {"asin": "B999", "title": "Nobody's", "categories": [["Home"]], "imUrl": "http://x/y.jpg"}
    )
    text = "".join(f"{line!r}\n" for line in metadata)
    (directory / "meta.json.gz").write_bytes(gzip.compress(text.encode()))


def write_openp5(root: Path) -> None:
    """Original ids in the sequences, a line of text per item."""
    directory = my_data(root)
    lines = [
        f"{USERS[user]} {' '.join(ASINS[item] for item in sequence(user))}\n" for user in range(NUM_USERS)
    ]
    (directory / "user_sequence.txt").write_text("".join(lines), encoding="utf-8")
    texts = [
        f"{asin} " + "; ".join(f"{name}: {value}" for name, value in fields(item).items()) + "\n"
        for item, asin in enumerate(ASINS)
    ]
    (directory / "item_plain_text.txt").write_text("".join(texts), encoding="utf-8")


def write_actionpiece(root: Path) -> None:
    directory = my_data(root)
    sequences = {USERS[user]: [ASINS[item] for item in sequence(user)] for user in range(NUM_USERS)}
    write_json(directory / "all_item_seqs.json", sequences)
    mapping = {
        "user2id": {name: number for number, name in enumerate(["[PAD]", *USERS])},
        "item2id": {name: number for number, name in enumerate(["[PAD]", *ASINS])},
        "id2user": ["[PAD]", *USERS],
        "id2item": ["[PAD]", *ASINS],
    }
    write_json(directory / "id_mapping.json", mapping)
    sentences = {asin: ". ".join(fields(item).values()) + " " for item, asin in enumerate(ASINS)}
    write_json(directory / "metadata.sentence.json", sentences)


def write_recbole(root: Path) -> None:
    directory = my_data(root)
    write_recbole_items(directory)
    write_recbole_events(directory / "home.inter", range(NUM_EVENTS))


def write_recbole_benchmark(root: Path) -> None:
    directory = my_data(root)
    write_recbole_items(directory)
    write_recbole_events(directory / "home.train.inter", range(NUM_EVENTS - 2))
    write_recbole_events(directory / "home.valid.inter", [NUM_EVENTS - 2])
    write_recbole_events(directory / "home.test.inter", [NUM_EVENTS - 1])


def write_recbole_items(directory: Path) -> None:
    rows = ["item_id:token\ttitle:token_seq\tbrand:token\tdescription:token_seq\n"]
    rows += ["\t".join([asin, *fields(item).values()]) + "\n" for item, asin in enumerate(ASINS)]
    (directory / "home.item").write_text("".join(rows), encoding="utf-8")


def write_recbole_events(path: Path, events: Sequence[int]) -> None:
    rows = ["user_id:token\titem_id:token\trating:float\ttimestamp:float\n"]
    for event in events:
        for user, name in enumerate(USERS):
            rows.append(f"{name}\t{ASINS[sequence(user)[event]]}\t5\t{1000 + 10 * event + user}\n")
    path.write_text("".join(rows), encoding="utf-8")


def write_datasets(root: Path) -> None:
    """What `DatasetDict.save_to_disk` writes."""
    from datasets import Dataset, DatasetDict

    events = [(USERS[user], ASINS[item]) for user in range(NUM_USERS) for item in sequence(user)]
    columns = {
        "user_id": [user for user, _ in events],
        "item_id": [item for _, item in events],
        "timestamp": list(range(len(events))),
    }
    items = [{"item_id": asin, **fields(item)} for item, asin in enumerate(ASINS)]
    saved = DatasetDict({"items": Dataset.from_list(items), "interactions": Dataset.from_dict(columns)})
    saved.save_to_disk(root / "my_data")


FIXTURES: dict[str, Callable[[Path], None]] = {
    "lcrec": write_lcrec,
    "minionerec": write_minionerec,
    "minionerec_without_train": write_minionerec_without_train,
    "p5": write_p5,
    "openp5": write_openp5,
    "actionpiece": write_actionpiece,
    "recbole": write_recbole,
    "recbole_benchmark": write_recbole_benchmark,
    "datasets": write_datasets,
}
"""Name -> what writes the data set in that form into `my_data` below a directory."""
