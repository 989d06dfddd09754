#!/usr/bin/env python3
"""Compare a depth head with the LM head around one trunk: how long a search takes beside reading its prompts.

Usage: python scripts/bench_depth.py [--quick] [--threads 1] [--repeats 5]

Both read the same histories of items: the LM head L tokens for each, the depth head one position. `read` is
one pass of the trunk over the prompts and nothing else, `search` the whole constrained beam search. The ways
take turns; the figures are medians. Exits with status 1 where the search over the depth head finds
other items than scoring every item does.
"""

import argparse
import sys
import time
from collections.abc import Callable
from statistics import median

import numpy as np
import torch
from bench_decoding import CODES, ITEMS, LEVELS, SHAPES, make_codes, make_model, processor
from torch import Tensor

from sidrec.decoding import CausalLM, constrained_beam_search, rank_all
from sidrec.depth_model import DepthModel
from sidrec.scoring import SIDScorer
from sidrec.trie import SIDTrie

FULL = [
    ("128x4", 8, 85, 20),
    ("128x4", 8, 85, 50),
    ("512x8", 8, 20, 20),
    ("512x8", 8, 85, 50),
    ("512x8", 1, 85, 50),
]
QUICK = [("128x4", 8, 85, 20)]
TIE = 1e-3


def scorers(shape: str) -> tuple[SIDScorer, SIDScorer, np.ndarray]:
    """Return an LM and the same trunk with a depth head, both over codes, and the (N, L) codes."""
    text = SHAPES[shape][-1]
    token_ids = [list(range(text + CODES * level, text + CODES * (level + 1))) for level in range(LEVELS)]
    codes = make_codes(ITEMS, 0) - CODES * np.arange(LEVELS)
    model = make_model(shape)
    lm = SIDScorer(model, token_ids, SIDTrie(codes), "catalog")
    depth = SIDScorer(DepthModel.around(model, token_ids).eval(), token_ids, SIDTrie(codes), "catalog")
    return lm, depth, codes


def measure(shape: str, batch: int, items: int, beams: int, repeats: int) -> tuple[dict[str, float], bool]:
    """Return seconds of each way, and whether the search finds the best of all items."""
    lm, depth, codes = scorers(shape)
    history = np.random.default_rng(1).integers(0, ITEMS, (batch, items))
    levels = torch.tensor([ids[0] for ids in (level.tolist() for level in lm.token_ids)])
    tokens = torch.from_numpy(codes[history]) + levels  # (B, n, L)
    ids = torch.cat([torch.ones((batch, 1), dtype=torch.int64), tokens.flatten(1)], dim=1)
    readers = {"lm": CausalLM(lm), "depth": CausalLM(depth)}

    def search(name: str) -> Callable[[], Tensor]:
        reader = readers[name]
        return lambda: constrained_beam_search(reader, reader.scorer.trie, ids, num_beams=beams).scores

    def read(scorer: SIDScorer) -> Callable[[], Tensor]:
        return torch.no_grad()(lambda: scorer.hidden(input_ids=ids))

    ways = {
        "lm read": read(lm),
        "lm search": search("lm"),
        "depth read": read(depth),
        "depth search": search("depth"),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(repeats + 1):
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            if turn:  # the first warms up
                seconds[name].append(time.perf_counter() - started)
    all_items = rank_all(readers["depth"], depth.trie, ids.tolist()[:2], num_beams=ITEMS)
    wide = constrained_beam_search(readers["depth"], depth.trie, ids[:2], num_beams=ITEMS)
    is_right = torch.allclose(all_items.scores, wide.scores, atol=TIE)
    return {name: median(each) for name, each in seconds.items()}, is_right


def main() -> None:
    """Run the cases and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="one case")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"{processor()}, {options.threads} thread(s), torch {torch.__version__}, N = {ITEMS:,}\n")
    print("| trunk, case | LM: read ms | search | depth: read | search | search / read | LM / depth |")
    print("|---|---|---|---|---|---|---|")
    right = True
    for shape, batch, items, beams in QUICK if options.quick else FULL:
        times, is_right = measure(shape, batch, items, beams, options.repeats)
        right = right and is_right
        ratios = (times["depth search"] / times["depth read"], times["lm search"] / times["depth search"])
        cells = " | ".join(f"{1000 * each:,.1f}" for each in times.values())
        case = f"{shape}, B={batch}, {items} items, M={beams}"
        said = "" if is_right else " OTHER ITEMS"
        print(f"| {case} | {cells} | {ratios[0]:.2f}x | {ratios[1]:.1f}x |{said}", flush=True)
    if not right:
        sys.exit(1)


if __name__ == "__main__":
    main()
