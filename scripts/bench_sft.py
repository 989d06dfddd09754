#!/usr/bin/env python3
"""What SFT saves: rows per user, the output layer at supervised positions alone, rows made once.

    python scripts/bench_sft.py rows CONFIG.yaml [--epochs 8] [--ndcg 0.05]
    python scripts/bench_sft.py loss [--vocabulary 151936] [--rows 8] [--tokens 128] [--supervised 8]
    python scripts/bench_sft.py tokens CONFIG.yaml [section.key=value ...]

`rows` trains the config's model twice, on next items alone, and says when valid NDCG@10 reached a bar. `loss`
compares a step of a small Qwen3 with the loss that transformers computes of all positions. `tokens` makes the
rows of all tasks, and opens them again. CONFIG needs `sidrec tokenize`; nothing is written into its run.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import pandas as pd
import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

import sidrec
from sidrec.config import Config, load_config
from sidrec.models import make_text_tokenizer
from sidrec.prompts import PromptBuilder
from sidrec.scoring import SIDScorer
from sidrec.stages.run import load_run
from sidrec.stages.sft_tasks import check_sft, resolve_prompts, row_source, texts_of
from sidrec.tasks.row_making import all_rows
from sidrec.tasks.rows import IGNORED, NO_ITEM, TEXT
from sidrec.trainers.row_store import open_rows
from sidrec.trainers.sft import sft_losses
from sidrec.trie import SIDTrie
from sidrec.vocabulary import SIDVocabulary

LOSSES = ("every position", "supervised positions")
CODES = torch.arange(8).unsqueeze(1)  # of the few items that a trie must have; no row is about them


def main() -> None:
    """Run the benchmark that is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    rows = commands.add_parser("rows")
    rows.add_argument("config", type=Path)
    rows.add_argument("--epochs", type=int, default=8)
    rows.add_argument("--ndcg", type=float, default=0.05)
    loss = commands.add_parser("loss")
    loss.add_argument("--vocabulary", type=int, default=151_936)
    loss.add_argument("--rows", type=int, default=8)
    loss.add_argument("--tokens", type=int, default=128)
    loss.add_argument("--supervised", type=int, default=8, help="tokens of a row that have a loss")
    loss.add_argument("--repeats", type=int, default=5)
    tokens = commands.add_parser("tokens")
    tokens.add_argument("config", type=Path)
    tokens.add_argument("overrides", nargs="*")
    options = parser.parse_args()
    if options.command == "rows":
        compare_rows(options.config, options.epochs, options.ndcg)
    elif options.command == "loss":
        compare_losses(options)
    else:
        time_rows(options.config, options.overrides)


def compare_rows(path: Path, epochs: int, bar: float) -> None:
    """Print what both kinds of rows cost to the same valid NDCG@10, with as many targets in a step."""
    histories = load_run(load_config(path)).split.train
    targets = round(128 * sum(map(len, histories)) / len(histories))
    seconds: dict[str, float] = {}
    for kind, batch_size in (("user", 128), ("prefix", targets)):
        overrides = [
            *(f"sft.rows={kind}", f"sft.batch_size={batch_size}", "sft.tasks={next_item: 1}"),
            *(f"sft.epochs={epochs}", f"sft.evaluations={2 * epochs}", "sft.patience=1000"),
        ]
        with tempfile.TemporaryDirectory() as folder:
            config = _copy(path, Path(folder), overrides)
            started = time.process_time()
            history = pd.read_csv(sidrec.sft(config).directory / "history.csv")
            an_epoch = (time.process_time() - started) / epochs  # two evaluations included
        reached = history[history["valid_ndcg@10"] >= bar]["epoch"]
        seconds[kind] = an_epoch * float(reached.iloc[0]) if len(reached) else float("nan")
        for epoch, ndcg in zip(history["epoch"], history["valid_ndcg@10"], strict=True):
            print(f"{kind:6}  epoch {epoch:5.2f}  {an_epoch * epoch:7.1f} CPU s  NDCG@10 {ndcg:.4f}")
    print(
        f"to NDCG@10 {bar}: user {seconds['user']:.0f} CPU s, prefix {seconds['prefix']:.0f} CPU s, "
        f"{seconds['prefix'] / seconds['user']:.1f} times as long"
    )


def _copy(path: Path, folder: Path, overrides: list[str]) -> Config:
    """A config for a copy of the run's tables and semantic IDs."""
    output = load_config(path).output
    for name in ("catalog", "tokenize"):
        shutil.copytree(output / name, folder / name)
    return load_config(path, [f"output={folder}", *overrides])


def compare_losses(options: argparse.Namespace) -> None:
    """Print CPU seconds of a step, both ways in turn, and its memory, in processes of their own."""
    work = Work.of(options)
    values = [work.loss(name) for name in LOSSES]
    torch.testing.assert_close(values[0], values[1], atol=1e-4, rtol=1e-4)
    del values
    times: dict[str, list[float]] = {name: [] for name in LOSSES}
    for _ in range(options.repeats):
        for name in LOSSES:
            started = time.process_time()
            work.step(name)
            times[name].append(time.process_time() - started)
    seconds = {name: median(each) for name, each in times.items()}
    memory = {}
    for name in LOSSES:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            memory[name] = pool.apply(_memory_of_a_step, (name, options))
    for name in LOSSES:
        print(f"{name:22}{seconds[name]:7.2f} CPU s a step, {memory[name]:6,} MiB more than before the step")
    stock, ours = LOSSES
    print(f"ratio: time {seconds[stock] / seconds[ours]:.1f}, memory {memory[stock] / memory[ours]:.1f}")


@dataclass(frozen=True)
class Work:
    """A small Qwen3 and a batch of rows whose last tokens are an answer in words."""

    model: Qwen3ForCausalLM
    scorer: SIDScorer
    batch: dict[str, torch.Tensor]

    @classmethod
    def of(cls, options: argparse.Namespace) -> Work:
        """Make both at random."""
        torch.manual_seed(0)
        shape = {"hidden_size": 256, "intermediate_size": 768, "num_hidden_layers": 4, "head_dim": 64}
        heads = {"num_attention_heads": 4, "num_key_value_heads": 4, "tie_word_embeddings": True}
        model = Qwen3ForCausalLM(Qwen3Config(vocab_size=options.vocabulary, **shape, **heads))
        scorer = SIDScorer(model, [list(range(8))], SIDTrie(CODES.numpy()), "vocabulary")
        ids = torch.randint(1000, options.vocabulary, (options.rows, options.tokens))
        is_answer = (torch.arange(options.tokens) >= options.tokens - options.supervised).expand(ids.shape)
        batch = {
            "input_ids": ids,
            "attention_mask": torch.ones_like(ids),
            "kinds": torch.where(is_answer, TEXT, IGNORED),
            "items": torch.full(ids.shape, NO_ITEM),
            "tasks": torch.zeros(options.rows, dtype=torch.int64),
        }
        return cls(model, scorer, batch)

    def loss(self, name: str) -> torch.Tensor:
        """Compute the loss in one of two ways."""
        if name == LOSSES[0]:
            ids = self.batch["input_ids"]
            labels = torch.where(self.batch["kinds"] == TEXT, ids, -100)
            loss: torch.Tensor = self.model(input_ids=ids, labels=labels).loss
            return loss
        return sft_losses(self.scorer, self.batch, CODES, self.scorer.trie.walk(CODES))[0].mean()

    def step(self, name: str) -> None:
        """Compute the gradients."""
        self.model.zero_grad()
        self.loss(name).backward()


def _memory_of_a_step(name: str, options: argparse.Namespace) -> int:
    """MiB that the second of two steps adds at its peak, gradients included; by Linux's own count."""
    work = Work.of(options)
    work.step(name)
    work.model.zero_grad()
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = _peak()
    work.step(name)
    return _peak() - before


def _peak() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024


def time_rows(path: Path, overrides: list[str]) -> None:
    """Print seconds until the rows of all tasks are there, made and then opened again."""
    config = load_config(path, overrides)
    run = load_run(config)
    tasks = check_sft(config, run.catalog)
    text_tokenizer = make_text_tokenizer(config.model, texts_of(run.catalog))
    vocabulary = SIDVocabulary.add_to(text_tokenizer, run.semantic_ids.codebook_sizes)
    prompts = PromptBuilder(resolve_prompts(config), text_tokenizer, vocabulary, run.semantic_ids.codes)
    with tempfile.TemporaryDirectory() as folder:
        for start in ("first start", "second start"):
            begun = time.perf_counter()
            truncated: dict[str, int] = {}
            rows = all_rows(tasks, row_source(config, run, prompts), truncated)
            store = open_rows(Path(folder), {}, rows, truncated)
            seconds = time.perf_counter() - begun
            print(
                f"{start:12}  {len(run.catalog.interactions):,} events, {len(tasks)} tasks, "
                f"{len(store):,} rows, {int(store.lengths.sum()):,} tokens: {seconds:.2f} s"
            )


if __name__ == "__main__":
    main()
