"""The last token of an item, read as the sum of the item's codes: by hand, and the same in every pass."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import toy
from models import KINDS, random_codes, sid_token_ids, small_model, small_scorer
from test_rl import HISTORIES as RL_HISTORIES
from test_rl import TARGETS, groups_of, make_trainer, prompts
from torch import Tensor, nn

import sidrec
from sidrec.config import load_config
from sidrec.decoding import CausalLM, constrained_beam_search, pad_prompts
from sidrec.item_sum import sum_items
from sidrec.shared_prefix import completion_scores
from sidrec.sid_model import SIDModel

BOS = 1
HISTORIES = [[3, 8], [1], [23, 0, 17]]


def make(kind: str = "qwen3"):
    scorer, codes = small_scorer(kind, "catalog")
    sum_items(scorer.model, sid_token_ids())
    return scorer, codes


def prompt(history: list[int], codes: np.ndarray) -> list[int]:
    return [BOS] + [
        sid_token_ids()[level][code] for item in history for level, code in enumerate(codes[item].tolist())
    ]


def by_hand(model: nn.Module, ids: list[int]) -> Tensor:
    """(1, T, H) vectors of a prompt whose items stand in threes after its first token."""
    table = model.get_input_embeddings().weight
    vectors = [table[token] for token in ids]
    for end in range(3, len(ids), 3):
        vectors[end] = table[ids[end - 2]] + table[ids[end - 1]] + table[ids[end]]
    return torch.stack(vectors).unsqueeze(0)


@pytest.mark.parametrize("kind", [*KINDS, "gpt2"])
def test_the_last_token_is_the_sum_and_all_others_are_themselves(kind):
    codes = random_codes()
    ids = prompt([3, 8, 0], codes)
    expected = small_model(kind)(inputs_embeds=by_hand(small_model(kind), ids)).logits
    model = small_model(kind)
    sum_items(model, sid_token_ids())
    torch.testing.assert_close(model(torch.tensor([ids])).logits, expected)


def test_without_the_handle_the_model_is_as_before():
    model, ids = small_model(), torch.tensor([prompt([3, 8], random_codes())])
    before = model(ids).logits
    handle = sum_items(model, sid_token_ids())
    assert not torch.allclose(model(ids).logits, before, atol=1e-2)
    handle.remove()
    assert torch.equal(model(ids).logits, before)


def test_an_item_of_one_code_is_its_code():
    model = small_model()
    ids = torch.tensor([[BOS, 25, 30, 21]])
    before = model(ids).logits
    sum_items(model, [list(range(20, 35))])
    assert torch.equal(model(ids).logits, before)


def test_gradients_reach_all_codes_of_an_item():
    model = small_model()
    sum_items(model, sid_token_ids())
    ids = prompt([3], random_codes())
    weight = model.get_input_embeddings().weight
    output = model.get_input_embeddings()(torch.tensor([ids]))
    (gradient,) = torch.autograd.grad(output[0, -1].sum(), weight)
    assert gradient.abs().sum(1).nonzero().squeeze(1).tolist() == sorted(ids[1:])


@pytest.mark.parametrize("kind", KINDS)
def test_a_search_finds_what_scoring_every_item_finds(kind):
    scorer, codes = make(kind)
    prompts = [prompt(history, codes) for history in HISTORIES]
    found = constrained_beam_search(CausalLM(scorer), scorer.trie, prompts, num_beams=len(codes))
    for row, ids in enumerate(prompts):
        scores = []
        for item in range(len(codes)):
            states = scorer.trie.walk(torch.tensor(codes[item]))
            hidden = scorer.hidden(input_ids=torch.tensor([ids + prompt([item], codes)[1:]]))[0]
            scores.append(
                sum(
                    scorer.log_probs(
                        hidden[len(ids) - 1 + level], states[level], torch.tensor(codes[item, level]), level
                    )
                    for level in range(3)
                )
            )
        expected = torch.stack(scores).sort(descending=True)
        assert found.items[row].tolist() == expected.indices.tolist()
        torch.testing.assert_close(found.scores[row], expected.values, atol=1e-4, rtol=1e-4)


def test_a_prompt_padded_beside_others_is_read_as_alone():
    scorer, codes = make()
    prompts = [prompt(history, codes) for history in HISTORIES]
    together = constrained_beam_search(CausalLM(scorer), scorer.trie, prompts, num_beams=5)
    for row, ids in enumerate(prompts):
        alone = constrained_beam_search(CausalLM(scorer), scorer.trie, [ids], num_beams=5)
        assert alone.items[0].tolist() == together.items[row].tolist()
        torch.testing.assert_close(alone.scores[0], together.scores[row], atol=1e-5, rtol=1e-5)


def test_completions_are_scored_as_the_search_scores_them():
    scorer, codes = make()
    prompts = [prompt(history, codes) for history in HISTORIES]
    found = constrained_beam_search(CausalLM(scorer), scorer.trie, prompts, num_beams=6)
    ids, mask = pad_prompts(prompts, pad_id=0)
    scored = completion_scores(scorer, ids, mask, torch.tensor(codes)[found.items])
    torch.testing.assert_close(scored.log_probs.sum(-1), found.scores, atol=1e-5, rtol=1e-5)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A toy run whose model was trained with sums."""
    path = toy.write(tmp_path_factory.mktemp("sums"), prompt={"last_token": "sum"})
    config = load_config(path)
    sidrec.tokenize(config)
    sidrec.sft(config)
    return config.output


def test_a_model_that_was_trained_with_sums_is_read_with_them(run, tmp_path):
    other = shutil.copytree(run / "sft", tmp_path / "other", ignore=shutil.ignore_patterns("manifest.json"))
    settings = other / "prompts.json"
    settings.write_text(settings.read_text().replace('"sum"', '"code"'))
    with_sums, without = (SIDModel.load(path).rank(HISTORIES, num_beams=5) for path in (run / "sft", other))
    assert not torch.allclose(with_sums.scores, without.scores, atol=1e-3)


def test_rl_compares_with_a_reference_that_reads_sums_too(run, tmp_path):
    config = load_config(run / "sft" / "config.yaml")
    trainer = make_trainer(run, config, prompts(RL_HISTORIES, TARGETS), tmp_path)
    made = trainer._generate_and_score_completions(groups_of(trainer)[:16])
    assert len(made["codes"])
    policy = completion_scores(
        trainer._sid_model.scorer, made["prompt_ids"], made["prompt_mask"], made["codes"]
    )
    torch.testing.assert_close(made["ref_per_token_logps"], policy.log_probs, atol=1e-5, rtol=1e-5)
