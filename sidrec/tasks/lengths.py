"""How long rows can get, and what to say of one that is too long."""

from __future__ import annotations

from sidrec.errors import ConfigError
from sidrec.prompts import PLAIN_CHAT, PromptSettings
from sidrec.tasks.task import Task
from sidrec.tasks.template import Slot


def most_tokens(task: Task, settings: PromptSettings, num_levels: int) -> int:
    """Return what no row of a task exceeds in tokens, whatever the catalogue and the text tokenizer."""
    words = "".join((*task.prompt.words, *task.completion.words))
    written = len(words.encode()) + len(PLAIN_CHAT) + 2  # a token has a byte at least; 2: its begin and end
    for slot in task.slots:
        times = settings.max_history if slot.of == "history" else 1
        between = len(", ")
        written += times * (_width(slot, settings, num_levels) + between)
    return written


def too_long(
    task: Task, tokens: int, max_positions: int, settings: PromptSettings, *, section: str = "sft"
) -> ConfigError:
    """Return what refuses a row, with what to lower."""
    names = []
    if any(slot.of == "history" for slot in task.slots):
        names.append("max_history")
    if any(slot.is_title for slot in task.slots):
        names.append("max_title_tokens")
    if any(slot.column is not None and not slot.is_title for slot in task.slots):
        names.append("max_text_tokens")
    limits = " or ".join(f"prompt.{name} (now {getattr(settings, name)})" for name in names)
    advice = f"Lower {limits}" if names else "Shorten its words"
    return ConfigError(
        f"{section}.tasks.{task.name}: a row has {tokens} tokens, but the model has {max_positions} "
        f"positions (max_position_embeddings). {advice}, or take a model "
        "with more positions."
    )


def _width(slot: Slot, settings: PromptSettings, num_levels: int) -> int:
    """Tokens of one item or user in a slot, at most."""
    if slot.column is None:
        return num_levels
    return settings.max_title_tokens if slot.is_title else settings.max_text_tokens
