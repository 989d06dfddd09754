#!/usr/bin/env python3
"""Compare three ways of one step of RL: seconds, ratios, and that what they compute agrees.

Usage: python scripts/bench_rl.py [--quick] [--shapes tiny 512x8] [--tokens 64 128 256] [--threads 1]
                                  [--repeats 3] [--json FILE] [--device cpu] [--bf16]

* stock: TRL's GRPOTrainer as it is, but for what draws the rollouts: `generate` with a beam per rollout and a
  dictionary of prefixes that is asked beam by beam, the way of the field. Every rollout is scored with a
  prompt of its own.
* decoder: the same with sidrec.constrained_beam_search in place of `generate`.
* ours: sidrec's trainer: a prompt is read once in the search, and once each by policy and reference for all
  rollouts.
* depth: the same with a depth head around the same trunk, which reads an item as one position: another model,
  so that only its time can be compared.

A step draws 16 rollouts for each of 8 prompts, rewards them, scores them by the reference and by the policy,
and goes back to the gradients; the optimizer, equal in all, is left out. Targets lie in their groups, so that
none is skipped. `log-probabilities` is the policy's pass alone, forward and backward. Exits with status 1
where rollouts, log-probabilities or gradients differ.
"""

import argparse
import json
import platform
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any, Literal

import numpy as np
import torch
from datasets import Dataset
from torch import Tensor
from transformers import LogitsProcessor
from transformers.utils import logging
from trl import GRPOConfig, GRPOTrainer

from sidrec.models import make_model
from sidrec.prompts import PromptSettings
from sidrec.rewards import Rollouts, combine_rewards
from sidrec.sections import ModelConfig
from sidrec.shared_prefix import completion_scores
from sidrec.sid_model import SIDModel
from sidrec.trainers.rl.drawing import Drawing
from sidrec.trainers.rl.trainer import ReReTrainer
from tokenizer.semantic_ids import SemanticIDs

PROMPTS, GENERATIONS, LEVELS, CODES, ITEMS = 8, 16, 3, 256, 4000
SHAPES = {"tiny": (128, 3, 4), "512x8": (512, 8, 8)}
QUICK = [("tiny", 128)]
WAYS = ("stock", "decoder", "ours")
REWARDS = {"rule": 1.0, "ranking": 1.0}
TOLERANCE = {"log-probabilities": 1e-3, "gradients": 1e-3}
"""Of nats, and of the length of the gradient; bfloat16 rounds a hundred times more coarsely."""


class DictProcessor(LogitsProcessor):
    """Ask a dictionary what may follow, row by row."""

    def __init__(self, sequences: list[list[int]], prompt: int) -> None:
        self._allowed: dict[tuple[int, ...], list[int]] = {}
        self._prompt = prompt
        for sequence in sequences:
            for place, token in enumerate(sequence):
                self._allowed.setdefault(tuple(sequence[:place]), []).append(token)
        self._allowed = {prefix: sorted(set(tokens)) for prefix, tokens in self._allowed.items()}

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        mask = torch.full_like(scores, -torch.inf)
        for row, ids in enumerate(input_ids):
            mask[row, self._allowed[tuple(ids[self._prompt :].tolist())]] = 0
        return scores + mask


@dataclass(frozen=True)
class Case:
    """A model on disk, where TRL reads its reference, and prompts of P tokens whose targets it would find."""

    directory: Path
    sid_model: SIDModel
    prompts: list[list[int]]
    targets: list[int]

    @classmethod
    def make(
        cls, shape: str, tokens: int, directory: Path, device: str, head: Literal["lm", "depth"] = "lm"
    ) -> "Case":
        """Make a random model, far enough from uniform that there are few ties."""
        hidden, layers, heads = SHAPES[shape]
        config = ModelConfig(hidden_size=hidden, num_layers=layers, num_heads=heads, head=head)
        sizes = (CODES,) * LEVELS
        rng = np.random.default_rng(0)
        flat = rng.choice(CODES**LEVELS, ITEMS, replace=False)
        codes = np.stack(np.unravel_index(flat, sizes), axis=1)
        model, text_tokenizer, _ = make_model(config, ["an item"], sizes, max_positions=512, seed=0)
        with torch.no_grad():
            for weight in model.parameters():
                if weight.ndim == 2:
                    weight *= 2.5
        semantic_ids = SemanticIDs([f"i{item}" for item in range(ITEMS)], codes, sizes)
        settings = PromptSettings(
            template="compact",
            max_history=tokens,
            max_title_tokens=1,
            normalization="vocabulary" if head == "lm" else "catalog",
            head=head,
        )
        SIDModel.assemble(model, text_tokenizer, semantic_ids, settings).save(directory)
        sid_model = SIDModel.load(directory, device=device)
        items = rng.integers(ITEMS, size=(PROMPTS, tokens // LEVELS))
        prompts = [sid_model.prompts.next_item(row)[-tokens:] for row in items.tolist()]
        found = sid_model.search(prompts, num_beams=GENERATIONS).items.cpu()
        targets = found[torch.arange(PROMPTS), torch.arange(PROMPTS) % GENERATIONS]
        return cls(directory, sid_model, prompts, targets.tolist())

    def rows(self) -> Dataset:
        """The prompts as both kinds of trainers take them."""
        return Dataset.from_list(
            [
                {"prompt": str(row), "prompt_ids": prompt, "history": [0], "target": target, "row": row}
                for row, (prompt, target) in enumerate(zip(self.prompts, self.targets, strict=True))
            ]
        )


class StockTrainer(GRPOTrainer):
    """TRL's trainer with prompts in tokens and constrained beams as rollouts."""

    case: Case
    draw: Callable[[list[list[int]]], list[list[int]]]

    def _tokenize_prompts(self, prompts: list[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
        return [self.case.prompts[int(prompt)] for prompt in prompts], None, {}

    def _generate_single_turn(self, prompt_ids: list[list[int]], *_: Any, **__: Any) -> tuple[Any, None]:
        return self.draw(prompt_ids[::GENERATIONS]), None


def by_dictionary(case: Case, processor: DictProcessor, prompts: list[list[int]]) -> list[list[int]]:
    """Draw by `generate`; all prompts are equally long."""
    ids = torch.tensor(prompts, device=case.sid_model.model.device)
    with torch.no_grad():
        output = case.sid_model.model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            logits_processor=[processor],
            num_beams=GENERATIONS,
            num_return_sequences=GENERATIONS,
            max_new_tokens=LEVELS,
            do_sample=False,
            length_penalty=0.0,
        )
    return output[:, ids.shape[1] :].tolist()


def by_search(case: Case, prompts: list[list[int]]) -> list[list[int]]:
    """Draw by our search."""
    items = case.sid_model.search(prompts, num_beams=GENERATIONS).items.flatten().tolist()
    return [case.sid_model.prompts.item_tokens[item] for item in items]


def reward_of_trl(case: Case, prompts: list[str], completion_ids: list[list[int]], **_: Any) -> list[float]:
    """Our rewards in the form that TRL asks for."""
    item_of = {tuple(tokens): item for item, tokens in enumerate(case.sid_model.prompts.item_tokens)}
    items = torch.tensor([item_of[tuple(tokens)] for tokens in completion_ids]).view(-1, GENERATIONS)
    targets = torch.tensor([case.targets[int(prompt)] for prompt in prompts[::GENERATIONS]])
    return combine_rewards(Rollouts(items, targets), REWARDS).total.flatten().tolist()


def trainer_of(way: str, case: Case, *, bf16: bool, device: str) -> GRPOTrainer:
    """Return a trainer of the case's model that works this way."""
    args = GRPOConfig(
        output_dir=str(case.directory / way),
        per_device_train_batch_size=PROMPTS * GENERATIONS,
        num_generations=GENERATIONS,
        max_completion_length=LEVELS,
        beta=0.04,
        loss_type="grpo",
        use_bias_correction_kl=False,
        gradient_checkpointing=False,
        bf16=bf16,
        use_cpu=device == "cpu",
        report_to=[],
        remove_unused_columns=False,
    )
    if way == "ours":
        trainer: GRPOTrainer = ReReTrainer(
            case.sid_model,
            case.rows(),
            args,
            drawing=Drawing(case.sid_model, GENERATIONS),
            reward=partial(combine_rewards, weights=REWARDS),
            validate=lambda **_: {},
            callbacks=[],
        )
    else:
        trainer = StockTrainer(
            model=case.sid_model.model,
            reward_funcs=partial(reward_of_trl, case),
            args=args,
            train_dataset=case.rows(),
            processing_class=case.sid_model.text_tokenizer,
        )
        trainer.case = case
        processor = DictProcessor(case.sid_model.prompts.item_tokens, len(case.prompts[0]))
        trainer.draw = (
            partial(by_search, case) if way == "decoder" else partial(by_dictionary, case, processor)
        )
    trainer.current_gradient_accumulation_steps = 1
    trainer.model.train()
    return trainer


def step(trainer: GRPOTrainer) -> dict[str, Any]:
    """Draw, reward, score and go back to the gradients; return what a step made."""
    trainer.model.zero_grad()
    prompts = trainer.prompts if isinstance(trainer, ReReTrainer) else trainer.train_dataset
    rows = [{**row, "place": place} for place, row in enumerate(prompts) for _ in range(GENERATIONS)]
    made = trainer._generate_and_score_completions(rows)
    with trainer.accelerator.autocast():
        trainer.compute_loss(trainer.model, made).backward()
    return made


def completions(case: Case, made: dict[str, Any]) -> Tensor:
    """(B * G, L) tokens of the rollouts, whoever made them."""
    if "completion_ids" in made:
        return made["completion_ids"]
    ids = case.sid_model.scorer.token_ids
    return torch.stack([ids[level][made["codes"][..., level]] for level in range(LEVELS)], -1).flatten(0, 1)


def gradient(trainer: GRPOTrainer) -> Tensor:
    """All gradients as one vector."""
    return torch.cat(
        [weight.grad.flatten() for weight in trainer.model.parameters() if weight.grad is not None]
    )


def differences(case: Case, trainers: dict[str, GRPOTrainer]) -> dict[str, float]:
    """Largest differences between the ways; rollouts as the share that differs."""
    made, gradients = {}, {}
    for way, trainer in trainers.items():
        made[way] = step(trainer)
        gradients[way] = gradient(trainer)
    tokens = {way: completions(case, each) for way, each in made.items()}
    ours = gradients["ours"]
    others = [way for way in trainers if way != "ours"]
    reference = made["ours"]["ref_per_token_logps"].flatten(0, 1)
    return {
        "rollouts": max(float((tokens[way] != tokens["ours"]).float().mean()) for way in others),
        "log-probabilities": max(
            float((made[way]["ref_per_token_logps"] - reference).abs().max()) for way in others
        ),
        "gradients": max(float((gradients[way] - ours).norm() / ours.norm()) for way in others),
    }


def score_passes(case: Case, trainers: dict[str, GRPOTrainer]) -> dict[str, Callable[[], None]]:
    """The policy's pass alone, forward and backward: each prompt once, and once per rollout."""
    device = case.sid_model.model.device
    ids = torch.tensor(case.prompts, device=device)
    codes = torch.tensor(case.sid_model.semantic_ids.codes, device=device)
    items = case.sid_model.search(case.prompts, num_beams=GENERATIONS).items
    rows = torch.tensor(
        [case.sid_model.prompts.item_tokens[item] for item in items.flatten().tolist()], device=device
    )
    repeated = torch.cat([ids.repeat_interleave(GENERATIONS, dim=0), rows], dim=1)

    def shared() -> None:
        case.sid_model.model.zero_grad()
        scores = completion_scores(case.sid_model.scorer, ids, torch.ones_like(ids), codes[items])
        scores.log_probs.mean().backward()

    def stock() -> None:
        case.sid_model.model.zero_grad()
        log_probs, _, _ = GRPOTrainer._get_per_token_logps_and_entropies(
            trainers["stock"],
            case.sid_model.model,
            repeated,
            torch.ones_like(repeated),
            LEVELS,
            compute_entropy=True,
        )
        log_probs.mean().backward()

    return {"stock": stock, "ours": shared}


def medians(works: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Time each in turn, after one untimed round, and return the medians in seconds."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for round_ in range(repeats + 1):
        for name, work in works.items():
            started = time.perf_counter()
            work()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if round_:
                times[name].append(time.perf_counter() - started)
    return {name: median(each) for name, each in times.items()}


def measure(shape: str, tokens: int, options: argparse.Namespace) -> dict[str, Any]:
    """Return all figures of one case."""
    with tempfile.TemporaryDirectory() as folder:
        case = Case.make(shape, tokens, Path(folder), options.device)
        trainers = {way: trainer_of(way, case, bf16=options.bf16, device=options.device) for way in WAYS}
        found = differences(case, trainers)
        of_depth = Case.make(shape, tokens, Path(folder) / "depth", options.device, "depth")
        trainers["depth"] = trainer_of("ours", of_depth, bf16=options.bf16, device=options.device)
        steps = medians({way: partial(step, trainer) for way, trainer in trainers.items()}, options.repeats)
        passes = medians(score_passes(case, trainers), options.repeats)
    return {"shape": shape, "prompt": tokens, "steps": steps, "passes": passes, "differences": found}


def main() -> None:
    """Print a table, and fail where the ways differ."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--tokens", nargs="+", type=int, default=[64, 128, 256])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--bf16", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    logging.disable_progress_bar()
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    print(
        f"{platform.processor() or platform.machine()}, torch {torch.__version__}, threads {options.threads}"
    )
    print(f"a step of {PROMPTS} prompts x {GENERATIONS} rollouts, seconds; ratios to ours in brackets")
    print(
        f"{'model':8}{'P':>5}{'stock':>18}{'decoder':>18}{'ours':>9}{'depth':>15}"
        f"{'log-probabilities: stock':>28}{'ours':>9}"
    )
    results, differ = [], False
    for shape, tokens in QUICK if options.quick else product(options.shapes, options.tokens):
        found = measure(shape, tokens, options)
        results.append(found)
        steps, passes = found["steps"], found["passes"]
        ratios = {way: f"{steps[way]:.3f} ({steps[way] / steps['ours']:.1f})" for way in WAYS}
        depth = f"{steps['depth']:.3f} ({steps['depth'] / steps['ours']:.2f})"
        of_pass = f"{passes['stock']:.3f} ({passes['stock'] / passes['ours']:.1f})"
        print(
            f"{shape:8}{tokens:5}{ratios['stock']:>18}{ratios['decoder']:>18}{steps['ours']:9.3f}{depth:>15}"
            f"{of_pass:>28}{passes['ours']:9.3f}"
        )
        found_differences = found["differences"]
        print(
            "         largest differences:", ", ".join(f"{k} {v:.1e}" for k, v in found_differences.items())
        )
        scale = 100 if options.bf16 else 1
        differ |= any(found_differences[name] > scale * bar for name, bar in TOLERANCE.items())
        differ |= found_differences["rollouts"] > 0 and not options.bf16
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))
    if differ:
        sys.exit("The ways differ.")


if __name__ == "__main__":
    main()
