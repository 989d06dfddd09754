"""MovieLens as GroupLens gives it away: 100K, 1M and 10M, and the CSV files of 20M, 25M, 32M and `latest`.

A film keeps its title as written, "Toy Story (1995)"; `year` and `genres` are made from it and its genres.
Tags, links and genome scores are not read.

Source: Harper and Konstan, "The MovieLens Datasets: History and Context", TiiS 5(4), 2015, and the READMEs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from sidrec.catalog.config import CatalogConfig
from sidrec.catalog.forms.delimited import read_delimited
from sidrec.catalog.forms.directory import complete, counted
from sidrec.catalog.forms.event_files import EventColumns, read_events
from sidrec.catalog.forms.files import read_first_line, read_utf8_or_latin1
from sidrec.catalog.tables import ReadFile, Tables, read_file
from sidrec.errors import CatalogError

NO_GENRES = "(no genres listed)"
AGES = {
    "1": "under 18",
    "18": "18-24",
    "25": "25-34",
    "35": "35-44",
    "45": "45-49",
    "50": "50-55",
    "56": "56 or over",
}  # fmt: skip
OCCUPATIONS = (
    "other", "academic/educator", "artist", "clerical/admin", "college/grad student", "customer service",
    "doctor/health care", "executive/managerial", "farmer", "homemaker", "K-12 student", "lawyer",
    "programmer", "retired", "sales/marketing", "scientist", "self-employed", "technician/engineer",
    "tradesman/craftsman", "unemployed", "writer",
)  # fmt: skip
_GENRES = "u.genre"
_YEAR = re.compile(r"\((\d{4})(?:\s?[-–]\s?\d{0,4})?\)\s*$")
_EVENTS = {"userId": "user_id", "movieId": "item_id", "rating": "rating", "timestamp": "timestamp"}


@dataclass(frozen=True)
class Edition:
    """How one of the editions lies in its directory.

    Attributes:
        name: What to call it.
        items: Its file of films.
        events: Its file of ratings.
        users: Its file of people, where it has one.
        columns: How the ratings are written.
        read_items: The films, from their path.
    """

    name: str
    items: str
    events: str
    users: str | None
    columns: EventColumns
    read_items: Callable[[Path], pd.DataFrame]


def matches(config: CatalogConfig) -> bool:
    """Say whether the directory has the films and the ratings of one of the editions."""
    return bool(_editions_in(config.items_path, config))


def read(config: CatalogConfig) -> Tables:
    """Read films, ratings, and people where the edition knows of them.

    Raises:
        CatalogError: If the directory does not have one edition, or a file is broken.
    """
    assert config.items_path is not None
    editions = _editions_in(config.items_path, config)
    if len(editions) != 1:
        known = "; ".join(f"{edition.items} and {edition.events}" for edition in EDITIONS)
        raise CatalogError(
            f"catalog.items: {config.items_path} has the files of {len(editions)} editions of MovieLens, "
            f"expected a directory with those of one: {known}. Set catalog.items to it, and no "
            "catalog.interactions."
        )
    edition, directory = editions[0], config.items_path
    items = edition.read_items(directory / edition.items)
    interactions = read_events(directory / edition.events, "catalog.interactions", edition.columns)
    items.attrs["form"] = interactions.attrs["form"] = edition.name
    files = [read_file(items, directory / edition.items), read_file(interactions, directory / edition.events)]
    if edition.read_items is _read_u_item:
        genres = _read_genres(directory / edition.items)
        files.append(ReadFile(directory / _GENRES, len(genres), edition.name))
    users = None
    if config.users is None and edition.users is not None and (directory / edition.users).is_file():
        users = _read_users(directory / edition.users, edition)
        files.append(read_file(users, directory / edition.users))
    without = int((items["genres"] == "").sum())
    notes = (f"{edition.items}: {counted(without, 'film')} without genres.",) if without else ()
    return complete(Tables(items, interactions, users, tuple(files), notes), config)


def _editions_in(directory: Path | None, config: CatalogConfig) -> list[Edition]:
    """Return the editions whose files are there."""
    if directory is None or config.interactions_path is not None or not directory.is_dir():
        return []
    found = [
        edition
        for edition in EDITIONS
        if (directory / edition.items).is_file() and (directory / edition.events).is_file()
    ]
    return [
        edition
        for edition in found
        if not edition.columns.has_header or read_first_line(directory / edition.items).startswith("movieId,")
    ]


def _read_u_item(path: Path) -> pd.DataFrame:
    """Read the films of 100K: five cells, then a flag for each genre of `u.genre`."""
    genres = _read_genres(path)
    rows = _rows(path, "|", 5 + len(genres), note=f"5, then a flag for each of {len(genres)} genres")
    flagged = [
        [name for name, flag in zip(genres, cells[5:], strict=True) if flag == "1" and name != "unknown"]
        for cells in rows
    ]
    return _films([cells[0] for cells in rows], [cells[1] for cells in rows], flagged, path)


def _read_genres(path: Path) -> list[str]:
    """Read the genres of 100K, which lie beside its films."""
    return [cells[0] for cells in _rows(path.with_name(_GENRES), "|", 2, note="a genre and its number")]


def _read_movies_dat(path: Path) -> pd.DataFrame:
    """Read the films of 1M and 10M."""
    rows = _rows(path, "::", 3, note="number, title and genres")
    ids, titles, genres = ([cells[place] for cells in rows] for place in range(3))
    return _films(ids, titles, [cell.split("|") for cell in genres], path)


def _read_movies_csv(path: Path) -> pd.DataFrame:
    """Read the films of the CSV editions."""
    frame = read_delimited(path, "catalog.items", delimiter=",")
    missing = [name for name in ("movieId", "title", "genres") if name not in frame.columns]
    if missing:
        raise CatalogError(
            f"{path} has no column {missing[0]}, expected movieId, title and genres. Copy the file again."
        )
    genres = [cell.split("|") for cell in frame["genres"]]
    return _films(frame["movieId"].tolist(), frame["title"].tolist(), genres, path)


def _films(
    ids: Sequence[str], titles: Sequence[str], genres: Sequence[list[str]], path: Path
) -> pd.DataFrame:
    """Make the table of items."""
    years = [_YEAR.search(title) for title in titles]
    frame = pd.DataFrame(
        {
            "item_id": ids,
            "title": [title.strip() for title in titles],
            "year": ["" if year is None else year.group(1) for year in years],
            "genres": [", ".join(name for name in names if name not in ("", NO_GENRES)) for names in genres],
        },
        dtype=str,
    )
    frame.attrs["source"] = path.name
    return frame


def _read_users(path: Path, edition: Edition) -> pd.DataFrame:
    """Read the people of 100K, or of 1M, whose codes become the words of its README."""
    if edition.columns.delimiter == "::":
        rows = _rows(path, "::", 5, note="number, gender, age, occupation and zip code")
        frame = pd.DataFrame(rows, columns=["user_id", "gender", "age", "occupation", "zip_code"], dtype=str)
        frame["age"] = _words(frame["age"], AGES, path)
        occupations = {str(number): name for number, name in enumerate(OCCUPATIONS)}
        frame["occupation"] = _words(frame["occupation"], occupations, path)
    else:
        rows = _rows(path, "|", 5, note="number, age, gender, occupation and zip code")
        frame = pd.DataFrame(rows, columns=["user_id", "age", "gender", "occupation", "zip_code"], dtype=str)
    frame.attrs |= {"source": path.name, "form": edition.name}
    return frame


def _words(codes: pd.Series, words: dict[str, str], path: Path) -> pd.Series:
    """Replace codes by what they stand for."""
    known = codes.isin(list(words))
    if not known.all():
        place = int((~known).to_numpy().argmax())
        raise CatalogError(
            f'{path}: row {place + 1} has the {codes.name} "{codes.iloc[place][:60]}", expected one of '
            f"{', '.join(words)}. Mend the row."
        )
    return codes.map(words)


def _rows(path: Path, delimiter: str, num_cells: int, *, note: str) -> list[list[str]]:
    """Read a small file without header, in UTF-8 or Latin-1; blank lines are skipped."""
    text = read_utf8_or_latin1(path, "catalog.items")
    rows = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        cells = line.rstrip("\r").split(delimiter)
        if len(cells) != num_cells:
            raise CatalogError(
                f"{path}: line {number} has {len(cells)} cells, expected {num_cells} ({note}), divided by "
                f'"{delimiter}": {line[:60]!r}. Mend the line, or copy the file again.'
            )
        rows.append(cells)
    return rows


_PLAIN = EventColumns(_EVENTS, delimiter="\t", has_header=False)
_COLONS = EventColumns(_EVENTS, delimiter="::", has_header=False)
EDITIONS = (
    Edition("MovieLens 100K", "u.item", "u.data", "u.user", _PLAIN, _read_u_item),
    Edition("MovieLens 1M", "movies.dat", "ratings.dat", "users.dat", _COLONS, _read_movies_dat),
    Edition("MovieLens CSV", "movies.csv", "ratings.csv", None, EventColumns(_EVENTS), _read_movies_csv),
)
