"""MiniOneRec's CSV files: events rebuilt from histories and targets, each row checked, no cell ever run."""

import json
from pathlib import Path

import pytest

from sidrec.catalog import CatalogConfig, read_catalog
from sidrec.catalog.forms import read_tables
from sidrec.catalog.forms.literals import parse_ids
from sidrec.catalog.tables import Tables
from sidrec.errors import CatalogError

REAL = Path(__file__).parents[1] / "data" / "minionerec-industrial"
HEADER = "user_id,history_item_id,item_id\n"
TRAIN = HEADER + 'u,[1],2\nv,[5],6\nu,"[1, 2]",3\n'
VALID = HEADER + 'u,"[2, 3]",4\nv,"[5, 6]",7\n'
TEST = HEADER + 'v,"[6, 7]",7\nw,"[8, 9]",1\n'
"""Histories are cut at 2. u: 1 2 3 | 4; v: 5 6 | 7 | 7; w, who is in no other part: 8 9 | 1."""


def write(directory: Path, *, items: bool = True, **parts: str) -> Path:
    for part, text in parts.items():
        (directory / part).mkdir(exist_ok=True)
        (directory / part / "set.csv").write_text(text, encoding="utf-8")
    if items:
        (directory / "index").mkdir(exist_ok=True)
        texts = {str(item): {"title": f"item {item}"} for item in range(10)}
        (directory / "index" / "set.item.json").write_text(json.dumps(texts))
    return directory


def tables(directory: Path) -> Tables:
    return read_tables(CatalogConfig(items=directory))


def events(directory: Path) -> list[list[str]]:
    return tables(directory).interactions[["user_id", "item_id", "split"]].values.tolist()


def test_the_events_are_the_first_history_and_then_a_target_per_row(tmp_path: Path) -> None:
    assert events(write(tmp_path, train=TRAIN, valid=VALID, test=TEST)) == [
        ["u", "1", "train"], ["u", "2", "train"], ["u", "3", "train"], ["u", "4", "valid"],
        ["v", "5", "train"], ["v", "6", "train"], ["v", "7", "valid"], ["v", "7", "test"],
        ["w", "8", "context"], ["w", "9", "context"], ["w", "1", "test"],
    ]  # fmt: skip


def test_what_the_model_saw_without_being_asked_for_it_is_told(tmp_path: Path) -> None:
    notes = tables(write(tmp_path, train=TRAIN, valid=VALID, test=TEST)).notes
    assert notes == (
        "The events were put together from rows with histories of up to 2; every row agrees with those "
        "before it.",
        "The 2 events of the histories of first train rows are train as well: a model was trained on them, "
        "though no row has them as its target.",  # item 1 of u, 5 of v
        "2 events are context: the first histories of users without train rows.",  # 8 and 9 of w
    )


def test_without_the_train_file_first_histories_are_context(tmp_path: Path) -> None:
    directory = write(tmp_path, valid=VALID, test=TEST)
    assert events(directory) == [
        ["u", "2", "context"], ["u", "3", "context"], ["u", "4", "valid"],
        ["v", "5", "context"], ["v", "6", "context"], ["v", "7", "valid"], ["v", "7", "test"],
        ["w", "8", "context"], ["w", "9", "context"], ["w", "1", "test"],
    ]  # fmt: skip
    assert tables(directory).notes[1] == (
        "There is no train file: the 6 events of first histories are context, which no model is trained on, "
        "so this catalogue is for evaluation only."
    )


def test_the_catalogue_has_the_order_of_the_rows(tmp_path: Path) -> None:
    catalog = read_catalog(CatalogConfig(items=write(tmp_path, train=TRAIN, valid=VALID, test=TEST)))
    assert catalog.order == "rows"
    assert [catalog.items["title"][item] for item in catalog.sequences()[1]] == [
        "item 5", "item 6", "item 7", "item 7",
    ]  # fmt: skip


def test_files_side_by_side_are_called_by_their_part(tmp_path: Path) -> None:
    in_folders, flat = tmp_path / "folders", tmp_path / "flat"
    for directory in (in_folders, flat):
        directory.mkdir()
    write(in_folders, test=TEST)
    (flat / "My_set_test_2018.csv").write_text(TEST)
    (flat / "my.item.json").write_bytes((in_folders / "index" / "set.item.json").read_bytes())
    (flat / "latest.csv").write_text("not,of,this,form\n")  # "test" is a part of its name, not a word of it
    assert events(flat) == events(in_folders)


def test_other_names_of_the_columns_are_those_of_the_config(tmp_path: Path) -> None:
    config = CatalogConfig(items=write(tmp_path, test=TEST), item_id="asin", user_id="reader")
    assert read_catalog(config).interactions.columns.tolist() == ["user_id", "item_id", "timestamp", "split"]


def test_titles_of_the_info_file_stand_in_for_texts(tmp_path: Path) -> None:
    directory = write(tmp_path, items=False, test=HEADER + "u,[0],1\n")
    (directory / "info").mkdir()
    (directory / "info" / "set.txt").write_text(
        "<a_1><b_2>\tMug, 2\tpieces\t0\n\n<a_1><b_3>\tPot\u2028x\t1\n"
    )
    catalog = read_catalog(CatalogConfig(items=directory))
    assert catalog.items["item_id"].tolist() == ["0", "1"]
    assert catalog.items["text"].tolist() == ["Mug, 2\tpieces", "Pot\u2028x"]


def test_columns_and_semantic_ids_that_are_not_read_are_told(tmp_path: Path) -> None:
    text = "user_id,history_item_id,item_id,item_title,item_sid\nu,[1],2,Mug,<a_1>\n"
    directory = write(tmp_path, test=text)
    (directory / "index" / "set.index.json").write_text("{}")
    *_, columns, codes = tables(directory).notes
    assert columns == "Columns left unread: 2 of the CSV files (item_title, item_sid)."
    assert codes.endswith(f"tokenizer.method=import tokenizer.index={directory / 'index' / 'set.index.json'}")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ('u,"[1, 2]",3\nu,"[1, 3]",4\n', r"test/set\.csv: row 3 \(the header is row 1\) gives user \"u\" the "
         r"history \[1, 3\], expected \[2, 3\]: the newest events before its target, .* cut at 2"),
        ('u,"[1, 2]",3\nu,[3],4\n', r"row 3 .* the history \[3\], expected \[2, 3\]"),
        ('u,"[1, 2, 3, 4, 5]",6\nu,"[1, 3, 4, 5, 6]",7\n', r"history \[\.\.\., 4, 5, 6\], expected \[\.\.\."),
        ("u,[1],2\nu,[1],2\n", r"row 3 .* history \[1\], expected \[2\].*Write the rows of a user in the or"),
    ],
)  # fmt: skip
def test_a_row_that_contradicts_those_before_it_is_refused(tmp_path: Path, rows: str, message: str) -> None:
    with pytest.raises(CatalogError, match=message):
        events(write(tmp_path, test=HEADER + rows))


def test_parts_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        CatalogError, match=r'valid/set\.csv: row 2 .* user "v" the history \[5\], expected \[5'
    ):
        events(write(tmp_path, train=TRAIN, valid=HEADER + "v,[5],7\n"))


@pytest.mark.parametrize(
    "cell",
    [
        "__import__('os').system('touch {ran}')",
        "[__import__('os').system('touch {ran}')]",
        "[open('{ran}', 'w')]",
        "[i for i in range(3)]",
        "1",
        "",
        "[1, None]",
        "[1.5]",
        "[True]",
        "[[1]]",
        "[1",
        "{{[]: 1}}",
        "[" * 5000,
        "-" * 100_000 + "1",
    ],
)
def test_a_cell_that_is_no_list_of_ids_is_refused_and_never_run(tmp_path: Path, cell: str) -> None:
    ran = tmp_path / "ran"
    with pytest.raises(
        CatalogError, match=r"row 9: history_item_id is .*, expected a list of item ids, such as"
    ):
        parse_ids(cell.format(ran=ran), "row 9: history_item_id")
    assert not ran.exists()


def test_code_in_a_file_is_refused_with_its_place(tmp_path: Path) -> None:
    rows = "u,\"[__import__('os').system('true')]\",2\n"
    message = (
        r"test/set\.csv: row 2 \(the header is row 1\): history_item_id is \"\[__import__.*read, never run"
    )
    with pytest.raises(CatalogError, match=message):
        events(write(tmp_path, test=HEADER + rows))


def test_ids_may_be_strings_in_the_lists(tmp_path: Path) -> None:
    assert events(write(tmp_path, test=HEADER + "u,\"['7', '8']\",9\n"))[0] == ["u", "7", "context"]


def test_an_item_without_a_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        CatalogError, match=r"1 of 2 events .* have items that set\.item\.json does not have: \"77"
    ):
        read_catalog(CatalogConfig(items=write(tmp_path, test=HEADER + "u,[1],77\n")))


def test_two_files_of_a_part_are_refused(tmp_path: Path) -> None:
    write(tmp_path, test=TEST)
    (tmp_path / "test" / "other.csv").write_text(TEST)
    with pytest.raises(
        CatalogError, match=r"has 2 files for test: other\.csv, set\.csv, expected one\. Put the"
    ):
        events(tmp_path)


def test_a_part_without_a_column_is_refused(tmp_path: Path) -> None:
    write(tmp_path, valid=VALID, test="user_id,item_id\nu,1\n")
    with pytest.raises(
        CatalogError, match=r'test/set\.csv has no column "history_item_id", expected user_id, h'
    ):
        events(tmp_path)


def test_rows_without_any_texts_of_items_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"has neither \*\.item\.json nor info/\*\.txt, and semantic IDs"):
        events(write(tmp_path, items=False, test=TEST))


def test_a_line_of_the_info_file_that_is_not_whole_is_refused(tmp_path: Path) -> None:
    write(tmp_path, items=False, test=TEST)
    (tmp_path / "set.txt").write_text("<a_1>\tMug\t0\n<a_2>\tPot\n")
    with pytest.raises(
        CatalogError, match=r"set\.txt: line 2 is '<a_2>\\tPot', expected semantic ID, title and"
    ):
        events(tmp_path)


def test_the_form_without_rows_is_refused(tmp_path: Path) -> None:
    write(tmp_path)
    with pytest.raises(CatalogError, match=r"has no CSV of train, valid or test rows, expected one at least"):
        read_tables(CatalogConfig(items=tmp_path, format="minionerec"))


def test_the_released_files_have_their_exact_counts() -> None:
    """4,532 valid and 4,533 test rows, 3,686 items with texts; the train file was not released."""
    if not REAL.is_dir():
        pytest.skip("data/minionerec-industrial is not there: make data")
    found = tables(REAL)
    assert found.interactions["split"].value_counts().to_dict() == {
        "context": 13_678, "test": 4_533, "valid": 4_532,
    }  # fmt: skip
    assert [file.rows for file in found.files] == [3_686, 4_532, 4_533]
    assert found.notes[1].startswith(
        "There is no train file: the 13,678 events of first histories are context"
    )
    catalog = read_catalog(CatalogConfig(items=REAL))
    assert (catalog.num_items, catalog.num_users, len(catalog.interactions)) == (3_686, 3_285, 22_743)
