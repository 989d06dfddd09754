"""Find items that share a semantic ID, and make the IDs unique at least cost. Plain numpy; nothing random.

A *group* is the set of items that share the first L-1 codes, their *prefix*; it offers K slots, one per code
of the last level. Cost is the squared distance of an item's latent to the sum of its code vectors.
"""

from __future__ import annotations

import heapq
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tokenizer.arrays import blocks
from tokenizer.prefix_search import Prefix, nearest_prefixes, squared_distances


class CodeSpaceError(ValueError):
    """There are more items than semantic IDs."""


@dataclass(frozen=True)
class Resolution:
    """Unique semantic IDs and what they cost.

    Attributes:
        codes: (N, L) int64, no two rows equal.
        moved: (N,) bool, True where the codes differ from those given.
        collision_rate_before: 1 - distinct / N of the codes given.
        extra_error: Squared distance of latents to their code sums, mean over all N items: after less before.
    """

    codes: np.ndarray
    moved: np.ndarray
    collision_rate_before: float
    extra_error: float


def collision_rate(codes: np.ndarray) -> float:
    """Give 1 - distinct semantic IDs / N of (N, L) codes; 0 for no items."""
    codes = np.asarray(codes)
    return 1 - len(np.unique(codes, axis=0)) / len(codes) if len(codes) else 0.0


def collision_groups(codes: np.ndarray) -> list[np.ndarray]:
    """Give the rows of each semantic ID that two or more items share, in the order of their first rows."""
    return [rows for rows in _rows_by_value(np.asarray(codes)) if len(rows) > 1]


def add_level(codes: np.ndarray) -> np.ndarray:
    """Give (N, L + 1) codes: items that share an ID are numbered from 0 in the order of rows, others get 0.

    Source: TIGER (arXiv:2305.05065), section 3.1.
    """
    codes = np.asarray(codes)
    number = np.zeros(len(codes), dtype=np.int64)
    for rows in collision_groups(codes):
        number[rows] = np.arange(len(rows))
    return np.column_stack([codes, number])


def mean_codebooks(codes: np.ndarray, latents: np.ndarray, sizes: Sequence[int]) -> list[np.ndarray]:
    """Give code vectors to codes that came without: of each level the mean of what its items leave over.

    Args:
        codes: (N, L) integers.
        latents: (N, d) with mean 0.
        sizes: K of each level. A code that no item has gets the mean of its level, 0.

    Returns:
        Per level (K, d) float64.
    """
    latents = np.asarray(latents)
    books: list[np.ndarray] = []
    for level, size in enumerate(sizes):
        own = codes[:, level]
        sums = np.zeros((size, latents.shape[1]))
        for rows in blocks(len(latents), 8 * latents.shape[1]):
            residuals = np.array(latents[rows], dtype=np.float64)
            for before, book in enumerate(books):
                residuals -= book[codes[rows, before]]
            np.add.at(sums, own[rows], residuals)
        books.append(sums / np.maximum(np.bincount(own, minlength=size), 1)[:, None])
    return books


def make_unique(codes: np.ndarray, latents: np.ndarray, codebooks: Sequence[np.ndarray]) -> Resolution:
    """Give every item its own semantic ID by moving as few items as possible, as little as possible.

    1. A group in which no two items collide is not touched.
    2. A group with collisions of at most K items is solved exactly (linear sum assignment): on each code one
       of the items that have it stays, the others get free last codes; of all ways to do so, the one of least
       cost.
    3. From a larger group some items spill. Who does is decided in the same assignment, with the cost of an
       item's nearest free slot elsewhere as the price of spilling it. Then the item nearest to a prefix with
       a free slot moves there first, nearness being the squared distance of the latent to the sum of the
       prefix's code vectors; a prefix that no item has counts too. Newcomers share out a group's free last
       codes at least cost; those who were there stay.

    Items equal in latent and codes are served in the order of rows. Nearest prefixes are exact for up to
    three levels with a first codebook of at most 256 codes; beyond, a beam search finds near ones.

    Args:
        codes: (N, L) integers in [0, K) of their level.
        latents: (N, d), before quantization.
        codebooks: Per level (K, d).

    Raises:
        CodeSpaceError: If there are more items than code sequences.
        ValueError: If shapes or ranges do not fit, or a latent is not finite.
    """
    codes, latents, books = _checked(codes, latents, codebooks)
    sizes = [len(book) for book in books]
    if len(codes) > math.prod(sizes):
        raise CodeSpaceError(
            f"{len(codes)} items cannot have unique semantic IDs: tokenizer.codebook_sizes={sizes} holds "
            f"{math.prod(sizes)}. Raise tokenizer.codebook_sizes or add a level."
        )
    resolver = _Resolver(codes, latents, books)
    resolver.resolve()
    after = resolver.codes
    return Resolution(
        codes=after,
        moved=(after != codes).any(axis=1),
        collision_rate_before=collision_rate(codes),
        extra_error=_mean_error(after, latents, books) - _mean_error(codes, latents, books),
    )


class _Resolver:
    """The state of one `make_unique`: codes as they change, and the slots left at each prefix."""

    def __init__(self, codes: np.ndarray, latents: np.ndarray, books: list[np.ndarray]) -> None:
        self.given = codes
        self.codes = codes.copy()
        self.latents = latents
        self.books = books
        self.groups: dict[Prefix, np.ndarray] = {
            tuple(codes[rows[0], :-1].tolist()): rows for rows in _rows_by_value(codes[:, :-1])
        }
        num_slots = len(books[-1])
        self.free_slots = {prefix: max(0, num_slots - len(rows)) for prefix, rows in self.groups.items()}
        self.first_choices: dict[bytes, list[tuple[float, Prefix]]] = {}

    def resolve(self) -> None:
        num_slots = len(self.books[-1])
        overfull = []
        for prefix, rows in self.groups.items():
            if len(rows) == 1:
                continue
            if len(rows) > num_slots:
                overfull.append((prefix, rows))
            elif len(np.unique(self.given[rows, -1])) < len(rows):
                self.assign_within(prefix, rows, price=None)
        # Only now is it known which codes the other groups leave free, and so what spilling costs.
        spilled = [
            self.assign_within(prefix, rows, price=self.spill_price(rows)) for prefix, rows in overfull
        ]
        if spilled:
            self.place(np.sort(np.concatenate(spilled)))

    def assign_within(self, prefix: Prefix, rows: np.ndarray, *, price: np.ndarray | None) -> np.ndarray:
        """Share out the last codes in one group; gives the rows that must leave, none without a `price`."""
        own = self.given[rows, -1]
        counts = np.bincount(own, minlength=len(self.books[-1]))
        # Fewest moves means that every code keeps one of its items, so an item alone on its code stays.
        contested = counts[own] > 1
        rows, own = rows[contested], own[contested]
        slots = np.nonzero(counts != 1)[0]  # (S,) free and contested codes
        costs = self.last_costs(prefix, rows, slots)  # (n, S)
        moves = own[:, None] != slots[None, :]
        taken = _cheapest(costs if price is None else costs - price[contested][:, None], moves)
        taken = _in_row_order(taken, costs, own, slots, self.latents[rows])
        stays = taken >= 0
        self.codes[rows[stays], -1] = slots[taken[stays]]
        return rows[~stays]

    def nearest_free(self, latent: np.ndarray) -> list[tuple[float, Prefix]]:
        """Give near prefixes with a free slot, nearest first; a prefix that no item has is free."""
        return nearest_prefixes(
            latent, self.books[:-1], is_free=lambda prefix: self.free_slots.get(prefix, 1) > 0
        )

    def spill_price(self, rows: np.ndarray) -> np.ndarray:
        """Give (n,) the cost of moving each row alone to a free slot at its nearest prefix with one."""
        free_codes: dict[Prefix, np.ndarray] = {}
        distinct, inverse = np.unique(self.latents[rows], axis=0, return_inverse=True)
        prices = np.empty(len(distinct))
        for index, latent in enumerate(distinct):
            choices = self.first_choices[latent.tobytes()] = self.nearest_free(latent)
            prefix = choices[0][1]
            if prefix not in free_codes:
                free_codes[prefix] = self.free_codes(prefix)
            left = latent - self.prefix_sum(prefix)
            prices[index] = np.square(left - self.books[-1][free_codes[prefix]]).sum(axis=1).min()
        return prices[inverse.reshape(-1)]

    def place(self, rows: np.ndarray) -> None:
        """Move rows to prefixes with free slots, the nearest pair of item and prefix first."""
        # Rows of equal latents stand in one queue: they share the search, and the first row goes first.
        queues = [rows[members].tolist()[::-1] for members in _rows_by_value(self.latents[rows])]
        choices = [self.first_choices[self.latents[queue[-1]].tobytes()][::-1] for queue in queues]
        heap = [(choices[i][-1][0], queue[-1], i) for i, queue in enumerate(queues)]
        heapq.heapify(heap)
        newcomers: dict[Prefix, list[int]] = defaultdict(list)
        num_slots = len(self.books[-1])
        while heap:
            _, row, i = heapq.heappop(heap)
            prefix = choices[i][-1][1]
            if self.free_slots.get(prefix, num_slots) > 0:
                self.free_slots[prefix] = self.free_slots.get(prefix, num_slots) - 1
                newcomers[prefix].append(queues[i].pop())
            else:
                while choices[i] and self.free_slots.get(choices[i][-1][1], num_slots) == 0:
                    choices[i].pop()
                choices[i] = choices[i] or self.nearest_free(self.latents[row])[::-1]
            if queues[i]:
                heapq.heappush(heap, (choices[i][-1][0], queues[i][-1], i))
        for prefix, arrived in newcomers.items():
            self.settle(prefix, np.sort(np.array(arrived)))

    def settle(self, prefix: Prefix, rows: np.ndarray) -> None:
        """Give newcomers the free last codes of a group at least cost."""
        slots = self.free_codes(prefix)
        costs = self.last_costs(prefix, rows, slots)
        taken = _cheapest(costs, np.zeros(costs.shape, dtype=bool))
        taken = _in_row_order(taken, costs, np.full(len(rows), -1), slots, self.latents[rows])
        self.codes[rows, :-1] = prefix
        self.codes[rows, -1] = slots[taken]

    def free_codes(self, prefix: Prefix) -> np.ndarray:
        """Give the last codes that no item of the group has; newcomers who wait to settle do not count."""
        free = np.ones(len(self.books[-1]), dtype=bool)
        if prefix in self.groups:
            free[self.codes[self.groups[prefix], -1]] = False
        return np.nonzero(free)[0]

    def prefix_sum(self, prefix: Prefix) -> np.ndarray:
        """Sum the code vectors of a prefix, (d,)."""
        vectors = [book[code] for book, code in zip(self.books[:-1], prefix, strict=True)]
        return np.sum(vectors, axis=0) if vectors else np.zeros(self.latents.shape[1])

    def last_costs(self, prefix: Prefix, rows: np.ndarray, slots: np.ndarray) -> np.ndarray:
        """Give (n, S) squared distances between residuals and the code vectors of last codes."""
        residuals = self.latents[rows] - self.prefix_sum(prefix)
        return squared_distances(residuals, self.books[-1][slots])


def _cheapest(costs: np.ndarray, moves: np.ndarray) -> np.ndarray:
    """Assign slots to items: fewest moves first, then least total cost.

    Args:
        costs: (n, S).
        moves: (n, S) bool, True where taking the slot changes the item's code.

    Returns:
        (n,) index of each item's slot; -1 for the items without one, where there are fewer slots than items.
    """
    from scipy.optimize import (
        linear_sum_assignment,
    )  # .3 s, and most who import this file only count collisions

    # All costs together weigh less than one move.
    largest = np.abs(costs).max(initial=0.0)
    scale = 1 / (4 * min(costs.shape) * largest) if largest > 0 else 0.0
    items, slots = linear_sum_assignment(moves + scale * costs)
    taken = np.full(len(costs), -1)
    taken[items] = slots
    return taken


def _in_row_order(
    taken: np.ndarray, costs: np.ndarray, own: np.ndarray, slots: np.ndarray, latents: np.ndarray
) -> np.ndarray:
    """Hand what equal items got to them in the order of rows: staying first, then by cost, then leaving."""
    taken = taken.copy()
    for rows in _rows_by_value(np.column_stack([latents, own])):
        if len(rows) == 1:
            continue
        got = taken[rows]
        leaves = got < 0
        cost = np.where(leaves, np.inf, costs[rows[0], got])
        moves = leaves | (slots[got] != own[rows[0]])
        taken[rows] = got[np.lexsort((got, cost, leaves, moves))]
    return taken


def _rows_by_value(values: np.ndarray) -> list[np.ndarray]:
    """Give the row numbers of each distinct row, ascending, in the order of their first rows."""
    if values.shape[1] == 0:
        return [np.arange(len(values))] if len(values) else []
    order = np.lexsort(values.T)
    ordered = values[order]
    starts = np.nonzero((ordered[1:] != ordered[:-1]).any(axis=1))[0] + 1
    return sorted(np.split(order, starts), key=lambda rows: rows[0]) if len(values) else []


def _mean_error(codes: np.ndarray, latents: np.ndarray, books: Sequence[np.ndarray]) -> float:
    """Give the mean over items of the squared distance between latent and code sum."""
    sums = sum(book[codes[:, level]] for level, book in enumerate(books))
    return float(np.square(latents - sums).sum(axis=1).mean()) if len(codes) else 0.0


def _checked(
    codes: np.ndarray, latents: np.ndarray, codebooks: Sequence[np.ndarray]
) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Give the arrays as int64 and float64, or say what does not fit."""
    codes = np.asarray(codes)
    latents = np.asarray(latents, dtype=np.float64) + 0.0  # -0.0 becomes 0.0: equal numbers have equal bytes
    books = [np.asarray(book, dtype=np.float64) for book in codebooks]
    if codes.ndim != 2 or codes.shape[1] != len(books) or not books:
        raise ValueError(
            f"Codes need one column for each of the {len(books)} codebooks, got shape {codes.shape}."
        )
    if not np.issubdtype(codes.dtype, np.integer):
        raise ValueError(f"Codes are integers, got {codes.dtype}.")
    if latents.ndim != 2 or len(latents) != len(codes):
        raise ValueError(
            f"Each of the {len(codes)} items needs one latent, got latents of shape {latents.shape}."
        )
    if any(book.ndim != 2 or book.shape[1] != latents.shape[1] or len(book) == 0 for book in books):
        shapes = [book.shape for book in books]
        raise ValueError(
            f"Codebooks need vectors of the latents' width {latents.shape[1]}, got shapes {shapes}."
        )
    if not np.isfinite(latents).all():
        row = int(np.argmin(np.isfinite(latents).all(axis=1)))
        raise ValueError(f"The latent in row {row} holds a NaN or an infinity.")
    if ((codes < 0) | (codes >= np.array([len(book) for book in books]))).any():
        raise ValueError("A code lies outside its codebook.")
    return codes.astype(np.int64), latents, books
