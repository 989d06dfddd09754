"""Share out last codes within groups of items, and move those who find none to near prefixes.

What `collisions.make_unique` and `placement.place_new` have in common; their docstrings say what the rules
are.
"""

from __future__ import annotations

import heapq
import math
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from tokenizer.arrays import blocks
from tokenizer.collisions.prefix_search import (
    BEAM_WIDTH,
    CANDIDATES,
    Prefix,
    PrefixTables,
    nearest_prefixes,
    squared_distances,
)

EXACT_SEARCH = 10**9
"""Distances to prefixes that are all looked at; where there would be more, few first codes are followed."""

FEW = 16
SEARCHED_TOGETHER = 4096
"""Items whose near prefixes are listed at a time."""


class Resolver:
    """Codes as they change, and the slots left at each prefix.

    Attributes:
        codes: (n, L) of the items that may move, at first as given; `resolve` changes them.
        residents: Prefix -> the last codes that items outside `codes` have there for good, each once.
    """

    def __init__(
        self, codes: np.ndarray, latents: np.ndarray, books: list[np.ndarray], *, residents: np.ndarray
    ) -> None:
        """Take n items with codes and latents, and the (N, L) codes of residents, if there are any."""
        self.given = codes
        self.codes = codes.copy()
        self._latents = latents
        self.books = books
        self.groups: dict[Prefix, np.ndarray] = {
            tuple(codes[rows[0], :-1].tolist()): rows for rows in rows_by_value(codes[:, :-1])
        }
        self.residents: dict[Prefix, np.ndarray] = {
            tuple(residents[rows[0], :-1].tolist()): np.unique(residents[rows, -1])
            for rows in rows_by_value(residents[:, :-1])
        }
        num_slots = len(books[-1])
        self.free_slots = {prefix: num_slots - len(last) for prefix, last in self.residents.items()}
        for prefix, rows in self.groups.items():
            self.free_slots[prefix] = max(0, self.free_slots.get(prefix, num_slots) - len(rows))
        self.tables = PrefixTables(books[:-1])
        self.first_choices: dict[bytes, list[tuple[float, Prefix]]] = {}

    def resolve(self) -> None:
        """Give every item codes that no other has."""
        num_slots = len(self.books[-1])
        overfull = []
        for prefix, rows in self.groups.items():
            last = self.given[rows, -1]
            resident = self.residents.get(prefix, last[:0])
            if len(rows) + len(resident) == 1:
                continue
            if len(rows) + len(resident) > num_slots:
                overfull.append((prefix, rows))
            elif len(np.union1d(last, resident)) < len(rows) + len(resident):
                self.assign_within(prefix, rows, price=None)
        if not overfull:
            return
        # Only now is it known which codes the other groups leave free, and so what spilling costs.
        self.find_choices(np.concatenate([rows for _, rows in overfull]))
        spilled = [
            self.assign_within(prefix, rows, price=self.spill_price(rows)) for prefix, rows in overfull
        ]
        if spilled:
            self.place(np.sort(np.concatenate(spilled)))

    def latents(self, rows: np.ndarray) -> np.ndarray:
        """Give (n, d) float64 latents of rows, in which equal numbers have equal bytes: no -0.0."""
        return self._latents[rows].astype(np.float64) + 0.0

    def assign_within(self, prefix: Prefix, rows: np.ndarray, *, price: np.ndarray | None) -> np.ndarray:
        """Share out the last codes in one group; gives the rows that must leave, none without a `price`."""
        own = self.given[rows, -1]
        counts = np.bincount(own, minlength=len(self.books[-1]))
        resident = np.zeros(len(counts), dtype=bool)
        resident[self.residents.get(prefix, own[:0])] = True
        # Fewest moves means that every code keeps one of its items, so an item alone on its code stays.
        contested = (counts[own] > 1) | resident[own]
        rows, own = rows[contested], own[contested]
        slots = np.nonzero((counts != 1) & ~resident)[0]  # (S,) free and contested codes
        if not len(slots):
            return rows
        latents = self.latents(rows)
        costs = self.last_costs(prefix, latents, slots)  # (n, S)
        moves = own[:, None] != slots[None, :]
        taken = cheapest(costs if price is None else costs - price[contested][:, None], moves)
        taken = in_row_order(taken, costs, own, slots, latents)
        stays = taken >= 0
        self.codes[rows[stays], -1] = slots[taken[stays]]
        return rows[~stays]

    def find_choices(self, rows: np.ndarray) -> None:
        """Find the near prefixes with a free slot for every distinct latent of the rows, all at once."""
        distinct = np.unique(self.latents(rows), axis=0)
        full = {prefix for prefix, slots in self.free_slots.items() if slots == 0}
        exact = len(distinct) * math.prod(len(book) for book in self.books[:2]) <= EXACT_SEARCH
        for start in range(0, len(distinct), SEARCHED_TOGETHER):
            latents = distinct[start : start + SEARCHED_TOGETHER]
            found = self.tables.nearest(
                latents, width=BEAM_WIDTH if exact else FEW, wanted=CANDIDATES if exact else FEW
            )
            for latent, distances, prefixes in zip(latents, *(each.tolist() for each in found), strict=True):
                near = zip(distances, map(tuple, prefixes), strict=True)
                choices = [(distance, prefix) for distance, prefix in near if prefix not in full]
                self.first_choices[latent.tobytes()] = choices or self.nearest_free(latent)

    def nearest_free(self, latent: np.ndarray) -> list[tuple[float, Prefix]]:
        """Give near prefixes with a free slot, nearest first; a prefix that no item has is free."""
        return nearest_prefixes(
            latent, self.books[:-1], is_free=lambda prefix: self.free_slots.get(prefix, 1) > 0
        )

    def spill_price(self, rows: np.ndarray) -> np.ndarray:
        """Give (n,) the cost of moving each row alone to a free slot at its nearest prefix with one."""
        there: dict[Prefix, list[int]] = defaultdict(list)
        for place, row in enumerate(rows.tolist()):
            there[self.first_choices[self.latents(row).tobytes()][0][1]].append(place)
        prices = np.empty(len(rows))
        for prefix, places in there.items():
            latents = self.latents(rows[places])
            prices[places] = self.last_costs(prefix, latents, self.free_codes(prefix)).min(axis=1)
        return prices

    def place(self, rows: np.ndarray) -> None:
        """Move rows to prefixes with free slots, the nearest pair of item and prefix first."""
        # Rows of equal latents stand in one queue: they share the search, and the first row goes first.
        queues = [rows[members].tolist()[::-1] for members in rows_by_value(self.latents(rows))]
        choices = [self.first_choices[self.latents(queue[-1]).tobytes()][::-1] for queue in queues]
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
                choices[i] = choices[i] or self.nearest_free(self.latents(row))[::-1]
            if queues[i]:
                heapq.heappush(heap, (choices[i][-1][0], queues[i][-1], i))
        for prefix, arrived in newcomers.items():
            self.settle(prefix, np.sort(np.array(arrived)))

    def settle(self, prefix: Prefix, rows: np.ndarray) -> None:
        """Give newcomers the free last codes of a group at least cost."""
        slots = self.free_codes(prefix)
        latents = self.latents(rows)
        costs = self.last_costs(prefix, latents, slots)
        taken = cheapest(costs, np.zeros(costs.shape, dtype=bool))
        taken = in_row_order(taken, costs, np.full(len(rows), -1), slots, latents)
        self.codes[rows, :-1] = prefix
        self.codes[rows, -1] = slots[taken]

    def free_codes(self, prefix: Prefix) -> np.ndarray:
        """Give the last codes that no item of the group has; newcomers who wait to settle do not count."""
        free = np.ones(len(self.books[-1]), dtype=bool)
        if prefix in self.residents:
            free[self.residents[prefix]] = False
        if prefix in self.groups:
            free[self.codes[self.groups[prefix], -1]] = False
        return np.nonzero(free)[0]

    def prefix_sum(self, prefix: Prefix) -> np.ndarray:
        """Sum the code vectors of a prefix, (d,)."""
        vectors = [book[code] for book, code in zip(self.books[:-1], prefix, strict=True)]
        return np.sum(vectors, axis=0) if vectors else np.zeros(self._latents.shape[1])

    def last_costs(self, prefix: Prefix, latents: np.ndarray, slots: np.ndarray) -> np.ndarray:
        """Give (n, S) squared distances between residuals and the code vectors of last codes."""
        return squared_distances(latents - self.prefix_sum(prefix), self.books[-1][slots])


def cheapest(costs: np.ndarray, moves: np.ndarray) -> np.ndarray:
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


def in_row_order(
    taken: np.ndarray, costs: np.ndarray, own: np.ndarray, slots: np.ndarray, latents: np.ndarray
) -> np.ndarray:
    """Hand what equal items got to them in the order of rows: staying first, then by cost, then leaving."""
    taken = taken.copy()
    if len(np.unique(latents[:, 0])) == len(latents):  # no two are equal: what nearly all groups are like
        return taken
    for rows in rows_by_value(np.column_stack([latents, own])):
        if len(rows) == 1:
            continue
        got = taken[rows]
        leaves = got < 0
        cost = np.where(leaves, np.inf, costs[rows[0], got])
        moves = leaves | (slots[got] != own[rows[0]])
        taken[rows] = got[np.lexsort((got, cost, leaves, moves))]
    return taken


def rows_by_value(values: np.ndarray) -> list[np.ndarray]:
    """Give the row numbers of each distinct row, ascending, in the order of their first rows."""
    if values.shape[1] == 0:
        return [np.arange(len(values))] if len(values) else []
    order = np.lexsort(values.T)
    ordered = values[order]
    starts = np.nonzero((ordered[1:] != ordered[:-1]).any(axis=1))[0] + 1
    return sorted(np.split(order, starts), key=lambda rows: rows[0]) if len(values) else []


def checked_table(
    codes: np.ndarray, latents: np.ndarray, codebooks: Sequence[np.ndarray]
) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Give codes as int64, latents as floats and codebooks as float64, or say what does not fit.

    Latents that are floats stay what they are: a million of them are not copied.
    """
    books = [np.asarray(book, dtype=np.float64) for book in codebooks]
    codes = checked_codes(codes, books)
    latents = np.asarray(latents)
    if latents.dtype.kind != "f":
        latents = latents.astype(np.float64)
    if latents.ndim != 2 or len(latents) != len(codes):
        raise ValueError(
            f"Each of the {len(codes)} items needs one latent, got latents of shape {latents.shape}."
        )
    if any(book.ndim != 2 or book.shape[1] != latents.shape[1] or len(book) == 0 for book in books):
        shapes = [book.shape for book in books]
        raise ValueError(
            f"Codebooks need vectors of the latents' width {latents.shape[1]}, got shapes {shapes}."
        )
    for rows in blocks(len(latents), max(1, latents.shape[1])):
        finite = np.isfinite(latents[rows]).all(axis=1)
        if not finite.all():
            row = rows.start + int(np.argmin(finite))
            raise ValueError(f"The latent in row {row} holds a NaN or an infinity.")
    return codes, latents, books


def checked_codes(codes: np.ndarray, books: Sequence[np.ndarray]) -> np.ndarray:
    """Give (N, L) codes as int64, or say what does not fit."""
    codes = np.asarray(codes)
    if codes.ndim != 2 or codes.shape[1] != len(books) or not books:
        raise ValueError(
            f"Codes need one column for each of the {len(books)} codebooks, got shape {codes.shape}."
        )
    if not np.issubdtype(codes.dtype, np.integer):
        raise ValueError(f"Codes are integers, got {codes.dtype}.")
    if ((codes < 0) | (codes >= np.array([len(book) for book in books]))).any():
        raise ValueError("A code lies outside its codebook.")
    return codes.astype(np.int64)
