"""Constrained beam search equals `generate` with a plain constraint, and brute force; it fails closed."""

import itertools

import numpy as np
import pytest
import torch
from models import (
    FIRST,
    KINDS,
    WINDOWED,
    random_codes,
    random_prompts,
    sid_token_ids,
    small_model,
    small_scorer,
)

from sidrec.attention import AttentionKind
from sidrec.decoding import CausalLM, Ranking, constrained_beam_search, pad_prompts
from sidrec.scoring import SIDScorer
from sidrec.trie import SIDTrie


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


NEAR = {"atol": 1e-4, "rtol": 0}


def search(scorer: SIDScorer, prompts: list[list[int]], num_beams: int, **options) -> Ranking:
    return constrained_beam_search(CausalLM(scorer), scorer.trie, prompts, num_beams=num_beams, **options)


def assert_same(one: Ranking, other: Ranking) -> None:
    assert one.items.tolist() == other.items.tolist()
    torch.testing.assert_close(one.scores, other.scores, **NEAR)


@pytest.mark.parametrize("kind", [*KINDS, "gpt2"])
@pytest.mark.parametrize("num_beams", [2, 7])
@pytest.mark.parametrize("attn", ["sdpa", "eager"])
def test_it_equals_generate_with_a_prefix_constraint(kind, num_beams, attn):
    scorer, codes = small_scorer(kind, attn_implementation=attn)
    assert scorer.shares_prompts
    assert_equals_generate(scorer, codes, num_beams)


@pytest.mark.parametrize(
    ("kind", "attn"),
    [(kind, attn) for kind in WINDOWED for attn in ("sdpa", "eager") if (kind, attn) != ("gemma2", "sdpa")],
)  # Gemma 2 caps its attention, which sdpa cannot
def test_models_with_sliding_windows_equal_generate(kind, attn):
    scorer, codes = small_scorer(kind, attn_implementation=attn, **WINDOWED[kind])
    assert scorer.shares_prompts
    assert scorer.attention.window == 4
    assert_equals_generate(scorer, codes, 5)


def assert_equals_generate(scorer: SIDScorer, codes: np.ndarray, num_beams: int) -> None:
    prompts = random_prompts()
    ranking = search(scorer, prompts, num_beams)
    for row, prompt in enumerate(prompts):
        items, scores = generate_reference(scorer.model, codes, prompt, num_beams)
        assert ranking.items[row].tolist() == items
        torch.testing.assert_close(ranking.scores[row], scores, **NEAR)
    assert ranking.codes.tolist() == codes[ranking.items.numpy()].tolist()


def test_a_window_that_counts_places_instead_of_positions_shows(monkeypatch):
    """Negative control: beams stand side by side, so a place is no position."""
    scorer, _ = small_scorer("mistral", sliding_window=4)
    right = search(scorer, random_prompts(), 40)
    masks = AttentionKind.masks

    def by_place(self, visible, query_positions, key_positions, dtype):
        keys = torch.arange(key_positions.shape[1]).expand_as(key_positions)
        return masks(self, visible, keys[:, -query_positions.shape[1] :], keys, dtype)

    monkeypatch.setattr(AttentionKind, "masks", by_place)
    assert not torch.allclose(right.scores, search(scorer, random_prompts(), 40).scores, atol=1e-3)


@pytest.mark.parametrize("normalization", ["vocabulary", "level", "catalog"])
@pytest.mark.parametrize("attn", ["sdpa", "eager"])
def test_with_as_many_beams_as_items_it_equals_brute_force(normalization, attn):
    scorer, codes = small_scorer(normalization=normalization, attn_implementation=attn)
    ranking = search(scorer, random_prompts(), len(codes))
    for row, prompt in enumerate(random_prompts()):
        expected = brute_force(scorer, codes, prompt)
        assert ranking.items[row].tolist() == expected.argsort(descending=True).tolist()
        torch.testing.assert_close(ranking.scores[row], expected.sort(descending=True).values.float(), **NEAR)


def test_catalog_scores_are_a_distribution_over_items():
    scorer, codes = small_scorer(normalization="catalog")
    ranking = search(scorer, random_prompts(), len(codes))
    torch.testing.assert_close(ranking.scores.exp().sum(1), torch.ones(3), **NEAR)


def test_items_that_differ_in_the_last_code_only_stand_alike_by_all_scores():
    """What the docstring promises: the three differ by terms of the prefix."""
    codes = np.array([[1, 2, code] for code in range(4)] + [[3, 3, 1], [0, 1, 2]])
    orders = []
    for normalization in ("vocabulary", "level", "catalog"):
        scorer, _ = small_scorer(normalization=normalization, codes=codes)
        items = search(scorer, random_prompts(), 6).items.tolist()
        orders.append([[item for item in row if item < 4] for row in items])
    assert orders[0] == orders[1] == orders[2]


def test_a_user_of_the_library_gives_a_model_and_token_ids():
    model = small_model("qwen2")
    trie = SIDTrie(random_codes() + np.array([FIRST, FIRST + 5, FIRST + 11]))
    ids, mask = pad_prompts(random_prompts(), 0)
    scorer, _ = small_scorer("qwen2")
    for scores in ("vocabulary", "level", "catalog"):
        found = constrained_beam_search(model, trie, ids, mask, num_beams=6, scores=scores)
        scorer.normalization = scores
        if scores != "level":  # the codebook has codes that no item has
            assert_same(found, search(scorer, random_prompts(), 6))


def test_padding_on_any_side_gives_the_same():
    scorer, _ = small_scorer()
    prompts = random_prompts()
    ids, mask = pad_prompts(prompts, 0)
    right = torch.tensor([p + [7] * (ids.shape[1] - len(p)) for p in prompts])
    right_mask = torch.tensor([[1] * len(p) + [0] * (ids.shape[1] - len(p)) for p in prompts])
    lists = search(scorer, prompts, 5)
    assert_same(search(scorer, ids, 5, attention_mask=mask), lists)
    assert_same(search(scorer, right, 5, attention_mask=right_mask), lists)


@pytest.mark.parametrize("kind", ["qwen3", "mistral", "gpt2"])
def test_a_row_does_not_depend_on_its_neighbours(kind):
    scorer, _ = small_scorer(kind, **WINDOWED.get(kind, {}))
    prompts = random_prompts(lengths=(3, 9, 5, 9, 1, 4))
    together = search(scorer, prompts, 6)
    for row, prompt in enumerate(prompts):
        alone = search(scorer, [prompt], 6)
        assert alone.items[0].tolist() == together.items[row].tolist()
        torch.testing.assert_close(alone.scores[0], together.scores[row], **NEAR)


@pytest.mark.parametrize("kind", ["qwen3", "gpt2", *WINDOWED])
def test_a_common_beginning_that_is_read_once_changes_nothing(kind):
    scorer, _ = small_scorer(kind, **WINDOWED.get(kind, {}))
    template = [3, 4, 5, 6, 7, 8, 9, 10, 11, 12]
    prompts = [template + prompt for prompt in random_prompts(lengths=(3, 9, 1, 5))]
    apart = [search(scorer, [prompt], 6) for prompt in prompts]  # one prompt has nothing in common
    together = search(scorer, prompts, 6)
    given = search(scorer, prompts, 6, prefix=CausalLM(scorer).read_prefix(template[:6]))
    for row, alone in enumerate(apart):
        for found in (together, given):
            assert found.items[row].tolist() == alone.items[0].tolist()
            torch.testing.assert_close(found.scores[row], alone.scores[0], **NEAR)


def test_a_common_beginning_is_read_once(monkeypatch):
    scorer, _ = small_scorer()
    template = list(range(3, 13))
    read: list[int] = []
    hidden = SIDScorer.hidden
    monkeypatch.setattr(
        SIDScorer,
        "hidden",
        lambda self, **inputs: (read.append(inputs["input_ids"].numel()), hidden(self, **inputs))[1],
    )
    search(scorer, [[*template, 5, 6], [*template, 7, 8], [*template, 9, 9]], 2)
    # the template; two tokens of three prompts; two levels of two beams for three prompts
    assert read == [10, 6, 6, 6]


def test_prompts_that_do_not_begin_with_the_prefix_are_refused():
    scorer, _ = small_scorer()
    prefix = CausalLM(scorer).read_prefix([3, 4])
    for prompts in ([[3, 4, 5], [4, 4, 5]], [[3, 4]]):
        with pytest.raises(ValueError, match="does not begin with the prefix that was read, or ends with it"):
            search(scorer, prompts, 2, prefix=prefix)


@pytest.mark.parametrize("memory_budget", [1, 30_000])
def test_groups_that_memory_dictates_change_nothing(memory_budget):
    scorer, _ = small_scorer()
    prompts = random_prompts(lengths=(3, 9, 5, 9, 1, 4))
    done: list[tuple[int, int]] = []
    small = constrained_beam_search(
        CausalLM(scorer, memory_budget=memory_budget),
        scorer.trie,
        prompts,
        num_beams=6,
        on_batch=lambda *counts: done.append(counts),
    )
    assert_same(small, search(scorer, prompts, 6))
    assert len(done) > 1
    assert done[-1] == (6, 6)


def test_more_memory_holds_more_prompts_and_longer_prompts_fewer():
    scorer, _ = small_scorer()
    reader = CausalLM(scorer, memory_budget=2**24)
    assert reader.rows_that_fit(64, 20) < CausalLM(scorer, memory_budget=2**26).rows_that_fit(64, 20)
    assert reader.rows_that_fit(256, 20) < reader.rows_that_fit(64, 20)
    assert CausalLM(scorer, memory_budget=1).rows_that_fit(64, 20) == 1


def test_more_beams_than_items_return_every_item_once():
    scorer, codes = small_scorer()
    ranking = search(scorer, random_prompts(), 1000)
    assert ranking.items.sort(1).values.tolist() == [list(range(len(codes)))] * 3


def test_items_that_share_a_sid_share_its_score_in_catalogue_order():
    codes = np.array([[1, 1, 1], [2, 0, 0], [1, 1, 1], [1, 1, 1]])
    scorer, _ = small_scorer(codes=codes)
    ranking = search(scorer, random_prompts(), 10)
    for items, scores in zip(ranking.items.tolist(), ranking.scores.tolist(), strict=True):
        same = [items.index(i) for i in (0, 2, 3)]
        assert same == list(range(same[0], same[0] + 3))
        assert len({scores[place] for place in same}) == 1


def test_titles_can_be_decoded_too():
    """Items of unequal length, one of them the beginning of another, against one pass for each."""
    model = small_model("llama")
    titles = [[30, 31, 2], [30, 31, 32, 33, 2], [40, 2], [30, 31], [41, 42, 43, 44, 45, 2]]
    prompt = [5, 6, 7]
    expected = []
    for title in titles:
        with torch.no_grad():
            log_probs = model(torch.tensor([prompt + title])).logits[0].log_softmax(-1)
        expected.append(float(log_probs[range(2, 2 + len(title)), title].sum()))
    found = constrained_beam_search(model, SIDTrie(titles), [prompt], num_beams=5)
    order = sorted(range(5), key=lambda item: -expected[item])
    assert found.items[0].tolist() == order
    torch.testing.assert_close(found.scores[0], torch.tensor([expected[item] for item in order]), **NEAR)
    assert found.codes[0, order.index(2)].tolist() == [40, 2, -1, -1, -1, -1]


def test_a_filter_leaves_items_out_and_scores_as_they_are():
    scorer, codes = small_scorer()
    everything = search(scorer, random_prompts(), len(codes))
    excluded = [[], everything.items[1, :5].tolist(), list(range(40))]
    found = search(scorer, random_prompts(), 40, excluded=excluded)
    assert found.items[0].tolist() == everything.items[0].tolist()
    assert found.items[1].tolist() == everything.items[1, 5:].tolist() + [-1] * 5
    assert found.items[2].tolist() == [-1] * 40
    torch.testing.assert_close(found.scores[1, :35], everything.scores[1, 5:], **NEAR)
    assert (found.scores[2] == -torch.inf).all()
    assert (found.codes[2] == -1).all()


def test_a_subset_is_all_that_is_found():
    scorer, codes = small_scorer(normalization="catalog")
    everything = search(scorer, random_prompts(), len(codes))
    in_stock = list(range(0, 40, 3))
    found = constrained_beam_search(
        CausalLM(scorer), scorer.trie.subset(in_stock), random_prompts(), num_beams=40
    )
    for row in range(3):
        kept = [place for place, item in enumerate(everything.items[row].tolist()) if item in in_stock]
        assert found.items[row].tolist() == everything.items[row, kept].tolist()
        torch.testing.assert_close(found.scores[row], everything.scores[row, kept], **NEAR)


def test_an_excluded_item_that_does_not_exist_raises():
    scorer, _ = small_scorer()
    with pytest.raises(ValueError, match="Item 40 is not one of the 40"):
        search(scorer, random_prompts(), 4, excluded=[[40], [], []])
    with pytest.raises(ValueError, match="excluded has 1 lists for 3 prompts"):
        search(scorer, random_prompts(), 4, excluded=[[0]])


@pytest.mark.parametrize("normalization", ["level", "catalog"])
def test_the_logits_returned_are_those_that_made_the_scores(normalization):
    scorer, _ = small_scorer(normalization=normalization)
    found = search(scorer, random_prompts(), 6, return_logits=True)
    total = torch.zeros(3, 6)
    paths = scorer.trie.walk(found.codes)
    for level, logits in enumerate(found.logits):
        assert logits.shape == (3, 6, len(scorer.token_ids[level]))
        if normalization == "catalog":
            children = scorer.trie.children(paths[..., level], level)
            may = torch.zeros_like(logits, dtype=torch.bool).scatter(-1, children.codes, children.allowed)
            # `scatter` of fillers may undo code 0; put it back
            may[..., 0] = ((children.codes == 0) & children.allowed).any(-1)
            logits = logits.masked_fill(~may, -torch.inf)
        total += logits.log_softmax(-1).gather(-1, found.codes[..., level, None]).squeeze(-1)
    torch.testing.assert_close(total, found.scores, **NEAR)


def test_logits_follow_an_item_of_unequal_depth_to_its_end():
    model = small_model("llama")
    trie = SIDTrie([[30, 31], [30, 32, 33], [40]])
    found = constrained_beam_search(model, trie, [[5, 6]], num_beams=3, return_logits=True)
    depth = (found.codes[0] != -1).sum(-1).tolist()
    for level, logits in enumerate(found.logits):
        ended = [bool(logits[0, place].isnan().all()) for place in range(3)]
        assert ended == [level >= d for d in depth]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 0.5), (torch.float16, 0.05)])
def test_half_precision_agrees_up_to_near_ties(dtype, tolerance):
    """Scores of -8 to -25 nats near float32's; no item before one that is better by twice that."""
    scorer, codes = small_scorer("qwen2")
    exact = search(scorer, random_prompts(), len(codes))
    half, _ = small_scorer("qwen2")
    half = SIDScorer(half.model.to(dtype), sid_token_ids(), half.trie, "vocabulary")
    assert half.shares_prompts
    full = search(half, random_prompts(), len(codes))
    for row in range(3):
        score = dict(zip(exact.items[row].tolist(), exact.scores[row].tolist(), strict=True))
        found = dict(zip(full.items[row].tolist(), full.scores[row].tolist(), strict=True))
        assert max(abs(score[item] - found[item]) for item in score) < tolerance
        ordered = [score[item] for item in full.items[row].tolist()]
        assert all(later - earlier < 2 * tolerance for earlier, later in itertools.pairwise(ordered))


def test_a_recurrent_model_goes_the_plain_way_and_is_right(caplog):
    torch.manual_seed(0)
    config = {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 4, "vocab_size": 60}
    model = small_model("mamba", **config)
    codes = random_codes()
    scorer = SIDScorer(model, sid_token_ids(), SIDTrie(codes), "vocabulary")
    assert not scorer.shares_prompts
    ranking = search(scorer, random_prompts(), len(codes))
    for row, prompt in enumerate(random_prompts()):
        expected = brute_force(scorer, codes, prompt)
        assert ranking.items[row].tolist() == expected.argsort(descending=True).tolist()
    assert caplog.text.count("every beam is decoded with a prompt of its own") == 1


@pytest.mark.parametrize("num_beams", [1, 4, 9])
@pytest.mark.parametrize("normalization", ["vocabulary", "level", "catalog"])
def test_the_plain_way_equals_the_shared_one(num_beams, normalization):
    scorer, _ = small_scorer(normalization=normalization)
    template = list(range(3, 13))
    prompts = [template + prompt for prompt in random_prompts()]
    shared = search(scorer, prompts, num_beams, excluded=[[1], [], [2, 3]])
    scorer.shares_prompts, scorer.why_not = False, "is told not to"
    assert_same(search(scorer, prompts, num_beams, excluded=[[1], [], [2, 3]]), shared)


def test_a_prompt_beyond_the_positions_of_the_model_raises():
    scorer, _ = small_scorer("gpt2", max_position_embeddings=16)
    search(scorer, [[3] * 14], 2)
    with pytest.raises(ValueError, match="have 17 tokens, the model 16 positions"):
        search(scorer, [[3] * 15], 2)


def hide_an_ancestor(self, visible, query_positions, key_positions, dtype, _real=AttentionKind.masks):
    visible = visible.clone()
    if visible.shape[1] < visible.shape[2]:
        visible[:, :, -1 - visible.shape[1]] = False  # what stands just before the beams
    return _real(self, visible, query_positions, key_positions, dtype)


def show_a_neighbour(self, visible, query_positions, key_positions, dtype, _real=AttentionKind.masks):
    return _real(self, torch.ones_like(visible), query_positions, key_positions, dtype)


@pytest.mark.parametrize("fault", [hide_an_ancestor, show_a_neighbour])
def test_a_mask_that_hides_or_shows_too_much_changes_the_result(fault, monkeypatch):
    """Negative control: the equalities above would notice a wrong mask."""
    scorer, codes = small_scorer()
    right = search(scorer, random_prompts(), len(codes))
    monkeypatch.setattr(AttentionKind, "masks", fault)
    assert not torch.allclose(right.scores, search(scorer, random_prompts(), len(codes)).scores, atol=1e-3)


@pytest.mark.parametrize("kind", ["qwen3", "gpt2"])
def test_wrong_positions_change_the_result(kind, monkeypatch):
    """Negative control: beams numbered on, one after the other, instead of side by side."""
    scorer, codes = small_scorer(kind)
    right = search(scorer, random_prompts(), len(codes))
    hidden = SIDScorer.hidden

    def numbered_on(self, **inputs):
        places = inputs["position_ids"]
        if inputs["past_key_values"].get_seq_length():
            inputs["position_ids"] = places + torch.arange(places.shape[1])
        return hidden(self, **inputs)

    monkeypatch.setattr(SIDScorer, "hidden", numbered_on)
    assert not torch.allclose(right.scores, search(scorer, random_prompts(), len(codes)).scores, atol=1e-3)


def test_swapped_rows_of_the_cache_change_the_result(monkeypatch):
    """Negative control: prompts of one length, so that nothing but their keys differs."""
    scorer, codes = small_scorer()
    prompts = random_prompts(lengths=(5, 5, 5))
    right = search(scorer, prompts, len(codes))
    hidden = SIDScorer.hidden

    def swapped(self, **inputs):
        for layer in inputs["past_key_values"].layers:
            layer._buffers[0][[0, 1]] = layer._buffers[0][[1, 0]]
        return hidden(self, **inputs)

    monkeypatch.setattr(SIDScorer, "hidden", swapped)
    assert not torch.allclose(right.scores, search(scorer, prompts, len(codes)).scores, atol=1e-3)


def test_nan_weights_raise_rather_than_return_items():
    scorer, _ = small_scorer(normalization="catalog")
    with torch.no_grad():
        scorer.model.get_output_embeddings().weight[FIRST + 6] = torch.nan
    with pytest.raises(RuntimeError, match="not finite"):
        search(scorer, random_prompts(), 5)


@pytest.mark.parametrize("num_beams", [0, -3])
def test_less_than_one_beam_raises(num_beams):
    scorer, _ = small_scorer()
    with pytest.raises(ValueError, match="at least 1"):
        search(scorer, random_prompts(), num_beams)


@pytest.mark.parametrize("prompts", [[[4, 5], []], []])
def test_an_empty_prompt_raises(prompts):
    scorer, _ = small_scorer()
    with pytest.raises(ValueError, match="prompt is empty"):
        search(scorer, prompts, 2)


def test_a_mask_of_another_shape_raises():
    scorer, _ = small_scorer()
    with pytest.raises(ValueError, match=r"must both be \(B, P\), got \(2, 3\) and \(2, 2\)"):
        search(scorer, torch.ones(2, 3, dtype=torch.long), 2, attention_mask=torch.ones(2, 2))
    with pytest.raises(ValueError, match="lists of tokens need none"):
        search(scorer, [[4, 5]], 2, attention_mask=torch.ones(1, 2))
