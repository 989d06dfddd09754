"""The files that ActionPiece, RPG and their kin prepare: a list of items per user, a sentence per item.

`all_item_seqs.json` is `{user: [item, ...]}`, oldest first; `metadata.sentence.json` `{item: sentence}`;
`id_mapping.json`, where it is there, has the items in the order of the models' numbers (`id2item`, of which
the first is padding), which is the order of the items here.

Source: ActionPiece (arXiv:2502.13581), genrec/datasets/AmazonReviews2014.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from sidrec.catalog.config import CatalogConfig
from sidrec.catalog.forms.json_files import kind_of, read_object
from sidrec.catalog.forms.lcrec import read_lcrec_interactions
from sidrec.catalog.forms.unread import shown
from sidrec.catalog.tables import Tables, read_file
from sidrec.errors import CatalogError

SEQUENCES = "all_item_seqs.json"
SENTENCES = "metadata.sentence.json"
MAPPING = "id_mapping.json"


def matches(config: CatalogConfig) -> bool:
    """Say whether `catalog.items` is a directory with the sequences of this form."""
    path = config.items_path
    return config.interactions_path is None and path is not None and (path / SEQUENCES).is_file()


def read(config: CatalogConfig) -> Tables:
    """Read the three files.

    Raises:
        CatalogError: If the sequences or the sentences are missing, or a file is broken.
    """
    directory = config.items_path
    assert directory is not None
    events_path, items_path = directory / SEQUENCES, directory / SENTENCES
    if not items_path.is_file():
        held = shown(path.name for path in sorted(directory.glob("*.json")))
        raise CatalogError(
            f"catalog.items: {directory} has no {SENTENCES}, and semantic IDs are made from the sentences "
            f"of the items (it holds {held}). Write them with metadata: sentence in the config of the "
            "project that made the files."
        )
    events = read_lcrec_interactions(
        events_path, "catalog.items", item_id=config.item_id, user_id=config.user_id
    )
    events.attrs["form"] = "JSON of users, each a list of items"
    items = _read_sentences(items_path, config.item_id)
    items, notes = _as_numbered(items, directory / MAPPING, config.item_id)
    vectors = [path.name for path in sorted(directory.iterdir()) if ".sent_emb" in path.name]
    if vectors:
        notes += (f"Vectors of items left unread: {len(vectors)} file(s), {shown(vectors)}.",)
    files = (read_file(items, items_path), read_file(events, events_path))
    return Tables(items, events, files=files, notes=notes)


def _read_sentences(path: Path, item_id: str) -> pd.DataFrame:
    """Read a sentence per item."""
    form = '{item: "title. brand. description."}'
    document = read_object(path, "catalog.items", form)
    for item, sentence in document.items():
        if not isinstance(sentence, str):
            raise CatalogError(
                f'{path}: item "{item}" is {kind_of(sentence)}, expected a sentence. Write {form}.'
            )
    frame = pd.DataFrame({item_id: list(document), "text": list(document.values())})
    frame.attrs |= {"source": path.name, "form": "JSON of items, each a sentence"}
    return frame


def _as_numbered(items: pd.DataFrame, path: Path, item_id: str) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Bring items into the order of the mapping, if there is one; leave out those that it does not have."""
    if not path.is_file():
        return items, ()
    form = '{"id2item": ["[PAD]", "B004756YJA", ...], ...}'
    numbered = read_object(path, "catalog.items", form).get("id2item")
    if not isinstance(numbered, list) or not all(isinstance(item, str) for item in numbered):
        raise CatalogError(
            f'{path}: "id2item" is {kind_of(numbered)}, expected a list of item ids. Write {form}, or remove '
            "the file."
        )
    places = {item: number for number, item in enumerate(numbered)}
    kept = items[items[item_id].isin(places)]
    ordered = kept.iloc[kept[item_id].map(places).argsort()].reset_index(drop=True)
    ordered.attrs |= items.attrs
    if len(kept) == len(items):
        return ordered, ()
    return ordered, (
        f"Items left out: {len(items) - len(kept):,} of {SENTENCES}, which {path.name} does not have.",
    )
