"""What SFT learns from: rows of all tasks, on disk, and the batches of every epoch."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sidrec.artifacts import sha256_of_json
from sidrec.config import Config
from sidrec.stages.run import Run
from sidrec.trainers.batches import BatchDataset, BatchPlan, BatchSize
from sidrec.trainers.mixing import Mixture, TaskShare, share_table, task_shares
from sidrec.trainers.row_store import open_rows
from sidrec.trainers.rows import Row, alignment_rows, history_rows

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from sidrec.sid_model import SIDModel

logger = logging.getLogger(__name__)
TASKS = ("next_item", "title_to_item", "item_to_title")


@dataclass(frozen=True, eq=False)
class TrainingData:
    """Batches for the trainer, and what is to be said of them.

    Attributes:
        batches: For `SFTTrainer`.
        tasks: What each task brings to an epoch.
        batches_per_epoch: Of every epoch alike.
    """

    batches: BatchDataset
    tasks: list[TaskShare]
    batches_per_epoch: int

    def facts(self) -> dict[str, dict[str, float]]:
        """Return what `metrics.json` says of the tasks."""
        return {task.name: task.facts() for task in self.tasks}


def training_data(config: Config, run: Run, sid_model: SIDModel) -> TrainingData:
    """Make the rows, or take those of an earlier start, plan all epochs, and log the table of the tasks.

    Raises:
        ConfigError: If a task has nothing to learn from, or a row is longer than a batch may be.
    """
    section, prompts = config.sft, sid_model.prompts
    truncated: Counter[str] = Counter()
    weights = dict.fromkeys(TASKS if section.alignment else TASKS[:1], 1.0)
    made_from = {
        "inputs": run.inputs(),
        "prompts": prompts.settings.model_dump(exclude={"normalization"}),
        "text_tokenizer": hash_of_tokenizer(sid_model.text_tokenizer),
        "tasks": list(weights),
    }
    store = open_rows(
        config.output / "cache" / "rows", made_from, _rows(run, sid_model, section.alignment), truncated
    )
    num_levels = prompts.codes.shape[1]
    tasks = task_shares(
        store, weights, section.weighting, num_levels=num_levels, item_dropout=section.item_dropout
    )
    plan = BatchPlan(
        store.lengths,
        Mixture(store.tasks, [task.passes for task in tasks], config.seed),
        BatchSize(section.rows_per_batch, section.tokens_per_batch),
        seed=config.seed,
        epochs=math.ceil(section.epochs),
    )
    logger.info("sft: %s batches per epoch\n%s", f"{plan.num_batches:,}", share_table(tasks))
    batches = BatchDataset(
        store,
        plan,
        pad_id=prompts.pad_id,
        num_levels=num_levels,
        item_dropout=section.item_dropout,
        seed=config.seed,
    )
    return TrainingData(batches, tasks, plan.num_batches)


def _rows(run: Run, sid_model: SIDModel, alignment: bool) -> Iterator[Row]:
    for history in run.split.train:
        yield from history_rows(sid_model.prompts, history.tolist())
    if alignment:
        for item, title in enumerate(run.catalog.items["title"].tolist()):
            for task, row in enumerate(alignment_rows(sid_model.prompts, item, title), start=1):
                yield replace(row, task=task)


def hash_of_tokenizer(text_tokenizer: PreTrainedTokenizerBase) -> str:
    """Return a hash of all that decides which tokens a text has."""
    named = [text_tokenizer.special_tokens_map, text_tokenizer.chat_template]
    if not text_tokenizer.is_fast:
        return sha256_of_json([text_tokenizer.get_vocab(), *named])
    fast: Any = text_tokenizer
    fast.backend_tokenizer.no_truncation()  # both are left there by the last call, and set anew by the next
    fast.backend_tokenizer.no_padding()
    return sha256_of_json([fast.backend_tokenizer.to_str(), *named])
