"""How text files are written: separator, quotes and encoding are found out and said, or it is refused."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from sidrec.catalog import CatalogConfig, SplitConfig, read_catalog
from sidrec.catalog.forms.table_files import read_table
from sidrec.catalog.forms.text_encodings import is_windows_1252
from sidrec.catalog.overview import look_at
from sidrec.errors import CatalogError

ITEMS = "item_id,title\n1,Mug\n2,Pot\n"
EVENTS = "user_id,item_id\nal,1\nal,2\nal,1\n"


def config(directory: Path, items: str | bytes = ITEMS, name: str = "items.csv", **settings) -> CatalogConfig:
    data = items.encode() if isinstance(items, str) else items
    (directory / name).write_bytes(data)
    (directory / "events.csv").write_text(EVENTS)
    return CatalogConfig(items=directory / name, interactions=directory / "events.csv", **settings)


def titles(found: CatalogConfig) -> list[str]:
    return read_catalog(found).items["title"].tolist()


def form(found: CatalogConfig) -> str:
    return read_catalog(found).files[0].form


@pytest.mark.parametrize("name", ["items.csv", "items.tsv"])
@pytest.mark.parametrize(("separator", "shown"), [(",", "','"), (";", "';'"), ("\t", "tab"), ("|", "'|'")])
def test_a_separator_is_told_by_the_first_rows(tmp_path, name, separator, shown):
    found = config(tmp_path, ITEMS.replace(",", separator), name)
    assert titles(found) == ["Mug", "Pot"]
    assert form(found) == f"{name[-3:].upper()}, separator {shown}, UTF-8"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("item_id;title\n1;Mug, big\n2;Pot, small, red\n", ["Mug, big", "Pot, small, red"]),
        ("item_id;title\n1;Mug, big\n2;Pot, small\n", ["Mug, big", "Pot, small"]),
        ("item_id,title\n1,Mug; big\n2,Pot|Pan\n", ["Mug; big", "Pot|Pan"]),
        ('item_id,title\n1,"Mug; big, red"\n2,Pot\n', ["Mug; big, red", "Pot"]),
        ("item_id;title\n\n1;Mug\r\n2;Pot", ["Mug", "Pot"]),
        ("item_id,title;short\n1,Mug\n2,Pot\n", None),
    ],
)
def test_other_separators_within_cells_do_not_mislead(tmp_path, content, expected):
    found = config(tmp_path, content, text="{item_id}")
    if expected is None:
        assert read_catalog(found).items["title;short"].tolist() == ["Mug", "Pot"]
    else:
        assert titles(found) == expected


def test_a_separator_that_could_be_two_is_refused_until_it_is_set(tmp_path):
    content = "item_id,title;maker;year\n1,Mug;Acme;1999\n2,Pot;Acme;2001\n"
    message = (
        r"could be separated by ',' \(2 columns\) or ';' \(3 columns\).*Set catalog\.separator to the one"
    )
    with pytest.raises(CatalogError, match=message):
        read_catalog(config(tmp_path, content))
    found = read_catalog(config(tmp_path, content, separator=",", text="{item_id}"))
    assert found.items["title;maker;year"].tolist() == ["Mug;Acme;1999", "Pot;Acme;2001"]


def test_separators_that_divide_only_the_header_are_refused(tmp_path):
    with pytest.raises(CatalogError, match=r"could be separated by ';' \(2 columns\) or '\|' \(3 columns\)"):
        read_catalog(config(tmp_path, "item_id;a|b|c\n1;x;y|z\n2\n"))


@pytest.mark.parametrize(("separator", "content"), [("#", "item_id#title\n1#Mug\n2#Pot\n"), ("\\t", None)])
def test_a_separator_that_is_set_is_taken(tmp_path, separator, content):
    found = config(tmp_path, content or ITEMS.replace(",", "\t"), separator=separator)
    # The events are separated by commas: one setting is for all files.
    (tmp_path / "events.csv").write_text(EVENTS.replace(",", "#" if content else "\t"))
    assert titles(found) == ["Mug", "Pot"]


@pytest.mark.parametrize("separator", ["", ";;", "a", '"', "é"])
def test_a_separator_that_is_none_is_refused(separator):
    with pytest.raises(ValidationError, match="one character that is no letter or digit"):
        CatalogConfig(separator=separator)


def test_a_row_of_another_width_far_below_is_refused_with_its_line(tmp_path):
    content = "item_id;title\n" + "".join(f"{n};Mug\n" for n in range(5000)) + "x;a;b\n" + "y;Pot\n"
    with pytest.raises(
        CatalogError, match=r"line 5002 has 3 cells, expected 2 .*separator is ';'\): 'x;a;b'"
    ):
        read_catalog(config(tmp_path, content))


def test_the_line_counts_line_ends_within_cells(tmp_path):
    with pytest.raises(CatalogError, match=r"items\.csv: line 5 has 1 cells, expected 2"):
        read_catalog(config(tmp_path, 'item_id,title\n1,"Mug\nand pot"\n\n2\n3,Pot\n'))


def test_a_last_line_cut_short_is_refused_as_such(tmp_path):
    with pytest.raises(CatalogError, match=r"line 4 has 1 cells.*It is the last line and has no line end"):
        read_catalog(config(tmp_path, ITEMS + "3"))


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ('item_id,title\n1,"Mug\n2,Pot\n', 2),
        ('item_id,title\n1,Mug\n2,"Pot""\n', 3),
        ('item_id,title\n1,"Heroes" live\n2,"Pot"\n', 2),
        ('item_id,title\n1,"Mug"\n2,"P"o"t"\n', 3),
        ('item_id,title\n1,""Mug"\n2,Pot\n', 2),
        ('item_id,title\n1,"a\nb"\n2,"Pot\n', 4),
        ('"item_id,title\n1,Mug\n', 1),
    ],
)
def test_quotes_that_do_not_close_are_refused_with_their_line(tmp_path, content, line):
    with pytest.raises(
        CatalogError, match=rf"begins in line {line} are not closed.*set catalog\.quoting=false"
    ):
        read_catalog(config(tmp_path, content))


def test_quotes_are_characters_where_that_is_set(tmp_path):
    found = config(tmp_path, 'item_id,title\n1,"Heroes" live\n2,"Pot\n', quoting=False)
    assert titles(found) == ['"Heroes" live', '"Pot']
    assert form(found) == "CSV, separator ',', quotes as characters, UTF-8"


def test_quotes_within_a_cell_are_characters(tmp_path):
    found = config(tmp_path, 'item_id,title\n1,5" nail\n2,"a ""b"""\n')
    assert titles(found) == ['5" nail', 'a "b"']
    assert form(found) == "CSV, separator ',', quoted, UTF-8"


def test_the_quick_look_at_quotes_agrees_over_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr("sidrec.catalog.forms.quotes._BLOCK_BYTES", 3)
    content = 'item_id,title\n"1","M""ug"\n"2",""\n'
    assert read_catalog(config(tmp_path, content, text="{item_id}")).items["title"].tolist() == ['M"ug', "2"]


@pytest.mark.parametrize(
    ("encoding", "told"),
    [
        ("utf-8", "UTF-8"),
        ("utf-8-sig", "UTF-8"),
        ("utf-16", "UTF-16"),
        ("cp1252", "Windows-1252"),
        ("latin-1", "Windows-1252"),
    ],
)
@pytest.mark.parametrize("name", ["items.csv", "items.jsonl"])
def test_an_encoding_is_told_and_said(tmp_path, encoding, told, name):
    wanted = ["Café à la crème", "Größe: ½ Übermaß"]
    rows = [{"item_id": str(number), "title": title} for number, title in enumerate(wanted, 1)]
    content = (
        "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
        if name.endswith("jsonl")
        else pd.DataFrame(rows).to_csv(index=False)
    )
    found = config(tmp_path, content.encode(encoding), name)
    assert titles(found) == wanted
    assert form(found).endswith(told)


def test_big_endian_utf_16_is_read(tmp_path):
    data = b"\xfe\xff" + ITEMS.replace("Mug", "Müg").encode("utf-16-be")
    assert titles(config(tmp_path, data)) == ["Müg", "Pot"]


def test_a_guessed_encoding_is_said_in_the_overview_and_kept_for_the_manifest(tmp_path):
    catalog = read_catalog(config(tmp_path, "item_id;title\n1;Café\n2;Pot\n".encode("cp1252")))
    overview = look_at(catalog, SplitConfig())
    assert overview.files[0].form == "CSV, separator ';', Windows-1252"
    assert "items.csv is not UTF-8 and was read as Windows-1252" in overview.notes[0]
    assert "set catalog.encoding" in overview.notes[0]
    assert catalog.provenance()["files"][0]["form"] == "CSV, separator ';', Windows-1252"


WESTERN = [
    "Le Petit Prince, édition reliée – 10 €; c’est l’été",
    "Der große Übergang: Mädchen fällt über Füße",
    "El niño y la niña · ¿Qué pasa? ¡Olé!",
    "São João: coração, lições, põe",
    "Smörgåsbord på svenska, køb en ø, “citat”",
    "Città e perché, più virtù",
]


@pytest.mark.parametrize("text", WESTERN)
def test_western_letters_are_windows_1252(text):
    assert is_windows_1252(text.encode("cp1252"))


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Война и мир", "cp1251"),
        ("Война и мир", "koi8-r"),
        ("Война и мир", "iso8859-5"),
        ("Οδύσσεια", "cp1253"),
        ("Krzyżacy: wąż i źrebię", "cp1250"),
        ("węzła", "iso8859-2"),
        ("Dobrý voják Švejk a město", "cp1250"),
        ("Kőszívű ember", "cp1250"),
        ("İstanbul'da güneş ışığı", "cp1254"),
        ("红楼梦", "gbk"),
        ("紅樓夢", "big5"),
        ("坊っちゃん", "shift_jis"),
        ("坊っちゃん", "euc-jp"),
        ("난쏘공", "euc-kr"),
        ("Café", "cp850"),
        ("Café", "mac-roman"),
        ("שלום", "cp1255"),
        ("مرحبا", "cp1256"),
    ],
)
def test_other_encodings_are_not_taken_for_windows_1252(tmp_path, text, encoding):
    data = f"item_id,title\n1,{text}\n2,Pot\n".encode(encoding)
    with pytest.raises(
        CatalogError, match=r"items\.csv is not UTF-8: byte .*\(line 2\)\. Set catalog\.encoding"
    ):
        read_catalog(config(tmp_path, data))
    assert titles(config(tmp_path, data, encoding=encoding)) == [text, "Pot"]


def test_utf_8_that_is_broken_in_one_place_is_not_taken_for_windows_1252(tmp_path):
    data = "item_id,title\n1,Café\n2,Crème br".encode() + b"\xe9l\xe9e\n"
    with pytest.raises(CatalogError, match=r"byte 0xe9 at position 33 \(line 3\)\. Set catalog\.encoding"):
        read_catalog(config(tmp_path, data))


def test_a_letter_cut_in_two_at_the_end_is_refused(tmp_path):
    with pytest.raises(CatalogError, match=r"\(line 3\)\. If it is UTF-8, it was cut short: copy it again"):
        read_catalog(config(tmp_path, "item_id,title\n1,Mug\n2,Café".encode()[:-1]))


def test_one_letter_far_below_decides_against_windows_1252(tmp_path):
    rows = "".join(f"{number},Café\n" for number in range(30_000))
    data = ("item_id,title\n" + rows).encode("cp1252") + "x,węzła\n".encode("cp1250")
    with pytest.raises(CatalogError, match=r"not UTF-8: byte 0xe9 .*\(line 2\)\. Set catalog\.encoding"):
        read_catalog(config(tmp_path, data))


@pytest.mark.parametrize(
    ("data", "settings", "message"),
    [
        ("item_id,title\n1,Mug\n2,wź\n".encode("cp1250"), {"encoding": "ascii"}, r"line 3 is not ascii"),
        (
            b"\xff\xfe" + ITEMS.encode("utf-16-le")[:-1],
            {},
            r"items\.csv: line 3 is not utf-16-le .*truncated",
        ),
        (ITEMS.encode("utf-16-le"), {}, r"NUL byte at position 1 \(line 1\).*set catalog\.encoding=utf-16"),
        (b"item_id,title\n1,Mug\n2,P\0t\n", {}, r"NUL byte at position 23 \(line 3\), which no text has"),
        (b"\xff\xfe\n\0", {}, r"items\.csv is empty"),
    ],
)
def test_text_that_is_not_in_its_encoding_is_refused_with_its_line(tmp_path, data, settings, message):
    with pytest.raises(CatalogError, match=message):
        read_catalog(config(tmp_path, data, **settings))


def test_utf_16_without_a_mark_is_read_where_that_is_set(tmp_path):
    found = config(tmp_path, ITEMS.encode("utf-16-le"), encoding="utf-16-le")
    (tmp_path / "events.csv").write_bytes(EVENTS.encode("utf-16-le"))
    assert titles(found) == ["Mug", "Pot"]


@pytest.mark.parametrize("encoding", ["latin-15", "rot13", "x y"])
def test_an_unknown_encoding_is_refused(encoding):
    with pytest.raises(ValidationError, match="expected an encoding that Python knows, such as cp1252"):
        CatalogConfig(encoding=encoding)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"separator": ";"},
            r"catalog\.separator changes nothing: none of the files is a table in CSV or TSV",
        ),
        ({"quoting": False}, r"catalog\.quoting changes nothing"),
        ({"encoding": "cp1252"}, r"catalog\.encoding changes nothing"),
    ],
)
def test_a_setting_on_text_files_is_refused_where_there_are_none(tmp_path, settings, message):
    pd.DataFrame({"item_id": ["1", "2"], "title": ["Mug", "Pot"]}).to_parquet(tmp_path / "items.parquet")
    pd.DataFrame({"user_id": ["al", "al"], "item_id": ["1", "2"]}).to_parquet(tmp_path / "events.parquet")
    found = CatalogConfig(
        items=tmp_path / "items.parquet", interactions=tmp_path / "events.parquet", **settings
    )
    with pytest.raises(CatalogError, match=message):
        read_catalog(found)


def test_any_cells_are_read_as_they_were_written(tmp_path):
    rng = np.random.default_rng(0)
    alphabet = ["a", "é", '"', '""', ",", ";", "|", "\t", "\n", "\r\n", "ж", " ", "1"]
    for _ in range(300):
        cells = [["".join(rng.choice(alphabet, size=4)) for _ in range(2)] for _ in range(3)]
        table = pd.DataFrame(cells, columns=["item_id", "title"])
        separator = str(rng.choice([",", ";", "\t", "|"]))
        text = table.to_csv(index=False, sep=separator, lineterminator="\n", quoting=1)
        found = config(tmp_path, text)
        assert read_table(found.items_path, "catalog.items").to_numpy().tolist() == cells
