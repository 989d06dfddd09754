"""Scores of G completions in one pass equal G passes with the prompt repeated, gradients too."""

import numpy as np
import pytest
import torch
from models import KINDS, WINDOWED, random_codes, random_prompts, small_scorer

from sidrec import shared_prefix
from sidrec.decoding import CausalLM, constrained_beam_search, pad_prompts
from sidrec.scoring import SIDScorer
from sidrec.shared_prefix import completion_scores

NORMALIZATIONS = ["vocabulary", "level", "catalog"]
SIZES_OF = {1: (40,), 3: (5, 6, 4)}
GROUPS = [
    [0, 7, 3, 3],
    [12, 1, 30, 5],
    [39, 38, 0, 2],
]  # items of G = 4 completions per prompt, one of them twice


def make(kind="qwen3", normalization="catalog", levels=3, **overrides):
    sizes = SIZES_OF[levels]
    codes = random_codes(40, sizes)
    return small_scorer(kind, normalization, codes, sizes, **overrides)[0], codes


def shared(scorer: SIDScorer, codes: np.ndarray, prompts=None, groups=GROUPS):
    prompt_ids, mask = pad_prompts(prompts or random_prompts(), pad_id=0)
    return completion_scores(scorer, prompt_ids, mask, torch.tensor(codes[np.array(groups)]))


def repeated(scorer: SIDScorer, codes: np.ndarray, prompts=None, groups=GROUPS):
    """(B, G, L) log-probabilities and entropies, a forward pass for every prompt and completion."""
    log_probs, entropies = [], []
    for prompt, group in zip(prompts or random_prompts(), groups, strict=True):
        for item in group:
            path = codes[item].tolist()
            tokens = [int(scorer.token_ids[level][code]) for level, code in enumerate(path)]
            logits = scorer.model(torch.tensor([prompt + tokens])).logits[0]
            for level, code in enumerate(path):
                before = logits[len(prompt) - 1 + level]
                siblings = codes[(codes[:, :level] == path[:level]).all(1)][:, level]
                children = scorer.token_ids[level][sorted(set(siblings.tolist()))]
                over = {
                    "vocabulary": torch.arange(len(before)),
                    "level": scorer.token_ids[level],
                    "catalog": children,
                }[scorer.normalization]
                normalized = before - before[over].logsumexp(0)
                log_probs.append(normalized[scorer.token_ids[level][code]])
                entropies.append(-(normalized[children].exp() * normalized[children]).sum())
    shape = (len(groups), len(groups[0]), codes.shape[1])
    return torch.stack(log_probs).view(shape), torch.stack(entropies).view(shape)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("attn", ["sdpa", "eager"])
@pytest.mark.parametrize("levels", [1, 3])
def test_it_equals_the_repeated_prompt(kind, attn, levels):
    scorer, codes = make(kind, levels=levels, attn_implementation=attn)
    with torch.no_grad():
        scores = shared(scorer, codes)
        log_probs, entropies = repeated(scorer, codes)
    torch.testing.assert_close(scores.log_probs, log_probs, atol=1e-4, rtol=0)
    torch.testing.assert_close(scores.entropies, entropies, atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", WINDOWED)
def test_models_with_sliding_windows_equal_the_repeated_prompt(kind):
    scorer, codes = make(kind, normalization="vocabulary", **WINDOWED[kind])
    with torch.no_grad():
        scores = shared(scorer, codes)
        log_probs, entropies = repeated(scorer, codes)
    torch.testing.assert_close(scores.log_probs, log_probs, atol=1e-4, rtol=0)
    torch.testing.assert_close(scores.entropies, entropies, atol=1e-4, rtol=0)


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize("levels", [1, 3])
def test_it_equals_the_repeated_prompt_in_every_normalization(normalization, levels):
    scorer, codes = make(normalization=normalization, levels=levels)
    with torch.no_grad():
        scores = shared(scorer, codes)
        log_probs, entropies = repeated(scorer, codes)
    torch.testing.assert_close(scores.log_probs, log_probs, atol=1e-4, rtol=0)
    torch.testing.assert_close(scores.entropies, entropies, atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("attn", ["sdpa", "eager"])
def test_its_gradients_equal_those_of_the_repeated_prompt(kind, attn):
    scorer, codes = make(kind, attn_implementation=attn)
    weights = torch.randn(3, 4, 3, generator=torch.Generator().manual_seed(2))  # tells all tokens apart
    parameters = list(scorer.model.parameters())
    ours = torch.autograd.grad((shared(scorer, codes).log_probs * weights).sum(), parameters)
    theirs = torch.autograd.grad((repeated(scorer, codes)[0] * weights).sum(), parameters)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, atol=1e-3, rtol=1e-3)
        assert one.abs().sum() > 0


@pytest.mark.parametrize("levels", [1, 3])
def test_the_gradients_of_entropies_equal_those_of_the_repeated_prompt(levels):
    scorer, codes = make(levels=levels)
    parameters = list(scorer.model.parameters())
    ours = torch.autograd.grad(shared(scorer, codes).entropies.sum(), parameters)
    theirs = torch.autograd.grad(repeated(scorer, codes)[1].sum(), parameters)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_it_gives_the_items_of_a_search_the_scores_of_the_search(normalization):
    scorer, codes = make(normalization=normalization)
    ranking = constrained_beam_search(CausalLM(scorer), scorer.trie, random_prompts(), num_beams=8)
    with torch.no_grad():
        scores = shared(scorer, codes, groups=ranking.items.tolist())
    torch.testing.assert_close(scores.log_probs.sum(-1), ranking.scores, atol=1e-4, rtol=0)


def test_equal_completions_of_a_group_score_the_same():
    scorer, codes = make()
    with torch.no_grad():
        log_probs = shared(scorer, codes).log_probs
    torch.testing.assert_close(log_probs[0, 2], log_probs[0, 3], atol=1e-5, rtol=0)  # item 3 twice


def test_a_group_does_not_depend_on_its_neighbours():
    scorer, codes = make()
    prompts = random_prompts()
    with torch.no_grad():
        together = shared(scorer, codes).log_probs
        for row, prompt in enumerate(prompts):
            alone = shared(scorer, codes, [prompt], GROUPS[row : row + 1]).log_probs
            torch.testing.assert_close(together[row], alone[0], atol=1e-5, rtol=0)


def test_over_the_catalogue_all_items_together_have_probability_one():
    scorer, codes = make()
    with torch.no_grad():
        scores = shared(scorer, codes, random_prompts()[:1], [list(range(40))])
    assert scores.log_probs.sum(-1).exp().sum().item() == pytest.approx(1, abs=1e-4)


def test_branches_that_see_each_other_change_the_scores(monkeypatch):
    """Negative control: the equalities above would notice."""

    def all_before(prompt_mask, num_generations, steps):
        total = prompt_mask.shape[1] + num_generations * steps
        return torch.ones(total, total, dtype=torch.bool).tril().expand(len(prompt_mask), -1, -1)

    scorer, codes = make()
    prompts = random_prompts(lengths=(6, 6, 6))  # no padding, so that only the branches differ
    with torch.no_grad():
        right = shared(scorer, codes, prompts).log_probs
        monkeypatch.setattr(shared_prefix, "_visible", all_before)
        wrong = shared(scorer, codes, prompts).log_probs
    torch.testing.assert_close(wrong[:, 0], right[:, 0], atol=1e-4, rtol=0)  # nothing stands before the first
    assert ((wrong[:, 1:, 1:] - right[:, 1:, 1:]).abs().amax(-1) > 1e-3).all()


def test_wrong_positions_change_the_scores(monkeypatch):
    """Negative control: each branch one position late."""
    scorer, codes = make()
    with torch.no_grad():
        right = shared(scorer, codes).log_probs
        trunk = scorer.hidden

        def late(*, position_ids, input_ids, **rest):
            is_branch = torch.arange(input_ids.shape[1]) >= 9  # the longest prompt has 9 tokens
            return trunk(input_ids=input_ids, position_ids=position_ids + is_branch.long(), **rest)

        monkeypatch.setattr(scorer, "hidden", late)
        wrong = shared(scorer, codes).log_probs
    assert torch.equal(wrong[..., 0], right[..., 0])  # read off the prompt
    assert (wrong[..., 1:] - right[..., 1:]).abs().max() > 1e-3


def test_padding_that_is_seen_changes_the_scores():
    """Negative control: the left padding of the shorter prompts is masked."""
    scorer, codes = make()
    prompt_ids, mask = pad_prompts(random_prompts(), pad_id=0)
    groups = torch.tensor(codes[np.array(GROUPS)])
    with torch.no_grad():
        right = completion_scores(scorer, prompt_ids, mask, groups).log_probs
        wrong = completion_scores(scorer, prompt_ids, torch.ones_like(mask), groups).log_probs
    torch.testing.assert_close(wrong[1], right[1], atol=1e-5, rtol=0)  # the longest has none
    assert (wrong[0] - right[0]).abs().max() > 1e-3


def test_a_completion_outside_the_trie_raises():
    scorer, codes = make()
    taken = {tuple(row) for row in codes.tolist()}
    outside = next([a, b, c] for a in range(5) for b in range(6) for c in range(4) if (a, b, c) not in taken)
    prompt_ids, mask = pad_prompts([[4, 5, 6]], pad_id=0)
    with pytest.raises(ValueError, match="is not the beginning of any semantic ID of this catalogue"):
        completion_scores(scorer, prompt_ids, mask, torch.tensor([[codes[0].tolist(), outside]]))


def test_prompts_padded_on_the_right_are_refused():
    scorer, codes = make()
    ids, mask = torch.tensor([[4, 5, 0]]), torch.tensor([[1, 1, 0]])
    with pytest.raises(ValueError, match="padded on the left"):
        completion_scores(scorer, ids, mask, torch.tensor(codes[None, :2]))
