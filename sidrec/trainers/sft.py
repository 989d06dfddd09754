"""Supervised fine-tuning on SFT rows with `transformers.Trainer`: our loss, our sampler, our validation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Sampler
from transformers import PreTrainedModel, TrainingArguments
from transformers.trainer_callback import PrinterCallback, TrainerCallback

from sidrec.scoring import SIDScorer
from sidrec.sid_model import SIDModel
from sidrec.tasks.rows import TEXT, Row
from sidrec.trainers.judged import JudgedByRanking, Validate
from sidrec.trainers.rows import RowDataset, collate

GROUPED_BATCHES = 32  # batches whose rows are sorted by length together


def sft_loss(scorer: SIDScorer, batch: dict[str, Tensor], codes: Tensor, paths: Tensor) -> Tensor:
    """Return the mean negative log-probability of all supervised tokens.

    A SID token is normalized as the scorer says, a title token over the vocabulary.

    Args:
        scorer: Model, trie and normalization.
        batch: (B, T) input_ids, attention_mask, kinds, items of `sidrec.trainers.rows`.
        codes: (N, L) SIDs of the catalogue.
        paths: (N, L + 1) trie states along them.

    Returns:
        A scalar in nats.
    """
    hidden = scorer.hidden(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])  # (B, T, H)
    before = hidden[:, :-1]  # the state that predicts the next token
    kinds, items, tokens = (batch[name][:, 1:] for name in ("kinds", "items", "input_ids"))
    losses = []
    for level in range(scorer.trie.num_levels):
        here = kinds == level
        owners = items[here]  # (S,)
        losses.append(-scorer.log_probs(before[here], paths[owners, level], codes[owners, level], level))
    text = kinds == TEXT
    if bool(text.any()):
        losses.append(
            nn.functional.cross_entropy(scorer.head(before[text]).float(), tokens[text], reduction="none")
        )
    return torch.cat(losses).mean()


class LengthGroupedSampler(Sampler[int]):
    """Shuffle, then group rows of like length, from (seed, epoch) alone: a resumed run has the same."""

    def __init__(self, lengths: np.ndarray, batch_size: int, seed: int) -> None:
        self._lengths, self._batch_size, self._seed, self._epoch = lengths, batch_size, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Take the order of another epoch; the Trainer calls this."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        rng = np.random.default_rng([self._seed, self._epoch])
        order = rng.permutation(len(self._lengths))
        size = self._batch_size * GROUPED_BATCHES
        batches = []
        for start in range(0, len(order), size):
            group = order[start : start + size]
            group = group[np.argsort(self._lengths[group], kind="stable")]
            batches += [group[i : i + self._batch_size] for i in range(0, len(group), self._batch_size)]
        last = [batch for batch in batches if len(batch) < self._batch_size]
        full = [batch for batch in batches if len(batch) == self._batch_size]
        rng.shuffle(full)
        yield from np.concatenate(full + last).tolist()


class SFTTrainer(JudgedByRanking):
    """`transformers.Trainer` over SFT rows, judged by a ranking on valid users instead of a loss."""

    def __init__(
        self,
        sid_model: SIDModel,
        rows: Sequence[Row],
        args: TrainingArguments,
        *,
        validate: Validate,
        callbacks: list[TrainerCallback],
    ) -> None:
        """Prepare training; `validate` returns the metrics by which the best checkpoint is kept."""
        self._sid_model = sid_model
        self._validate = validate
        self._codes = torch.tensor(sid_model.semantic_ids.codes).to(sid_model.model.device)
        self._paths = sid_model.scorer.trie.walk(self._codes)
        dataset = RowDataset(rows)
        self._lengths = dataset.lengths
        super().__init__(
            model=sid_model.model,
            args=args,
            train_dataset=dataset,
            eval_dataset=dataset,  # Trainer insists on one; `evaluate` below never reads it
            data_collator=partial(collate, pad_id=sid_model.prompts.pad_id),
            processing_class=sid_model.text_tokenizer,
            callbacks=callbacks,
        )
        self.remove_callback(PrinterCallback)  # TrainingReport says it in a sentence

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        return LengthGroupedSampler(self._lengths, self._train_batch_size, self.args.seed)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor | Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Return `sft_loss` of a batch."""
        loss = sft_loss(self._sid_model.scorer, inputs, self._codes, self._paths)
        return (loss, None) if return_outputs else loss


def add_dropout(model: PreTrainedModel, probability: float) -> list[torch.utils.hooks.RemovableHandle]:
    """Drop embeddings and outputs of attention and MLP while training: small data need it.

    Returns:
        Handles; remove them when training is over.
    """
    if probability == 0:
        return []

    def drop(module: nn.Module, _: object, output: Any) -> Any:
        if not module.training:
            return output
        if isinstance(output, tuple):
            return (nn.functional.dropout(output[0], probability), *output[1:])
        return nn.functional.dropout(output, probability)

    blocks = [
        module for name, module in model.named_modules() if name.rpartition(".")[2] in ("self_attn", "mlp")
    ]
    return [module.register_forward_hook(drop) for module in [model.get_input_embeddings(), *blocks]]
