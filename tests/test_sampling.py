"""Random draws of items against distributions that are written out over all items."""

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from models import random_prompts, small_scorer
from reference_search import Codes, TableBeams, TableReader

from sidrec.decoding import CausalLM, constrained_beam_search
from sidrec.decoding.beam_search import read_in_groups
from sidrec.decoding.sampling import Sample, sample_items, score_items
from sidrec.decoding.stochastic_beam import log_inclusion, sample_distinct
from sidrec.trie import SIDTrie

EVEN = [[0, 0, 0], [0, 0, 1], [0, 1, 0], [1, 0, 0], [1, 2, 0], [2, 0, 1], [2, 0, 2]]
SHARED = [[0, 0], [0, 1], [0, 1], [1, 0], [0, 1]]  # three items have one SID
UNEVEN = [[0], [1, 0], [1, 1, 0], [1, 1, 1], [2, 0, 0], [3, 1]]
CASES = [
    pytest.param(EVEN, None, id="even"),
    pytest.param(SHARED, None, id="shared"),
    pytest.param(UNEVEN, None, id="uneven"),
    pytest.param(EVEN, [0, 2, 4, 6], id="subset"),
    pytest.param(SHARED, [1, 3, 4], id="shared-subset"),
]


def generators(count: int, seed: int = 0) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed * 10**6 + row) for row in range(count)]


def beams_of(reader: TableReader, copies: int) -> TableBeams:
    """So many times the prompt 0."""
    return TableBeams(reader.trie, reader.logits[[0] * copies])


def exact(reader: TableReader, codes: Codes, kept: Sequence[int] | None, temperature: float) -> np.ndarray:
    """The probability of each item after prompt 0, by dictionaries: renormalized at every step."""
    left = {item: row for item, row in enumerate(codes) if kept is None or item in kept}
    probabilities = np.zeros(len(codes))
    for item, row in left.items():
        log_p = 0.0
        for level in range(len(row)):
            prefix = row[:level]
            siblings = {tuple(other[: level + 1]) for other in left.values() if other[:level] == prefix}
            steps = {
                path: (reader.log_prob(0, list(path)) - reader.log_prob(0, prefix)) / temperature
                for path in siblings
            }
            log_p += steps[tuple(row[: level + 1])] - math.log(sum(map(math.exp, steps.values())))
        sharing = sum(other == row for other in left.values())
        probabilities[item] = math.exp(log_p) / sharing
    assert probabilities.sum() == pytest.approx(1)
    return probabilities


def assert_frequencies(counts: np.ndarray, probabilities: np.ndarray) -> None:
    """Pearson's statistic within five standard deviations of its mean."""
    possible = probabilities > 0
    assert counts[~possible].sum() == 0
    expected = counts.sum() * probabilities[possible]
    statistic = ((counts[possible] - expected) ** 2 / expected).sum()
    freedom = possible.sum() - 1
    assert statistic < freedom + 5 * math.sqrt(2 * freedom)


def assert_log_probs(sample: Sample, probabilities: np.ndarray) -> None:
    np.testing.assert_allclose(sample.log_probs.exp(), probabilities[sample.items.numpy()], rtol=1e-5)


def make(codes: Codes, kept: Sequence[int] | None) -> tuple[TableReader, SIDTrie]:
    reader = TableReader(SIDTrie(codes), 1, seed=3)
    reader.logits *= 0.5
    return reader, reader.trie if kept is None else reader.trie.subset(kept)


@pytest.mark.parametrize("temperature", [1.0, 0.5, 3.0])
@pytest.mark.parametrize(("codes", "kept"), CASES)
def test_independent_draws_come_as_often_as_they_are_likely(codes, kept, temperature):
    reader, trie = make(codes, kept)
    probabilities = exact(reader, codes, kept, temperature)
    sample = sample_items(
        beams_of(reader, 2), trie, num_samples=20_000, generators=generators(2), temperature=temperature
    )
    assert_frequencies(np.bincount(sample.items.flatten(), minlength=len(codes)), probabilities)
    assert_log_probs(sample, probabilities)


@pytest.mark.parametrize(("codes", "kept"), CASES)
def test_scores_of_draws_are_those_of_the_scorer(codes, kept):
    reader, trie = make(codes, kept)
    for draw in (sample_items, sample_distinct):
        sample = draw(beams_of(reader, 1), trie, num_samples=3, generators=generators(1), temperature=0.5)
        expected = [reader.log_prob(0, codes[item]) for item in sample.items[0]]
        np.testing.assert_allclose(sample.scores[0], expected, atol=1e-5)
        again = score_items(beams_of(reader, 1), trie, sample.items)
        np.testing.assert_allclose(again[0], expected, atol=1e-5)


def drawn_distinct(codes: Codes, kept: Sequence[int] | None, temperature: float = 1.0) -> tuple:
    reader, trie = make(codes, kept)
    count = 6000
    sample = sample_distinct(
        beams_of(reader, count), trie, num_samples=2, generators=generators(count), temperature=temperature
    )
    return sample, exact(reader, codes, kept, temperature)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
@pytest.mark.parametrize(("codes", "kept"), CASES)
def test_distinct_draws_come_as_if_one_after_another(codes, kept, temperature):
    sample, probabilities = drawn_distinct(codes, kept, temperature)
    assert_log_probs(sample, probabilities)
    assert (sample.keys[:, 0] > sample.keys[:, 1]).all()
    assert (sample.keys[:, 1] > sample.threshold).all()
    first, second = sample.items.T.numpy()
    assert_frequencies(np.bincount(first, minlength=len(codes)), probabilities)
    # All ordered pairs: p_i, then p_j among what is left.
    pairs = np.zeros((len(codes), len(codes)))
    for i, j in itertools.permutations(np.flatnonzero(probabilities), 2):
        pairs[i, j] = probabilities[i] * probabilities[j] / (1 - probabilities[i])
    assert_frequencies(np.bincount(first * len(codes) + second, minlength=pairs.size), pairs.ravel())


@pytest.mark.parametrize(("codes", "kept"), CASES)
def test_weighing_distinct_draws_by_their_inclusion_is_unbiased(codes, kept):
    sample, probabilities = drawn_distinct(codes, kept, 0.3)  # skewed
    values = np.random.default_rng(0).normal(size=len(codes)) + 5 * (probabilities == probabilities.max())
    truth = probabilities @ values
    found = values[sample.items.numpy()]
    ratio = (sample.log_probs - log_inclusion(sample.log_probs, sample.threshold)).exp().numpy()
    estimates = (ratio * found).sum(1)  # Horvitz and Thompson
    error = estimates.std() / math.sqrt(len(estimates))
    assert abs(estimates.mean() - truth) < 4 * error
    assert abs(found.mean() - truth) > 8 * error  # without the weights it would show
    assert ratio.sum(1).mean() == pytest.approx(1, abs=4 * ratio.sum(1).std() / math.sqrt(len(ratio)))


def test_inclusion_by_hand():
    # log p - kappa = log(1/2 / 1/4) = log 2: q = 1 - exp(-2); log 1: q = 1 - exp(-1)
    log_probs = torch.tensor([[0.5, 0.25]], dtype=torch.float64).log()
    found = log_inclusion(log_probs, torch.tensor([0.25], dtype=torch.float64).log())
    np.testing.assert_allclose(found.exp(), [[1 - math.exp(-2), 1 - math.exp(-1)]])
    certain = log_inclusion(log_probs, torch.tensor([-torch.inf], dtype=torch.float64))
    assert certain.tolist() == [[0, 0]]
    # an item that is hardly ever there: q is about p / kappa
    rare = log_inclusion(torch.tensor([[-300.0]], dtype=torch.float64), torch.zeros(1, dtype=torch.float64))
    assert rare.item() == pytest.approx(-300)


@pytest.mark.parametrize(("codes", "kept"), CASES)
@pytest.mark.parametrize("more", [0, 3])
def test_as_many_distinct_draws_as_items_are_all_of_them(codes, kept, more):
    reader, trie = make(codes, kept)
    sample = sample_distinct(
        beams_of(reader, 5), trie, num_samples=trie.num_items + more, generators=generators(5)
    )
    assert sample.items.sort(1).values.tolist() == [sorted(kept or range(len(codes)))] * 5
    assert (sample.threshold == -torch.inf).all()


@pytest.mark.parametrize("draw", [sample_items, sample_distinct])
@pytest.mark.parametrize("normalization", ["vocabulary", "catalog"])
def test_a_draw_does_not_depend_on_the_prompts_beside_it(draw, normalization):
    scorer, _ = small_scorer(normalization=normalization)
    prompts = random_prompts()
    reader = CausalLM(scorer)
    drawn = {}
    for name, batches in (("together", [prompts]), ("alone", [[prompt] for prompt in prompts])):
        rows, place = {}, 0
        for batch in batches:
            own = generators(len(prompts))[place : place + len(batch)]
            for places, beams in read_in_groups(reader, batch, width=5):
                order = [own[i] for i in places]
                sample = draw(beams, scorer.trie, num_samples=4, generators=order)
                rows |= {place + i: sample.items[at].tolist() for at, i in enumerate(places)}
            place += len(batch)
        drawn[name] = [rows[i] for i in range(len(prompts))]
    assert drawn["together"] == drawn["alone"]
    assert len({tuple(row) for row in drawn["alone"]}) == len(prompts)


@pytest.mark.parametrize("shares", [True, False])
def test_draws_of_a_model_have_the_scores_of_a_search(shares):
    """And after `rewind` the beams are at the root again."""
    scorer, codes = small_scorer()
    if not shares:
        scorer.shares_prompts, scorer.why_not = False, "is told not to"
    reader = CausalLM(scorer)
    everything = constrained_beam_search(reader, scorer.trie, random_prompts(), num_beams=len(codes))
    for places, beams in read_in_groups(reader, random_prompts(), width=6):
        for draw in (sample_items, sample_distinct):
            sample = draw(beams, scorer.trie, num_samples=5, generators=generators(len(places)))
            beams.rewind(0)
            scored = score_items(beams, scorer.trie, sample.items)
            beams.rewind(0)
            for at, place in enumerate(places):
                scores = dict(
                    zip(everything.items[place].tolist(), everything.scores[place].tolist(), strict=True)
                )
                expected = [scores[item] for item in sample.items[at].tolist()]
                np.testing.assert_allclose(sample.scores[at], expected, atol=1e-4)
                np.testing.assert_allclose(scored[at], expected, atol=1e-4)


def test_with_catalog_scores_a_draw_is_from_the_policy_itself():
    scorer, _ = small_scorer(normalization="catalog")
    for _, beams in read_in_groups(CausalLM(scorer), random_prompts(), width=6):
        sample = sample_items(beams, scorer.trie, num_samples=6, generators=generators(beams.batch_size))
        torch.testing.assert_close(sample.scores, sample.log_probs, atol=1e-5, rtol=0)


@pytest.mark.parametrize("draw", [sample_items, sample_distinct])
def test_what_cannot_be_drawn_is_refused(draw):
    reader, trie = make(EVEN, None)
    with pytest.raises(ValueError, match=r"num_samples is 0 and temperature 1\.0; a draw needs at least 1"):
        draw(beams_of(reader, 1), trie, num_samples=0, generators=generators(1))
    with pytest.raises(ValueError, match=r"temperature -1; .* a temperature above 0"):
        draw(beams_of(reader, 1), trie, num_samples=1, generators=generators(1), temperature=-1)
    with pytest.raises(ValueError, match="2 generators for 1 prompts"):
        draw(beams_of(reader, 1), trie, num_samples=1, generators=generators(2))
    reader.logits[:] = torch.nan
    with pytest.raises(RuntimeError, match="score that is not finite"):
        draw(beams_of(reader, 1), trie, num_samples=1, generators=generators(1))


def test_items_whose_codes_begin_others_are_refused_unless_a_subset_has_none():
    codes = [[0], [0, 1], [1]]
    reader, trie = make(codes, None)
    with pytest.raises(ValueError, match="The codes of an item begin those of another"):
        sample_items(beams_of(reader, 1), trie, num_samples=1, generators=generators(1))
    assert not trie.subset([0, 2]).nests()
    assert not trie.subset([1, 2]).nests()
    assert trie.subset([0, 1]).nests()


def test_the_fullest_sid():
    assert SIDTrie(SHARED).most_items_of_a_sid() == 3
    assert SIDTrie(SHARED).subset([0, 1, 4]).most_items_of_a_sid() == 2
    assert SIDTrie(EVEN).most_items_of_a_sid() == 1
