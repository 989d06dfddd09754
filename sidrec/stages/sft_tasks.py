"""What a config asks SFT to train on: tasks, prompts, and what rows are made from."""

from __future__ import annotations

from collections.abc import Mapping

from sidrec.catalog import Catalog
from sidrec.config import Config
from sidrec.errors import ConfigError
from sidrec.prompts import PromptBuilder, PromptSettings
from sidrec.stages.run import Run
from sidrec.tasks.rows import RowSource
from sidrec.tasks.task import Task, check_rows, tasks_of
from sidrec.tasks.values import Values


def check_sft(config: Config, catalog: Catalog) -> list[Task]:
    """Return the tasks of a config; raise what is wrong with them, before anything is trained.

    Raises:
        ConfigError: As `tasks_of` and `check_rows`.
        CatalogError: As `tasks_of`.
    """
    style = resolve_prompts(config).template
    tasks = tasks_of(config.sft.tasks, style, catalog)
    check_rows(config.sft.rows, tasks, style)
    if config.model.head == "depth":
        _check_depth(config)
    if config.model.item_embedding:
        _check_item_embedding(config)
    if config.prompt.history == "merged":
        _check_merged(config)
    if config.model.identifiers == "title":
        _check_titles(config, tasks)
    return tasks


def _first_of(refused: Mapping[str, bool]) -> str | None:
    """Return the first of some sentences that is so."""
    return next((said for said, is_so in refused.items() if is_so), None)


def _check_depth(config: Config) -> None:
    """Refuse what a depth head cannot do, or what would change nothing with it."""
    refused = {
        "model.identifiers=title names items by tokens of text": config.model.identifiers == "title",
        "prompt.last_token=sum says what an item's last token is read as": config.prompt.last_token == "sum",
        "model.skip_connection=true adds to states of an item's tokens": config.model.skip_connection,
        "sft.loss=vocabulary compares codes with all tokens": config.sft.loss == "vocabulary",
        "rl.logprobs=vocabulary compares codes with all tokens": config.rl.logprobs == "vocabulary",
    }
    if problem := _first_of(refused):
        raise ConfigError(
            f"{problem}, and with model.head=depth an item is one position whose codes are told among codes. "
            "Leave it out, or set model.head=lm."
        )


def _check_item_embedding(config: Config) -> None:
    """Refuse vectors of items' own where nothing would read or train them, or twice the same."""
    refused = {
        "model.head=lm reads an item code by code": config.model.head == "lm",
        f"sft.trainable={config.sft.trainable} leaves them at zero": config.sft.trainable != "full",
        "sft.item_embedding=true would add others to the same output rows": config.sft.item_embedding,
    }
    if problem := _first_of(refused):
        raise ConfigError(
            f"{problem}, and model.item_embedding=true gives items vectors of their own. Set "
            "model.item_embedding=false, or model.head=depth with sft.trainable=full and "
            "sft.item_embedding=false."
        )


def _check_merged(config: Config) -> None:
    """Refuse what would change nothing where an item of a history is one position."""
    refused = {
        "prompt.last_token=sum has the last token of an item stand for it": config.prompt.last_token == "sum",
        "model.head=depth reads an item as one position by itself": config.model.head == "depth",
        "model.identifiers=title names items by tokens of text": config.model.identifiers == "title",
    }
    if problem := _first_of(refused):
        raise ConfigError(
            f"{problem}, and with prompt.history=merged an item of a history is one position, the sum of its "
            "codes. Leave it out, or set prompt.history=codes."
        )


def _check_titles(config: Config, tasks: list[Task]) -> None:
    """Refuse what has no meaning, or would change nothing, where titles name the items."""
    refused = {
        "prompt.last_token=sum sums codes": config.prompt.last_token == "sum",
        "sft.item_dropout leaves out whole semantic IDs": config.sft.item_dropout > 0,
        f"sft.sid_init={config.sft.sid_init} begins rows of codes": config.sft.sid_init != "mean",
        f"sft.trainable={config.sft.trainable} trains rows of codes": config.sft.trainable == "sid_only",
    }
    if problem := _first_of(refused):
        raise ConfigError(
            f"{problem}, and with model.identifiers=title an item has none. Leave it out, or set "
            "model.identifiers=sid."
        )
    for task in tasks:
        if any(slot.is_title for slot in task.slots):
            raise ConfigError(
                f"sft.tasks.{task.name} turns semantic IDs and titles into each other, and with "
                f"model.identifiers=title they are the same. Set sft.tasks.{task.name}=0."
            )


def row_source(
    config: Config, run: Run, prompts: PromptBuilder, *, max_positions: int | None = None
) -> RowSource:
    """Return what the rows of a run are made from."""
    values = Values(prompts, run.catalog.items, run.catalog.users)
    return RowSource(
        prompts,
        values,
        run.learned_histories(),
        weights=run.learned_weights(),
        rows=config.sft.rows,
        max_positions=max_positions,
    )


def texts_of(catalog: Catalog) -> list[str]:
    """Return what the text tokenizer of a preset is trained on."""
    texts: list[str] = catalog.items["text"].tolist() + catalog.items["title"].tolist()
    return texts


def resolve_prompts(config: Config) -> PromptSettings:
    """Fill in what depends on the model: presets read SIDs only, models of one's own read words."""
    scratch = config.model.path is None
    return PromptSettings(
        template=config.prompt.template or ("compact" if scratch else "instruct"),
        max_history=config.prompt.max_history,
        max_title_tokens=config.prompt.max_title_tokens,
        max_text_tokens=config.prompt.max_text_tokens,
        normalization=config.sft.loss
        or ("catalog" if scratch or config.model.head == "depth" else "vocabulary"),
        last_token=config.prompt.last_token,
        identifiers=config.model.identifiers,
        head=config.model.head,
        skip_connection=config.model.skip_connection,
        history=config.prompt.history,
        tells_items=config.sft.item_loss > 0,
    )


def titles_for(config: Config, run: Run) -> list[str] | None:
    """Return the titles that name the items of a run, if they do."""
    return run.catalog.items["title"].tolist() if config.model.identifiers == "title" else None
