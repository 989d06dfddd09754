"""The depth head: an item is one position, codes are added to the state, all against slow references."""

import numpy as np
import pytest
import torch
from models import KINDS, random_codes, sid_token_ids, small_model
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedModel

from sidrec.decoding import CausalLM, constrained_beam_search, exact_topk, pad_prompts
from sidrec.depth_model import DepthModel
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


def make(kind: str = "qwen3", **settings: object) -> DepthModel:
    model = DepthModel.around(small_model(kind, **settings), sid_token_ids())
    with torch.no_grad():
        for level in model.depth_head.levels:
            for weight in level.parameters():
                weight.normal_(std=0.3)
    return model.eval()


def make_scorer(kind: str = "qwen3", normalization: str = "catalog", **settings: object) -> SIDScorer:
    return SIDScorer(make(kind, **settings), sid_token_ids(), SIDTrie(CODES), normalization)


def tokens(item: int) -> list[int]:
    return [sid_token_ids()[level][code] for level, code in enumerate(CODES[item].tolist())]


def prompt(history: list[int]) -> list[int]:
    return [BOS, *(token for item in history for token in tokens(item))]


def vectors_of(model: nn.Module, parts: list[list[int]]) -> Tensor:
    """(1, W, H): for each part, a word or an item, the sum of its rows."""
    table = model.get_input_embeddings().weight
    return torch.stack([table[part].sum(0) for part in parts]).unsqueeze(0)


def state_after(model: DepthModel, parts: list[list[int]]) -> Tensor:
    """(H,) the trunk's state after a prompt of words and items."""
    trunk: PreTrainedModel = model.trunk.language_model
    return trunk.base_model(inputs_embeds=vectors_of(model, parts)).last_hidden_state[0, -1]


def log_probs_by_hand(model: DepthModel, state: Tensor, normalization: str) -> Tensor:
    """(N, L) log-probabilities of the codes of every item after a state, by loops over items and levels."""
    table = model.get_input_embeddings().weight
    found = torch.zeros(CODES.shape)
    for item, codes in enumerate(CODES.tolist()):
        z = state
        for level, code in enumerate(codes):
            part = model.depth_head.levels[level]
            inner = nn.functional.gelu(part.mlp[0](z))
            y = nn.functional.layer_norm(
                z + part.mlp[2](inner), z.shape, weight=part.norm.weight, bias=part.norm.bias
            )
            logits = table[sid_token_ids()[level]] @ y
            allowed = [c for c in range(len(logits)) if _is_child(codes[:level], c)]
            over = logits[allowed] if normalization == "catalog" else logits
            found[item, level] = logits[code] - over.logsumexp(0)
            z = z + table[sid_token_ids()[level][code]]
    return found


def _is_child(begun: list[int], code: int) -> bool:
    return any(codes[: len(begun) + 1] == [*begun, code] for codes in CODES.tolist())


def parts_of(history: list[int]) -> list[list[int]]:
    return [[BOS], *map(tokens, history)]


@pytest.mark.parametrize("kind", [*KINDS, "gpt2"])
def test_every_token_has_the_state_that_its_follower_is_told_from(kind):
    model = make(kind)
    ids = [BOS, *tokens(3), WORD, *tokens(8), *tokens(0)[:2]]
    states = model.trunk(torch.tensor([ids])).last_hidden_state[0]
    table = model.get_input_embeddings().weight
    parts = [[BOS], tokens(3), [WORD], tokens(8)]
    after = [state_after(model, parts[: n + 1]) for n in range(4)]
    expected = [
        after[0],
        after[0] + table[ids[1]],
        after[0] + table[ids[1]] + table[ids[2]],
        after[1],
        after[2],
        after[2] + table[ids[5]],
        after[2] + table[ids[5]] + table[ids[6]],
        after[3],
        after[3] + table[ids[8]],
        after[3] + table[ids[8]] + table[ids[9]],
    ]
    torch.testing.assert_close(states, torch.stack(expected), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_changes_nothing(side):
    model = make()
    rows = [prompt(history) for history in HISTORIES]
    width = max(map(len, rows))
    padded = [
        [0] * (width - len(row)) + row if side == "left" else row + [0] * (width - len(row)) for row in rows
    ]
    mask = torch.tensor([[token != 0 for token in row] for row in padded])
    states = model.trunk(torch.tensor(padded), mask).last_hidden_state
    for row, ids in enumerate(rows):
        alone = model.trunk(torch.tensor([ids])).last_hidden_state[0]
        torch.testing.assert_close(states[row][mask[row]], alone, atol=1e-5, rtol=1e-5)


def test_what_a_token_is_does_not_depend_on_those_after_it():
    ids = torch.tensor([[*prompt([3, 8, 17]), WORD]])
    model = make()
    whole = model.trunk(ids).last_hidden_state[0]
    for length in range(1, ids.shape[1]):
        begun = model.trunk(ids[:, :length]).last_hidden_state[0]
        torch.testing.assert_close(begun, whole[:length], atol=1e-5, rtol=1e-5)


def test_codes_out_of_order_are_words():
    levels = torch.tensor([[-1, 1, 2, 0, 2, 0, 1, 1, 2, 0, 0, 1, 2]])
    found = ItemPositions.find(levels, 3)
    assert found.levels.tolist() == [[-1, -1, -1, 0, -1, 0, 1, -1, -1, 0, 0, 1, 2]]
    assert found.is_inside.tolist() == [[level in (0, 1) for level in found.levels[0].tolist()]]
    assert found.places[0].tolist() == [0, 1, 2, 4, 7, 8, 12]


def test_an_item_of_one_code_is_a_position_of_its_own():
    found = ItemPositions.find(torch.tensor([[-1, 0, 0, -1, 0]]), 1)
    assert bool(found.mask.all())
    assert found.places.tolist() == [[0, 1, 2, 3, 4]]


@pytest.mark.parametrize("normalization", ["catalog", "level"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_search_finds_what_scoring_every_item_by_hand_finds(kind, normalization):
    scorer = make_scorer(kind, normalization)
    found = constrained_beam_search(
        CausalLM(scorer), scorer.trie, [prompt(history) for history in HISTORIES], num_beams=len(CODES)
    )
    for row, history in enumerate(HISTORIES):
        state = state_after(scorer.model, parts_of(history))
        expected = log_probs_by_hand(scorer.model, state, normalization).sum(1).sort(descending=True)
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


def test_prompts_behind_a_prefix_are_read_with_it():
    scorer = make_scorer()
    reader = CausalLM(scorer)
    prompts = [[BOS, *([WORD] * 9), *prompt(history)[1:]] for history in HISTORIES]
    plain = constrained_beam_search(reader, scorer.trie, prompts, num_beams=5)
    behind = constrained_beam_search(
        reader, scorer.trie, prompts, num_beams=5, prefix=reader.read_prefix([BOS, *([WORD] * 9)])
    )
    assert torch.equal(plain.items, behind.items)


@pytest.mark.parametrize("kind", KINDS)
def test_completions_are_scored_as_by_hand_and_gradients_reach_every_part(kind):
    scorer = make_scorer(kind)
    items = torch.tensor([[0, 5, 39], [3, 2, 1], [7, 7, 8]])
    ids, mask = pad_prompts([prompt(history) for history in HISTORIES], pad_id=0)
    scored = completion_scores(scorer, ids, mask, torch.tensor(CODES)[items]).log_probs
    for row, history in enumerate(HISTORIES):
        by_hand = log_probs_by_hand(scorer.model, state_after(scorer.model, parts_of(history)), "catalog")
        torch.testing.assert_close(scored[row], by_hand[items[row]], atol=1e-4, rtol=1e-4)
    scored.sum().backward()
    without = [name for name, weight in scorer.model.named_parameters() if weight.grad is None]
    assert without == []


def test_the_losses_of_a_row_are_those_by_hand():
    scorer = make_scorer(tie_word_embeddings=False)
    history = [3, 8, 17]
    words = Row([BOS, WORD, 9, 2], [IGNORED, IGNORED, TEXT, TEXT], [NO_ITEM] * 4, task=1)
    items = Row(
        prompt(history), [IGNORED, *([0, 1, 2] * 3)], [NO_ITEM, *np.repeat(history, 3).tolist()], task=0
    )
    batch = FlatRows.of([words, items]).padded(0)
    codes = torch.tensor(CODES)
    losses, tasks, _ = sft_losses(scorer, batch, codes, scorer.trie.walk(codes))
    expected = [
        log_probs_by_hand(scorer.model, state_after(scorer.model, parts_of(history[:n])), "catalog")[
            history[n]
        ]
        for n in range(3)
    ]
    by_hand = -torch.stack(expected).T.flatten()  # level by level
    torch.testing.assert_close(losses[tasks == 0], by_hand, atol=1e-4, rtol=1e-4)
    logits = small_model(tie_word_embeddings=False)(torch.tensor([words.input_ids])).logits[0].log_softmax(-1)
    torch.testing.assert_close(losses[tasks == 1], -torch.stack([logits[1, 9], logits[2, 2]]))


@pytest.mark.parametrize("tied", [True, False])
def test_the_trunk_keeps_its_weights_and_a_saved_model_is_the_same(tmp_path, tied):
    lm = small_model(tie_word_embeddings=tied)
    before = {name: weight.clone() for name, weight in lm.state_dict().items()}
    model = DepthModel.around(lm, sid_token_ids()).eval()
    after = model.trunk.language_model.state_dict()
    assert all(torch.equal(weight, after[name]) for name, weight in before.items())
    model.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert isinstance(loaded, DepthModel)
    assert (loaded.get_output_embeddings().weight is loaded.get_input_embeddings().weight) == tied
    ids = torch.tensor([prompt([3, 8])])
    states, same = (each.trunk(ids).last_hidden_state for each in (model, loaded))
    assert torch.equal(states, same)
    assert torch.equal(model.depth_head(states, 1), loaded.depth_head(states, 1))
    assert torch.equal(model(ids).logits, loaded(ids).logits)


def test_no_vocabulary_is_normalized_over():
    with pytest.raises(ValueError, match="level or catalog"):
        make_scorer(normalization="vocabulary")
