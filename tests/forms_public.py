"""Small data sets written in the very form of public ones; no line of theirs is in them."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

NUM_ITEMS = 9
NUM_USERS = 7
EVENTS_PER_USER = 5
GENRES = ("unknown", "Action", "Animation", "Comedy", "Drama")
KINDS = ("mug", "pot", "pan", "jug", "cup", "bowl", "plate", "fork", "spoon")


class Event(NamedTuple):
    """One event of the sets."""

    user: int
    item: int
    second: int
    rating: float


def events() -> Iterator[Event]:
    """Give each user five different items, one a day: user u has items u, u + 2, u + 4, ... modulo 9."""
    for user in range(NUM_USERS):
        for place in range(EVENTS_PER_USER):
            item = (user + 2 * place) % NUM_ITEMS
            yield Event(user, item, 1_400_000_000 + 86_400 * place + user, float(1 + place))


def write_lines(path: Path, lines: Sequence[str], encoding: str = "utf-8") -> Path:
    """Write lines, packed if the name ends in .gz."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = "".join(line + "\n" for line in lines).encode(encoding)
    path.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)
    return path


def write_json_lines(path: Path, records: Sequence[dict[str, Any]]) -> Path:
    """Write an object per line."""
    return write_lines(path, [json.dumps(record) for record in records])


def user_name(user: int) -> str:
    return f"A{user}XYZ"


def item_name(item: int) -> str:
    return f"B00{item}"


def reviews_2014() -> list[dict[str, Any]]:
    return [
        {
            "reviewerID": user_name(event.user),
            "asin": item_name(event.item),
            "reviewerName": "Al",
            "helpful": [0, 1],
            "reviewText": "Holds tea.\nAnd coffee.",
            "overall": event.rating,
            "summary": "Good",
            "unixReviewTime": event.second,
            "reviewTime": "05 13, 2014",
        }
        for event in events()
    ]


def amazon2014(directory: Path) -> None:
    """Write products as `repr` of a dict per line, and reviews as JSON lines, both packed."""
    products = [
        {
            "asin": item_name(item),
            "title": f"Bob's {kind} &amp; saucer",
            "price": 3.5,
            "imUrl": f"http://example.com/{item}.jpg",
            "related": {"also_bought": [item_name(0)]},
            "salesRank": {"Kitchen": item},
            "brand": "Acme",
            "categories": [["Kitchen", kind.title()], ["Gifts"]],
            "description": f"A {kind} of clay.",
        }
        for item, kind in enumerate(KINDS)
    ]
    write_lines(directory / "my_data" / "meta_Kitchen.json.gz", [repr(product) for product in products])
    write_json_lines(directory / "my_data" / "reviews_Kitchen_5.json.gz", reviews_2014())


def reviews_2018() -> list[dict[str, Any]]:
    added = {"verified": True, "vote": "2", "style": {"Size:": " L"}, "image": ["http://example.com/1.jpg"]}
    return [
        {**{key: value for key, value in review.items() if key != "helpful"}, **added}
        for review in reviews_2014()
    ]


def products_2018() -> list[dict[str, Any]]:
    return [
        {
            "category": ["Kitchen", kind.title()],
            "tech1": "",
            "description": [f"A {kind} <b>of</b> clay.", "It&#39;s red."],
            "fit": "",
            "title": f"Bob&#39;s {kind} &amp; saucer",
            "also_buy": [item_name(0)],
            "image": ["http://example.com/1.jpg"],
            "tech2": "",
            "brand": "Acme",
            "feature": [f"{item} litres", "Red"],
            "rank": "1 in Kitchen",
            "also_view": [],
            "details": {"ASIN: ": item_name(item)},
            "main_cat": "Home & Kitchen",
            "similar_item": "",
            "date": "",
            "price": "$3.50",
            "asin": item_name(item),
        }
        for item, kind in enumerate(KINDS)
    ]


def amazon2018(directory: Path) -> None:
    """Write products and reviews as JSON lines, both packed."""
    write_json_lines(directory / "my_data" / "meta_Kitchen.json.gz", products_2018())
    write_json_lines(directory / "my_data" / "Kitchen_5.json.gz", reviews_2018())


def products_2023() -> list[dict[str, Any]]:
    return [
        {
            "main_category": "Home & Kitchen",
            "title": f"Bob's {kind}",
            "average_rating": 4.5,
            "rating_number": 12,
            "features": [f"{item} litres", "Red"],
            "description": [f"A {kind} of clay."],
            "price": None,
            "images": [{"thumb": "http://example.com/1.jpg", "variant": "MAIN"}],
            "videos": [],
            "store": "Acme",
            "categories": ["Kitchen", kind.title()],
            "details": {"Brand": "Acme"},
            "parent_asin": item_name(item),
            "bought_together": None,
        }
        for item, kind in enumerate(KINDS)
    ]


def reviews_2023() -> list[dict[str, Any]]:
    return [
        {
            "rating": event.rating,
            "title": "Good",
            "text": "Holds tea.",
            "images": [],
            "asin": item_name(event.item) + "L",
            "parent_asin": item_name(event.item),
            "user_id": user_name(event.user),
            "timestamp": 1000 * event.second,
            "helpful_vote": 0,
            "verified_purchase": True,
        }
        for event in events()
    ]


def amazon2023(directory: Path) -> None:
    """Write products and reviews as JSON lines."""
    write_json_lines(directory / "my_data" / "meta_Kitchen.jsonl", products_2023())
    write_json_lines(directory / "my_data" / "Kitchen.jsonl", reviews_2023())


def amazon2023_benchmark(directory: Path) -> None:
    """Write products, and the three parts of the events with the histories that go with them."""
    write_json_lines(directory / "my_data" / "meta_Kitchen.jsonl", products_2023())
    header = "user_id,parent_asin,rating,timestamp,history"
    parts: dict[str, list[str]] = {"train": [header], "valid": [header], "test": [header]}
    history: list[str] = []
    for number, event in enumerate(events()):
        place = number % EVENTS_PER_USER
        history = history if place else []
        part = {EVENTS_PER_USER - 2: "valid", EVENTS_PER_USER - 1: "test"}.get(place, "train")
        cells = [user_name(event.user), item_name(event.item), event.rating, 1000 * event.second]
        parts[part].append(",".join([*map(str, cells), " ".join(history)]))
        history = [*history, item_name(event.item)]
    for part, lines in parts.items():
        write_lines(directory / "my_data" / f"Kitchen.{part}.csv", lines)


def film(item: int) -> str:
    return f"Café of the {KINDS[item]} ({1990 + item})"


def movielens_100k(directory: Path) -> None:
    """Write `u.data` and what lies beside it, in Latin-1."""
    target = directory / "my_data"
    lines = [f"{event.user + 1}\t{event.item + 1}\t{event.rating:.0f}\t{event.second}" for event in events()]
    write_lines(target / "u.data", lines)
    films = []
    for item in range(NUM_ITEMS):
        flags = ["0", "0", "1", str(item % 2), "0"]  # Animation, and Comedy for the odd ones
        link = f"http://us.imdb.com/M/title-exact?{item}"
        films.append("|".join([str(item + 1), film(item), "01-Jan-1995", "", link, *flags]))
    write_lines(target / "u.item", films, "latin-1")
    write_lines(target / "u.genre", [f"{name}|{number}" for number, name in enumerate(GENRES)] + [""])
    write_lines(target / "u.user", [f"{user + 1}|24|M|technician|85711" for user in range(NUM_USERS)])


def movielens_1m(directory: Path) -> None:
    """Write the three `.dat` files, in Latin-1."""
    target = directory / "my_data"
    lines = [f"{event.user + 1}::{event.item + 1}::{event.rating:.0f}::{event.second}" for event in events()]
    write_lines(target / "ratings.dat", lines)
    films = [f"{item + 1}::{film(item)}::Animation|Comedy" for item in range(NUM_ITEMS)]
    write_lines(target / "movies.dat", films, "latin-1")
    write_lines(target / "users.dat", [f"{user + 1}::F::1::10::48067" for user in range(NUM_USERS)])


def movielens_25m(directory: Path) -> None:
    """Write the CSV files, in UTF-8."""
    target = directory / "my_data"
    lines = [f"{event.user + 1},{event.item + 1},{event.rating},{event.second}" for event in events()]
    write_lines(target / "ratings.csv", ["userId,movieId,rating,timestamp", *lines])
    target.mkdir(parents=True, exist_ok=True)
    with (target / "movies.csv").open("w", encoding="utf-8", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["movieId", "title", "genres"])
        for item in range(NUM_ITEMS):
            title = f"{KINDS[item].title()}, The ({1990 + item})"
            rows.writerow([item + 1, title, "Adventure|Comedy" if item else "(no genres listed)"])
    write_lines(target / "links.csv", ["movieId,imdbId,tmdbId", "1,0114709,862"])
    write_lines(target / "tags.csv", ["userId,movieId,tag,timestamp", "1,1,fun,1400000000"])


def businesses() -> list[dict[str, Any]]:
    return [
        {
            "business_id": item_name(item),
            "name": f"Café {kind}",
            "address": "1 Main St",
            "city": "Tampa",
            "state": "FL",
            "postal_code": "33602",
            "latitude": 27.9,
            "longitude": -82.4,
            "stars": 4.5,
            "review_count": 22,
            "is_open": 1,
            "attributes": {"BikeParking": "True"},
            "categories": f"Food, {kind.title()}",
            "hours": None,
        }
        for item, kind in enumerate(KINDS)
    ]


def write_businesses(directory: Path) -> None:
    write_json_lines(directory / "yelp_academic_dataset_business.json", businesses())


def yelp(directory: Path) -> None:
    """Write businesses and reviews as JSON lines."""
    write_businesses(directory / "my_data")
    reviews = [
        {
            "review_id": f"r{number}",
            "user_id": user_name(event.user),
            "business_id": item_name(event.item),
            "stars": event.rating,
            "useful": 0,
            "funny": 0,
            "cool": 0,
            "text": "Good tea.\nAnd coffee.",
            "date": f"2018-07-{number % EVENTS_PER_USER + 1:02d} 22:09:11",
        }
        for number, event in enumerate(events())
    ]
    write_json_lines(directory / "my_data" / "yelp_academic_dataset_review.json", reviews)


def write_numbered_lists(directory: Path) -> None:
    """Write the events as numbers: the last of each user in `test.txt`, the others in `train.txt`."""
    items = [f"{item_name(item)} {item}" for item in range(NUM_ITEMS)]
    write_lines(directory / "item_list.txt", ["org_id remap_id", *items])
    users = [f"{user_name(user)} {user}" for user in range(NUM_USERS)]
    write_lines(directory / "user_list.txt", ["org_id remap_id", *users])
    had = {user: [str(event.item) for event in events() if event.user == user] for user in range(NUM_USERS)}
    write_lines(directory / "train.txt", [" ".join([str(user), *had[user][:-1]]) for user in had])
    write_lines(directory / "test.txt", [" ".join([str(user), *had[user][-1:]]) for user in had])


def yelp_mapped(directory: Path) -> None:
    """Write businesses with their texts, and the events as numbers."""
    write_businesses(directory / "my_data")
    write_numbered_lists(directory / "my_data")


FIXTURES: dict[str, Callable[[Path], None]] = {
    "amazon2014": amazon2014,
    "amazon2018": amazon2018,
    "amazon2023": amazon2023,
    "amazon2023_benchmark": amazon2023_benchmark,
    "movielens_100k": movielens_100k,
    "movielens_1m": movielens_1m,
    "movielens_25m": movielens_25m,
    "yelp": yelp,
    "yelp_mapped": yelp_mapped,
}
"""Form or variant -> what writes a data set of it into `my_data/` below a directory."""
