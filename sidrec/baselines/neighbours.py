"""Items that are like those of the history: had by the same people, or described by like texts.

Both score an item by the same sum, over the events of the history, of

    decay ** (events since) * similarity(item of the event, item)

An item that is there twice counts twice. No item is similar to itself here: it would lead every list that
contains it merely by identity, although hardly anyone has it again soon. An item of the history can still be
recommended for its likeness to other items of the history; leaving it out is `rank_by_scores`'s option.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.sparse import csr_array

from sidrec.baselines.ranking import ScoreItems, history_events
from sidrec.catalog import Split

_ENTRIES_PER_BLOCK = 4_000_000
_DECIMALS = 12


def item_knn(split: Split, *, num_items: int, neighbours: int, decay: float) -> ScoreItems:
    """Score items by the cosine between who had them and who had the items of the history.

    The similarity of two items is the number of users who had both in train, divided by the square root of
    (users of the one x users of the other); how often and in which order does not count. With weights it is
    the cosine of what the users gave them: a user gives an item the largest weight of its train events, 0
    without any. Each item keeps only its `neighbours` most similar items, equal ones in catalogue order. An
    item that is no neighbour of any item of the history gets 0, and so does every item for a history of items
    that train does not have.

    Args:
        split: Only `train` and `train_weights` are read.
        num_items: N.
        neighbours: Items that each item keeps, at least 1.
        decay: Weight of an event against the one after it, in (0, 1]; 1: all count alike.

    Source: Deshpande and Karypis, Item-based top-N recommendation algorithms (TOIS 2004), without its
    conditional probabilities; the decay over the history is ours.
    """
    similarities = _nearest_items(split, num_items, neighbours)

    def score(histories: Sequence[np.ndarray]) -> np.ndarray:
        return (_event_weights(histories, num_items, decay) @ similarities).toarray()

    return score


def text_knn(vectors: np.ndarray, *, decay: float) -> ScoreItems:
    """Score items by the cosine between their vectors and the vectors of the history.

    Nothing is learnt from events. An item whose vector is 0 is similar to none. Scores are rounded to 12
    decimals, so that items with equal vectors tie whatever the order in which a processor adds.

    Args:
        vectors: (N, D) item vectors, finite; `tokenize` writes them as `embeddings.npy`.
        decay: Weight of an event against the one after it, in (0, 1]; 1: all count alike.
    """
    norms = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)  # (N, 1)
    directions = np.divide(vectors, norms, where=norms > 0, out=np.zeros(vectors.shape))  # (N, D)
    to_itself = np.where(norms[:, 0] > 0, 1.0, 0.0)  # (N,)

    def score(histories: Sequence[np.ndarray]) -> np.ndarray:
        weights = _event_weights(histories, len(directions), decay)
        scores = (weights @ directions) @ directions.T  # (B, D), then (B, N)
        own = weights.tocoo()
        scores[own.row, own.col] -= own.data * to_itself[own.col]
        return scores.round(_DECIMALS)

    return score


def _event_weights(histories: Sequence[np.ndarray], num_items: int, decay: float) -> csr_array:
    """Return (B, N): the sum of decay ** steps back over the events of a history with an item."""
    events = history_events(histories)
    entries = (decay**events.steps_back, (events.rows, events.items))
    return csr_array(entries, shape=(len(histories), num_items))


def _nearest_items(split: Split, num_items: int, neighbours: int) -> csr_array:
    """Return (N, N): in the row of an item the cosines of its nearest items, and 0 elsewhere.

    Rows are computed in blocks, so that memory holds the neighbours of all items, but not all pairs of items
    that anyone had.
    """
    users_items = _who_had_what(split, num_items)  # (U, N)
    items_users = users_items.T.tocsr()  # (N, U)
    squares = items_users.power(2).sum(axis=1)  # (N,) squared norms; without weights the users of each item
    lengths = np.diff(users_items.indptr)  # (U,) items of each user
    # (N,) bound on the entries of each row of cosines
    pairs = np.bincount(users_items.indices, np.repeat(lengths, lengths), minlength=num_items)
    ends = np.flatnonzero(np.diff(np.cumsum(pairs) // _ENTRIES_PER_BLOCK)) + 1
    rows, columns, cosines = [], [], []
    for block in np.split(np.arange(num_items), ends):
        shared = (items_users[block] @ users_items).tocoo()  # (items of the block, N) products
        items, others = block[shared.row], shared.col
        cosine = shared.data / np.sqrt(squares[items] * squares[others])
        kept = _first_of_each(items, others, cosine, neighbours)
        rows.append(items[kept])
        columns.append(others[kept])
        cosines.append(cosine[kept])
    entries = (np.concatenate(cosines), (np.concatenate(rows), np.concatenate(columns)))
    return csr_array(entries, shape=(num_items, num_items))


def _who_had_what(split: Split, num_items: int) -> csr_array:
    """Return (U, N): what users gave items in train, as a share of the most that anyone gave the item.

    The cosine is the same in any unit of an item. Shares are rounded, so that it is so to the last bit.
    """
    events = history_events(split.train)
    pairs, numbers = np.unique(events.rows * num_items + events.items, return_inverse=True)
    users, items = np.divmod(pairs, num_items)
    given, most = np.zeros(len(pairs)), np.zeros(num_items)
    np.maximum.at(given, numbers, split.train_weights)
    np.maximum.at(most, items, given)
    shares = (given / most[items]).round(_DECIMALS)
    return csr_array((shares, (users, items)), shape=(len(split.train), num_items))


def _first_of_each(items: np.ndarray, others: np.ndarray, cosine: np.ndarray, neighbours: int) -> np.ndarray:
    """Return the numbers of the entries to keep: each item's most similar others, ties in catalogue order."""
    order = np.lexsort((others, -cosine, items))
    order = order[items[order] != others[order]]
    _, starts, counts = np.unique(items[order], return_index=True, return_counts=True)
    places = np.arange(len(order)) - np.repeat(starts, counts)  # 0 for the most similar
    return order[places < neighbours]
