"""A first config: what columns are guessed to be, what is asked or refused, and that the result runs."""

import io
import re
import sys
from pathlib import Path

import pandas as pd
import pytest
import toy
from test_errors import assert_refused

from sidrec.catalog.guessing import (
    item_id_columns,
    text_template,
    timestamp_columns,
    title_column,
    unreadable_times,
    user_id_columns,
    words_of,
)
from sidrec.config import load_config
from sidrec.first_config import config_yaml, settings_of

ROOT = Path(__file__).parents[1]


def tables(item: str, user: str, **more: list) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Three items and four events, whose columns of ids are called so; `more` are columns of events."""
    items = pd.DataFrame({item: ["A", "B", "C"], "title": ["Red lamp", "Blue lamp", "Green rug"]})
    events = pd.DataFrame({user: ["u1", "u1", "u2", "u2"], item: ["A", "B", "A", "C"], **more})
    return items, events


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("unixReviewTime", ["unix", "review", "time"]),
        ("movieId", ["movie", "id"]),
        ("reviewerID", ["reviewer", "id"]),
        ("lent_at", ["lent", "at"]),
        ("userid", ["user", "id"]),
        ("ISBN", ["isbn"]),
        ("Größe", ["grosse"]),
        ("Título", ["titulo"]),
        ("Kundennummer", ["kunden", "nummer"]),
        ("Film-Nr", ["film", "nr"]),
        ("Produktname", ["produkt", "name"]),
    ],
)
def test_a_name_is_divided_into_words(name, words):
    assert words_of(name) == words


@pytest.mark.parametrize(
    "item", ["isbn", "asin", "sku", "product_id", "movieId", "item_id", "ItemID", "id", "x"]
)
@pytest.mark.parametrize(
    "user", ["reader", "customer", "userId", "user_id", "reviewerID", "visitorid", "uid"]
)
def test_usual_names_of_ids_are_recognised(item, user):
    items, events = tables(item, user, rating=[5, 4, 5, 3])
    assert item_id_columns(items, events) == [item]
    assert user_id_columns(events, item_id=item) == [user]


@pytest.mark.parametrize(
    ("name", "cells"),
    [
        ("date", ["2024-05-31", "2024-06-01", "2024-06-02", "2024-06-03"]),
        ("ts", [1_700_000_000, 1_700_000_001, 1_700_000_002, 1_700_000_003]),
        ("unixReviewTime", ["1700000000", "1700000001", "1700000002", "1700000003"]),
        ("lent_at", ["2024-05-31T18:30:00", "2024-06-01T18:30:00", "2024-06-02", "2024-06-03"]),
        ("timestamp", [1, 2, 3, 4]),
        ("wann", ["2024-05-31", "2024-06-01", "2024-06-02", "2024-06-03"]),
    ],
)
def test_usual_names_of_times_are_recognised_and_dates_by_what_they_are(name, cells):
    _, events = tables("isbn", "reader", rating=[5, 4, 5, 3], **{name: cells})
    assert timestamp_columns(events, taken=("isbn", "reader")) == [name]


def test_a_time_that_says_so_comes_before_another_that_can_be_read():
    times = {"reviewTime": ["05 31, 2024"] * 4, "unixReviewTime": [1_700_000_000 + n for n in range(4)]}
    _, events = tables("asin", "reviewerID", **times)
    assert timestamp_columns(events, taken=("asin", "reviewerID")) == ["unixReviewTime"]
    assert unreadable_times(events, taken=("asin", "reviewerID")) == ["reviewTime"]


def test_two_times_are_equally_likely():
    days = ["2024-05-31", "2024-06-01", "2024-06-02", "2024-06-03"]
    _, events = tables("isbn", "reader", lent_at=days, returned_at=days)
    assert timestamp_columns(events, taken=("isbn", "reader")) == ["lent_at", "returned_at"]


def test_a_number_that_is_no_date_is_no_time():
    _, events = tables("isbn", "reader", rating=[5, 4, 5, 3])
    assert timestamp_columns(events, taken=("isbn", "reader")) == []


def test_a_user_comes_before_a_customer_and_a_session():
    _, events = tables("isbn", "customer", user_id=["1", "1", "2", "2"], session=["a", "b", "c", "c"])
    assert user_id_columns(events, item_id="isbn") == ["user_id"]


def test_two_people_are_equally_likely():
    _, events = tables("isbn", "reader", customer=["1", "1", "2", "2"])
    assert user_id_columns(events, item_id="isbn") == ["reader", "customer"]


def test_without_a_name_that_says_so_a_user_is_what_repeats():
    days = ["2024-05-31", "2024-05-31", "2024-06-02", "2024-06-03"]
    _, events = tables("isbn", "wer", rating=[5, 4, 5, 3], day=days)
    assert user_id_columns(events, item_id="isbn") == ["wer"]


@pytest.mark.parametrize(
    ("user", "time", "title", "text"),
    [
        ("Kunde", "Datum", "Titel", "Beschreibung"),
        ("Nutzer", "Zeit", "Filmtitel", "Inhalt"),
        ("Lecteur", "Horodatage", "Titre", "Résumé"),
        ("usuario", "fecha", "Título", "Descripción"),
        ("utente", "date", "titolo", "descrizione"),
        ("utilizador", "wann", "nome", "sinopse"),
        ("klant", "tijd", "naam", "omschrijving"),
    ],
)
def test_usual_names_of_other_languages_are_recognised(user, time, title, text):
    items, events = tables("x", user, laden=["s", "s", "t", "t"], **{time: [5, 6, 7, 8]})
    items = items.rename(columns={"title": title}).assign(**{text: ["A lamp", "A lamp", "A rug"]})[
        ["x", text, title]
    ]
    assert user_id_columns(events, item_id="x") == [user]
    assert timestamp_columns(events, taken=("x", user)) == [time]
    assert title_column(items, item_id="x") == title
    assert text_template(items, item_id="x") == f"{{{title}}}. {{{text}}}"


@pytest.mark.parametrize(
    "days",
    [
        ["31.05.2024", "31.05.2024", "02.06.2024", "03.06.2024"],
        ["01/05/2024", "01/05/2024", "02/06/2024", "03/06/2024"],
    ],
)
def test_dates_are_no_user_even_if_they_could_be_other_dates(days):
    _, events = tables("isbn", "wer", member_since=days)
    assert user_id_columns(events, item_id="isbn") == ["wer"]
    assert timestamp_columns(events, taken=("isbn", "wer")) == ["member_since"]


def test_an_id_comes_before_a_title_that_both_tables_have():
    items, events = tables("movieId", "userId", title=["Red lamp", "Blue lamp", "Red lamp", "Green rug"])
    assert item_id_columns(items, events) == ["movieId"]


def test_a_column_that_repeats_among_the_items_is_no_id():
    items, events = tables("isbn", "reader")
    both = [frame.assign(shop_id="s") for frame in (items, events)]
    assert item_id_columns(*both) == ["isbn"]


def test_numbers_of_one_table_are_the_texts_of_another():
    items = pd.DataFrame({"book_id": [7, 8], "title": ["Red", "Blue"]})
    events = pd.DataFrame({"reader": ["a", "a"], "book_id": ["7", "8"]})
    assert item_id_columns(items, events) == ["book_id"]


def test_a_text_is_title_maker_kind_and_description_and_nothing_that_says_nothing():
    items = pd.DataFrame(
        {
            "sku": ["A", "B"],
            "summary": ["A lamp", "A rug"],
            "image_url": ["http://x/a", "http://x/b"],
            "product_name": ["Red lamp", "Green rug"],
            "price": ["3.5", "7"],
            "category": ["Light", "Floor"],
            "brand": ["Lux", "Tapis"],
            "released": ["2024-05-31", "2024-06-01"],
            "language": ["en", "en"],
            "note": ["", ""],
            "a{b}": ["word", "other"],
        }
    )
    assert title_column(items, item_id="sku") == "product_name"
    assert text_template(items, item_id="sku") == "{product_name}. {brand}. {category}. {summary}"


def test_an_author_is_not_a_title():
    items = pd.DataFrame({"isbn": ["A", "B"], "author_name": ["Ann", "Bo"], "name": ["Dune", "Emma"]})
    assert title_column(items, item_id="isbn") == "name"


def write(folder: Path, *, item: str = "isbn", user: str = "reader", time: str = "lent_at") -> None:
    """Write the toy catalogue under other names."""
    toy.items().rename(columns={"item_id": item}).to_csv(folder / "books.csv", index=False)
    events = toy.interactions().rename(columns={"item_id": item, "user_id": user, "timestamp": time})
    events.to_csv(folder / "loans.csv", index=False)


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """An empty directory that commands run in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


GIVEN = ("--items", "books.csv", "--interactions", "loans.csv")


def test_the_config_that_is_written_tokenizes(here, command):
    write(here)
    ended = command("init", *GIVEN, "--yes")
    assert (ended.status, ended.err) == (0, "")
    written = (here / "books.yaml").read_text()
    assert written == (
        "output: runs/books\ncatalog:\n  items: books.csv\n  interactions: loans.csv\n  item_id: isbn\n"
        '  user_id: reader\n  timestamp: lent_at\n  text: "{title}. {description}"\n'
    )
    few = ["tokenizer.codebook_sizes=[4,4,4]", "tokenizer.epochs=2", "embedding.dim=8"]
    assert command("tokenize", "books.yaml", *few).status == 0


def test_the_guess_is_shown_with_three_rows_of_each_table_and_the_next_commands(here, command):
    write(here)
    out = command("init", *GIVEN, "--yes").out
    assert "items: books.csv, 24 rows, 3 columns" in out
    assert "interactions: loans.csv, 360 rows, 3 columns" in out
    lines = [line.split() for line in out.splitlines()]
    for row in (["i00", "red", "lamp"], ["i02", "blue", "lamp"], ["u0", "i02", "1002"]):
        assert [line for line in lines if line[: len(row)] == row]
    assert not [line for line in lines if line[:1] == ["i03"]]
    assert ["user", "id", "reader", "60", "different"] in lines
    assert "Next: sidrec catalog books.yaml" in out
    assert "sidrec run books.yaml" in out


def test_the_two_tables_of_a_directory_are_told_apart(here, command):
    (here / "shop").mkdir()
    write(here / "shop")
    assert command("init", "--items", "shop", "--yes").status == 0
    config = load_config(here / "shop.yaml")
    assert config.catalog.items == Path("shop/books.csv")
    assert config.catalog.interactions == Path("shop/loans.csv")


def test_a_directory_of_a_known_form_needs_no_columns(here, command):
    (here / "lc").mkdir()
    (here / "lc" / "x.item.json").write_text('{"0": {"title": "Lamp"}, "1": {"title": "Rug"}}')
    (here / "lc" / "x.inter.json").write_text('{"a": ["0", "1"], "b": [1, 0]}')
    assert command("init", "--items", "lc", "--yes").status == 0
    assert (here / "lc.yaml").read_text() == 'output: runs/lc\ncatalog:\n  items: lc\n  text: "{title}"\n'


def test_awkward_names_survive_the_yaml(tmp_path):
    from sidrec.catalog.config import CatalogConfig
    from sidrec.catalog.tables import Tables
    from sidrec.first_config import Columns

    found = Columns("1e3", 'the "user": #1', "yes", None, "{größe}\t{a: b}")
    config = CatalogConfig(items=Path("a b/ü#.csv"), interactions=Path("null"))
    settings = settings_of(config, found, Tables(pd.DataFrame(), pd.DataFrame()))
    (tmp_path / "c.yaml").write_text(config_yaml(settings, Path("runs/c: d")), encoding="utf-8")
    read = load_config(tmp_path / "c.yaml")
    assert read.catalog == settings
    assert read.output == Path("runs/c: d")


class Terminal(io.StringIO):
    """A standard input at which someone sits."""

    def isatty(self) -> bool:
        return True


def typed(monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal("".join(f"{line}\n" for line in lines)))


def test_on_a_terminal_files_and_what_is_ambiguous_are_asked_for(here, command, monkeypatch):
    write(here)
    events = pd.read_csv(here / "loans.csv")
    events.assign(customer=events["reader"]).to_csv(here / "loans.csv", index=False)
    typed(monkeypatch, "books.csv", "loans.csv", "nobody", "customer", "y")
    ended = command("init")
    assert ended.status == 0
    assert ended.out.count("Which column of loans.csv is the user? (reader, customer)") == 2
    assert load_config(here / "books.yaml").catalog.user_id == "customer"


def test_a_no_writes_nothing(here, command, monkeypatch):
    write(here)
    typed(monkeypatch, "n")
    ended = command("init", *GIVEN)
    assert (ended.status, "Nothing is written" in ended.out) == (0, True)
    assert not (here / "books.yaml").exists()


def test_without_a_terminal_or_yes_it_refuses_rather_than_hang(here, command, monkeypatch):
    write(here)
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    assert_refused(command("init", *GIVEN), r"nobody is there to answer.*Add --yes")


def test_a_file_is_never_overwritten(here, command):
    write(here)
    (here / "books.yaml").write_text("mine")
    assert_refused(command("init", *GIVEN, "--yes"), r"books\.yaml exists, and is not overwritten.*--output")
    assert (here / "books.yaml").read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--interactions", "loans.csv"),
            r"--items is missing.*sidrec init --items FILE --interactions FILE",
        ),
        (("--items", "books.csv"), r"--interactions is missing, expected a table of events"),
        (("--items", "absent.csv"), r"--items: there is no absent\.csv\. Check the path"),
        (
            ("--items", "books.csv", "--interactions", "absent.csv"),
            r"--interactions: there is no absent\.csv",
        ),
        (("--items", "loans.csv", "--interactions", "books.csv"), r"Change them round: --items takes"),
        ((*GIVEN, "--user-id", "raeder"), r'loans\.csv has no column "raeder" \(--user-id\)\. .*"reader"\?'),
        ((*GIVEN, "--item-id", "reader"), r'books\.csv has no column "reader" \(--item-id\)'),
        ((*GIVEN, "--timestamp", "when"), r'loans\.csv has no column "when" \(--timestamp\)'),
        ((*GIVEN, "--text", "{titel}"), r'"\{titel\}" names a column that books\.csv does not have.*"title"'),
        ((*GIVEN, "--output", "absent/b.yaml"), r"absent/b\.yaml cannot be written \(No such file"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(arguments, message, here, command):
    write(here)
    ended = command("init", *arguments, "--yes")
    assert (ended.status, ended.err.count("\n")) == (2, 1)
    assert re.search(message, ended.err), ended.err
    assert not list(here.glob("*.yaml"))


def test_an_ambiguous_column_is_refused_where_nobody_is_asked(here, command):
    write(here)
    events = pd.read_csv(here / "loans.csv")
    events.assign(customer=events["reader"]).to_csv(here / "loans.csv", index=False)
    ended = command("init", *GIVEN, "--yes")
    assert_refused(ended, r'loans\.csv: "reader" and "customer" may all be the user\. .*--user-id reader')
    assert command("init", *GIVEN, "--yes", "--user-id", "reader").status == 0


def test_an_id_of_two_names_is_refused_with_what_to_rename(here, command):
    write(here)
    pd.read_csv(here / "loans.csv").rename(columns={"isbn": "book"}).to_csv(here / "loans.csv", index=False)
    message = (
        r'books\.csv calls an item "isbn" and loans\.csv calls it "book".*Rename the column "book" to "isbn"'
    )
    assert_refused(command("init", *GIVEN, "--yes"), message)


def test_a_date_that_cannot_be_read_is_refused_until_the_rows_are_said_to_be_in_order(here, command):
    write(here)
    pd.read_csv(here / "loans.csv").assign(lent_at="31. Mai 2024").rename(columns={"lent_at": "date"}).to_csv(
        here / "loans.csv", index=False
    )
    ended = command("init", *GIVEN, "--yes")
    assert_refused(ended, r'column "date" looks like the time, .*"31\. Mai 2024" .*--timestamp none')
    assert command("init", *GIVEN, "--yes", "--timestamp", "none").status == 0
    assert load_config(here / "books.yaml").catalog.timestamp is None


def write_cinema(folder: Path, *times: str) -> None:
    """Write a small cinema's tables in German, with two tickets at each time, the newest first."""
    films = [f"F{number};Film {number};Ein Film ueber {number}" for number in range(3)]
    (folder / "filme.csv").write_text("\n".join(["Film-Nr;Titel;Beschreibung", *films]) + "\n")
    sold = [f"K{kunde};F{row % 3};{time};1" for kunde in (1, 2) for row, time in enumerate(times)]
    (folder / "karten.csv").write_text("\n".join(["Kunde;Film-Nr;Vorstellung;Plätze", *sold]) + "\n")


CINEMA = ("--items", "filme.csv", "--interactions", "karten.csv", "--yes")


def test_a_german_pair_of_tables_needs_no_options(here, command):
    write_cinema(here, "02.06.2024 18:30", "1.6.2024 18:30", "31.05.2024 20:00")
    ended = command("init", *CINEMA)
    assert (ended.status, ended.err) == (0, "")
    assert (here / "filme.yaml").read_text() == (
        "output: runs/filme\ncatalog:\n  items: filme.csv\n  interactions: karten.csv\n  item_id: Film-Nr\n"
        '  user_id: Kunde\n  timestamp: Vorstellung\n  text: "{Titel}. {Beschreibung}"\n  title: Titel\n'
    )
    assert ["time", "Vorstellung", "day.month.year"] in [line.split() for line in ended.out.splitlines()]
    assert "in the order of: column 'Vorstellung' (day.month.year)" in ended.out


AMBIGUOUS = ("02/06/2024", "01/06/2024", "12/05/2024")


def test_dates_that_could_be_others_are_refused_until_their_form_is_given(here, command):
    write_cinema(here, *AMBIGUOUS)
    message = (
        r'karten\.csv: "%d/%m/%Y" and "%m/%d/%Y" may all be the form of "02/06/2024" \(Vorstellung\)\. '
        r"Say which: --time-format %d/%m/%Y"
    )
    assert_refused(command("init", *CINEMA), message)
    assert command("init", *CINEMA, "--time-format", "%d/%m/%Y").status == 0
    assert load_config(here / "filme.yaml").catalog.time_format == "%d/%m/%Y"


def test_a_form_of_dates_is_asked_for(here, command, monkeypatch):
    write_cinema(here, *AMBIGUOUS)
    typed(monkeypatch, "%m", "%m/%d/%Y", "y")
    ended = command("init", *CINEMA[:-1])
    question = 'Which format of karten.csv is the form of "02/06/2024" (Vorstellung)? (%d/%m/%Y, %m/%d/%Y)'
    assert (ended.status, ended.out.count(question)) == (0, 2)
    assert load_config(here / "filme.yaml").catalog.time_format == "%m/%d/%Y"


def test_dates_of_any_form_are_found_by_the_one_that_is_given(here, command):
    write_cinema(here, "20240602", "20240601", "20240531")
    assert command("init", *CINEMA, "--time-format", "%Y%m%d").status == 0
    assert load_config(here / "filme.yaml").catalog.timestamp == "Vorstellung"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--time-format", "%d/%M/%Y"), r'--time-format: %d is there without a month, .* got "%d/%M/%Y"'),
        (("--time-format", "%Y"), r'karten\.csv has no column of dates written as --time-format "%Y" says'),
        (("--time-format", "%Y", "--timestamp", "Vorstellung"), r'row 1 has "02/06/2024" as Vorstellung'),
        (
            ("--time-format", "%Y", "--timestamp", "none"),
            r"would change nothing with --timestamp none\. Leave",
        ),
    ],
)
def test_a_form_of_dates_that_does_not_fit_is_refused_and_nothing_is_written(
    arguments, message, here, command
):
    write_cinema(here, *AMBIGUOUS)
    assert_refused(command("init", *CINEMA, *arguments), message)
    assert not (here / "filme.yaml").exists()


def test_no_time_against_a_column_called_timestamp_is_refused(here, command):
    write(here, time="timestamp")
    assert_refused(
        command("init", *GIVEN, "--yes", "--timestamp", "none"), r"--timestamp none would change nothing"
    )


def test_two_tables_of_a_directory_that_do_not_fit_are_refused(here, command):
    (here / "shop").mkdir()
    for name in ("a.csv", "b.csv"):
        (here / "shop" / name).write_text("x,y\n1,2\n")
    assert_refused(command("init", "--items", "shop", "--yes"), r"a\.csv and b\.csv, .* cannot be told")


def test_a_catalogue_that_is_not_right_yet_is_written_and_said_to_be_so(here, command):
    write(here)
    with (here / "loans.csv").open("a") as stream:
        stream.write("u1,nowhere,2000\n")
    ended = command("init", *GIVEN, "--yes")
    assert ended.status == 2
    assert (
        "books.yaml is written, but its catalogue cannot be used yet. loans.csv: 1 of 361 events" in ended.err
    )
    assert (here / "books.yaml").is_file()
