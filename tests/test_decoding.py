"""Constrained beam search equals `generate` with a plain prefix constraint, and brute force, and fails
closed.
"""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from models import FIRST, KINDS, random_codes, random_prompts, sid_token_ids, small_scorer

from sidrec.decoding import CausalLMBeams, constrained_beam_search, pad_prompts, rank_items


def generate_reference(model, codes, prompt, num_beams):
    """The field's way: `generate` with a dictionary of prefixes, a prompt row per beam."""
    token_ids = sid_token_ids()
    allowed: dict[tuple, set] = {}
    item_of = {}
    for item, row in enumerate(codes.tolist()):
        tokens = [token_ids[level][code] for level, code in enumerate(row)]
        item_of[tuple(tokens)] = item
        for level, token in enumerate(tokens):
            allowed.setdefault(tuple(tokens[:level]), set()).add(token)
    output = model.generate(
        torch.tensor([prompt]),
        attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
        prefix_allowed_tokens_fn=lambda _, ids: sorted(allowed[tuple(ids[len(prompt) :].tolist())]),
        num_beams=num_beams,
        num_return_sequences=num_beams,
        max_new_tokens=codes.shape[1],
        do_sample=False,
        length_penalty=0.0,
        return_dict_in_generate=True,
        output_scores=True,
        renormalize_logits=False,
    )
    items = [item_of[tuple(row[len(prompt) :].tolist())] for row in output.sequences]
    return items, output.sequences_scores


def brute_force(scorer, codes, prompt):
    """Score every item by its own forward pass."""
    token_ids = sid_token_ids([len(ids) for ids in scorer.token_ids])
    scores = []
    paths = scorer.trie.walk(torch.tensor(codes))
    for item, row in enumerate(codes.tolist()):
        tokens = [token_ids[level][code] for level, code in enumerate(row)]
        with torch.no_grad():
            logits = scorer.model(torch.tensor([prompt + tokens])).logits[0].double()
        total = 0.0
        for level, code in enumerate(row):
            at = logits[len(prompt) - 1 + level]
            children = scorer.trie.children(paths[item, level], level)
            names = {
                "vocabulary": list(range(len(at))),
                "level": token_ids[level],
                "catalog": [token_ids[level][c] for c in children.codes[children.allowed].tolist()],
            }[scorer.normalization]
            total += float(at[token_ids[level][code]] - at[names].logsumexp(0))
        scores.append(total)
    return torch.tensor(scores)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("num_beams", [2, 7])
def test_it_equals_generate_with_a_prefix_constraint(kind, num_beams):
    scorer, codes = small_scorer(kind)
    prompts = random_prompts()
    ranking = rank_items(scorer, prompts, num_beams=num_beams, pad_id=0)
    for row, prompt in enumerate(prompts):
        items, scores = generate_reference(scorer.model, codes, prompt, num_beams)
        assert ranking.items[row].tolist() == items
        torch.testing.assert_close(ranking.scores[row], scores, atol=1e-4, rtol=0)


@pytest.mark.parametrize("normalization", ["vocabulary", "level", "catalog"])
@pytest.mark.parametrize("attn", ["sdpa", "eager"])
def test_with_as_many_beams_as_items_it_equals_brute_force(normalization, attn):
    scorer, codes = small_scorer(normalization=normalization, attn_implementation=attn)
    for prompt in random_prompts():
        expected = brute_force(scorer, codes, prompt)
        ranking = rank_items(scorer, [prompt], num_beams=len(codes), pad_id=0)
        assert ranking.items[0].tolist() == expected.argsort(descending=True).tolist()
        torch.testing.assert_close(
            ranking.scores[0], expected.sort(descending=True).values.float(), atol=1e-4, rtol=0
        )


def test_catalog_scores_are_a_distribution_over_items():
    scorer, codes = small_scorer(normalization="catalog")
    ranking = rank_items(scorer, random_prompts(), num_beams=len(codes), pad_id=0)
    torch.testing.assert_close(ranking.scores.exp().sum(1), torch.ones(3), atol=1e-4, rtol=0)


def test_left_and_right_padding_give_the_same():
    scorer, _ = small_scorer()
    prompts = random_prompts()
    ids, mask = pad_prompts(prompts, 0)
    right = torch.tensor([p + [0] * (ids.shape[1] - len(p)) for p in prompts])
    right_mask = torch.tensor([[1] * len(p) + [0] * (ids.shape[1] - len(p)) for p in prompts])
    with torch.no_grad():
        a = constrained_beam_search(CausalLMBeams(scorer, ids, mask), scorer.trie, num_beams=5)
        b = constrained_beam_search(CausalLMBeams(scorer, right, right_mask), scorer.trie, num_beams=5)
    assert torch.equal(a.items, b.items)
    torch.testing.assert_close(a.scores, b.scores, atol=1e-5, rtol=0)


def test_a_row_does_not_depend_on_its_neighbours():
    scorer, _ = small_scorer()
    prompts = random_prompts()
    together = rank_items(scorer, prompts, num_beams=6, pad_id=0)
    for row, prompt in enumerate(prompts):
        assert (
            rank_items(scorer, [prompt], num_beams=6, pad_id=0).items[0].tolist()
            == together.items[row].tolist()
        )


def test_more_beams_than_items_return_every_item_once():
    scorer, codes = small_scorer()
    ranking = rank_items(scorer, random_prompts(), num_beams=1000, pad_id=0)
    assert ranking.items.sort(1).values.tolist() == [list(range(len(codes)))] * 3


def test_items_that_share_a_sid_share_its_score_in_catalogue_order():
    codes = np.array([[1, 1, 1], [2, 0, 0], [1, 1, 1], [1, 1, 1]])
    scorer, _ = small_scorer(codes=codes)
    ranking = rank_items(scorer, random_prompts(), num_beams=10, pad_id=0)
    for items, scores in zip(ranking.items.tolist(), ranking.scores.tolist(), strict=True):
        same = [items.index(i) for i in (0, 2, 3)]
        assert same == list(range(same[0], same[0] + 3))
        assert len({scores[place] for place in same}) == 1


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 40), st.integers(1, 50), st.integers(0, 1000), st.booleans())
def test_every_beam_is_a_distinct_item_of_the_catalogue(num_items, num_beams, seed, unique):
    codes = random_codes(num_items, seed=seed, unique=unique)
    scorer, _ = small_scorer(codes=codes)
    ranking = rank_items(scorer, random_prompts(seed), num_beams=num_beams, pad_id=0)
    assert ranking.items.shape == (3, min(num_beams, num_items))
    assert torch.isfinite(ranking.scores).all()
    assert (ranking.scores.diff(dim=1) <= 0).all()
    for row in ranking.items.tolist():
        assert len(set(row)) == len(row)
        assert set(row) <= set(range(num_items))


def test_a_beam_that_sees_another_beam_changes_the_result(monkeypatch):
    """Negative control: the equality above would notice a wrong mask."""
    scorer, codes = small_scorer()
    prompt = random_prompts()[1]
    right = rank_items(scorer, [prompt], num_beams=len(codes), pad_id=0)
    monkeypatch.setattr(torch, "eye", lambda n, dtype, device: torch.ones(n, n, dtype=dtype, device=device))
    wrong = rank_items(scorer, [prompt], num_beams=len(codes), pad_id=0)
    assert not torch.allclose(right.scores, wrong.scores, atol=1e-3)


def test_nan_weights_raise_rather_than_return_items():
    scorer, _ = small_scorer(normalization="catalog")
    with torch.no_grad():
        scorer.model.get_output_embeddings().weight[FIRST + 6] = torch.nan
    with pytest.raises(RuntimeError, match="not finite"):
        rank_items(scorer, random_prompts(), num_beams=5, pad_id=0)


@pytest.mark.parametrize("num_beams", [0, -3])
def test_less_than_one_beam_raises(num_beams):
    scorer, _ = small_scorer()
    with pytest.raises(ValueError, match="at least 1"):
        rank_items(scorer, random_prompts(), num_beams=num_beams, pad_id=0)


def test_an_empty_prompt_raises():
    scorer, _ = small_scorer()
    with pytest.raises(ValueError, match="prompt is empty"):
        rank_items(scorer, [[4, 5], []], num_beams=2, pad_id=0)
