"""Vectors of items' own in the history: read where an item ends, trained, kept, and zero for new items."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import toy
from models import random_codes, sid_token_ids, small_model
from safetensors.torch import load_file
from test_item_rows import FEW, config_of
from test_resume import trained
from torch import Tensor
from transformers import AutoModelForCausalLM

import sidrec
from sidrec.decoding import CausalLM, constrained_beam_search, exact_topk
from sidrec.depth_model import DepthModel
from sidrec.errors import ConfigError
from sidrec.item_embedding import ItemEmbedding
from sidrec.scoring import SIDScorer
from sidrec.shared_prefix import completion_scores
from sidrec.sid_model import SIDModel
from sidrec.trie import SIDTrie

BOS, WORD = 1, 7
CODES = random_codes()
HISTORIES = [[3, 8], [1], [23, 0, 17]]
ITEMS = {"head": "depth", "item_embedding": True}


def make() -> DepthModel:
    model = DepthModel.around(small_model(), sid_token_ids())
    model.add_item_embedding(len(CODES))
    model.item_embedding.take(torch.tensor(CODES))
    torch.nn.init.normal_(model.item_embedding.weight, std=0.5)
    return model.eval()


def tokens(item: int) -> list[int]:
    return [sid_token_ids()[level][code] for level, code in enumerate(CODES[item].tolist())]


def prompt(history: list[int]) -> list[int]:
    return [BOS, *(token for item in history for token in tokens(item))]


def state_by_hand(model: DepthModel, history: list[int], own: Tensor) -> Tensor:
    """(H,) the trunk's state after a history, an item being the sum of its rows and its own vector."""
    table = model.get_input_embeddings().weight
    vectors = [table[BOS], *(table[tokens(item)].sum(0) + own[item] for item in history)]
    trunk = model.trunk.language_model.base_model
    return trunk(inputs_embeds=torch.stack(vectors).unsqueeze(0)).last_hidden_state[0, -1]


def test_an_item_is_read_as_its_codes_and_its_own_vector() -> None:
    model = make()
    rows = [prompt(history) for history in HISTORIES]
    width = max(map(len, rows))
    padded = torch.tensor([[0] * (width - len(row)) + row for row in rows])
    states = model.trunk(padded, padded != 0).last_hidden_state[:, -1]
    expected = [state_by_hand(model, history, model.item_embedding.weight) for history in HISTORIES]
    torch.testing.assert_close(states, torch.stack(expected), atol=1e-5, rtol=1e-5)
    others = model.item_embedding.weight.roll(1, 0)  # not just any vectors
    wrong = [state_by_hand(model, history, others) for history in HISTORIES]
    assert float((states - torch.stack(wrong)).abs().max().detach()) > 0.1


def test_text_and_begun_items_have_none() -> None:
    model = make()
    ids = torch.tensor([[*prompt([3]), WORD, *tokens(8)[:2]]])
    states = model.trunk(ids).last_hidden_state[0]
    table = model.get_input_embeddings().weight
    read = [table[BOS], table[tokens(3)].sum(0) + model.item_embedding.weight[3], table[WORD]]
    found = model.trunk.language_model.base_model(inputs_embeds=torch.stack(read).unsqueeze(0))
    after = found.last_hidden_state[0, -1]
    torch.testing.assert_close(states[-3], after, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(states[-1], after + table[tokens(8)[:2]].sum(0), atol=1e-5, rtol=1e-5)


def test_vectors_of_zero_change_nothing() -> None:
    plain, zeros = (DepthModel.around(small_model(), sid_token_ids()).eval() for _ in range(2))
    zeros.load_state_dict(plain.state_dict())
    zeros.add_item_embedding(len(CODES))
    zeros.item_embedding.take(torch.tensor(CODES))
    ids = torch.tensor([prompt([3, 8])])
    assert torch.equal(plain.trunk(ids).last_hidden_state, zeros.trunk(ids).last_hidden_state)


def test_searches_and_rollouts_equal_a_slow_reference() -> None:
    model = make()
    scorer = SIDScorer(model, sid_token_ids(), SIDTrie(CODES), "catalog")
    plain = DepthModel.around(small_model(), sid_token_ids()).eval()
    plain.load_state_dict(model.state_dict(), strict=False)
    by_codes = SIDScorer(plain, sid_token_ids(), SIDTrie(CODES), "catalog")
    codes, paths = torch.tensor(CODES), scorer.trie.walk(torch.tensor(CODES))
    rows, scores = [prompt(history) for history in HISTORIES], []
    for history in HISTORIES:
        z = state_by_hand(model, history, model.item_embedding.weight).expand(len(CODES), -1)
        total = torch.zeros(len(CODES))
        for level in range(codes.shape[1]):
            total = total + by_codes.log_probs(z, paths[:, level], codes[:, level], level)
            z = by_codes.add_codes(z, paths[:, level + 1])
        scores.append(total)
    scores = torch.stack(scores)  # (3, N)
    best = scores.topk(6).indices
    for search in (constrained_beam_search, exact_topk):
        found = search(CausalLM(scorer), scorer.trie, rows, num_beams=len(CODES))
        assert torch.equal(found.items[:, :6], best)
    width = max(map(len, rows))
    padded = torch.tensor([[0] * (width - len(row)) + row for row in rows])
    drawn = completion_scores(scorer, padded, (padded != 0).long(), codes[best]).log_probs.sum(-1)
    torch.testing.assert_close(drawn, scores.gather(1, best), atol=1e-4, rtol=1e-4)


def test_a_saved_model_has_them() -> None:
    model = make()
    ids = torch.tensor([prompt([3, 8])])
    assert model.config.num_items == len(CODES)
    again = DepthModel(model.config).eval()
    again.load_state_dict(model.state_dict())
    assert torch.equal(model.trunk(ids).last_hidden_state, again.trunk(ids).last_hidden_state)


def test_transformers_reads_a_saved_model(tmp_path: Path) -> None:
    model = make()
    model.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    ids = torch.tensor([prompt([3, 8])])
    assert torch.equal(loaded.item_embedding.codes, torch.tensor(CODES))
    assert torch.equal(model.trunk(ids).last_hidden_state, loaded.trunk(ids).last_hidden_state)


def test_items_that_share_codes_have_the_vector_of_the_first_and_no_item_has_none() -> None:
    own = ItemEmbedding(3, 2, 4)
    own.take(torch.tensor([[0, 1], [2, 0], [0, 1]]))
    torch.nn.init.normal_(own.weight)
    found = own.of_codes(torch.tensor([[0, 1], [2, 0], [2, 1], [5, 5]]))
    assert torch.equal(found, torch.stack([own.weight[0], own.weight[1], *torch.zeros(2, 4)]))
    own.take(torch.tensor([[0, 1], [2, 0], [0, 1], [2, 1]]))
    assert own.weight.shape == (4, 4)
    assert torch.equal(own.of_codes(torch.tensor([[2, 1]])), torch.zeros(1, 4))
    assert torch.equal(own.of_codes(torch.tensor([[2, 0]]))[0], own.weight[1])


@pytest.fixture(scope="module")
def run(tokenized: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = config_of(
        tokenized,
        tmp_path_factory.mktemp("own"),
        model=ITEMS,
        sft={**FEW, "epochs": 8, "item_loss": 0.5, "weight_average": 0.9},
        rl={"steps": 2, "evaluations": 1, "keep": "rl", "dropout": 0.1, "learning_rate": 1e-2},
    )
    sidrec.sft(config)
    sidrec.rl(config)
    return config.output


def test_they_are_trained_by_sft_and_by_rl(run: Path) -> None:
    own = [
        load_file(run / stage / "model.safetensors")["trunk.item_embedding.weight"] for stage in ("sft", "rl")
    ]
    assert own[0].shape[0] == toy.NUM_ITEMS
    assert own[0].abs().min(dim=1).values.max() > 0
    assert float((own[0] - own[1]).abs().max()) > 1e-4
    assert not (run / "sft" / "item_rows.safetensors").exists()


def test_the_loss_of_whole_items_reads_the_same_vectors(run: Path) -> None:
    model = SIDModel.load(run / "sft")
    lists = [model.reranking(weight).rank([[2]], num_beams=10).items for weight in (0.0, 5.0)]
    assert not torch.equal(*lists)
    with torch.no_grad():
        model.model.item_embedding.weight[lists[1][0, -1]] *= -50
    changed = model.reranking(5.0).rank([[2]], num_beams=10).items
    assert not torch.equal(changed, lists[1])


def test_an_item_that_was_added_is_read_by_its_codes_alone(run: Path, tmp_path: Path) -> None:
    output = shutil.copytree(run, tmp_path / "run")
    sidrec.add_items(output, toy.items().iloc[[4]].assign(item_id="new"))
    model = SIDModel.load(output / "rl")
    assert model.model.item_embedding.codes.tolist() == model.semantic_ids.codes.tolist()
    assert bool((model.model.item_embedding.weight[-1] == 0).all())
    recommender = sidrec.Recommender.from_pretrained(output, rerank=0.5)
    assert len(recommender.recommend(["new", "i02"], k=5)) == 5
    before = sidrec.Recommender.from_pretrained(run, rerank=0.5)
    found, others = (
        {each.item_id for each in recommender.recommend(["i02"], k=count)}
        for recommender, count in ((recommender, toy.NUM_ITEMS + 1), (before, toy.NUM_ITEMS))
    )
    assert found == others | {"new"}


def test_a_stopped_training_goes_on_to_the_same_vectors(tokenized: Path, tmp_path: Path) -> None:
    settings = {"model": ITEMS, "sft": {**FEW, "weight_average": 0.9}}
    whole, stopped = (config_of(tokenized, tmp_path / name, **settings) for name in ("a", "b"))
    assert trained(stopped, is_stopped=True) == trained(whole, is_stopped=False)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"model": {"item_embedding": True}}, r"model\.head=lm reads an item code by code"),
        (
            {"model": ITEMS, "sft": {"item_loss": 0.5, "item_embedding": True}},
            r"sft\.item_embedding=true would add others to the same output rows",
        ),
        (
            {"model": {**ITEMS, "path": "there"}, "sft": {"trainable": "lora"}},
            r"sft\.trainable=lora leaves them at zero, and model\.item_embedding=true gives items",
        ),
    ],
)
def test_what_would_change_nothing_is_refused(
    settings: dict[str, Any], said: str, tokenized: Path, tmp_path: Path
) -> None:
    config = config_of(tokenized, tmp_path, **settings)
    with pytest.raises(ConfigError, match=said):
        sidrec.sft(config)
