"""A line or a list per user: the files of P5, OpenP5 and ActionPiece."""

import gzip
import json
from pathlib import Path

import pytest

from sidrec.catalog import CatalogConfig, read_catalog
from sidrec.catalog.forms import read_tables
from sidrec.catalog.tables import Tables
from sidrec.errors import CatalogError

MAPS = {"id2user": {"1": "Ann", "2": "Bob"}, "id2item": {"1": "B01", "2": "B02"}}
SEQUENCES = "1 1 2 1\n2 2\n"
METADATA = (
    "{'asin': 'B02', 'title': 'Pot', 'price': 2.5, 'categories': [['Home', 'Pots'], ['Gifts']]}\n"
    "{'asin': 'B01', 'title': \"Ann's \\\"Mug\\\"\", 'imUrl': 'http://x/y.jpg', 'related': {'bought': []}}\n"
    "{'asin': 'B99', 'title': 'Nobody had it'}\n"
)


def p5(directory: Path, sequences: str = SEQUENCES, maps: object = MAPS, metadata: str = METADATA) -> Path:
    (directory / "sequential_data.txt").write_text(sequences, encoding="utf-8")
    if maps is not None:
        (directory / "datamaps.json").write_text(json.dumps(maps))
    if metadata:
        (directory / "meta.json.gz").write_bytes(gzip.compress(metadata.encode(), mtime=0))
    return directory


def openp5(directory: Path, texts: str, sequences: str = "u B01 B02\n") -> Path:
    (directory / "user_sequence.txt").write_text(sequences)
    (directory / "item_plain_text.txt").write_text(texts, encoding="utf-8")
    return directory


def actionpiece(directory: Path, **files: object) -> Path:
    documents = {
        "all_item_seqs": {"Ann": ["B02", "B01"], "Bob": ["B02"]},
        "metadata.sentence": {"B01": "A mug.", "B02": "A pot.", "B99": "Nobody had it."},
        "id_mapping": {"id2item": ["[PAD]", "B02", "B01"], "item2id": {"[PAD]": 0, "B02": 1, "B01": 2}},
    } | files
    for name, document in documents.items():
        if document is not None:
            (directory / f"{name}.json").write_text(json.dumps(document))
    return directory


def tables(directory: Path) -> Tables:
    return read_tables(CatalogConfig(items=directory))


def test_ids_of_p5_are_the_original_ones(tmp_path: Path) -> None:
    catalog = read_catalog(CatalogConfig(items=p5(tmp_path)))
    events = catalog.interactions[["user_id", "item_id"]].values.tolist()
    assert events == [["Ann", "B01"], ["Ann", "B02"], ["Ann", "B01"], ["Bob", "B02"]]
    assert catalog.order == "rows"


def test_texts_of_p5_are_title_brand_categories_and_description(tmp_path: Path) -> None:
    catalog = read_catalog(CatalogConfig(items=p5(tmp_path)))
    assert catalog.items["item_id"].tolist() == ["B02", "B01"]
    assert catalog.items["text"].tolist() == ["Pot. Home > Pots; Gifts", 'Ann\'s "Mug"']
    assert catalog.items["price"].tolist() == ["2.5", ""]


def test_what_of_p5_is_left_out_is_told(tmp_path: Path) -> None:
    assert tables(p5(tmp_path)).notes == (
        "Columns left unread: 2 of meta.json.gz (imUrl, related).",
        "Items left out: 1 of meta.json.gz, which nobody had.",
    )


def test_an_id_that_the_maps_do_not_have_stays_and_is_told(tmp_path: Path) -> None:
    found = tables(p5(tmp_path, SEQUENCES + "3 1 2\n"))
    assert found.interactions["user_id"].tolist() == ["Ann"] * 3 + ["Bob"] + ["3"] * 2
    assert found.notes[0] == "1 of the user_id are not in datamaps.json and stay as they are (3)."


def test_without_maps_the_ids_are_those_of_the_lines(tmp_path: Path) -> None:
    metadata = METADATA.replace("B01", "1").replace("B02", "2")
    found = tables(p5(tmp_path, maps=None, metadata=metadata))
    assert found.interactions["item_id"].tolist() == ["1", "2", "1", "2"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sequences": "1 1 2\n\n2\n"}, r"sequential_data\.txt: line 3 is '2', expected a user and items af"),
        ({"sequences": "1 1 2\n2 1\n1 2\n"}, r'line 3 is of user "1", as line 1 is, expected one line per u'),
        ({"sequences": "\n"}, r"sequential_data\.txt is empty"),
        ({"maps": {"id2user": {}}}, r'datamaps\.json: "id2item" is not an object of ids, expected \{"id2use'),
        ({"maps": {"id2user": {"1": []}, "id2item": {}}}, r'"id2user" is not an object of ids.*remove the f'),
        ({"metadata": "{'title': 'Pot'}\n"}, r'meta\.json\.gz: line 1 has no "asin", expected the id of an'),
        ({"metadata": "['B01']\n"}, r"meta\.json\.gz: line 1 is \"\['B01'\]\", expected an object of fields"),
        ({"metadata": METADATA.splitlines()[0]}, r"2 of 4 events .* items that meta\.json\.gz does not have"),
        ({"metadata": ""}, r"has no texts of its items, and semantic IDs .* Add item_plain_text\.txt"),
    ],
)  # fmt: skip
def test_broken_files_of_p5_are_refused(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(CatalogError, match=message):
        read_catalog(CatalogConfig(items=p5(tmp_path, **changes)))


def test_code_in_the_metadata_is_refused_and_never_run(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    line = f"{{'asin': 'B01', 'title': __import__('os').system('touch {ran}')}}\n"
    with pytest.raises(CatalogError, match=r"meta\.json\.gz: line 4 is .* what it holds is read, never run"):
        tables(p5(tmp_path, metadata=METADATA + line))
    assert not ran.exists()


def test_pickles_are_never_opened(tmp_path: Path) -> None:
    p5(tmp_path, metadata="")
    (tmp_path / "meta_data.pkl").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    with pytest.raises(
        CatalogError, match=r"\(meta_data\.pkl: pickles are not read, opening one runs what is in"
    ):
        tables(tmp_path)


def test_a_title_at_the_beginning_of_every_text_is_a_column(tmp_path: Path) -> None:
    texts = "B01 title: Mug; for tea; brand: Acme; categories: home\nB02 title: Pot\n"
    catalog = read_catalog(CatalogConfig(items=openp5(tmp_path, texts)))
    assert catalog.items["title"].tolist() == ["Mug; for tea", "Pot"]
    assert catalog.items["text"].tolist() == ["Mug; for tea. brand: Acme; categories: home", "Pot"]


def test_texts_without_titles_are_texts(tmp_path: Path) -> None:
    catalog = read_catalog(CatalogConfig(items=openp5(tmp_path, "B01 title: Mug\nB02 a pot\nB03 unused\n")))
    assert catalog.items["item_id"].tolist() == ["B01", "B02"]
    assert catalog.items["text"].tolist() == ["title: Mug", "a pot"]


def test_a_line_without_a_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        CatalogError, match=r"item_plain_text\.txt: line 2 is 'B02 ', expected an item id, a blan"
    ):
        tables(openp5(tmp_path, "B01 mug\nB02 \n"))


def test_p5_without_sequences_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        CatalogError, match=r"has neither sequential_data\.txt nor user_sequence\.txt, expected o"
    ):
        read_tables(CatalogConfig(items=tmp_path, format="p5"))


def test_items_of_actionpiece_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    catalog = read_catalog(CatalogConfig(items=actionpiece(tmp_path)))
    assert catalog.items["item_id"].tolist() == ["B02", "B01"]
    assert catalog.items["text"].tolist() == ["A pot.", "A mug."]
    assert [catalog.sequences()[user].tolist() for user in range(2)] == [[0, 1], [0]]
    assert catalog.sequences().user_ids == ["Ann", "Bob"]


def test_what_of_actionpiece_is_left_out_is_told(tmp_path: Path) -> None:
    (actionpiece(tmp_path) / "sentence-t5-base.sent_emb").write_bytes(b"")
    assert tables(tmp_path).notes == (
        "Items left out: 1 of metadata.sentence.json, which id_mapping.json does not have.",
        "Vectors of items left unread: 1 file(s), sentence-t5-base.sent_emb.",
    )


def test_actionpiece_without_its_mapping_keeps_all_sentences(tmp_path: Path) -> None:
    assert len(tables(actionpiece(tmp_path, id_mapping=None)).items) == 3


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"metadata.sentence": None}, r"has no metadata\.sentence\.json, and .* holds all_item_seqs\.json,"),
        ({"metadata.sentence": {"B01": ["A mug."]}}, r'item "B01" is a list, expected a sentence\. Write \{'),
        ({"all_item_seqs": {"Ann": "B01"}}, r'all_item_seqs\.json: user "Ann" is a string, expected a list'),
        ({"id_mapping": {"id2item": {"1": "B01"}}}, r'id_mapping\.json: "id2item" is an object, expected a'),
        ({"id_mapping": {"id2item": ["B01"]}}, r'2 of 3 events .* metadata\.sentence\.json does not have: "'),
    ],
)  # fmt: skip
def test_broken_files_of_actionpiece_are_refused(
    tmp_path: Path, files: dict[str, object], message: str
) -> None:
    with pytest.raises(CatalogError, match=message):
        read_catalog(CatalogConfig(items=actionpiece(tmp_path, **files)))
