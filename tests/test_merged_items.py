"""Items of a history read as one position each, codes of a target beside them, against slow references."""

import numpy as np
import pytest
import torch
from models import KINDS, WINDOWED, random_codes, sid_token_ids, small_model
from torch import Tensor, nn

from sidrec.decoding import CausalLM, constrained_beam_search, exact_topk, pad_prompts
from sidrec.depth_model import DepthModel
from sidrec.errors import ConfigError
from sidrec.item_positions import ItemPositions
from sidrec.scoring import SIDScorer
from sidrec.shared_prefix import completion_scores
from sidrec.tasks.rows import IGNORED, NO_ITEM, TEXT, Row
from sidrec.trainers.flat_rows import FlatRows
from sidrec.trainers.sft import sft_losses
from sidrec.trie import SIDTrie

BOS, WORD = 1, 7
HISTORIES = [[3, 8], [1], [23, 0, 17]]
CODES = random_codes()


def make_scorer(kind: str = "qwen3", normalization: str = "catalog", **settings: object) -> SIDScorer:
    model = small_model(kind, **settings)
    return SIDScorer(model, sid_token_ids(), SIDTrie(CODES), normalization, merges_items=True)


def tokens(item: int) -> list[int]:
    return [sid_token_ids()[level][code] for level, code in enumerate(CODES[item].tolist())]


def prompt(history: list[int]) -> list[int]:
    return [BOS, *(token for item in history for token in tokens(item))]


def parts_of(history: list[int]) -> list[list[int]]:
    """What is a position each in the prompt of a history."""
    return [[BOS], *map(tokens, history)]


def state_after(model: nn.Module, parts: list[list[int]]) -> Tensor:
    """(H,) the trunk's state after positions that are each a sum of tokens, read alone and without a mask."""
    layer = model.get_input_embeddings()
    vectors = torch.stack([layer(torch.tensor(part)).sum(0) for part in parts]).unsqueeze(0)
    return model.base_model(inputs_embeds=vectors).last_hidden_state[0, -1]


def log_probs_by_hand(
    scorer: SIDScorer, parts: list[list[int]], items: list[int], normalization: str = "catalog"
) -> Tensor:
    """(I, L) log-probabilities of the codes of items after a prompt, one pass of the trunk for each."""
    rows = scorer.head.weight
    found = torch.zeros(len(items), CODES.shape[1])
    for row, item in enumerate(items):
        codes = CODES[item].tolist()
        for level, code in enumerate(codes):
            logits = rows @ state_after(scorer.model, [*parts, *([token] for token in tokens(item)[:level])])
            chosen = logits[sid_token_ids()[level]]
            allowed = [c for c in range(len(chosen)) if _is_child(codes[:level], c)]
            over = {"catalog": chosen[allowed], "level": chosen, "vocabulary": logits}[normalization]
            found[row, level] = chosen[code] - over.logsumexp(0)
    return found


def _is_child(begun: list[int], code: int) -> bool:
    return any(codes[: len(begun) + 1] == [*begun, code] for codes in CODES.tolist())


def states_of(scorer: SIDScorer, ids: Tensor, mask: Tensor | None = None) -> Tensor:
    mask = torch.ones_like(ids) if mask is None else mask
    return scorer.states(ids, mask, torch.ones_like(ids, dtype=torch.bool))


@pytest.mark.parametrize("kind", [*KINDS, "gpt2", *(f"windowed {kind}" for kind in WINDOWED)])
def test_every_token_has_the_state_that_its_follower_is_told_from(kind):
    name = kind.removeprefix("windowed ")
    scorer = make_scorer(name, **(WINDOWED[name] if name != kind else {}))
    ids = [BOS, *tokens(3), WORD, *tokens(8), *tokens(17), *tokens(0)[:2]]
    states = states_of(scorer, torch.tensor([ids]))[0]
    whole = [[BOS], tokens(3), [WORD], tokens(8), tokens(17)]
    begun = {1: tokens(3), 3: tokens(8), 4: tokens(17), 5: tokens(0)}  # after so many positions
    parts = []
    for count in range(1, 6):
        first, second, _ = begun.get(count, [0, 0, 0])
        parts.append(whole[:count])
        if count in begun:
            parts += [[*whole[:count], [first]], [*whole[:count], [first], [second]]]
    expected = torch.stack([state_after(scorer.model, each) for each in parts])
    torch.testing.assert_close(states, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_changes_nothing(side):
    scorer = make_scorer()
    rows = [prompt(history) for history in HISTORIES]
    width = max(map(len, rows))
    padded = [
        [0] * (width - len(row)) + row if side == "left" else row + [0] * (width - len(row)) for row in rows
    ]
    mask = torch.tensor([[token != 0 for token in row] for row in padded])
    states = states_of(scorer, torch.tensor(padded), mask)
    for row, ids in enumerate(rows):
        alone = states_of(scorer, torch.tensor([ids]))[0]
        torch.testing.assert_close(states[row][mask[row]], alone, atol=1e-5, rtol=1e-5)


def test_what_a_token_is_does_not_depend_on_those_after_it():
    ids = torch.tensor([[*prompt([3, 8, 17]), WORD]])
    scorer = make_scorer()
    whole = states_of(scorer, ids)[0]
    for length in range(1, ids.shape[1]):
        torch.testing.assert_close(
            states_of(scorer, ids[:, :length])[0], whole[:length], atol=1e-5, rtol=1e-5
        )


def test_codes_that_nothing_is_told_from_are_no_positions():
    levels = torch.tensor([[-1, 0, 1, 2, 0, 1, 2, -1, 0, 1, 2]])
    told = torch.zeros_like(levels, dtype=torch.bool)
    told[0, 5] = True  # the second code of the second item: its first is read, too
    found = ItemPositions.find(levels, 3, told=told)
    assert found.places[0].tolist() == [0, 3, 4, 5, 6, 7, 10]


def test_prompts_end_with_their_row():
    levels = torch.tensor([[-1, -1, -1, -1, 0, 1, 2], [-1, 0, 1, 2, 0, 1, 2]])
    mask = torch.tensor([[0, 0, 0, 1, 1, 1, 1], [1] * 7])
    found = ItemPositions.find(levels, 3, mask, to_right=True)
    assert found.mask.tolist() == [[False, True, True], [True] * 3]
    assert found.places[0, 1:].tolist() == [3, 6]
    assert found.places[1].tolist() == [0, 3, 6]
    assert found.last[0, 3:].tolist() == [1, 1, 1, 2]


def test_a_prompt_is_as_many_positions_as_it_has_items_and_words():
    scorer = make_scorer()
    ids, mask = pad_prompts([prompt(history) for history in HISTORIES], pad_id=0)
    inputs, short = scorer.prompt_inputs(ids, mask)
    assert inputs["inputs_embeds"].shape[1] == 4  # the word and three items
    assert short.sum(1).tolist() == [3, 2, 4]


def test_an_item_of_one_code_is_read_as_without_merging():
    codes = np.arange(5)[:, None]
    ids = torch.tensor([[BOS, 20, 23, WORD, 21]])
    model, trie = small_model(), SIDTrie(codes)
    plain, merged = (
        SIDScorer(model, [[20, 21, 22, 23, 24]], trie, "catalog", merges_items=merges)
        for merges in (False, True)
    )
    torch.testing.assert_close(states_of(merged, ids), states_of(plain, ids), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("normalization", ["catalog", "level", "vocabulary"])
@pytest.mark.parametrize("kind", [*KINDS, "gpt2"])
def test_a_search_finds_what_scoring_every_item_by_hand_finds(kind, normalization):
    scorer = make_scorer(kind, normalization)
    found = constrained_beam_search(
        CausalLM(scorer), scorer.trie, [prompt(history) for history in HISTORIES], num_beams=len(CODES)
    )
    for row, history in enumerate(HISTORIES):
        by_hand = log_probs_by_hand(scorer, parts_of(history), list(range(len(CODES))), normalization)
        expected = by_hand.sum(1).sort(descending=True)
        assert found.items[row].tolist() == expected.indices.tolist()
        torch.testing.assert_close(found.scores[row], expected.values, atol=1e-4, rtol=1e-4)


def test_the_exact_ranking_is_the_head_of_the_whole_one():
    scorer = make_scorer()
    prompts = [prompt(history) for history in HISTORIES]
    whole = constrained_beam_search(CausalLM(scorer), scorer.trie, prompts, num_beams=len(CODES))
    exact = exact_topk(CausalLM(scorer), scorer.trie, prompts, num_beams=5)
    assert exact.complete is not None
    assert bool(exact.complete.all())
    assert torch.equal(exact.items, whole.items[:, :5])


@pytest.mark.parametrize("begun", [[BOS, *([WORD] * 9)], [BOS, WORD, *tokens(3), *tokens(8), *tokens(5)[:1]]])
def test_prompts_that_begin_alike_are_read_as_alone(begun):
    reader = CausalLM(make_scorer())
    prompts = [[*begun, *rest] for rest in ([WORD], [*tokens(8), 9], [9])]
    together = constrained_beam_search(reader, reader.scorer.trie, prompts, num_beams=5)
    for row, ids in enumerate(prompts):
        alone = constrained_beam_search(reader, reader.scorer.trie, [ids], num_beams=5)
        assert alone.items[0].tolist() == together.items[row].tolist()
        torch.testing.assert_close(alone.scores[0], together.scores[row], atol=1e-5, rtol=1e-5)
    behind = constrained_beam_search(
        reader, reader.scorer.trie, prompts, num_beams=5, prefix=reader.read_prefix(begun)
    )
    assert torch.equal(behind.items, together.items)


@pytest.mark.parametrize("kind", [*KINDS, *WINDOWED])
def test_completions_are_scored_as_the_search_scores_them(kind):
    scorer = make_scorer(kind, **WINDOWED.get(kind, {}))
    prompts = [prompt(history) for history in HISTORIES]
    found = constrained_beam_search(CausalLM(scorer), scorer.trie, prompts, num_beams=6)
    ids, mask = pad_prompts(prompts, pad_id=0)
    scored = completion_scores(scorer, ids, mask, torch.tensor(CODES)[found.items])
    torch.testing.assert_close(scored.log_probs.sum(-1), found.scores, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_completions_are_scored_as_by_hand_and_gradients_reach_every_part(kind):
    scorer = make_scorer(kind)
    items = torch.tensor([[0, 5, 39], [3, 2, 1], [7, 7, 8]])
    ids, mask = pad_prompts([prompt(history) for history in HISTORIES], pad_id=0)
    scored = completion_scores(scorer, ids, mask, torch.tensor(CODES)[items]).log_probs
    for row, history in enumerate(HISTORIES):
        by_hand = log_probs_by_hand(scorer, parts_of(history), items[row].tolist())
        torch.testing.assert_close(scored[row], by_hand, atol=1e-4, rtol=1e-4)
    scored.sum().backward()
    assert [name for name, weight in scorer.model.named_parameters() if weight.grad is None] == []


def rows_of(history: list[int], *, told: int) -> Row:
    """A history of which the items from place `told` on are told."""
    kinds = [IGNORED, *([IGNORED] * 3 * told), *([0, 1, 2] * (len(history) - told))]
    items = [NO_ITEM, *([NO_ITEM] * 3 * told), *np.repeat(history[told:], 3).tolist()]
    return Row(prompt(history), kinds, items, task=0)


@pytest.mark.parametrize("normalization", ["catalog", "vocabulary"])
@pytest.mark.parametrize("told", [0, 2])
def test_the_losses_of_a_row_are_those_by_hand(told, normalization):
    scorer = make_scorer(normalization=normalization)
    history = [3, 8, 17]
    words = Row([BOS, WORD, 9, 2], [IGNORED, IGNORED, TEXT, TEXT], [NO_ITEM] * 4, task=1)
    batch = FlatRows.of([words, rows_of(history, told=told)]).padded(0)
    codes = torch.tensor(CODES)
    losses, tasks, _ = sft_losses(scorer, batch, codes, scorer.trie.walk(codes))
    by_hand = -torch.cat(
        [
            log_probs_by_hand(scorer, parts_of(history[:n]), [history[n]], normalization)
            for n in range(told, 3)
        ]
    )
    by_level = normalization == "catalog"  # the order that losses stand in
    expected = by_hand.T.flatten() if by_level else by_hand.flatten()
    torch.testing.assert_close(losses[tasks == 0], expected, atol=1e-4, rtol=1e-4)
    logits = small_model()(torch.tensor([words.input_ids])).logits[0].log_softmax(-1)
    torch.testing.assert_close(losses[tasks == 1], -torch.stack([logits[1, 9], logits[2, 2]]))


def test_a_row_gives_every_target_the_loss_that_a_row_of_its_own_gives():
    scorer, codes = make_scorer(), torch.tensor(CODES)
    history = [3, 8, 17, 5]
    one = FlatRows.of([rows_of(history, told=0)]).padded(0)
    each = FlatRows.of([rows_of(history[: n + 1], told=n) for n in range(4)]).padded(0)
    gradients = []
    for batch in (one, each):
        scorer.model.zero_grad()
        sft_losses(scorer, batch, codes, scorer.trie.walk(codes))[0].sum().backward()
        gradients.append([weight.grad.clone() for weight in scorer.model.parameters()])
    for whole, apart in zip(*gradients, strict=True):
        torch.testing.assert_close(whole, apart, atol=1e-4, rtol=1e-4)


def test_the_same_for_another_model_merges_too():
    scorer = make_scorer()
    other = scorer.of(small_model(seed=1), "level")
    assert other.merger is not None
    ids = torch.tensor([prompt([3, 8])])
    expected = state_after(other.model, parts_of([3, 8]))
    torch.testing.assert_close(states_of(other, ids)[0, -1], expected, atol=1e-5, rtol=1e-5)


def test_models_that_cannot_set_codes_beside_each_other_are_refused():
    trie = SIDTrie(CODES)
    linear = small_model("mamba", state_size=4)
    with pytest.raises(ConfigError, match=r"prompt.history=merged: Mamba.* set prompt.history=codes"):
        SIDScorer(linear, sid_token_ids(), trie, "catalog", merges_items=True)
    depth = DepthModel.around(small_model(), sid_token_ids())
    with pytest.raises(ConfigError, match="DepthModel merges items by itself"):
        SIDScorer(depth, sid_token_ids(), trie, "catalog", merges_items=True)
