"""What SFT learns from: rows of all tasks, on disk, and the batches of every epoch."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from sidrec.artifacts import sha256_of_json
from sidrec.config import Config
from sidrec.stages.run import Run
from sidrec.stages.sft_tasks import row_source
from sidrec.tasks.row_making import all_rows
from sidrec.tasks.task import Task, column_inputs
from sidrec.trainers.batches import BatchDataset, BatchPlan, BatchSize
from sidrec.trainers.mixing import Mixture, TaskShare, share_table, task_shares
from sidrec.trainers.row_store import open_rows

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from sidrec.sid_model import SIDModel

logger = logging.getLogger(__name__)
NOT_IN_ROWS = {"normalization", "last_token", "head", "skip_connection", "history", "tells_items"}
"""Settings of prompts that say how a model reads its rows, and change nothing in them."""


@dataclass(frozen=True, eq=False)
class TrainingData:
    """Batches for the trainer, and what is to be said of them.

    Attributes:
        batches: For `SFTTrainer`.
        tasks: What each task brings to an epoch.
    """

    batches: BatchDataset
    tasks: list[TaskShare]

    @property
    def batches_per_epoch(self) -> int:
        """Number of batches, of every epoch alike."""
        return self.batches.plan.num_batches

    def facts(self) -> dict[str, dict[str, float]]:
        """Return what `metrics.json` says of the tasks."""
        return {task.name: task.facts() for task in self.tasks}


def training_data(config: Config, run: Run, sid_model: SIDModel, tasks: Sequence[Task]) -> TrainingData:
    """Make the rows, or take those of an earlier start, plan all epochs, and log the table of the tasks.

    Raises:
        ConfigError: If a task has nothing to learn from, or a row is longer than the model or a batch takes.
    """
    section, prompts = config.sft, sid_model.prompts
    positions = getattr(sid_model.model.config.get_text_config(), "max_position_embeddings", None)
    source = row_source(config, run, prompts, max_positions=positions)
    made_from = {
        "inputs": run.training_inputs() | column_inputs(tasks, run.catalog),
        "prompts": prompts.settings.model_dump(exclude=NOT_IN_ROWS),
        "text_tokenizer": hash_of_tokenizer(sid_model.text_tokenizer),
        "tasks": [[task.name, asdict(task.prompt), asdict(task.completion)] for task in tasks],
        "rows": section.rows,
        "max_positions": positions,
    }
    truncated: Counter[str] = Counter()
    store = open_rows(
        config.output / "cache" / "rows",
        made_from,
        all_rows(tasks, source, truncated),
        truncated,
        weighted=source.weights is not None,
    )
    num_levels = prompts.codes.shape[1]
    shares = task_shares(
        store,
        {task.name: task.weight for task in tasks},
        section.weighting,
        num_levels=num_levels,
        item_dropout=section.item_dropout,
    )
    plan = BatchPlan(
        store.lengths,
        Mixture(store.tasks, [share.passes for share in shares], config.seed),
        BatchSize(section.rows_per_batch, section.tokens_per_batch),
        seed=config.seed,
        epochs=math.ceil(section.epochs),
    )
    logger.info("sft: %s batches per epoch\n%s", f"{plan.num_batches:,}", share_table(shares))
    batches = BatchDataset(
        store,
        plan,
        pad_id=prompts.pad_id,
        num_levels=num_levels,
        item_dropout=section.item_dropout,
        seed=config.seed,
    )
    return TrainingData(batches, shares)


def hash_of_tokenizer(text_tokenizer: PreTrainedTokenizerBase) -> str:
    """Return a hash of all that decides which tokens a text has."""
    named = [text_tokenizer.special_tokens_map, text_tokenizer.chat_template]
    if not text_tokenizer.is_fast:
        return sha256_of_json([text_tokenizer.get_vocab(), *named])
    fast: Any = text_tokenizer
    fast.backend_tokenizer.no_truncation()  # both are left there by the last call, and set anew by the next
    fast.backend_tokenizer.no_padding()
    return sha256_of_json([fast.backend_tokenizer.to_str(), *named])
