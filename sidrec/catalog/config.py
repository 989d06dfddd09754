"""What the config sections `catalog` and `split` may hold; reading the YAML is left to `sidrec.config`."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from sidrec.catalog.time_format import fault_of
from sidrec.sections import Section


class FiltersConfig(Section):
    """What is left out, in the order of the fields; `sidrec catalog` says what each removed."""

    unknown_items: Literal["error", "drop"] = Field(
        "error", description="An event of an item that is not in the items: an error, or the event goes."
    )
    duplicate_items: Literal["error", "first"] = Field(
        "error", description="An item id that is there twice: an error, or the first row counts."
    )
    empty_texts: Literal["error", "drop"] = Field(
        "error", description="An item without a text: an error, or it goes, and its events."
    )
    drop_titles: str | None = Field(
        None, description="Regular expression (Python's); items whose title it is found in go."
    )
    min_title_characters: int = Field(0, ge=0, description="Items with a shorter title go.")
    max_title_characters: int | None = Field(None, ge=1, description="Items with a longer title go.")
    min_rating: float | None = Field(
        None, description="Events with a lower rating go, or with none; in the unit of catalog.rating."
    )
    start: datetime | None = Field(
        None, description="Events before this date go; UTC unless it names a zone, e.g. 2018-01-01."
    )
    end: datetime | None = Field(None, description="Events at this date or later go.")
    deduplicate: Literal["none", "consecutive", "all"] = Field(
        "none",
        description="Repeats of an item in a user's history, of which the first stays: none go; those that "
        "follow directly on the same item; all.",
    )
    min_history: int = Field(1, ge=1, description="Users with fewer events go.")
    max_history: int | None = Field(
        None, ge=1, description="Users with more events go: they are robots, shops or libraries."
    )
    user_core: int = Field(
        1, ge=1, description="Least events of every user that is left, item_core being met as well (k-core)."
    )
    item_core: int = Field(
        0, ge=0, description="Least events of every item that is left. 0: items without events stay."
    )

    @field_validator("drop_titles")
    @classmethod
    def _is_an_expression(cls, value: str | None) -> str | None:
        try:
            re.compile(value or "")
        except re.error as error:
            raise ValueError(f"a regular expression ({error})") from error
        return value

    @model_validator(mode="after")
    def _are_in_order(self) -> FiltersConfig:
        if self.max_history is not None and self.max_history < self.min_history:
            raise ValueError(
                f"min_history={self.min_history} and max_history={self.max_history} leave no user. "
                "Lower the one or raise the other"
            )
        return self


class CatalogConfig(Section):
    """Where the two tables lie and what their columns mean."""

    items: Path | list[Path] | None = Field(
        None,
        description="One row per item: .csv, .tsv, .jsonl, .ndjson (each also .gz or .zst), .parquet, LC-Rec "
        ".item.json or RecBole .item; several files by a pattern such as `items-*.csv` or as a list; or a "
        "directory with one *.item.json and one *.inter.json, or one *.item and one *.inter, or of another "
        "form that docs/catalogues.md names, which needs no interactions; or hf://OWNER/NAME, a data set of "
        "Hugging Face.",
    )
    interactions: Path | list[Path] | None = Field(
        None,
        description="One row per event (who had what, when), in the same formats, LC-Rec .inter.json or "
        "RecBole .inter. The files of a pattern are read in the order of their names, 2 before 10.",
    )
    users: Path | list[Path] | None = Field(
        None,
        description="One row per user of the interactions, in the same formats; for tasks of SFT that say "
        "something of the user. Absent: the *.user of a RecBole directory, if there is one.",
    )
    format: (
        Literal[
            "lcrec",
            "recbole",
            "minionerec",
            "p5",
            "sequences",
            "datasets",
            "amazon2014",
            "amazon2018",
            "amazon2023",
            "movielens",
            "yelp",
            "tables",
        ]
        | None
    ) = Field(
        None,
        description="Form of the files; absent: recognised by their names and first lines.",
    )
    separator: str | None = Field(
        None,
        description="Of the cells of .csv and .tsv files: one character, or `\\t` for a tab. Absent: comma, "
        "semicolon, tab or |, told by the first rows.",
    )
    quoting: bool = Field(
        True,
        description="Of .csv and .tsv files: double quotes around a cell hold it together. false: they are "
        "characters like any other.",
    )
    encoding: str | None = Field(
        None,
        description="Of .csv, .tsv and .jsonl files without a byte order mark: cp1252, cp1251, gbk, ... "
        "Absent: UTF-8, or Windows-1252 (and so Latin-1) where the letters leave no doubt.",
    )
    item_id: str = Field(
        "item_id", description="Column of the item id, in both tables. Ids are text: 007 is not 7."
    )
    user_id: str = Field(
        "user_id", description="Column of the user id in the interactions, and in the users."
    )
    timestamp: str | None = Field(
        None,
        description="Column of the time of an event: numbers (any unit) or dates in one form: ISO, "
        "31.05.2024, 31/05/2024, 05/31/2024 or 31-05-2024, each also with a clock (UTC unless they say "
        "otherwise). Absent: the column `timestamp` when there is one, else the order of the rows.",
    )
    time_format: str | None = Field(
        None,
        description="How the dates of that column are written, in strptime's notation: `%d/%m/%Y %H:%M`. "
        "Absent: told by the cells, and refused where they fit two forms.",
    )
    rating: str | None = Field(
        None,
        description="Column of the rating of an event, a number, for filters.min_rating. Absent: the column "
        "`rating` when there is one.",
    )
    weight: str | None = Field(
        None,
        description="Column of the weight of an event, a positive number; 2 counts as two events in the "
        "counts of the baselines popularity and recent_popularity and in the losses of targets in SFT, "
        "SASRec and GRU4Rec, and item_knn takes the cosine of weights. Absent: every event counts as one.",
    )
    split_column: str | None = Field(
        None,
        description="Column that says for split.method=given which events are targets of which part: train, "
        "valid, test, or context (in histories alone). Absent: the column `split` when there is one.",
    )
    text: str | None = Field(
        None,
        description="Template of an item's text over columns, such as `{title}, by {author}`; {{ and }} are "
        "braces. Absent: all text columns but the id.",
    )
    title: str | None = Field(
        None,
        description="Column shown to people. Absent: `title` or `name`, else the text's first 60 characters.",
    )
    category: str | None = Field(
        None,
        description="Column of an item's category, for the report on semantic IDs only: a name, or a "
        "hierarchy divided by `>`, `|`, `;` or commas. Absent: `category`, `categories`, `class`, "
        "`genre` or `genres`, if there is one.",
    )
    filters: FiltersConfig = Field(
        default_factory=FiltersConfig, description="What is left out of the catalogue before it is split."
    )

    @property
    def items_path(self) -> Path | None:
        """The one path that `items` names; None for a list, which is one of tables."""
        return None if isinstance(self.items, list) else self.items

    @property
    def interactions_path(self) -> Path | None:
        """As `items_path`."""
        return None if isinstance(self.interactions, list) else self.interactions

    @field_validator("items", "interactions", "users", mode="before")
    @classmethod
    def _names_files(cls, value: object) -> object:
        named = value if isinstance(value, list) else [value]
        if value is not None and not all(isinstance(each, str | Path) for each in named):
            raise ValueError("expected a path, or a list of paths")
        return value

    @field_validator("separator")
    @classmethod
    def _is_one_character(cls, value: str | None) -> str | None:
        value = "\t" if value == "\\t" else value
        if value is not None and (
            len(value) != 1 or not value.isascii() or value.isalnum() or value in '"\r\n\0'
        ):
            raise ValueError('expected one character that is no letter or digit, such as ";"')
        return value

    @field_validator("time_format")
    @classmethod
    def _describes_dates(cls, value: str | None) -> str | None:
        if value is not None and (fault := fault_of(value)) is not None:
            raise ValueError(fault)
        return value

    @field_validator("encoding")
    @classmethod
    def _is_an_encoding(cls, value: str | None) -> str | None:
        try:
            "a".encode(value or "utf-8")  # an empty text is not even tried
        except (LookupError, ValueError) as error:
            raise ValueError("expected an encoding that Python knows, such as cp1252") from error
        return value


class SplitConfig(Section):
    """How events are divided into train, valid and test."""

    method: Literal["leave_one_out", "last_n", "by_time", "by_user", "given"] = Field(
        "leave_one_out",
        description="leave_one_out: the last event of a user is test, the one before valid, the rest train. "
        "last_n: the last n events are test, the n before valid. by_time: all targets by time, the latest "
        "are test, those before valid; a user may have several. by_user: users drawn by split.seed, of whose "
        "events none is train and the last is the target. given: as catalog.split_column or the form says.",
    )
    n: int = Field(1, ge=1, description="Of last_n; users with fewer than 2 n + 1 events are train only.")
    valid_share: float = Field(
        0.1, gt=0, lt=1, description="Of by_time, a share of the targets; of by_user, of the users."
    )
    test_share: float = Field(0.1, gt=0, lt=1, description="As valid_share.")
    seed: int = Field(
        0, ge=0, description="Of the draw of by_user; not the run's, so that runs of several seeds share it."
    )
    max_history: int | None = Field(
        None,
        ge=1,
        description="Newest items that stand in the histories of valid and test; absent: all. (How many a "
        "prompt shows is prompt.max_history.)",
    )
    rl_share: float = Field(
        0,
        ge=0,
        le=1,
        description="Share of the users whose last train event SFT does not see, for rl.prompts=held_out or "
        "mixed; it stays in the histories of valid and test, and in what baselines learn from.",
    )

    @model_validator(mode="after")
    def _leaves_something_to_train_on(self) -> SplitConfig:
        if self.valid_share + self.test_share >= 1:
            raise ValueError(
                f"valid_share={self.valid_share:g} and test_share={self.test_share:g} leave nothing to train "
                "on. Lower them"
            )
        return self

    @model_validator(mode="after")
    def _options_act(self) -> SplitConfig:
        """Refuse what would change nothing."""
        methods = {
            "n": ("last_n",),
            "valid_share": ("by_time", "by_user"),
            "test_share": ("by_time", "by_user"),
            "seed": ("by_user",),
        }
        for name, wanted in methods.items():
            if getattr(self, name) != type(self).model_fields[name].default and self.method not in wanted:
                raise ValueError(
                    f"{name} changes nothing where method is {self.method}; it is for "
                    f"{' and '.join(wanted)}. Leave it out, or set method"
                )
        return self
