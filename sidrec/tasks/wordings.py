"""The tasks that come with sidrec: what is asked and what is answered, in each style of prompts.

`compact` is for models from scratch: SIDs, texts and a few marks, by which no two tasks can be confused.
`instruct` says in words what is asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Style = Literal["compact", "instruct"]
ASK_NEXT_SID = "Answer with the semantic ID of the item the user will choose next."
ASK_NEXT_TITLE = "Answer with the title of the item the user will choose next."
SIDS = "Below is the history of a user, oldest first, each item written as its semantic ID: {history}."
TITLES = "Below are the titles of the items of a user, oldest first: {history.title}"


@dataclass(frozen=True)
class Wording:
    """A prompt and its completion, templates as `sidrec.tasks.template` reads them."""

    prompt: str
    completion: str


BUILT_IN: dict[str, dict[Style, Wording]] = {
    "next_item": {
        "compact": Wording("{history}", "{sid}"),
        "instruct": Wording(f"{SIDS} {ASK_NEXT_SID}", "{sid}"),
    },
    "item_to_title": {
        "compact": Wording("{sid} =>", "{title}"),
        "instruct": Wording("What is the title of the item {sid}?", "{title}"),
    },
    "title_to_item": {
        "compact": Wording("{title} =>", "{sid}"),
        "instruct": Wording('Which semantic ID names the item with the title "{title}"?', "{sid}"),
    },
    "description_to_item": {
        "compact": Wording("Description: {description} =>", "{sid}"),
        "instruct": Wording(
            "Below is the description of an item: {description}\nAnswer with the semantic ID of the item.",
            "{sid}",
        ),
    },
    "history_to_title": {
        "compact": Wording("Next title: {history} =>", "{title}"),
        "instruct": Wording(f"{SIDS} {ASK_NEXT_TITLE}", "{title}"),
    },
    "titles_to_item": {
        "compact": Wording("Next item: {history.title} =>", "{sid}"),
        "instruct": Wording(f"{TITLES}\n{ASK_NEXT_SID}", "{sid}"),
    },
    "titles_to_title": {
        "compact": Wording("Next title: {history.title} =>", "{title}"),
        "instruct": Wording(f"{TITLES}\n{ASK_NEXT_TITLE}", "{title}"),
    },
    "preference_to_item": {
        "compact": Wording("Preference: {user.preference} =>", "{sid}"),
        "instruct": Wording(
            "Below is what a user prefers: {user.preference}\n"
            "Answer with the semantic ID of an item the user will choose.",
            "{sid}",
        ),
    },
}
