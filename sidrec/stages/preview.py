"""Rows of SFT as the model will see them, before anything is trained."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby, islice
from typing import TYPE_CHECKING

from sidrec.config import Config
from sidrec.errors import ConfigError
from sidrec.models import make_text_tokenizer
from sidrec.prompts import PromptBuilder
from sidrec.stages.run import load_run
from sidrec.stages.sft_tasks import check_sft, resolve_prompts, row_source, texts_of, titles_for
from sidrec.tasks.row_making import task_rows
from sidrec.tasks.rows import IGNORED, Row
from sidrec.vocabulary import SIDVocabulary

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class ShownRow:
    """A row in text.

    Attributes:
        task: Its name.
        tokens: How many the row has.
        supervised: Those of them that the model learns to write.
        parts: The text in order, each part with whether it is supervised.
    """

    task: str
    tokens: int
    supervised: int
    parts: list[tuple[str, bool]]


def preview(config: Config, num_rows: int) -> list[ShownRow]:
    """Return the first rows of each task; weights of the model are not read.

    Raises:
        ArtifactError: If `tokenize` has not been run.
        ConfigError: If `num_rows` is below 1, or as `check_sft` raises.
    """
    if num_rows < 1:
        raise ConfigError(f"--rows {num_rows}: expected how many rows of each task to show, 1 or more.")
    run = load_run(config)
    tasks = check_sft(config, run.catalog)
    text_tokenizer = make_text_tokenizer(config.model, texts_of(run.catalog))
    vocabulary = SIDVocabulary.add_to(text_tokenizer, run.semantic_ids.codebook_sizes)
    settings, titles = resolve_prompts(config), titles_for(config, run)
    prompts = PromptBuilder(settings, text_tokenizer, vocabulary, run.semantic_ids.codes, titles)
    source = row_source(config, run, prompts)
    return [
        _shown(row, task.name, text_tokenizer)
        for number, task in enumerate(tasks)
        for row in islice(task_rows(task, number, source), num_rows)
    ]


def _shown(row: Row, task: str, text_tokenizer: PreTrainedTokenizerBase) -> ShownRow:
    is_supervised = [kind != IGNORED for kind in row.kinds]
    parts = []
    for supervised, pairs in groupby(
        zip(row.input_ids, is_supervised, strict=True), key=lambda pair: pair[1]
    ):
        text = text_tokenizer.decode([token for token, _ in pairs], clean_up_tokenization_spaces=False)
        parts.append((str(text), supervised))
    return ShownRow(task, len(row.input_ids), sum(is_supervised), parts)
