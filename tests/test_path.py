"""The way of one item through the trie: its steps add up to the score of a search."""

import math

import pytest
import torch
from models import random_prompts, small_scorer

from sidrec.decoding import CausalLM, constrained_beam_search
from sidrec.decoding.path import item_path
from sidrec.scoring import SIDScorer
from sidrec.trie import SIDTrie

PROMPT = random_prompts()[1]


@pytest.mark.parametrize("normalization", ["vocabulary", "level", "catalog"])
def test_the_steps_of_every_item_add_up_to_its_score(normalization: str) -> None:
    scorer, codes = small_scorer(normalization=normalization)
    reader = CausalLM(scorer)
    found = constrained_beam_search(reader, scorer.trie, [PROMPT], num_beams=len(codes))
    for item, score in zip(found.items[0].tolist(), found.scores[0].tolist(), strict=True):
        steps = item_path(reader, scorer.trie, PROMPT, item)
        assert [step.code for step in steps] == codes[item].tolist()
        assert sum(step.log_prob for step in steps) == pytest.approx(score, abs=1e-4)


def test_the_probabilities_of_siblings_sum_to_one_whatever_the_model_is_normalized_over() -> None:
    """Items 0, 1 and 2 differ in the last code alone."""
    scorer, _ = small_scorer(codes=[[0, 0, 0], [0, 0, 1], [0, 0, 3], [1, 2, 2]])
    last = [item_path(CausalLM(scorer), scorer.trie, PROMPT, item)[-1] for item in range(3)]
    assert sum(step.probability for step in last) == pytest.approx(1, abs=1e-6)
    assert sorted(step.place for step in last) == [1, 2, 3]
    assert [(step.choices, step.items) for step in last] == [(3, 1)] * 3


def test_the_only_code_that_may_follow_is_certain() -> None:
    scorer, _ = small_scorer(codes=[[0, 0, 0], [0, 0, 1], [1, 2, 2]])
    first, second, third = item_path(CausalLM(scorer), scorer.trie, PROMPT, 2)
    assert (first.choices, second.choices, third.choices) == (2, 1, 1)
    assert second.probability == third.probability == 1


def test_a_subset_leaves_log_probabilities_and_gives_its_codes_all_the_probability() -> None:
    scorer, _ = small_scorer(codes=[[0, 0, 0], [1, 0, 1], [2, 2, 2]], normalization="catalog")
    whole = item_path(CausalLM(scorer), scorer.trie, PROMPT, 2)
    part = item_path(CausalLM(scorer), scorer.trie.subset([1, 2]), PROMPT, 2)
    assert part[0].log_prob == pytest.approx(whole[0].log_prob)
    assert whole[0].probability == pytest.approx(math.exp(whole[0].log_prob))
    assert (part[0].choices, whole[0].choices) == (2, 3)
    assert part[0].probability > whole[0].probability


def test_an_item_outside_the_subset_is_refused() -> None:
    scorer, _ = small_scorer(codes=[[0, 0, 0], [1, 0, 1]])
    with pytest.raises(ValueError, match="Item 0 is not in this subset"):
        item_path(CausalLM(scorer), scorer.trie.subset([1]), PROMPT, 0)


def test_names_of_different_lengths_are_followed_to_their_end() -> None:
    scorer, _ = small_scorer()
    trie = SIDTrie([[20, 25, 31], [20, 26], [21, 25]])
    reader = CausalLM(SIDScorer(scorer.model, None, trie, "catalog"))
    found = constrained_beam_search(reader, trie, [PROMPT], num_beams=3)
    for item, score in zip(found.items[0].tolist(), found.scores[0].tolist(), strict=True):
        steps = item_path(reader, trie, PROMPT, item)
        assert len(steps) == (3 if item == 0 else 2)
        assert sum(step.log_prob for step in steps) == pytest.approx(score, abs=1e-4)


def test_a_model_that_cannot_share_prompts_gives_the_same_path() -> None:
    scorer, _ = small_scorer()
    shared = item_path(CausalLM(scorer), scorer.trie, PROMPT, 5)
    scorer.shares_prompts, scorer.why_not = False, "is told so"
    plain = item_path(CausalLM(scorer), scorer.trie, PROMPT, 5)
    torch.testing.assert_close(
        torch.tensor([step.log_prob for step in plain]), torch.tensor([step.log_prob for step in shared])
    )
