#!/usr/bin/env python3
"""Compare ways of constrained decoding side by side: milliseconds, ratios, peak memory, and that items agree.

Usage: python scripts/bench_decoding.py [--quick] [--threads 1] [--repeats 3] [--json FILE] [--only NAME ...]

About 17 minutes in full, 2 with --quick.

* dict: `generate` with a dictionary of prefixes that is asked beam by beam, the way of the field: a prompt
row per
  beam, and after the codes a newline and the end, each of them forced (its score is left out, so that items
  agree).
* processor: `generate` with sidrec.SIDLogitsProcessor, no forced tokens.
* ours: sidrec.constrained_beam_search, scores over the vocabulary as in the two above; `level`: over the
level's codes. * floor: one pass over the prompts and nothing else.

Exits with status 1 where the ways find other items.
"""

import argparse
import gc
import json
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import numpy as np
import torch
import transformers
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, LogitsProcessor, PreTrainedModel

from sidrec.decoding import CausalLM, SIDLogitsProcessor, constrained_beam_search
from sidrec.scoring import SIDScorer
from sidrec.trie import SIDTrie

LEVELS, CODES, ITEMS, NEWLINE, EOS = 3, 256, 4000, 3, 2
TIE = 1e-3
SLOW, FAST = 5.0, 0.5
"""Seconds from which a call is timed once; and below which each timed call follows an untimed one, since the
memory that the call before it gave back has to be taken anew."""
SHAPES = {  # hidden, layers, heads, key-value heads, inner, text vocabulary
    "128x4": (128, 4, 4, 4, 512, 1000),
    "512x8": (512, 8, 8, 8, 2048, 1000),
    "0.5B": (896, 24, 14, 2, 4864, 151_000),
}
FULL = [
    ("128x4", 8, 256, 20),
    ("128x4", 1, 64, 16),
    ("512x8", 1, 128, 20),
    ("512x8", 8, 64, 20),
    ("512x8", 8, 128, 16),
    ("512x8", 8, 256, 20),
    ("512x8", 8, 256, 50),
    ("0.5B", 1, 128, 16),
    ("0.5B", 1, 256, 50),
]
QUICK = [("128x4", 8, 256, 20), ("512x8", 1, 128, 20)]
Found = tuple[Tensor, Tensor]
"""(B, M) items and scores."""


@dataclass(frozen=True)
class Case:
    """A model and B prompts of P tokens, to be searched with M beams."""

    shape: str
    batch: int
    prompt: int
    beams: int
    model: PreTrainedModel
    trie: SIDTrie
    input_ids: Tensor

    @property
    def name(self) -> str:
        """As the table has it."""
        return f"{self.shape} B={self.batch} P={self.prompt} M={self.beams}"


class DictProcessor(LogitsProcessor):
    """Ask a dictionary what may follow, row by row."""

    def __init__(self, codes: np.ndarray, prompt: int) -> None:
        self._allowed: dict[tuple[int, ...], list[int]] = {}
        self._prompt = prompt
        for row in codes.tolist():
            sequence = [*row, NEWLINE, EOS]
            for place, token in enumerate(sequence):
                following = self._allowed.setdefault(tuple(sequence[:place]), [])
                if token not in following:
                    following.append(token)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        mask = torch.full_like(scores, -torch.inf)
        for row, ids in enumerate(input_ids):
            mask[row, self._allowed[tuple(ids[self._prompt :].tolist())]] = 0
        # What a model thinks of the forced tokens must not decide about items.
        forced = input_ids.shape[1] - self._prompt >= LEVELS
        return mask if forced else scores + mask


def make_model(shape: str) -> PreTrainedModel:
    """Make a random model; far from uniform, so that there are few ties."""
    hidden, layers, heads, groups, inner, text = SHAPES[shape]
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        "qwen2",
        vocab_size=text + LEVELS * CODES,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=groups,
        intermediate_size=inner,
        max_position_embeddings=1024,
        initializer_range=0.05,
        tie_word_embeddings=True,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=EOS,
    )
    return AutoModelForCausalLM.from_config(config).eval()


def make_codes(num_items: int, text: int) -> np.ndarray:
    """Draw distinct SIDs, as token ids behind the text vocabulary."""
    rng = np.random.default_rng(0)
    flat = rng.choice(CODES**LEVELS, num_items, replace=False)
    return np.stack(np.unravel_index(flat, (CODES,) * LEVELS), axis=1) + text + CODES * np.arange(LEVELS)


def generated(case: Case, processor: LogitsProcessor, tokens: int) -> Found:
    """Search with `generate` and look the items up."""
    output = case.model.generate(
        case.input_ids,
        attention_mask=torch.ones_like(case.input_ids),
        logits_processor=[processor],
        num_beams=case.beams,
        num_return_sequences=case.beams,
        max_new_tokens=tokens,
        do_sample=False,
        length_penalty=0.0,
        return_dict_in_generate=True,
        output_scores=True,
    )
    codes = output.sequences[:, case.prompt : case.prompt + LEVELS]
    ends = case.trie.walk(codes)[:, -1]
    items = case.trie.leaf_items(ends, torch.zeros_like(ends))
    return items.view(case.batch, -1), output.sequences_scores.view(case.batch, -1)


def ways(case: Case, codes: np.ndarray) -> dict[str, Callable[[], Found | None]]:
    """What is compared; each call does the whole work once."""
    by_dict = DictProcessor(codes, case.prompt)
    processor = SIDLogitsProcessor(case.trie)
    readers = {
        name: CausalLM.from_model(case.model, case.trie, scores=name) for name in ("vocabulary", "level")
    }

    def ours(scores: str) -> Found:
        found = constrained_beam_search(readers[scores], case.trie, case.input_ids, num_beams=case.beams)
        return found.items, found.scores

    def floor() -> None:
        with torch.no_grad():
            case.model.base_model(input_ids=case.input_ids, use_cache=True)

    return {
        "dict": lambda: generated(case, by_dict, LEVELS + 2),
        "processor": lambda: generated(case, processor, LEVELS),
        "ours": lambda: ours("vocabulary"),
        "level": lambda: ours("level"),
        "floor": floor,
    }


def agree(one: Found, other: Found) -> bool:
    """Whether two ways found the same items, but for the order and the cut among ties."""
    close = torch.allclose(one[1], other[1], atol=TIE, rtol=0)
    last = torch.minimum(one[1][:, -1], other[1][:, -1]) + TIE
    for row in range(len(last)):
        clear = [set(items[row][scores[row] > last[row]].tolist()) for items, scores in (one, other)]
        close = close and clear[0] == clear[1]
    return bool(close)


def peak_memory(work: Callable[[], object]) -> float | None:
    """Return how many MB the process grows at most during `work`; None where Linux does not say."""
    reset, status = Path("/proc/self/clear_refs"), Path("/proc/self/status")
    if not status.is_file():
        return None

    def read(name: str) -> int:
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith(name))

    gc.collect()
    reset.write_text("5")
    before = read("VmRSS")
    work()
    return (read("VmHWM") - before) / 1000


def measure(case: Case, codes: np.ndarray, repeats: int) -> dict[str, object]:
    """Time the ways in turn, compare what they find, and say how much of the search the trie takes."""
    all_ways = ways(case, codes)
    found: dict[str, Found | None] = {}
    memory, seconds = {}, {}
    for name, way in reversed(
        all_ways.items()
    ):  # what takes least memory first: what is freed is not given back
        started = time.perf_counter()
        memory[name] = peak_memory(lambda name=name, way=way: found.update({name: way()}))
        seconds[name] = [time.perf_counter() - started]
    # The first run warms up, but where a call is so slow that this is nothing, it is the only one.
    quick = {name: way for name, way in all_ways.items() if seconds[name][0] < SLOW}
    seconds.update({name: [] for name in quick})
    for _ in range(repeats):
        for name, way in quick.items():
            if seconds[name] == [] or seconds[name][0] < FAST:
                way()
            started = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - started)
    times = {name: median(seconds[name]) for name in all_ways}
    memory = {name: memory[name] for name in all_ways}
    return {
        "case": case.name,
        "ms": {name: round(1000 * each, 1) for name, each in times.items()},
        "ours_vs_dict": round(times["dict"] / times["ours"], 1),
        "level_vs_dict": round(times["dict"] / times["level"], 1),
        "ours_vs_processor": round(times["processor"] / times["ours"], 1),
        "ours_vs_floor": round(times["ours"] / times["floor"], 2),
        "level_vs_floor": round(times["level"] / times["floor"], 2),
        "constraint_share": round(constraint_share(case, all_ways["ours"]), 4),
        "step_ms": [round(each, 3) for each in step_ms(case)],
        "peak_mb": {name: None if each is None else round(each) for name, each in memory.items()},
        "agree": agree(found["dict"], found["ours"]) and agree(found["processor"], found["ours"]),
    }


def step_ms(case: Case, *, repeats: int = 30) -> tuple[float, float]:
    """Return how long a level takes from hidden states to the kept beams: with the trie, and without one.

    Without: the same codes of the level, normalized and searched for the best, whatever the trie allows.
    """
    scorer = SIDScorer(case.model, None, case.trie, "level")
    states = case.trie.walk(case.trie.codes_at(0).long().unsqueeze(1))[: case.beams, -1]
    states = states.expand(case.batch, -1)  # (B, M) nodes of depth 1
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn((*states.shape, scorer.head.in_features), generator=generator)
    rows = scorer.head.weight[scorer.token_ids[1]]

    def with_trie() -> Tensor:
        return scorer.children(hidden, states, 1).log_probs.flatten(1).topk(case.beams).indices

    def without() -> Tensor:
        logits = torch.nn.functional.linear(hidden, rows)
        return logits.float().log_softmax(-1).flatten(1).topk(case.beams).indices

    seconds: dict[str, list[float]] = {"with": [], "without": []}
    with torch.no_grad():
        for _ in range(repeats):
            for name, step in (("with", with_trie), ("without", without)):
                started = time.perf_counter()
                step()
                seconds[name].append(time.perf_counter() - started)
    return 1000 * median(seconds["with"]), 1000 * median(seconds["without"])


def constraint_share(case: Case, search: Callable[[], object]) -> float:
    """Return the share of a search that is spent asking the trie what may follow."""
    spent = 0.0
    children = SIDTrie.children

    def timed(self: SIDTrie, states: Tensor, level: int) -> object:
        nonlocal spent
        started = time.perf_counter()
        result = children(self, states, level)
        spent += time.perf_counter() - started
        return result

    SIDTrie.children = timed  # type: ignore[assignment,method-assign]
    try:
        started = time.perf_counter()
        search()
        return spent / (time.perf_counter() - started)
    finally:
        SIDTrie.children = children  # type: ignore[method-assign]


@dataclass(frozen=True)
class Built:
    """How long building takes: seconds of the trie and of a dictionary of prefixes, and their MB."""

    items: int
    trie_seconds: float
    dict_seconds: float
    trie_mb: float | None
    dict_mb: float | None


def build(num_items: int, repeats: int) -> Built:
    """Build both from the same table, in turn."""
    codes = make_codes(num_items, 0)
    held: list[object] = []

    def trie() -> None:
        held.append(SIDTrie(codes))

    def dictionary() -> None:
        allowed: dict[tuple[int, ...], set[int]] = {}
        for row in codes.tolist():
            for level, code in enumerate(row):
                allowed.setdefault(tuple(row[:level]), set()).add(code)
        held.append(allowed)

    seconds: dict[str, list[float]] = {"trie": [], "dict": []}
    memory: dict[str, float | None] = {}
    for name, work in (("trie", trie), ("dict", dictionary)):
        memory[name] = peak_memory(work)
        held.clear()
    for _ in range(repeats):
        for name, work in (("trie", trie), ("dict", dictionary)):
            started = time.perf_counter()
            work()
            seconds[name].append(time.perf_counter() - started)
            held.clear()
    return Built(num_items, median(seconds["trie"]), median(seconds["dict"]), memory["trie"], memory["dict"])


def processor() -> str:
    """Name the processor, as Linux does where it can."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def main() -> None:
    """Run the cases, print the tables, write JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="two cases, small tries")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--only", nargs="+", help="what to run", choices=[*SHAPES, "trie"])
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    machine = f"{processor()}, {options.threads} thread(s), torch {torch.__version__}"
    print(
        f"{machine}, transformers {transformers.__version__}, N = {ITEMS:,}, medians of {options.repeats}\n"
    )
    print(
        "| case | dict ms | processor | ours | level | floor | dict/ours | ours/floor | level/floor | trie |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    rows = []
    model: PreTrainedModel | None = None
    last = ""
    for shape, batch, prompt, beams in QUICK if options.quick else FULL:
        if options.only and shape not in options.only:
            continue
        if shape != last:
            model, last = make_model(shape), shape
        assert model is not None
        codes = make_codes(ITEMS, SHAPES[shape][-1])
        ids = torch.from_numpy(np.random.default_rng(1).integers(4, SHAPES[shape][-1], (batch, prompt)))
        case = Case(shape, batch, prompt, beams, model, SIDTrie(codes), ids)
        row = measure(case, codes, options.repeats)
        rows.append(row)
        ms = row["ms"]
        print(
            f"| {case.name} | "
            + " | ".join(f"{ms[name]:,.0f}" for name in ms)
            + f" | {row['ours_vs_dict']}x | {row['ours_vs_floor']}x | {row['level_vs_floor']}x | "
            + f"{row['constraint_share']:.2%} |"
            + ("" if row["agree"] else " OTHER ITEMS"),
            flush=True,
        )
    print("\n| case | a level's step, ms: with the trie | without |\n|---|---|---|")
    for row in rows:
        print(f"| {row['case']} | " + " | ".join(f"{each:.2f}" for each in row["step_ms"]) + " |")
    print("\n| case | peak MB: dict | processor | ours | level | floor |\n|---|---|---|---|---|---|")
    for row in rows:
        print(f"| {row['case']} | " + " | ".join(f"{each:,}" for each in row["peak_mb"].values()) + " |")
    sizes = [10_000] if options.quick else [10_000, 100_000, 1_000_000]
    builds = [build(n, options.repeats) for n in sizes if not options.only or "trie" in options.only]
    print("\n| items | trie s | dictionary s | trie MB | dictionary MB |\n|---|---|---|---|---|")
    for each in builds:
        print(
            f"| {each.items:,} | {each.trie_seconds:.3f} | {each.dict_seconds:.3f} | {each.trie_mb:.0f} | "
            f"{each.dict_mb:.0f} |"
        )
    if options.json:
        facts = {"machine": machine, "cases": rows, "builds": [asdict(each) for each in builds]}
        options.json.write_text(json.dumps(facts, indent=1))
    if not all(row["agree"] for row in rows):
        sys.exit(1)


if __name__ == "__main__":
    main()
