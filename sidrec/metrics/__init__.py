"""Score lists of recommended items against the one item that each user had next.

Pure functions on numpy arrays, without a loop over users: ranks first, then everything else from ranks or
lists. A list is a row of item indices, best first. Where fewer than M items were found it ends in `PADDING`,
and where a foreign list names no item of the catalogue it holds `INVALID`. Where the lists come from, and
what is written to disk, is left to the stages.

The definitions are those of DESIGN.md, section 6.
"""

from sidrec.metrics.arrays import INVALID, PADDING
from sidrec.metrics.intervals import (
    Interval,
    bootstrap_interval,
    bootstrap_intervals,
    paired_difference,
    rank_intervals,
)
from sidrec.metrics.lists import (
    count_duplicates,
    count_invalid,
    count_padded,
    coverage_at_k,
    gini_at_k,
    history_share_at_k,
    intra_list_diversity_at_k,
    novelty_at_k,
)
from sidrec.metrics.ranks import DEFAULT_KS, check_metrics, metrics_at_k, sid_ranks, target_ranks
from sidrec.metrics.seeds import Difference, Estimate, difference_over_seeds, estimate_over_seeds, holm
from sidrec.metrics.slices import (
    Slice,
    arrival_slices,
    collision_slices,
    history_length_slices,
    popularity_slices,
)

__all__ = [
    "DEFAULT_KS",
    "INVALID",
    "PADDING",
    "Difference",
    "Estimate",
    "Interval",
    "Slice",
    "arrival_slices",
    "bootstrap_interval",
    "bootstrap_intervals",
    "check_metrics",
    "collision_slices",
    "count_duplicates",
    "count_invalid",
    "count_padded",
    "coverage_at_k",
    "difference_over_seeds",
    "estimate_over_seeds",
    "gini_at_k",
    "history_length_slices",
    "history_share_at_k",
    "holm",
    "intra_list_diversity_at_k",
    "metrics_at_k",
    "novelty_at_k",
    "paired_difference",
    "popularity_slices",
    "rank_intervals",
    "sid_ranks",
    "target_ranks",
]
