"""Tests of the tests: each check passes the honest code, and fails on every deliberately broken twin."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import checks
import numpy as np
import pytest

from sidrec import metrics as m
from sidrec.catalog import Catalog, SplitConfig, split_catalog
from sidrec.catalog.splits import EvaluationRows, Split
from sidrec.metrics import INVALID, PADDING

Function = Callable[..., Any]


def honest_split(catalog: Catalog) -> Split:
    return split_catalog(catalog, SplitConfig())


HONEST: dict[Function, Function] = {
    checks.check_ranks: m.target_ranks,
    checks.check_invalid_entries_hold_their_place: m.target_ranks,
    checks.check_item_level: m.target_ranks,
    checks.check_sid_level: m.sid_ranks,
    checks.check_values_at_k: m.metrics_at_k,
    checks.check_coverage: m.coverage_at_k,
    checks.check_gini: m.gini_at_k,
    checks.check_diversity: m.intra_list_diversity_at_k,
    checks.check_novelty: m.novelty_at_k,
    checks.check_history_share: m.history_share_at_k,
    checks.check_no_leak: honest_split,
}


def ranks_from_zero(items: np.ndarray, targets: np.ndarray) -> np.ndarray:
    ranks = m.target_ranks(items, targets)
    return np.where(ranks > 0, ranks - 1, 0)


def ranks_from_two(items: np.ndarray, targets: np.ndarray) -> np.ndarray:
    ranks = m.target_ranks(items, targets)
    return np.where(ranks > 0, ranks + 1, 0)


def misses_as_first(items: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Forget that argmax of a row without a match is 0."""
    return (items == targets[:, None]).argmax(axis=1) + 1


def ranks_among_valid_entries(items: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Close the gap where a list names no item."""
    ranks = m.target_ranks(items, targets)
    before = np.arange(items.shape[1]) < ranks[:, None]
    return ranks - ((items == INVALID) & before).sum(axis=1)


def sid_hit_as_item_hit(items: np.ndarray, targets: np.ndarray) -> np.ndarray:
    return m.sid_ranks(items, targets, checks.SID_OF_ITEM)


def first_item_of_the_sid(items: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Count a SID-level hit at the item-level place, without the correction for collisions."""
    return m.target_ranks(checks.SID_OF_ITEM[items], checks.SID_OF_ITEM[targets])


def item_hit_as_sid_hit(items: np.ndarray, targets: np.ndarray, sid_of_item: np.ndarray) -> np.ndarray:
    return m.target_ranks(items, targets)


def sid_at_item_place(items: np.ndarray, targets: np.ndarray, sid_of_item: np.ndarray) -> np.ndarray:
    sids = np.where(items < 0, items, sid_of_item[items])
    return m.target_ranks(sids, sid_of_item[targets])


def invalid_entries_as_one_sid(items: np.ndarray, targets: np.ndarray, sid_of_item: np.ndarray) -> np.ndarray:
    with_one_more = np.append(sid_of_item, sid_of_item.max() + 1)
    return m.sid_ranks(np.where(items == INVALID, len(sid_of_item), items), targets, with_one_more)


def changed_values(**changes: Function) -> Function:
    """Return `metrics_at_k` with some of its metrics by `name(ranks, k)` instead; a miss stays 0."""

    def broken(ranks: np.ndarray, ks: tuple[int, ...]) -> dict[str, np.ndarray]:
        values = m.metrics_at_k(ranks, ks)
        places = np.maximum(ranks, 1)
        for name, change in changes.items():
            values |= {f"{name}@{k}": np.where(ranks > 0, change(places, k), 0.0) for k in ks}
        return values

    return broken


def coverage_of_all_entries(items: np.ndarray, num_items: int, k: int) -> float:
    return len(np.unique(items[:, :k])) / num_items


def coverage_of_whole_lists(items: np.ndarray, num_items: int, k: int) -> float:
    return m.coverage_at_k(items, num_items, items.shape[1])


def gini_of_shown_items(items: np.ndarray, num_items: int, k: int) -> float:
    """Leave out items that are never shown."""
    _, numbers = np.unique(np.where(items < 0, items.max() + 1, items), return_inverse=True)
    numbers = np.where(items < 0, PADDING, numbers.reshape(items.shape))
    return m.gini_at_k(numbers, int(numbers.max()) + 1, k)


def diversity_of(mean_cosine: Function) -> Function:
    """Return a diversity from the mean cosine of a (Q, Q) matrix of cosines, over lists of two and more."""

    def broken(items: np.ndarray, vectors: np.ndarray, k: int) -> float:
        shown = [row[:k][row[:k] >= 0] for row in items]
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        unit = vectors / np.where(lengths > 0, lengths, 1)
        return float(np.mean([1 - mean_cosine(unit[row] @ unit[row].T) for row in shown if len(row) > 1]))

    return broken


def mean_over_pairs(cosines: np.ndarray) -> float:
    """The honest one, to show that `diversity_of` breaks nothing itself."""
    return float(cosines[np.triu_indices(len(cosines), k=1)].mean())


def diversity_without_lengths(items: np.ndarray, vectors: np.ndarray, k: int) -> float:
    """Take vectors for unit vectors."""
    shown = [vectors[row[:k][row[:k] >= 0]] for row in items]
    return float(np.mean([1 - mean_over_pairs(rows @ rows.T) for rows in shown if len(rows) > 1]))


def novelty_in_nats(items: np.ndarray, train_counts: np.ndarray, k: int) -> float:
    return m.novelty_at_k(items, train_counts, k) * np.log(2)


def novelty_of_seen_items(items: np.ndarray, train_counts: np.ndarray, k: int) -> float:
    """Leave out items without an event instead of adding one."""
    shown = items[:, :k][items[:, :k] >= 0]
    return float(-np.log2((train_counts / train_counts.sum())[shown[train_counts[shown] > 0]]).mean())


def history_share_of_all_places(items: np.ndarray, histories: list[np.ndarray], k: int) -> float:
    """Divide by U * k, as if no place were empty."""
    return sum(np.isin(row[:k], had).sum() for row, had in zip(items, histories, strict=True)) / (
        len(items) * k
    )


def history_share_of_anyone(items: np.ndarray, histories: list[np.ndarray], k: int) -> float:
    """Look into the histories of all users."""
    shown = items[:, :k][items[:, :k] >= 0]
    return float(np.isin(shown, np.concatenate(histories)).mean())


def with_train(split: Split, histories: EvaluationRows, *, and_targets: bool) -> Split:
    """Put other histories into train, for those who are evaluated."""
    added = {
        user: np.append(history, target) if and_targets else history
        for user, history, target in zip(
            histories.user_ids, histories.histories, histories.targets, strict=True
        )
    }
    train = [added.get(user, items) for user, items in zip(split.user_ids, split.train, strict=True)]
    return replace(split, train=train)


def valid_in_train(catalog: Catalog) -> Split:
    split = honest_split(catalog)
    return with_train(split, split.valid, and_targets=True)


def valid_of_one_user_in_train(catalog: Catalog) -> Split:
    split = honest_split(catalog)
    only = EvaluationRows(split.valid.user_ids[-1:], split.valid.histories[-1:], split.valid.targets[-1:])
    return with_train(split, only, and_targets=True)


def all_in_train(catalog: Catalog) -> Split:
    split = honest_split(catalog)
    return with_train(split, split.test, and_targets=True)


def valid_in_its_own_history(catalog: Catalog) -> Split:
    split = honest_split(catalog)
    return replace(split, valid=replace(split.valid, histories=split.test.histories))


def target_in_the_test_history(catalog: Catalog) -> Split:
    split = honest_split(catalog)
    histories = [np.append(h, t) for h, t in zip(split.test.histories, split.test.targets, strict=True)]
    return replace(split, test=replace(split.test, histories=histories))


def split_in_reverse(catalog: Catalog) -> Split:
    """Take each user's first events for the last, as a table sorted the wrong way would."""
    first_to_last = catalog.interactions.iloc[::-1].drop(columns="timestamp")
    users = list(dict.fromkeys(catalog.interactions["user_id"]))
    order = first_to_last["user_id"].map(users.index).argsort(kind="stable")
    return honest_split(Catalog(catalog.items, first_to_last.iloc[order].reset_index(drop=True)))


BROKEN: list[tuple[Function, str, Function]] = [
    (checks.check_ranks, "ranks from 0", ranks_from_zero),
    (checks.check_ranks, "ranks from 2", ranks_from_two),
    (checks.check_ranks, "misses as first", misses_as_first),
    (checks.check_invalid_entries_hold_their_place, "gaps closed", ranks_among_valid_entries),
    (checks.check_item_level, "SID-level rank", sid_hit_as_item_hit),
    (checks.check_item_level, "first item of the SID", first_item_of_the_sid),
    (checks.check_sid_level, "item-level rank", item_hit_as_sid_hit),
    (checks.check_sid_level, "item-level place", sid_at_item_place),
    (checks.check_sid_level, "invalid entries as one SID", invalid_entries_as_one_sid),
    (checks.check_values_at_k, "HR at k + 1", changed_values(hr=lambda rank, k: rank <= k + 1)),
    (checks.check_values_at_k, "HR at k - 1", changed_values(hr=lambda rank, k: rank < k)),
    (checks.check_values_at_k, "NDCG in nats", changed_values(ndcg=lambda r, k: (r <= k) / np.log(r + 1))),
    (
        checks.check_values_at_k,
        "NDCG of rank + 1",
        changed_values(ndcg=lambda r, k: (r <= k) / np.log2(r + 2)),
    ),
    (checks.check_values_at_k, "NDCG beyond k", changed_values(ndcg=lambda rank, k: 1 / np.log2(rank + 1))),
    (checks.check_values_at_k, "MRR beyond k", changed_values(mrr=lambda rank, k: 1 / rank)),
    (checks.check_values_at_k, "MRR of rank + 1", changed_values(mrr=lambda r, k: (r <= k) / (r + 1))),
    (checks.check_coverage, "marks as items", coverage_of_all_entries),
    (checks.check_coverage, "whole lists", coverage_of_whole_lists),
    (checks.check_gini, "shown items only", gini_of_shown_items),
    (checks.check_diversity, "items with themselves", diversity_of(np.mean)),
    (checks.check_diversity, "sum over pairs", diversity_of(lambda c: c[np.triu_indices(len(c), k=1)].sum())),
    (checks.check_diversity, "lengths not divided out", diversity_without_lengths),
    (checks.check_novelty, "nats", novelty_in_nats),
    (checks.check_novelty, "cold items left out", novelty_of_seen_items),
    (checks.check_history_share, "empty places counted", history_share_of_all_places),
    (checks.check_history_share, "anyone's history", history_share_of_anyone),
    (checks.check_no_leak, "valid in train", valid_in_train),
    (checks.check_no_leak, "valid of one user in train", valid_of_one_user_in_train),
    (checks.check_no_leak, "valid and test in train", all_in_train),
    (checks.check_no_leak, "valid in its own history", valid_in_its_own_history),
    (checks.check_no_leak, "target in the test history", target_in_the_test_history),
    (checks.check_no_leak, "time reversed", split_in_reverse),
]


@pytest.mark.parametrize("check", HONEST, ids=lambda check: check.__name__)
def test_the_honest_code_passes(check: Function) -> None:
    check(HONEST[check])


@pytest.mark.parametrize(
    ("check", "broken"),
    [pytest.param(check, broken, id=f"{check.__name__}: {name}") for check, name, broken in BROKEN],
)
def test_a_broken_twin_is_noticed(check: Function, broken: Function) -> None:
    with pytest.raises(AssertionError):
        check(broken)


def test_every_check_has_noticed_something() -> None:
    all_checks = {value for name, value in vars(checks).items() if name.startswith("check_")}
    assert set(HONEST) == {check for check, _, _ in BROKEN} == all_checks


def test_the_frame_of_the_broken_diversities_is_sound() -> None:
    checks.check_diversity(diversity_of(mean_over_pairs))
