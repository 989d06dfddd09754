"""Log-probabilities of codes: what they sum to, what is forbidden, and which models cannot be scored."""

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from models import FIRST, SIZES, sid_token_ids, small_model, small_scorer

from sidrec.attention import AttentionKind, last_token_only, last_token_suffices, sharing_problem
from sidrec.errors import ArtifactError, ConfigError
from sidrec.scoring import ChildScores, SIDScorer
from sidrec.trie import ROOT, Children

NORMALIZATIONS = ["vocabulary", "level", "catalog"]


def two_states() -> ChildScores:
    """State 0 allows codes 3 and 5, with probabilities 1/4 and 3/4; state 1 only code 4."""
    codes, allowed = torch.tensor([[3, 5], [4, 0]]), torch.tensor([[True, True], [True, False]])
    log_probs = torch.tensor([[math.log(0.25), math.log(0.75)], [0.0, -math.inf]])
    return ChildScores(Children(codes, torch.tensor([[1, 2], [3, ROOT]]), allowed), log_probs)


def hidden_states(scorer, shape, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, scorer.head.in_features, generator=generator)


def test_the_log_probability_of_a_code_is_picked():
    picked = two_states().pick(torch.tensor([5, 4]))
    torch.testing.assert_close(picked, torch.tensor([math.log(0.75), 0.0]))


def test_a_forbidden_code_has_no_probability():
    assert two_states().pick(torch.tensor([4, 3])).tolist() == [-math.inf, -math.inf]


def test_the_filler_of_a_narrow_state_is_no_code():
    """The second child of state 1 is padding whose code reads 0."""
    assert two_states().pick(torch.tensor([0, 0])).tolist() == [-math.inf, -math.inf]


def test_many_codes_can_be_picked_from_one_state():
    scores = two_states()
    one = ChildScores(
        Children(scores.children.codes[:1], scores.children.states[:1], scores.children.allowed[:1]),
        scores.log_probs[:1],
    )
    picked = one.pick(torch.tensor([5, 3, 5, 9])).exp()
    torch.testing.assert_close(picked, torch.tensor([0.75, 0.25, 0.75, 0.0]))


def test_codes_of_g_rollouts_are_picked_from_the_state_of_their_prompt():
    scores = two_states()
    wide = ChildScores(
        Children(*(each.unsqueeze(1) for each in vars(scores.children).values())),  # (2, 1, C)
        scores.log_probs.unsqueeze(1),
    )
    picked = wide.pick(torch.tensor([[3, 5, 4], [4, 4, 3]])).exp()
    torch.testing.assert_close(picked, torch.tensor([[0.25, 0.75, 0.0], [1.0, 1.0, 0.0]]))


def test_the_entropy_is_that_of_the_children():
    # -(1/4 ln 1/4 + 3/4 ln 3/4) = 0.5623; one certain child has none
    torch.testing.assert_close(two_states().entropy(), torch.tensor([0.5623, 0.0]), atol=1e-4, rtol=0)


def test_the_gradient_of_the_entropy_is_finite_where_children_are_forbidden():
    scorer, codes = small_scorer(normalization="catalog")
    states = scorer.trie.walk(torch.tensor(codes))[:, 1]
    hidden = hidden_states(scorer, (len(codes),)).requires_grad_()
    scores = scorer.children(hidden, states, 1)
    assert not scores.children.allowed.all()
    scores.entropy().sum().backward()
    assert torch.isfinite(hidden.grad).all()
    assert hidden.grad.abs().sum() > 0


@pytest.mark.parametrize("level", [0, 1, 2])
def test_over_the_catalogue_the_children_of_every_state_sum_to_one(level):
    scorer, codes = small_scorer(normalization="catalog")
    states = scorer.trie.walk(torch.tensor(codes))[:, level]
    scores = scorer.children(hidden_states(scorer, (len(codes),)), states, level)
    torch.testing.assert_close(scores.log_probs.exp().sum(-1), torch.ones(len(codes)), atol=1e-5, rtol=0)


@pytest.mark.parametrize("normalization", ["vocabulary", "level"])
def test_over_more_than_the_catalogue_children_leave_some_mass_to_others(normalization):
    scorer, codes = small_scorer(normalization=normalization)
    states = scorer.trie.walk(torch.tensor(codes))[:, 1]
    scores = scorer.children(hidden_states(scorer, (len(codes),)), states, 1)
    narrow = ~scores.children.allowed.all(-1)
    assert 0 < narrow.sum() < len(codes)
    assert (scores.log_probs[narrow].exp().sum(-1) < 0.9999).all()


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_log_probs_equal_a_softmax_over_all_logits_restricted_by_hand(normalization):
    codes = np.array([[0, 1, 2], [0, 3, 1], [4, 5, 3]])  # after a_0 come b_1 and b_3
    scorer, _ = small_scorer(normalization=normalization, codes=codes)
    hidden = hidden_states(scorer, (1,))
    state = scorer.trie.walk(torch.tensor([[0]]))[:, 1]
    logits = scorer.head(hidden)[0]
    b = FIRST + SIZES[0]  # the token of b_0
    over = {
        "vocabulary": list(range(60)),
        "level": [b, b + 1, b + 2, b + 3, b + 4, b + 5],
        "catalog": [b + 1, b + 3],
    }[normalization]
    expected = logits[b + 3] - logits[over].logsumexp(0)
    torch.testing.assert_close(scorer.log_probs(hidden, state, torch.tensor([3]), 1)[0], expected)
    assert scorer.log_probs(hidden, state, torch.tensor([2]), 1).item() == -math.inf


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_a_bias_of_the_output_layer_counts(normalization):
    scorer, _ = small_scorer(normalization=normalization)
    hidden, root = hidden_states(scorer, (1,)), torch.tensor([ROOT])
    before = scorer.children(hidden, root, 0)
    scorer.head.bias = torch.nn.Parameter(torch.zeros(60))
    with torch.no_grad():
        scorer.head.bias[FIRST + 2] = 3.0
    after = scorer.children(hidden, root, 0)
    gained = (after.log_probs - before.log_probs)[0]
    # All children lose what the normalization grows by; a_2 gains 3 besides.
    others = gained[before.children.codes[0] != 2]
    assert (others < 0).all()
    torch.testing.assert_close(gained[before.children.codes[0] == 2], others[:1] + 3, atol=1e-5, rtol=0)


def test_scores_of_half_precision_states_are_single_precision():
    scorer, _ = small_scorer(normalization="catalog", dtype=torch.bfloat16)
    hidden = hidden_states(scorer, (1,)).bfloat16()
    assert scorer.children(hidden, torch.tensor([ROOT]), 0).log_probs.dtype == torch.float32


def test_checking_a_model_leaves_its_mode_alone():
    assert small_scorer()[0].model.training is False
    model = small_model().train()
    scorer, _ = small_scorer()
    type(scorer)(model, [ids.tolist() for ids in scorer.token_ids], scorer.trie, "catalog")
    assert model.training is True


def test_a_vocabulary_without_the_sid_tokens_is_refused():
    with pytest.raises(ArtifactError, match=r"has 30 entries, but a SID token has id 34.*Rerun: sidrec sft"):
        small_scorer(vocab_size=30)


def test_levels_that_do_not_match_are_refused():
    scorer, _ = small_scorer()
    with pytest.raises(ValueError, match="The vocabulary has 2 levels of SID tokens, the trie 3"):
        type(scorer)(scorer.model, [[20, 21], [22]], scorer.trie, "catalog")


@pytest.mark.parametrize("cap", [1.0, 30.0])
def test_a_soft_cap_on_logits_is_applied(cap):
    """The scores of one step are those of the model's own logits."""
    scorer, codes = small_scorer("gemma2", final_logit_softcapping=cap, head_dim=8)
    ids = torch.tensor([[3, 4, 5]])
    with torch.no_grad():
        ours = scorer.children(scorer.hidden(input_ids=ids)[:, -1], torch.tensor([ROOT]), 0)
        theirs = scorer.model(input_ids=ids).logits[:, -1].log_softmax(-1)
    first = sorted(set(codes[:, 0].tolist()))
    torch.testing.assert_close(
        ours.log_probs[0], theirs[0, [FIRST + code for code in first]], atol=1e-5, rtol=0
    )
    scorer.require_linear_logits()


def test_scaled_logits_are_refused_by_training():
    scorer, _ = small_scorer("granite", logits_scaling=8.0)
    assert not scorer.shares_prompts
    for require in (scorer.require_linear_logits, scorer.require_shared_prompts):
        with pytest.raises(ConfigError, match="does more to its logits than its output layer"):
            require()


def test_a_window_that_stands_in_no_layer_type_is_found():
    scorer, _ = small_scorer("mistral", sliding_window=4)
    assert (scorer.attention.layers, scorer.attention.window) == (("sliding_attention",), 4)
    scorer.require_shared_prompts()


def test_a_recurrent_model_cannot_share_a_prompt():
    scorer, _ = small_scorer("mamba", state_size=4)
    scorer.require_linear_logits()
    with pytest.raises(ConfigError, match=r"MambaForCausalLM .*: one prompt cannot be shared"):
        scorer.require_shared_prompts()


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (
            {"_attn_implementation": "flash_attention_2"},
            "attends by 'flash_attention_2', which takes no 4-D mask",
        ),
        ({"layer_types": ["full_attention", "linear_attention"]}, "has layers of type linear_attention"),
    ],
)
def test_what_cannot_share_a_prompt_is_known_before_it_is_tried(change, problem):
    model = small_model()
    for name, value in change.items():
        setattr(model.config, name, value)
    assert sharing_problem(model, AttentionKind.of(model), 3) == problem


def test_a_model_that_ignores_the_mask_is_found_out(monkeypatch):
    model = small_model()
    monkeypatch.setattr(AttentionKind, "masks", lambda self, *_: None)
    problem = sharing_problem(model, AttentionKind.of(model), 3)
    assert problem == "reads a continuation beside others differently"


def test_the_last_mlp_sees_one_token_of_a_prompt():
    scorer, _ = small_scorer()
    seen: list[int] = []
    for layer in scorer.model.base_model.layers:
        up = layer.mlp.up_proj
        up.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[1]))
    ids = torch.tensor([[3, 4, 5, 6]])
    with torch.no_grad():
        last = scorer.last_hidden(input_ids=ids)
        assert seen == [4, 1]
        whole = scorer.hidden(input_ids=ids)
    assert seen == [4, 1, 4, 4]
    torch.testing.assert_close(last, whole[:, -1], atol=1e-5, rtol=0)


def test_another_thread_is_not_cut():
    """A server decodes in one thread while another reads whole rows."""
    scorer, _ = small_scorer()
    ids = torch.tensor([[3, 4, 5, 6]])
    with torch.no_grad():
        whole = scorer.hidden(input_ids=ids)
        with last_token_only(scorer.model), ThreadPoolExecutor(1) as pool:
            here = scorer.hidden(input_ids=ids)
            there = pool.submit(lambda: scorer.model.base_model(input_ids=ids).last_hidden_state).result()
    torch.testing.assert_close(there, whole, atol=1e-6, rtol=0)
    torch.testing.assert_close(here[:, -1], whole[:, -1], atol=1e-5, rtol=0)
    assert not torch.allclose(here[:, 0], whole[:, 0], atol=1e-3)  # the work that was left out shows


def test_a_model_that_mixes_tokens_in_its_last_mlp_is_left_whole():
    model = small_model()
    mlp = model.base_model.layers[-1].mlp
    forward = mlp.forward
    mlp.forward = lambda hidden: forward(hidden).cumsum(1)
    assert not last_token_suffices(model, 3)
    scorer = SIDScorer(model, sid_token_ids(), small_scorer()[0].trie, "catalog")
    ids = torch.tensor([[3, 4, 5]])
    with torch.no_grad():
        torch.testing.assert_close(scorer.last_hidden(input_ids=ids), scorer.hidden(input_ids=ids)[:, -1])
