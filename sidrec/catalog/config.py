"""What the config sections `catalog` and `split` may hold; reading the YAML is left to `sidrec.config`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from sidrec.sections import Section


class CatalogConfig(Section):
    """Where the two tables lie and what their columns mean."""

    items: Path | None = Field(
        None,
        description="One row per item: .csv, .tsv, .jsonl, .ndjson (each also .gz), .parquet, LC-Rec "
        ".item.json or RecBole .item; or a directory with one *.item.json and one *.inter.json, or one "
        "*.item and one *.inter, or of another form that docs/catalogues.md names, which needs no "
        "interactions; or hf://OWNER/NAME, a data set of Hugging Face.",
    )
    interactions: Path | None = Field(
        None,
        description="One row per event (who had what, when), in the same formats, LC-Rec .inter.json or "
        "RecBole .inter.",
    )
    users: Path | None = Field(
        None,
        description="One row per user of the interactions, in the same formats; for tasks of SFT that say "
        "something of the user. Absent: the *.user of a RecBole directory, if there is one.",
    )
    format: Literal["lcrec", "recbole", "minionerec", "p5", "sequences", "datasets", "tables"] | None = Field(
        None,
        description="Form of the files; absent: recognised by their names and first lines.",
    )
    item_id: str = Field(
        "item_id", description="Column of the item id, in both tables. Ids are text: 007 is not 7."
    )
    user_id: str = Field(
        "user_id", description="Column of the user id in the interactions, and in the users."
    )
    timestamp: str | None = Field(
        None,
        description="Column of the time of an event: numbers (any unit) or ISO dates (UTC unless they say "
        "otherwise). Absent: the column `timestamp` when there is one, else the order of the rows.",
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


class SplitConfig(Section):
    """How events are divided into train, valid and test."""

    method: Literal["leave_one_out"] = Field(
        "leave_one_out",
        description="leave_one_out: the last event of a user is test, the one before valid, the rest train; "
        "users with fewer than 3 events are train only.",
    )
    rl_share: float = Field(
        0,
        ge=0,
        le=1,
        description="Share of the users whose last train event SFT does not see, for rl.prompts=held_out or "
        "mixed; it stays in the histories of valid and test, and in what baselines learn from.",
    )
