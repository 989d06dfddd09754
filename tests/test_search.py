"""Beam search over random tries with random answers equals searches by dictionaries and loops.

The model of these tests is a table (`reference_search.TableReader`): the search knows it by its protocol
alone.
"""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from models import random_codes, random_prompts, small_scorer
from reference_search import TableReader, brute_force, plain_beam_search, random_table

from sidrec.decoding import CausalLM, Ranking, constrained_beam_search, exact_topk, rank_all
from sidrec.metrics import PADDING
from sidrec.trie import SIDTrie

NUM_PROMPTS = 3
PROMPTS = [[prompt] for prompt in range(NUM_PROMPTS)]
CASES = st.tuples(
    st.integers(1, 25),  # items
    st.integers(1, 6),  # levels
    st.integers(1, 4),  # codes of a level
    st.booleans(),  # unequal depth
    st.integers(0, 10**6),  # seed
)


def make(case: tuple) -> tuple[list[list[int]], TableReader, np.random.Generator]:
    num_items, num_levels, num_codes, unequal, seed = case
    rng = np.random.default_rng(seed)
    codes = random_table(rng, num_items, num_levels, num_codes, unequal)
    return codes, TableReader(SIDTrie(codes), NUM_PROMPTS, seed), rng


def some_excluded(rng: np.random.Generator, num_items: int) -> list[list[int]]:
    return [rng.integers(0, num_items, rng.integers(0, num_items + 1)).tolist() for _ in range(NUM_PROMPTS)]


def assert_row(ranking: Ranking, row: int, expected: list[tuple[float, int]]) -> None:
    """Compare a row with (score, item), best first; it ends in PADDING behind them."""
    missing = ranking.items.shape[1] - len(expected)
    assert ranking.items[row].tolist() == [item for _, item in expected] + [PADDING] * missing
    scores = torch.tensor([score for score, _ in expected] + [-torch.inf] * missing)
    torch.testing.assert_close(ranking.scores[row], scores.float(), atol=1e-4, rtol=0)


@settings(max_examples=300, deadline=None)
@given(CASES)
def test_with_as_many_beams_as_items_it_equals_brute_force(case):
    codes, reader, rng = make(case)
    excluded = some_excluded(rng, len(codes))
    found = constrained_beam_search(reader, reader.trie, PROMPTS, num_beams=len(codes) + 3, excluded=excluded)
    assert found.items.shape == (NUM_PROMPTS, len(codes))
    for prompt in range(NUM_PROMPTS):
        assert_row(found, prompt, brute_force(reader, codes, prompt, set(excluded[prompt]), len(codes)))


@settings(max_examples=300, deadline=None)
@given(CASES, st.integers(1, 8))
def test_fewer_beams_equal_the_plain_search(case, num_beams):
    codes, reader, rng = make(case)
    for excluded in ([[]] * NUM_PROMPTS, some_excluded(rng, len(codes))):
        found = constrained_beam_search(reader, reader.trie, PROMPTS, num_beams=num_beams, excluded=excluded)
        for prompt in range(NUM_PROMPTS):
            assert_row(
                found, prompt, plain_beam_search(reader, codes, prompt, set(excluded[prompt]), num_beams)
            )


@settings(max_examples=300, deadline=None)
@given(CASES, st.integers(1, 8))
def test_a_subset_is_searched_as_a_filter_for_all_rows(case, num_beams):
    codes, reader, rng = make(case)
    kept = rng.permutation(len(codes))[: rng.integers(1, len(codes) + 1)].tolist()
    without = set(range(len(codes))) - set(kept)
    found = constrained_beam_search(reader, reader.trie.subset(kept), PROMPTS, num_beams=num_beams)
    for prompt in range(NUM_PROMPTS):
        assert_row(found, prompt, plain_beam_search(reader, codes, prompt, without, num_beams))


@settings(max_examples=300, deadline=None)
@given(CASES, st.integers(1, 8), st.sampled_from([1, 3, 512]))
def test_the_exact_best_equal_brute_force_where_they_are_proven(case, num_beams, max_nodes):
    codes, reader, rng = make(case)
    excluded = some_excluded(rng, len(codes))
    options = {"num_beams": num_beams, "excluded": excluded}
    found = exact_topk(reader, reader.trie, PROMPTS, max_nodes=max_nodes, **options)
    beams = constrained_beam_search(reader, reader.trie, PROMPTS, **options)
    if max_nodes == 512:
        assert found.complete.all()
    for prompt in range(NUM_PROMPTS):
        if found.complete[prompt]:
            assert_row(found, prompt, brute_force(reader, codes, prompt, set(excluded[prompt]), num_beams))
        else:
            assert found.items[prompt].tolist() == beams.items[prompt].tolist()


@settings(max_examples=300, deadline=None)
@given(CASES, st.integers(1, 8), st.integers(1, 5))
def test_scoring_all_items_equals_brute_force(case, num_beams, nodes_per_pass):
    codes, reader, rng = make(case)
    excluded = some_excluded(rng, len(codes))
    found = rank_all(
        reader, reader.trie, PROMPTS, num_beams=num_beams, excluded=excluded, nodes_per_pass=nodes_per_pass
    )
    for prompt in range(NUM_PROMPTS):
        assert_row(found, prompt, brute_force(reader, codes, prompt, set(excluded[prompt]), num_beams))


def test_a_cap_that_bites_is_reported():
    """A wide tree with answers that hardly differ: far more than 2 nodes stand above the second beam."""
    rng = np.random.default_rng(0)
    reader = TableReader(SIDTrie(random_table(rng, 400, 3, 8, False)), NUM_PROMPTS, 0)
    reader.logits *= 0.05
    assert not exact_topk(reader, reader.trie, PROMPTS, num_beams=8, max_nodes=2).complete.any()
    assert exact_topk(reader, reader.trie, PROMPTS, num_beams=8).complete.all()


def check_beams(ranking: Ranking, codes: list[list[int]], num_beams: int, available: list[set[int]]) -> int:
    """Look at every beam: an item that may be there, once, with its codes and a score; returns how many."""
    items, scores = ranking.items.numpy(), ranking.scores.numpy()
    for row, allowed in enumerate(available):
        real = items[row][items[row] != PADDING]
        assert len(real) == min(num_beams, len(allowed))
        assert len(set(real.tolist())) == len(real)
        assert set(real.tolist()) <= allowed
        assert np.isfinite(scores[row][: len(real)]).all()
        assert (np.diff(scores[row][: len(real)]) <= 1e-6).all()
        for place, item in enumerate(real.tolist()):
            found = ranking.codes[row, place]
            assert found[found != PADDING].tolist() == codes[item]
    return int((items != PADDING).sum())


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 40), st.integers(1, 50), st.integers(0, 1000), st.booleans())
def test_every_beam_of_a_language_model_is_a_distinct_item(num_items, num_beams, seed, unique):
    codes = random_codes(num_items, seed=seed, unique=unique)
    scorer, _ = small_scorer(codes=codes)
    prompts = random_prompts(seed)
    found = constrained_beam_search(CausalLM(scorer), scorer.trie, prompts, num_beams=num_beams)
    check_beams(found, codes.tolist(), num_beams, [set(range(num_items))] * len(prompts))


@pytest.mark.slow
def test_a_million_beams_are_items_every_one():
    """Random tries, of equal and unequal depth, tables and language models, filters and subsets."""
    rng = np.random.default_rng(0)
    beams = 0
    for seed in range(10**6):
        if beams >= 10**6:
            break
        num_items = int(rng.integers(1, 3000))
        codes = random_table(
            rng, num_items, int(rng.integers(1, 7)), int(rng.integers(1, 40)), bool(seed % 2)
        )
        num_beams = int(rng.integers(1, 200))
        prompts = [[int(p)] for p in range(20)]
        if seed % 20 == 19:
            codes = random_codes(int(rng.integers(1, 120)), seed=seed).tolist()
            scorer, _ = small_scorer(codes=np.array(codes), seed=seed)
            reader, trie, num_items = CausalLM(scorer), scorer.trie, len(codes)
            prompts = random_prompts(seed, lengths=rng.integers(1, 30, 20))
        else:
            trie = SIDTrie(codes)
            reader = TableReader(trie, len(prompts), seed, rows=7)
        excluded = [rng.integers(0, num_items, rng.integers(0, 30)).tolist() for _ in prompts]
        kept = set(range(num_items))
        if seed % 3 == 0:
            kept = set(rng.permutation(num_items)[: rng.integers(1, num_items + 1)].tolist())
        found = constrained_beam_search(
            reader, trie.subset(sorted(kept)), prompts, num_beams=num_beams, excluded=excluded
        )
        beams += check_beams(found, codes, num_beams, [kept - set(each) for each in excluded])
    assert beams >= 10**6
