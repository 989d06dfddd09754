"""MovieLens 100K, 1M and the CSV editions: what is read of films, ratings and people, and what is refused."""

from pathlib import Path
from typing import Any

import forms_public as forms
import pytest

from sidrec.catalog import CatalogConfig, read_catalog
from sidrec.catalog.forms import read_tables
from sidrec.catalog.tables import Tables
from sidrec.errors import CatalogError

EDITIONS = ("movielens_100k", "movielens_1m", "movielens_25m")


def made(name: str, directory: Path) -> Path:
    forms.FIXTURES[name](directory)
    return directory / "my_data"


def tables(directory: Path, **settings: Any) -> Tables:
    return read_tables(CatalogConfig(items=directory, **settings))


@pytest.mark.parametrize("name", EDITIONS)
def test_a_directory_needs_no_other_setting(tmp_path: Path, name: str) -> None:
    catalog = read_catalog(CatalogConfig(items=made(name, tmp_path)))
    assert (catalog.num_items, catalog.num_users, len(catalog.interactions)) == (9, 7, 35)
    assert (catalog.order, catalog.category) == ("column 'timestamp'", "genres")
    # user 0, called 1, has items 0, 2, 4, 6, 8, called one more, a day apart
    first = catalog.interactions[catalog.interactions["user_id"] == "1"]
    assert first["item_id"].tolist() == ["1", "3", "5", "7", "9"]
    assert first["timestamp"].tolist() == [1_400_000_000 + 86_400 * day for day in range(5)]


@pytest.mark.parametrize("name", EDITIONS)
def test_ratings_are_numbers(tmp_path: Path, name: str) -> None:
    assert tables(made(name, tmp_path)).interactions["rating"].tolist() == [1.0, 2.0, 3.0, 4.0, 5.0] * 7


@pytest.mark.parametrize(("name", "item", "text"), [
    ("movielens_100k", ["2", "Café of the pot (1991)", "1991", "Animation, Comedy"],
     "Café of the pot (1991). Animation, Comedy"),
    ("movielens_1m", ["2", "Café of the pot (1991)", "1991", "Animation, Comedy"],
     "Café of the pot (1991). Animation, Comedy"),
    ("movielens_25m", ["2", "Pot, The (1991)", "1991", "Adventure, Comedy"],
     "Pot, The (1991). Adventure, Comedy"),
])  # fmt: skip
def test_a_film_has_its_title_year_and_genres(tmp_path: Path, name: str, item: list[str], text: str) -> None:
    directory = made(name, tmp_path)
    assert tables(directory).items.iloc[1].tolist() == item
    assert read_catalog(CatalogConfig(items=directory)).items["text"].iloc[1] == text


@pytest.mark.parametrize(
    ("title", "year"),
    [
        ("Heat (1995)", "1995"),
        ("Fawlty Towers (1975-1979)", "1975"),
        ("Doctor Who (2005– )", "2005"),
        ("Babylon 5", ""),
        ("1984", ""),
        ("Big (Grande) (1988) ", "1988"),
        ("", ""),
    ],
)
def test_the_year_is_at_the_end_of_the_title(tmp_path: Path, title: str, year: str) -> None:
    directory = made("movielens_1m", tmp_path)
    forms.write_lines(directory / "movies.dat", [f"1::{title}::Drama"])
    item = tables(directory).items.iloc[0]
    assert (item["title"], item["year"]) == (title.strip(), year)


def test_films_may_be_in_utf_8(tmp_path: Path) -> None:
    directory = made("movielens_1m", tmp_path)
    forms.write_lines(directory / "movies.dat", ["1::Amélie (2001)::Comedy"], "utf-8")
    assert tables(directory).items["title"].tolist() == ["Amélie (2001)"]


def test_a_title_with_code_is_a_title(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    directory = made("movielens_1m", tmp_path)
    code = "__import__('os').system('touch broken')"
    forms.write_lines(directory / "movies.dat", [f"1::{code}::Drama"])
    assert tables(directory).items["title"].tolist() == [code]
    assert not (tmp_path / "broken").exists()


def test_people_have_columns_where_the_edition_knows_of_them(tmp_path: Path) -> None:
    users = tables(made("movielens_100k", tmp_path / "a")).users
    assert users is not None
    assert users.iloc[0].to_dict() == {
        "user_id": "1", "age": "24", "gender": "M", "occupation": "technician", "zip_code": "85711"
    }  # fmt: skip
    users = tables(made("movielens_1m", tmp_path / "b")).users
    assert users is not None
    assert users.iloc[0].to_dict() == {
        "user_id": "1", "gender": "F", "age": "under 18", "occupation": "K-12 student", "zip_code": "48067"
    }  # fmt: skip
    assert tables(made("movielens_25m", tmp_path / "c")).users is None


def test_10m_is_1m_without_people_and_with_half_stars(tmp_path: Path) -> None:
    directory = made("movielens_1m", tmp_path)
    (directory / "users.dat").unlink()
    forms.write_lines(directory / "ratings.dat", ["1::2::4.5::838985046"])
    found = tables(directory)
    assert found.users is None
    assert found.interactions.values.tolist() == [["1", "2", 4.5, 838985046]]


def test_what_is_not_read_is_told(tmp_path: Path) -> None:
    directory = made("movielens_25m", tmp_path)
    assert tables(directory).notes == (
        "movies.csv: 1 film without genres.",
        f"{directory}: 2 other files left unread: links.csv, tags.csv.",
    )
    found = tables(made("movielens_100k", tmp_path / "b"))
    assert found.notes == ()
    assert [(file.path.name, file.rows, file.form) for file in found.files] == [
        ("u.item", 9, "MovieLens 100K"),
        ("u.data", 35, "MovieLens 100K"),
        ("u.genre", 5, "MovieLens 100K"),
        ("u.user", 7, "MovieLens 100K"),
    ]


def test_named_users_take_the_place_of_those_of_the_set(tmp_path: Path) -> None:
    directory = made("movielens_1m", tmp_path)
    users = forms.write_lines(
        tmp_path / "users.csv", ["user_id,club", *(f"{user},chess" for user in range(1, 8))]
    )
    found = tables(directory, users=users)
    assert found.users is not None
    assert found.users.columns.tolist() == ["user_id", "club"]
    assert found.notes == (f"{directory}: 1 other file left unread: users.dat.",)


def test_tables_of_the_same_names_are_not_of_this_form(tmp_path: Path) -> None:
    forms.write_lines(tmp_path / "movies.csv", ["item_id,title", "1,Heat"])
    forms.write_lines(tmp_path / "ratings.csv", ["user_id,item_id", "1,1"])
    with pytest.raises(CatalogError, match=r"of no known form: it holds movies\.csv, ratings\.csv"):
        tables(tmp_path)
    with pytest.raises(
        CatalogError, match=r"has the files of 0 editions of MovieLens, expected a directory with"
    ):
        tables(tmp_path, format="movielens")


def test_two_editions_in_a_directory_are_refused(tmp_path: Path) -> None:
    directory = made("movielens_1m", tmp_path)
    forms.movielens_25m(tmp_path)
    message = r"has the files of 2 editions of MovieLens, expected a directory with those of one: u\.item"
    with pytest.raises(CatalogError, match=message):
        tables(directory)


BROKEN = [
    ("movielens_100k", "u.data", "1\t2\t3\n", r"u\.data: line 1 has 3 cells, expected 4 \(userId, movieId"),
    ("movielens_100k", "u.data", "1\t2\tgood\t4\n", r'u\.data: line 1 has "good" as rating, expected'),
    ("movielens_100k", "u.item", "1|a||\n", r"u\.item: line 1 has 4 cells, expected 10 \(5, then a flag"
     r' for each of 5 genres\), divided by "\|"'),
    ("movielens_100k", "u.user", "1|24|M\n", r"u\.user: line 1 has 3 cells, expected 5 \(number, age"),
    ("movielens_100k", "u.genre", "Action\n", r"u\.genre: line 1 has 1 cells, expected 2 \(a genre and"),
    ("movielens_1m", "ratings.dat", "1::2::3::4\n1::2::3", r"ratings\.dat: line 2 has 3 cells, .*been cut"),
    ("movielens_1m", "ratings.dat", "1::2::3::soon\n", r'ratings\.dat: line 1 has "soon" as timestamp'),
    ("movielens_1m", "ratings.dat", b"1::\xe9::3::4\n", r"ratings\.dat is not UTF-8: byte 0xe9 at position"),
    ("movielens_1m", "movies.dat", "1::Heat\n", r"movies\.dat: line 1 has 2 cells, expected 3 \(number"),
    ("movielens_1m", "users.dat", "1::F::7::10::1\n", r'users\.dat: row 1 has the age "7", expected one'),
    ("movielens_1m", "users.dat", "1::F::1::99::1\n", r'users\.dat: row 1 has the occupation "99", expected'),
    ("movielens_1m", "users.dat", "", r"users\.dat is empty, expected data"),
    ("movielens_25m", "ratings.csv", "userId,movieId,rating\n1,2,3\n", r'the header "userId, movieId, rating"'
     r' does not name "timestamp" once'),
    ("movielens_25m", "ratings.csv", "userId,movieId,rating,timestamp\n1,2,3\n", r"ratings\.csv: line 2"),
    ("movielens_25m", "movies.csv", "movieId,title\n1,Heat\n", r"movies\.csv has no column genres, expected"),
    ("movielens_25m", "movies.csv", b"movieId,title,genres\n1,\xe9,Drama\n", r"movies\.csv is not UTF-8"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "file", "content", "message"), BROKEN)
def test_a_broken_file_is_refused(
    tmp_path: Path, name: str, file: str, content: str | bytes, message: str
) -> None:
    directory = made(name, tmp_path)
    (directory / file).write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(CatalogError, match=message):
        tables(directory)


def test_100k_without_its_genres_is_refused(tmp_path: Path) -> None:
    directory = made("movielens_100k", tmp_path)
    (directory / "u.genre").unlink()
    with pytest.raises(CatalogError, match=r"catalog\.items: there is no file .*u\.genre"):
        tables(directory)
