"""The forms in which people have catalogues: a file per form, and here which of them a config names.

Each form has `matches(config)`, which says by the names and first lines of the files whether they are of it,
and `read(config)`, which gives its `Tables`. The users that `catalog.users` names are read here, for all
forms alike. To add a form, write its file and a line in `FORMS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from sidrec.catalog.config import CatalogConfig
from sidrec.catalog.forms import (
    amazon2014,
    amazon2018,
    amazon2023,
    hugging_face,
    lcrec,
    minionerec,
    movielens,
    p5,
    recbole,
    separate,
    sequences,
    yelp,
)
from sidrec.catalog.forms.paths import require_paths
from sidrec.catalog.tables import Tables
from sidrec.errors import CatalogError


@dataclass(frozen=True)
class Form:
    """One form.

    Attributes:
        files: What it consists of, for people.
        matches: Whether a config names files of this form; opens no more than the beginning of a file.
        read: The tables.
    """

    files: str
    matches: Callable[[CatalogConfig], bool]
    read: Callable[[CatalogConfig], Tables]


FORMS = {
    "lcrec": Form("one *.item.json and one *.inter.json", lcrec.matches, lcrec.read),
    "recbole": Form("one *.item and one *.inter", recbole.matches, recbole.read),
    "amazon2014": Form(
        "meta_*.json.gz and reviews_*.json.gz of Amazon's reviews of 2014",
        amazon2014.matches,
        amazon2014.read,
    ),
    "amazon2018": Form(
        "meta_NAME.json.gz and NAME.json.gz of Amazon's reviews of 2018", amazon2018.matches, amazon2018.read
    ),
    "amazon2023": Form(
        "meta_NAME.jsonl and NAME.jsonl or NAME.csv of Amazon's reviews of 2023",
        amazon2023.matches,
        amazon2023.read,
    ),
    "movielens": Form(
        "u.item and u.data, movies.dat and ratings.dat, or movies.csv and ratings.csv of MovieLens",
        movielens.matches,
        movielens.read,
    ),
    "yelp": Form(
        "*business*.json and *review*.json of Yelp, or *business*.json, item_list.txt and train.txt",
        yelp.matches,
        yelp.read,
    ),
    "minionerec": Form("MiniOneRec's *.csv of train, valid, test", minionerec.matches, minionerec.read),
    "p5": Form("sequential_data.txt or user_sequence.txt, with texts of the items", p5.matches, p5.read),
    "sequences": Form("all_item_seqs.json and metadata.sentence.json", sequences.matches, sequences.read),
    "datasets": Form("a data set that save_to_disk wrote", hugging_face.matches, hugging_face.read),
    "tables": Form("catalog.items and catalog.interactions, a table each", separate.matches, separate.read),
}
"""Name, as in `catalog.format` -> form. The first that matches is taken: the more particular come first."""


def read_tables(config: CatalogConfig) -> Tables:
    """Read the files that a config names, in the form that it names or that they are recognised by.

    Raises:
        CatalogError: If the files are of no form, or not of the one that was named, or cannot be read.
    """
    require_paths(config)
    tables = _form_of(config).read(config)
    if config.users is not None:
        tables = _with_users(tables, config.users, config)
    _require_text_files(tables, config)
    return tables


def _with_users(tables: Tables, named: Path | list[Path], config: CatalogConfig) -> Tables:
    """Add the users that a config names."""
    users = separate.read_users(named, config)
    return replace(
        tables,
        users=users.frame,
        files=(*tables.files, *users.files),
        notes=(*tables.notes, *users.notes),
    )


def _require_text_files(tables: Tables, config: CatalogConfig) -> None:
    """Raise for a setting on how text files are written where none was read that has it."""
    delimited = ("CSV", "TSV")
    acting = {"separator": delimited, "quoting": delimited, "encoding": (*delimited, "JSONL", "NDJSON")}
    for name, forms in acting.items():
        is_set = getattr(config, name) != type(config).model_fields[name].default
        if is_set and not any(file.form.startswith(forms) for file in tables.files):
            raise CatalogError(
                f"catalog.{name} changes nothing: none of the files is a table in {' or '.join(forms)}. "
                "Leave it out."
            )


def _form_of(config: CatalogConfig) -> Form:
    """Return the form that a config names, or whose files it names."""
    if config.items is None:
        raise CatalogError("catalog.items is not set, expected a file of items. Set catalog.items=FILE.")
    if isinstance(config.items, list) or isinstance(config.interactions, list):
        if config.format not in (None, "tables"):
            raise CatalogError(
                f"catalog.format={config.format} takes no list of files in catalog.items or "
                "catalog.interactions. Name one, or leave catalog.format out for tables."
            )
        return FORMS["tables"]
    if config.format is not None:
        return FORMS[config.format]
    found = [name for name, form in FORMS.items() if form.matches(config)]
    particular = [name for name in found if name != "tables"]
    if len(particular) > 1:
        told = " and ".join(f"{FORMS[name].files} ({name})" for name in particular)
        raise CatalogError(
            f"catalog.items: {config.items} holds files of more than one form: {told}. "
            f"Set catalog.format to one of {', '.join(particular)}."
        )
    if found:
        return FORMS[found[0]]
    if not config.items.is_dir():
        raise CatalogError(
            f"catalog.interactions is not set, but catalog.items is ({config.items}). "
            "Set catalog.interactions=FILE to the file that says who had what."
        )
    names = sorted(path.name for path in config.items.iterdir())
    shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "") if names else "nothing"
    known = "; ".join(f"{form.files} ({name})" for name, form in FORMS.items())
    raise CatalogError(
        f"catalog.items: {config.items} is a directory of no known form: it holds {shown}, expected one of: "
        f"{known}. Name the files in catalog.items and catalog.interactions."
    )
