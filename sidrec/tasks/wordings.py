"""The tasks that come with sidrec: what is asked and what is answered, in each style of prompts.

`compact` is for models from scratch: SIDs, texts and a few marks, by which no two tasks can be confused.
`instruct` says in words what is asked; free text stands last, where it runs into no words of ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Style = Literal["compact", "instruct"]
HISTORY = "Below is the history of a user, oldest first, each item written as its semantic ID: {history}."
TITLES = (
    "of the item a user will choose next, whose items so far have these titles, oldest first: {history.title}"
)


@dataclass(frozen=True)
class Wording:
    """A prompt and its completion, templates as `sidrec.tasks.template` reads them."""

    prompt: str
    completion: str


BUILT_IN: dict[str, dict[Style, Wording]] = {
    "next_item": {
        "compact": Wording("{history}", "{sid}"),
        "instruct": Wording(
            f"{HISTORY} Answer with the semantic ID of the item the user will choose next.", "{sid}"
        ),
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
            "Answer with the semantic ID of the item with this description: {description}", "{sid}"
        ),
    },
    "history_to_title": {
        "compact": Wording("Next title: {history} =>", "{title}"),
        "instruct": Wording(
            f"{HISTORY} Answer with the title of the item the user will choose next.", "{title}"
        ),
    },
    "titles_to_item": {
        "compact": Wording("Next item: {history.title} =>", "{sid}"),
        "instruct": Wording(f"Answer with the semantic ID {TITLES}", "{sid}"),
    },
    "titles_to_title": {
        "compact": Wording("Next title: {history.title} =>", "{title}"),
        "instruct": Wording(f"Answer with the title {TITLES}", "{title}"),
    },
    "preference_to_item": {
        "compact": Wording("Preference: {user.preference} =>", "{sid}"),
        "instruct": Wording(
            "Answer with the semantic ID of an item for a user who prefers this: {user.preference}", "{sid}"
        ),
    },
}
