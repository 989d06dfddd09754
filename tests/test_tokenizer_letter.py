"""LETTER: the two losses by hand, and codes that come to know who had an item."""

import math

import numpy as np
import pytest
import torch

from tokenizer.letter import Letter
from tokenizer.neural.alignment import Alignment, alignment_loss, cluster_codes, diversity_loss
from tokenizer.rqvae import RQVAE
from tokenizer.settings import RQVAESettings

SMALL = RQVAESettings(
    codebook_sizes=(8, 8), latent_dim=6, hidden_dims=(32,), epochs=200, batch_size=32, learning_rate=3e-3
)


def vectors(num_items: int = 96) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(num_items, 10)).astype(np.float32)


def groups(num_items: int = 96, width: int = 6) -> np.ndarray:
    """Collaborative vectors of four kinds of items, which the embeddings know nothing of."""
    return 3 * np.eye(width, dtype=np.float32)[np.arange(num_items) % 4]


def test_the_alignment_loss_is_the_cross_entropy_of_finding_ones_own() -> None:
    quantized = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    collaborative = torch.tensor([[1.0, 1.0], [0.0, 1.0]])
    # Row 0 scores 1 and 0, row 1 scores 2 and 2.
    expected = (math.log(1 + math.exp(-1)) + math.log(2)) / 2
    assert alignment_loss(quantized, collaborative).item() == pytest.approx(expected)


def test_the_diversity_loss_pulls_to_another_code_of_the_cluster() -> None:
    book = torch.tensor([[1.0], [2.0], [3.0]])
    clusters = torch.tensor([0, 0, 1])
    loss = diversity_loss(book, torch.tensor([0, 1]), clusters, generator=torch.Generator())
    # Code 0 must find code 1 among 1 and 2: scores 2 and 3. Code 1 must find code 0 among 0 and 2: 2 and 6.
    expected = (math.log(1 + math.exp(1)) + math.log(1 + math.exp(4))) / 2
    assert loss.item() == pytest.approx(expected)


def test_codes_alone_in_their_cluster_have_no_diversity_loss() -> None:
    book = torch.tensor([[1.0], [2.0]], requires_grad=True)
    loss = diversity_loss(book, torch.tensor([0, 1]), torch.tensor([0, 1]), generator=torch.Generator())
    assert loss.item() == 0


def test_codes_are_divided_into_clusters_of_equal_size() -> None:
    book = torch.from_numpy(vectors(20))
    (clusters,) = cluster_codes([book], 5, seed=0)
    assert torch.bincount(clusters).tolist() == [4, 4, 4, 4, 4]


def found(model: RQVAE) -> float:
    """Share of items whose quantized latent is nearest, by dot product, to the vector of its own group."""
    assert model.codes_ is not None
    quantized = sum(book[model.codes_[:, level]] for level, book in enumerate(model.codebooks()))
    return float(((quantized @ groups()[:4].T).argmax(axis=1) == np.arange(96) % 4).mean())


def test_alignment_makes_codes_know_the_group_of_an_item() -> None:
    assert found(RQVAE(SMALL).fit(vectors())) < 0.5
    aligned = Letter(SMALL, alignment_weight=1.0).fit(vectors(), groups())
    assert found(aligned) > 0.75
    assert aligned.history_[-1]["alignment_loss"] < aligned.history_[0]["alignment_loss"]


def test_collaborative_vectors_may_be_of_another_width() -> None:
    aligned = Letter(SMALL, alignment_weight=1.0).fit(vectors(), groups(width=9))
    assert aligned.history_[-1]["alignment_loss"] < 0.9 * aligned.history_[0]["alignment_loss"]


def test_without_any_weight_it_is_an_rqvae() -> None:
    settings = RQVAESettings(codebook_sizes=(8, 8), latent_dim=6, hidden_dims=(8,), epochs=4)
    letter = Letter(settings, alignment_weight=0.0, diversity_weight=0.0).fit(vectors(), groups())
    plain = RQVAE(settings).fit(vectors())
    assert np.array_equal(letter.codes_, plain.codes_)


def test_no_code_is_alone_in_its_cluster_where_there_are_two() -> None:
    (clusters,) = cluster_codes([torch.from_numpy(vectors(8))], 10, seed=0)
    assert torch.bincount(clusters).tolist() == [2, 2, 2, 2]


def test_the_diversity_weight_changes_the_codebooks() -> None:
    settings = RQVAESettings(codebook_sizes=(8, 8), latent_dim=6, hidden_dims=(8,), epochs=4)
    one, two = (
        Letter(settings, diversity_weight=weight).fit(vectors(), groups()).codebooks()[0]
        for weight in (0.0, 0.5)
    )
    assert np.abs(one - two).max() > 1e-3


@pytest.mark.parametrize(
    ("collaborative", "settings", "message"),
    [
        (groups(95), {}, "95 collaborative vectors for 96 items; give one to each"),
        (np.full((96, 6), np.inf), {}, "row 0 holds a NaN or an infinity"),
        (groups(), {"alignment_weight": -1.0}, "weight of an alignment must be 0 or more, got -1.0"),
        (groups(), {"clusters": 0}, "clusters of an alignment must be 1 or more, got 0"),
    ],
)
def test_what_cannot_be_aligned_with_is_refused(collaborative, settings, message) -> None:
    with pytest.raises(ValueError, match=message):
        Letter(SMALL, **settings).fit(vectors(), collaborative)


def test_an_alignment_says_nothing_of_its_vectors() -> None:
    assert "vectors" not in repr(Alignment(groups()))
