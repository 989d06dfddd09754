"""The state before an item, added to the states of its later codes: by hand, and the same in every pass."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from models import KINDS, random_codes, sid_token_ids, small_model
from torch import Tensor
from transformers import PreTrainedModel

from sidrec.decoding import CausalLM, constrained_beam_search, exact_topk, pad_prompts, rank_all
from sidrec.decoding.beam_search import read_in_groups
from sidrec.decoding.sampling import sample_items
from sidrec.decoding.stochastic_beam import sample_distinct
from sidrec.depth_model import DepthModel
from sidrec.errors import ConfigError
from sidrec.item_sum import sum_items
from sidrec.scoring import SIDScorer
from sidrec.shared_prefix import completion_scores
from sidrec.tasks.rows import IGNORED, NO_ITEM, TEXT, Row
from sidrec.trainers.flat_rows import FlatRows
from sidrec.trainers.sft import sft_losses
from sidrec.trie import SIDTrie
from sidrec.trie_arrays import code_table

BOS, WORD = 1, 7
NORMALIZATIONS = ["catalog", "level", "vocabulary"]
HISTORIES = [[3, 8], [1], [23, 0, 17]]
ROLLOUTS = [[0, 5, 39, 5], [3, 2, 1, 0], [7, 12, 8, 30]]
SIDS = random_codes()
TOKENS = [[sid_token_ids()[level][code] for level, code in enumerate(codes)] for codes in SIDS.tolist()]
TITLES = [[40, 41, 2], [40, 2], [41, 42, 43, 2], [44, 41, 2], [44, 40, 42, 2]]  # 2 ends one


def make(
    kind: str = "qwen3", normalization: str = "catalog", *, history: str = "codes", skips: bool = True
) -> SIDScorer:
    """A scorer whose model reads the items of a history as codes, with sums at their ends, or merged."""
    model = small_model(kind)
    if history == "sums":
        sum_items(model, sid_token_ids())
    merges = history == "merged"
    return SIDScorer(model, sid_token_ids(), SIDTrie(SIDS), normalization, merges_items=merges, skips=skips)


def prompt(history: Sequence[int]) -> list[int]:
    return [BOS, *(token for item in history for token in TOKENS[item])]


def prompt_vectors(model: PreTrainedModel, items: Sequence[int], history: str) -> list[Tensor]:
    """The vectors that stand for a prompt, by the table of embeddings alone."""
    table = model.get_input_embeddings().weight
    vectors = [table[BOS]]
    for item in items:
        codes = [*table[TOKENS[item]]]
        total = torch.stack(codes).sum(0)
        vectors += {"codes": codes, "sums": [*codes[:-1], total], "merged": [total]}[history]
    return vectors


def logits_by_hand(
    model: PreTrainedModel, vectors: list[Tensor], tokens: Sequence[int], *, skips: bool = True
) -> Tensor:
    """(L, V) logits of the tokens of an item after a prompt, from one pass of the plain model over both."""
    table = model.get_input_embeddings().weight
    whole = torch.stack([*vectors, *table[list(tokens)]]).unsqueeze(0)
    hidden = model.base_model(inputs_embeds=whole).last_hidden_state[0]
    before = len(vectors) - 1
    later = hidden[before + 1 : -1] + hidden[before] if skips else hidden[before + 1 : -1]
    return torch.cat([hidden[before : before + 1], later]) @ model.get_output_embeddings().weight.T


def by_hand(
    scorer: SIDScorer,
    past: Sequence[int],
    items: Sequence[int],
    history: str = "codes",
    *,
    skips: bool = True,
) -> Tensor:
    """(I, L) log-probabilities of the codes of items after a prompt, a pass for each item."""
    vectors = prompt_vectors(scorer.model, past, history)
    found = []
    for item in items:
        logits = logits_by_hand(scorer.model, vectors, TOKENS[item], skips=skips)
        for level, token in enumerate(TOKENS[item]):
            allowed = {
                "catalog": sorted({each[level] for each in TOKENS if each[:level] == TOKENS[item][:level]}),
                "level": sid_token_ids()[level],
                "vocabulary": list(range(logits.shape[1])),
            }[scorer.normalization]
            found.append(logits[level, token] - logits[level, allowed].logsumexp(0))
    return torch.stack(found).view(len(items), -1)


def everything_by_hand(scorer: SIDScorer, history: str = "codes") -> Tensor:
    """(B, N) log-probabilities of all items after each of `HISTORIES`."""
    everyone = range(len(SIDS))
    with torch.no_grad():
        return torch.stack([by_hand(scorer, past, everyone, history).sum(1) for past in HISTORIES])


def assert_ranked(items: Tensor, scores: Tensor, expected: Tensor) -> None:
    best = expected.sort(descending=True)
    assert items.tolist() == best.indices[:, : items.shape[1]].tolist()
    torch.testing.assert_close(scores, best.values[:, : items.shape[1]], atol=1e-4, rtol=1e-4)


def searched(scorer: SIDScorer, num_beams: int = len(SIDS)) -> tuple[Tensor, Tensor]:
    prompts = [prompt(past) for past in HISTORIES]
    found = constrained_beam_search(CausalLM(scorer), scorer.trie, prompts, num_beams=num_beams)
    return found.items, found.scores


def read_plainly(scorer: SIDScorer) -> SIDScorer:
    scorer.shares_prompts, scorer.why_not = False, "is told not to"
    return scorer


@pytest.mark.parametrize("kind", [*KINDS, "gpt2"])
@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_a_search_finds_what_scoring_every_item_by_hand_finds(kind, normalization):
    scorer = make(kind, normalization)
    assert_ranked(*searched(scorer), everything_by_hand(scorer))


@pytest.mark.parametrize("history", ["sums", "merged"])
def test_so_it_does_where_items_of_a_history_are_read_otherwise(history):
    scorer = make(history=history)
    assert_ranked(*searched(scorer), everything_by_hand(scorer, history))


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_so_it_does_where_each_beam_is_read_with_its_prompt(normalization):
    scorer = read_plainly(make(normalization=normalization))
    assert_ranked(*searched(scorer), everything_by_hand(scorer))


def test_a_recurrent_model_is_decoded_too():
    model = small_model("mamba", state_size=4)
    scorer = SIDScorer(model, sid_token_ids(), SIDTrie(SIDS), "catalog", skips=True)
    assert not scorer.shares_prompts
    assert_ranked(*searched(scorer), everything_by_hand(scorer))


@pytest.mark.parametrize("ranks", [exact_topk, rank_all])
@pytest.mark.parametrize("is_shared", [True, False])
def test_an_exact_ranking_is_that_of_all_items_by_hand(ranks, is_shared):
    scorer = make() if is_shared else read_plainly(make())
    prompts = [prompt(past) for past in HISTORIES]
    found = ranks(CausalLM(scorer), scorer.trie, prompts, num_beams=7)
    assert_ranked(found.items, found.scores, everything_by_hand(scorer))


@pytest.mark.parametrize("draw", [sample_items, sample_distinct])
def test_a_draw_is_scored_as_by_hand(draw):
    scorer = make()
    expected = everything_by_hand(scorer)
    for rows, beams in read_in_groups(CausalLM(scorer), [prompt(past) for past in HISTORIES], width=6):
        generators = [torch.Generator().manual_seed(row) for row in rows]
        sample = draw(beams, scorer.trie, num_samples=5, generators=generators)
        by_items = expected[rows].gather(1, sample.items).double()
        torch.testing.assert_close(sample.scores, by_items, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(sample.log_probs, by_items, atol=1e-4, rtol=1e-4)  # of the catalogue: all


def rollouts(scorer: SIDScorer) -> Tensor:
    """(B, G, L) log-probabilities of `ROLLOUTS`, in one pass."""
    ids, mask = pad_prompts([prompt(past) for past in HISTORIES], pad_id=0)
    return completion_scores(scorer, ids, mask, torch.tensor(SIDS)[torch.tensor(ROLLOUTS)]).log_probs


def rollouts_by_hand(scorer: SIDScorer, history: str = "codes", *, skips: bool = True) -> Tensor:
    pairs = zip(HISTORIES, ROLLOUTS, strict=True)
    return torch.stack([by_hand(scorer, past, items, history, skips=skips) for past, items in pairs])


def gradients(scorer: SIDScorer, value: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(value, list(scorer.model.parameters())))


@pytest.mark.parametrize(
    ("kind", "normalization", "history"),
    [
        *((kind, "catalog", "codes") for kind in KINDS),
        *(("qwen3", normalization, "codes") for normalization in NORMALIZATIONS[1:]),
        ("qwen3", "catalog", "sums"),
        ("qwen3", "catalog", "merged"),
    ],
)
def test_rollouts_of_one_prompt_have_log_probabilities_and_gradients_as_by_hand(kind, normalization, history):
    scorer = make(kind, normalization, history=history)
    ours, theirs = rollouts(scorer), rollouts_by_hand(scorer, history)
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
    weights = torch.randn(ours.shape, generator=torch.Generator().manual_seed(2))  # as advantages would be
    pairs = zip(
        gradients(scorer, (ours * weights).sum()), gradients(scorer, (theirs * weights).sum()), strict=True
    )
    for one, other in pairs:
        torch.testing.assert_close(one, other, atol=1e-3, rtol=1e-3)


def row_of(items: Sequence[int], *, told: int = 0, task: int = 0) -> Row:
    """A row of which the items from place `told` on are told: a whole user, a window, or one target."""
    kinds = [IGNORED, *([IGNORED] * 3 * told), *([0, 1, 2] * (len(items) - told))]
    return Row(prompt(items), kinds, [NO_ITEM, *np.repeat(items, 3).tolist()], task)


def losses_of(scorer: SIDScorer, rows: list[Row]) -> tuple[Tensor, Tensor]:
    codes = torch.tensor(SIDS)
    return sft_losses(scorer, FlatRows.of(rows).padded(0), codes, scorer.trie.walk(codes))[:2]


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize("history", ["codes", "sums", "merged"])
@pytest.mark.parametrize("told", [0, 2, 3], ids=["user", "window", "prefix"])
def test_every_item_of_a_row_has_its_own_boundary(normalization, history, told):
    scorer = make(normalization=normalization, history=history)
    items, other = [3, 8, 17, 5], [1, 0]
    losses, tasks = losses_of(scorer, [row_of(other, task=1), row_of(items, told=told)])
    expected = -torch.cat([by_hand(scorer, items[:n], [items[n]], history) for n in range(told, 4)])
    # Losses over codes stand level by level, those over the vocabulary item by item.
    in_order = expected.flatten() if normalization == "vocabulary" else expected.T.flatten()
    torch.testing.assert_close(losses[tasks == 0], in_order, atol=1e-4, rtol=1e-4)
    pairs = zip(
        gradients(scorer, losses_of(scorer, [row_of(items, told=told)])[0].sum()),
        gradients(scorer, expected.sum()),
        strict=True,
    )
    for one, by_definition in pairs:
        torch.testing.assert_close(one, by_definition, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_first_codes_and_titles_are_told_as_without_it_and_later_codes_are_not(normalization):
    words = Row(
        [BOS, *TOKENS[4], WORD, 9, 2], [IGNORED] * 4 + [TEXT] * 3, [NO_ITEM, 4, 4, 4, *[NO_ITEM] * 3], 1
    )
    scorers = [make(normalization=normalization, skips=skips) for skips in (True, False)]
    (on, tasks), (off, _) = (losses_of(scorer, [row_of([3, 8]), words]) for scorer in scorers)
    assert torch.equal(on[tasks == 1], off[tasks == 1])
    places = [0, 3] if normalization == "vocabulary" else [0, 1]
    is_first = torch.isin(torch.arange(6), torch.tensor(places))
    assert torch.equal(on[:6][is_first], off[:6][is_first])
    assert ((on[:6] - off[:6]).abs()[~is_first] > 1e-3).all()


def test_it_changes_gradients():
    on, off = (
        gradients(scorer, losses_of(scorer, [row_of([3, 8, 17])])[0].sum())
        for scorer in (make(skips=True), make(skips=False))
    )
    assert all(not torch.allclose(one, other, atol=1e-3) for one, other in zip(on, off, strict=True))


def test_without_it_no_state_is_added():
    scorer = make(skips=False)
    torch.testing.assert_close(rollouts(scorer), rollouts_by_hand(scorer, skips=False), atol=1e-4, rtol=1e-4)


def of_another_row(hidden: Tensor, boundary: Tensor) -> Tensor:
    return hidden + boundary.roll(1, dims=0)


def one_token_late(hidden: Tensor, boundary: Tensor) -> Tensor:
    return hidden + boundary.roll(-1, dims=1)


@pytest.mark.parametrize(
    ("passes", "wrong"),
    [
        (lambda scorer: searched(scorer)[1], of_another_row),
        (rollouts, of_another_row),
        (lambda scorer: losses_of(scorer, [row_of([3, 8]), row_of([1, 0])])[0], of_another_row),
        (lambda scorer: losses_of(scorer, [row_of([3, 8])])[0], one_token_late),
    ],
    ids=["search", "rollouts", "sft, row", "sft, token"],
)
def test_a_wrong_boundary_would_be_noticed(
    passes: Callable[[SIDScorer], Tensor], wrong: Callable[..., Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control."""
    scorer = make()
    with torch.no_grad():
        right = passes(scorer)
        monkeypatch.setattr(scorer, "later_states", wrong)
        assert (passes(scorer) - right).abs().max() > 1e-2


def test_titles_have_a_boundary_too():
    model = small_model()
    codes = code_table(TITLES)
    scorer = SIDScorer(model, None, SIDTrie(codes), "catalog", skips=True)
    past = [BOS, *TITLES[2]]
    expected = torch.zeros(len(TITLES))
    for item, title in enumerate(TITLES):
        logits = logits_by_hand(model, [*model.get_input_embeddings().weight[past]], title)
        for level, token in enumerate(title):
            allowed = sorted({each[level] for each in TITLES if each[:level] == title[:level]})
            expected[item] += logits[level, token] - logits[level, allowed].logsumexp(0)
    found = constrained_beam_search(CausalLM(scorer), scorer.trie, [past], num_beams=len(TITLES))
    assert_ranked(found.items, found.scores, expected.unsqueeze(0))
    ids, mask = pad_prompts([past], pad_id=0)
    steps = completion_scores(scorer, ids, mask, torch.tensor(codes)[None]).log_probs[0]
    totals = steps.masked_fill(torch.tensor(codes) < 0, 0).sum(-1)
    torch.testing.assert_close(totals, expected, atol=1e-4, rtol=1e-4)


def test_the_same_for_another_model_skips_too():
    assert make().of(small_model(seed=1), "level").skips


def test_where_it_would_change_nothing_it_is_refused():
    depth = DepthModel.around(small_model(), sid_token_ids())
    with pytest.raises(ConfigError, match=r"would change nothing: a depth head.*Set it to false"):
        SIDScorer(depth, sid_token_ids(), SIDTrie(SIDS), "catalog", skips=True)
    with pytest.raises(ConfigError, match=r"every item has one code.*tokenizer.codebook_sizes"):
        SIDScorer(small_model(), [[20, 21]], SIDTrie(np.array([[0], [1]])), "catalog", skips=True)


def test_a_model_that_scales_its_logits_is_refused():
    scaled = small_model("granite", logits_scaling=8.0)
    with pytest.raises(ConfigError, match=r"does more to its logits than its output layer"):
        SIDScorer(scaled, sid_token_ids(), SIDTrie(SIDS), "catalog", skips=True)
