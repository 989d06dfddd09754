#!/usr/bin/env python3
"""Compare exact ranking with beam search on valid users of a run: seconds, agreement, NDCG@10.

Usage: python scripts/bench_exact.py CONFIG.yaml [--users 200] [--num-beams 20]
"""

import argparse
import time
from pathlib import Path

import numpy as np

from sidrec.config import load_config
from sidrec.generations import FIRST
from sidrec.metrics import metrics_at_k, target_ranks
from sidrec.sid_model import SIDModel
from sidrec.stages.run import load_run

K = 10


def main() -> None:
    """Rank the same users in four ways and print a line for each; the first is the one compared with."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", type=Path)
    parser.add_argument("--users", type=int, default=200)
    parser.add_argument("--num-beams", type=int, default=20)
    arguments = parser.parse_args()
    config = load_config(arguments.config)
    rows = load_run(config).split.valid.sample(arguments.users, config.seed)
    model = SIDModel.load(config.output / "sft", generation=FIRST, device="cpu")
    model.rank(rows.histories, num_beams=arguments.num_beams)  # warms up
    for exclude_history in (False, True):
        lists, seconds = {}, {}
        for ranking in ("beam", "exact"):
            started = time.process_time()
            found = model.rank(
                rows.histories,
                num_beams=arguments.num_beams,
                ranking=ranking,
                exclude_history=exclude_history,
            )
            seconds[ranking] = time.process_time() - started
            lists[ranking] = found.items.numpy()
        for ranking, items in lists.items():
            metrics = metrics_at_k(target_ranks(items, rows.targets), (K,))
            shared = [
                len(np.intersect1d(ours[:K], exact[:K]))
                for ours, exact in zip(items, lists["exact"], strict=True)
            ]
            print(
                f"{ranking:5}  exclude_history={exclude_history!s:5}  {seconds[ranking]:7.2f} CPU s  "
                f"x{seconds[ranking] / seconds['beam']:5.1f}  NDCG@{K} {metrics[f'ndcg@{K}'].mean():.4f}  "
                f"share of the exact top {K}: {np.mean(shared) / K:.3f}"
            )


if __name__ == "__main__":
    main()
