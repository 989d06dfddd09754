"""Supervised fine-tuning on SFT rows with `transformers.Trainer`: our loss, our batches, our validation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import TrainingArguments
from transformers.trainer_callback import PrinterCallback, TrainerCallback

from sidrec.attention import evaluating
from sidrec.errors import ConfigError
from sidrec.processes import num_processes, process_index
from sidrec.scoring import SIDScorer
from sidrec.sid_model import SIDModel
from sidrec.tasks.rows import IGNORED, NO_ITEM, TEXT, Row
from sidrec.trainers.averaging import WeightAverage
from sidrec.trainers.batches import BatchDataset, BatchLoader
from sidrec.trainers.flat_rows import FlatRows
from sidrec.trainers.forward import through_forward
from sidrec.trainers.item_loss import item_losses
from sidrec.trainers.judged import JudgedByRanking, Validate
from sidrec.trainers.meter import Meter

JUDGED_TOGETHER = 64  # valid rows of one pass


def sft_losses(
    scorer: SIDScorer,
    batch: dict[str, Tensor],
    codes: Tensor,
    paths: Tensor,
    *,
    smoothing: float = 0.0,
    item_weight: float = 0.0,
    own_rows: nn.Embedding | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the cross entropy of every supervised token times its weight, and the task of its row.

    A SID token is normalized as the scorer says, a title token over the vocabulary. The output layer is
    computed where there is something to learn, nowhere else.

    Args:
        scorer: Model, trie and normalization.
        batch: As `FlatRows.padded` returns it; without weights every loss counts once.
        codes: (N, L) SIDs of the catalogue.
        paths: (N, L + 1) trie states along them.
        smoothing: Share of a target's mass that is spread evenly over all that it is normalized over.
        item_weight: Of the auxiliary loss on whole items.
        own_rows: What items have for it beside the rows of their codes.

    Returns:
        (S,) float32 losses in nats and (S,) tasks, token by token in an order of its own; and the sum of the
        auxiliary losses, times `item_weight`, (), 0 without them.
    """
    kinds, items, tokens = (batch[name][:, 1:] for name in ("kinds", "items", "input_ids"))
    told = nn.functional.pad(kinds != IGNORED, (0, 1))  # (B, T)
    hidden = scorer.states(batch["input_ids"], batch["attention_mask"], told)  # (B, T, H)
    before = hidden[:, :-1]  # the state that predicts the next token
    if scorer.skips:
        before = _with_boundaries(scorer, before, kinds)
    tasks = batch["tasks"].unsqueeze(1).expand_as(kinds)
    by_code = scorer.normalization != "vocabulary"

    def weighted(losses: Tensor, here: Tensor) -> Tensor:
        return losses * batch["weights"][:, 1:][here] if "weights" in batch else losses

    losses, of_task = [], []
    for level in range(scorer.trie.num_levels) if by_code else ():
        here = kinds == level
        owners = items[here]  # (S,)
        of_codes = scorer.code_losses(
            before[here], paths[owners, level], codes[owners, level], level, smoothing=smoothing
        )
        losses.append(weighted(of_codes, here))
        of_task.append(tasks[here])
    here = (kinds == TEXT) if by_code else (kinds != IGNORED)
    of_tokens = scorer.token_losses(before[here], tokens[here], smoothing=smoothing)
    losses.append(weighted(of_tokens, here))
    of_task.append(tasks[here])
    auxiliary = hidden.new_zeros(())
    if item_weight:
        first = kinds == 0
        own = None if own_rows is None else own_rows.weight
        of_items = item_losses(scorer, before[first], items[first], codes, own=own, smoothing=smoothing)
        auxiliary = item_weight * weighted(of_items, first).sum()
    return torch.cat(losses), torch.cat(of_task), auxiliary


def _with_boundaries(scorer: SIDScorer, states: Tensor, kinds: Tensor) -> Tensor:
    """Return what tokens of (B, T) `kinds` are told from, given the (B, T, H) states before them."""
    levels = kinds.clamp(min=0)  # a code stands so many tokens after the first of its item
    places = torch.arange(kinds.shape[1], device=kinds.device) - levels  # (B, T)
    boundaries = states.gather(1, places.unsqueeze(-1).expand_as(states))
    later = scorer.later_states(states, boundary=boundaries)
    return torch.where((levels > 0).unsqueeze(-1), later, states)


def _losses_of(sid_model: SIDModel, **settings: Any) -> Callable[..., tuple[Tensor, Tensor, Tensor]]:
    """Return `sft_losses` of a batch for a model, whose SIDs are walked once; with its further `settings`."""
    codes = torch.tensor(sid_model.prompts.codes).to(sid_model.model.device)
    scorer = sid_model.scorer
    return partial(sft_losses, scorer, codes=codes, paths=scorer.trie.walk(codes), **settings)


@torch.no_grad()
def target_losses(
    sid_model: SIDModel, histories: Sequence[Sequence[int] | np.ndarray], targets: np.ndarray
) -> Tensor:
    """Return -log p of each target after its history, summed over its codes: (U,) float32, in nats."""
    prompts, losses_of = sid_model.prompts, _losses_of(sid_model)
    found = []
    with evaluating(sid_model.model):
        for start in range(0, len(targets), JUDGED_TOGETHER):
            rows = []
            part = slice(start, start + JUDGED_TOGETHER)
            for number, (history, item) in enumerate(
                zip(histories[part], targets[part].tolist(), strict=True)
            ):
                asked, answer = prompts.next_item(list(history)), prompts.item_tokens[item]
                row = Row(
                    asked + answer,
                    [IGNORED] * len(asked) + list(range(len(answer))),
                    [NO_ITEM] * len(asked) + [item] * len(answer),
                    task=number,  # so that the losses of a row can be put together again
                )
                rows.append(row)
            batch = FlatRows.of(rows).padded(prompts.pad_id)
            batch = {name: tensor.to(sid_model.model.device) for name, tensor in batch.items()}
            losses, numbers, _ = losses_of(batch)
            found.append(losses.new_zeros(len(rows)).index_add_(0, numbers, losses))
    return torch.cat(found)


@dataclass(frozen=True)
class Supervision:
    """What is learnt from.

    Attributes:
        batches: Of SFT rows.
        tasks: Name of each task, in the order that `Row.task` counts.
        smoothing: As of `sft_losses`, with the next one.
        item_weight: As there.
        own_rows: As there; a part of the model.
    """

    batches: BatchDataset
    tasks: Sequence[str]
    smoothing: float = 0.0
    item_weight: float = 0.0
    own_rows: nn.Embedding | None = None


class SFTTrainer(JudgedByRanking):
    """`transformers.Trainer` over SFT rows, judged by a ranking on valid users instead of a loss.

    A batch is that of all processes; accumulated batches count as one. Its loss is the sum of its supervised
    tokens' losses, each times the weight of its event, over their number, however they are divided among
    processes and steps: a batch of heavy events has a larger gradient.
    """

    loss_is_scaled_for_ga = True  # `compute_loss` divides by the tokens of all accumulated batches

    def __init__(
        self,
        sid_model: SIDModel,
        supervision: Supervision,
        args: TrainingArguments,
        *,
        validate: Validate,
        callbacks: list[TrainerCallback],
        weight_average: WeightAverage | None = None,
    ) -> None:
        """Prepare training; `validate` returns the metrics by which the best checkpoint is kept.

        Raises:
            ConfigError: If the weights, which are to be averaged, are to be divided among processes.
        """
        self._sid_model = sid_model
        self._validate = validate
        self._losses = _losses_of(
            sid_model,
            smoothing=supervision.smoothing,
            item_weight=supervision.item_weight,
            own_rows=supervision.own_rows,
        )
        self._meter = Meter(supervision.tasks, sid_model.model.device)
        self._batches = supervision.batches
        super().__init__(
            model=sid_model.model,
            args=args,
            train_dataset=supervision.batches,
            eval_dataset=supervision.batches,  # Trainer insists on one; `evaluate` below never reads it
            processing_class=sid_model.text_tokenizer,
            callbacks=[self._meter, *([weight_average] if weight_average else ()), *callbacks],
        )
        self.weight_average = weight_average
        if weight_average and self.is_to_divide:
            raise ConfigError(
                "sft.weight_average averages whole weights, which FSDP and ZeRO-3 divide among processes. "
                "Set it to 0, or do not divide them."
            )
        self.remove_callback(PrinterCallback)  # TrainingReport says it in a sentence
        if num_processes() > 1:
            torch.manual_seed(args.seed + process_index())  # dropout of its own for each share of a batch

    def get_train_dataloader(self) -> BatchLoader:
        """Return the loader of our batches, in which every process has its share of each."""
        return BatchLoader(self._batches, self.args)

    def _get_num_items_in_batch(self, batch_samples: list[dict[str, Tensor]], device: torch.device) -> Tensor:
        """Count the supervised tokens of all processes in the batches of one optimizer step."""
        count = sum((batch["kinds"][:, 1:] != IGNORED).sum() for batch in batch_samples)
        return self.accelerator.reduce(torch.as_tensor(count, device=device), "sum").clamp(min=1)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor | Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Return this share's part of the mean loss; gradients are averaged over processes, hence `*`."""
        module = self.accelerator.unwrap_model(model, keep_torch_compile=False)
        losses, tasks, auxiliary = through_forward(model, module, self._losses, inputs)
        self._meter.add(losses, tasks, inputs["attention_mask"].sum())
        loss = (losses.sum() + auxiliary) / num_items_in_batch
        if self.accelerator.num_processes > 1:
            loss = loss * self.accelerator.num_processes
        return (loss, None) if return_outputs else loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add to a line about the loss what the meter has."""
        if "loss" in logs:
            logs |= self._meter.read(partial(self.accelerator.reduce, reduction="sum"))
        super().log(logs, start_time)

    def glance(self) -> str:
        """Say the losses and the rate since the last line of the log, as this process sees them."""
        figures = self._meter.glance()
        losses = [f"{name[5:]} {value:.3f}" for name, value in figures.items() if name.startswith("loss/")]
        return f"loss {', '.join(losses)}, {figures['tokens_per_second']:,.0f} tokens/s"
