"""Supervised fine-tuning on SFT rows with `transformers.Trainer`: our loss, our batches, our validation."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, TrainingArguments
from transformers.trainer_callback import PrinterCallback, TrainerCallback

from sidrec.scoring import SIDScorer
from sidrec.sid_model import SIDModel
from sidrec.tasks.rows import TEXT
from sidrec.trainers.batches import BatchDataset, BatchLoader
from sidrec.trainers.judged import JudgedByRanking, Validate


def sft_loss(scorer: SIDScorer, batch: dict[str, Tensor], codes: Tensor, paths: Tensor) -> Tensor:
    """Return the mean negative log-probability of all supervised tokens.

    A SID token is normalized as the scorer says, a title token over the vocabulary.

    Args:
        scorer: Model, trie and normalization.
        batch: (B, T) input_ids, attention_mask, kinds, items of `FlatRows.padded`.
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


class SFTTrainer(JudgedByRanking):
    """`transformers.Trainer` over SFT rows, judged by a ranking on valid users instead of a loss."""

    def __init__(
        self,
        sid_model: SIDModel,
        batches: BatchDataset,
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
        self._batches = batches
        super().__init__(
            model=sid_model.model,
            args=args,
            train_dataset=batches,
            eval_dataset=batches,  # Trainer insists on one; `evaluate` below never reads it
            processing_class=sid_model.text_tokenizer,
            callbacks=callbacks,
        )
        self.remove_callback(PrinterCallback)  # TrainingReport says it in a sentence

    def get_train_dataloader(self) -> BatchLoader:
        """Return the loader of our batches, in which every process has its share of each."""
        return BatchLoader(self._batches, self.args)

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
