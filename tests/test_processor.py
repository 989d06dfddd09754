"""SIDLogitsProcessor: with any way of `generate` only items come out, and what would undo that is refused."""

import pytest
import torch
from models import FIRST, random_codes, random_prompts, small_model
from torch import Tensor
from transformers import LogitsProcessor, PreTrainedModel

from sidrec.decoding import SIDLogitsProcessor, constrained_beam_search, pad_prompts
from sidrec.trie import SIDTrie

OFFSETS = torch.tensor([FIRST, FIRST + 5, FIRST + 11])
CODES = torch.tensor(random_codes()) + OFFSETS
ITEMS = {tuple(row) for row in CODES.tolist()}
EOS = 2
START = [4, 9]
TITLES = [[30, 31], [30, 31, 32, 33], [40], [41, 30, 30, 31]]


def trie() -> SIDTrie:
    return SIDTrie(CODES.numpy())


def generate(
    model: PreTrainedModel, processor: LogitsProcessor, prompts: list[list[int]], **options
) -> Tensor:
    """What is generated behind each prompt, (rows, T)."""
    ids, mask = pad_prompts(prompts, 0)
    output = model.generate(
        ids, attention_mask=mask.long(), logits_processor=[processor], **{"max_new_tokens": 3, **options}
    )
    return output[:, ids.shape[1] :]


def test_beams_equal_constrained_beam_search_call_after_call():
    """One processor, two calls, prompts of other lengths: there is no counter that could go wrong."""
    model, processor = small_model(), SIDLogitsProcessor(trie())
    for seed in (0, 1):
        prompts = random_prompts(seed, lengths=(3 + seed, 9, 5))
        expected = constrained_beam_search(model, trie(), prompts, num_beams=4)
        found = generate(
            model,
            processor,
            prompts,
            num_beams=4,
            num_return_sequences=4,
            do_sample=False,
            length_penalty=0.0,
        )
        assert found.view(3, 4, 3).tolist() == expected.codes.tolist()


@pytest.mark.parametrize(
    "options",
    [
        {"do_sample": False},
        {"do_sample": True, "temperature": 3.0, "top_k": 0},
        {"do_sample": True, "num_beams": 3, "top_k": 0},
    ],
    ids=["greedy", "sample", "beam sample"],
)
def test_every_way_of_generating_gives_items(options):
    model, processor = small_model(), SIDLogitsProcessor(trie())
    torch.manual_seed(0)
    for seed in range(10):
        found = generate(model, processor, random_prompts(seed), **options)
        assert {tuple(row) for row in found.tolist()} <= ITEMS


def test_a_history_of_sids_is_not_taken_for_the_answer():
    """Prompts of whole SIDs, as the compact template has them: behind each a new item begins."""
    history = [1, *CODES[5].tolist(), *CODES[9].tolist()]
    found = generate(small_model(), SIDLogitsProcessor(trie()), [history, [1, *CODES[3].tolist()]])
    assert {tuple(row) for row in found.tolist()} <= ITEMS


def test_greedy_decoding_follows_the_best_child():
    model, processor = small_model(), SIDLogitsProcessor(trie())
    prompt = random_prompts()[1]
    tokens: list[int] = []
    for _ in range(3):
        with torch.no_grad():
            logits = model(torch.tensor([prompt + tokens])).logits[0, -1]
        allowed = {row[len(tokens)] for row in ITEMS if row[: len(tokens)] == tuple(tokens)}
        tokens.append(max(allowed, key=lambda token: float(logits[token])))
    assert generate(model, processor, [prompt]).tolist() == [tokens]


@pytest.mark.parametrize("options", [{}, {"do_sample": True, "top_k": 0}, {"num_beams": 2}])
def test_titles_of_any_length_end_with_eos(options):
    """One title is the beginning of another, and tokens stand on several levels."""
    model, processor = small_model(), SIDLogitsProcessor(SIDTrie(TITLES), start=START, eos_token_id=EOS)
    torch.manual_seed(0)
    for seed in range(5):
        prompts = [prompt + START for prompt in random_prompts(seed)]
        for row in generate(model, processor, prompts, max_new_tokens=6, **options).tolist():
            assert EOS in row
            assert row[: row.index(EOS)] in TITLES


def test_the_item_begins_behind_the_last_start():
    """The start tokens stand in the prompt twice."""
    processor = SIDLogitsProcessor(SIDTrie(TITLES), start=START, eos_token_id=EOS)
    allowed = processor(torch.tensor([[*START, 30, 31, *START]]), torch.zeros(1, 60))
    assert torch.isfinite(allowed[0]).nonzero().flatten().tolist() == [30, 40, 41]
    within = processor(torch.tensor([[7, 7, *START, 30, 31]]), torch.zeros(1, 60))
    assert torch.isfinite(within[0]).nonzero().flatten().tolist() == [EOS, 32]


def test_a_prompt_that_is_cut_within_an_item_raises():
    unknown = next(
        (a, b)
        for a in range(FIRST, FIRST + 5)
        for b in range(FIRST + 5, FIRST + 11)
        if not any((a, b) == row[:2] for row in ITEMS)
    )
    with pytest.raises(ValueError, match="holds the beginning of no item"):
        SIDLogitsProcessor(trie())(torch.tensor([[3, *unknown]]), torch.zeros(1, 60))
    with pytest.raises(ValueError, match="holds the beginning of no item"):
        SIDLogitsProcessor(trie())(torch.tensor([[FIRST + 6]]), torch.zeros(1, 60))


def test_more_beams_than_items_give_items_still():
    small = SIDTrie(CODES[:2].numpy())
    found = generate(
        small_model(), SIDLogitsProcessor(small), random_prompts(), num_beams=5, num_return_sequences=5
    )
    assert {tuple(row) for row in found.tolist()} == {tuple(row) for row in CODES[:2].tolist()}


def test_a_prompt_without_the_start_raises():
    processor = SIDLogitsProcessor(SIDTrie(TITLES), start=START, eos_token_id=EOS)
    with pytest.raises(ValueError, match=r"does not hold the start tokens \[4, 9\]"):
        generate(small_model(), processor, [[5, 6, 7]])


@pytest.mark.parametrize("option", [{"top_k": 5}, {"top_p": 0.9}, {"min_p": 0.1}, {"typical_p": 0.5}])
def test_a_filter_that_comes_after_it_is_refused(option):
    """As an Instruct model's generation_config brings it along."""
    model = small_model()
    for name, value in {"top_k": 0, **option, "do_sample": True}.items():
        setattr(model.generation_config, name, value)
    with pytest.raises(ValueError, match="would come after the constraint and could undo it"):
        generate(model, SIDLogitsProcessor(trie()), random_prompts())
    found = generate(model, SIDLogitsProcessor(trie()), random_prompts(), do_sample=False)
    assert {tuple(row) for row in found.tolist()} <= ITEMS


def test_a_processor_of_ones_own_that_comes_after_it_is_refused():
    class Everything(LogitsProcessor):
        def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
            return torch.zeros_like(scores)

    model = small_model()
    ids, _ = pad_prompts(random_prompts(), 0)
    with pytest.raises(ValueError, match="Everything would come after the constraint"):
        model.generate(ids, logits_processor=[SIDLogitsProcessor(trie()), Everything()], max_new_tokens=3)
    found = model.generate(ids, logits_processor=[Everything(), SIDLogitsProcessor(trie())], max_new_tokens=3)
    assert {tuple(row) for row in found[:, -3:].tolist()} <= ITEMS


def test_tokens_that_do_not_tell_their_level_need_a_start():
    with pytest.raises(ValueError, match="stand on two levels of the trie, or items end on different levels"):
        SIDLogitsProcessor(SIDTrie(TITLES))
    with pytest.raises(ValueError, match="items end on different levels"):
        SIDLogitsProcessor(SIDTrie([[1, 2], [3]]))
    with pytest.raises(ValueError, match="start= needs at least one token, and eos_token_id="):
        SIDLogitsProcessor(SIDTrie(TITLES), start=START)
