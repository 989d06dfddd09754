"""Score lists of recommended items against the one item that each user had next.

Pure functions on numpy arrays, without a loop over users: ranks first, then everything else from ranks or
lists. A list is a row of item indices, best first, and where fewer than M items were found it ends in
`PADDING`. Where the lists come from, and what is written to disk, is left to the stages.

The definitions are those of DESIGN.md, section 6.
"""

from sidrec.metrics.arrays import PADDING
from sidrec.metrics.intervals import Interval, bootstrap_interval, bootstrap_intervals, paired_difference
from sidrec.metrics.lists import (
    count_duplicates,
    count_invalid,
    count_padded,
    coverage_at_k,
    gini_at_k,
)
from sidrec.metrics.ranks import DEFAULT_KS, check_metrics, metrics_at_k, sid_ranks, target_ranks
from sidrec.metrics.slices import popularity_slices

__all__ = [
    "DEFAULT_KS",
    "PADDING",
    "Interval",
    "bootstrap_interval",
    "bootstrap_intervals",
    "check_metrics",
    "count_duplicates",
    "count_invalid",
    "count_padded",
    "coverage_at_k",
    "gini_at_k",
    "metrics_at_k",
    "paired_difference",
    "popularity_slices",
    "sid_ranks",
    "target_ranks",
]
