"""Items told at once: rows of their own, which are trained and kept, and lists put in order by them."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import toy
from conftest import Ended
from models import random_codes, sid_token_ids, small_model
from safetensors.torch import load_file
from test_resume import trained

import sidrec
from sidrec.config import Config, load_config
from sidrec.decoding import CausalLM, constrained_beam_search
from sidrec.depth_model import DepthModel
from sidrec.errors import ConfigError
from sidrec.item_rows import item_logits, item_rows, reranked
from sidrec.metrics import PADDING, metrics_at_k, target_ranks
from sidrec.scoring import SIDScorer
from sidrec.sid_model import SIDModel
from sidrec.stages.run import load_run
from sidrec.trie import SIDTrie

CODES = random_codes()
PROMPTS = [[1, 5, 9], [1, 7], [1, 3, 3, 4, 12]]
ITEMS = {"item_loss": 0.5, "item_embedding": True, "weight_average": 0.9}
FEW = {"epochs": 2, "evaluations": 2, "dropout": 0.1}


def config_of(tokenized: Path, folder: Path, **changes: Any) -> Config:
    path = toy.write(folder, **changes)
    shutil.copytree(tokenized, folder / "run")
    return load_config(path)


@pytest.fixture(scope="module", params=["lm", "depth"])
def run(request: pytest.FixtureRequest, tokenized: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = config_of(
        tokenized,
        tmp_path_factory.mktemp("rows"),
        model={"head": request.param},
        sft={**FEW, "epochs": 8, **ITEMS},
        rl={"steps": 2, "evaluations": 1, "keep": "rl"},
    )
    sidrec.sft(config)
    sidrec.rl(config)
    return config.output


def test_an_item_s_own_row_is_added_to_those_of_its_codes() -> None:
    scorer = SIDScorer(small_model(), sid_token_ids(), SIDTrie(CODES), "catalog")
    codes, own, states = torch.tensor(CODES), torch.randn(len(CODES), 32), torch.randn(4, 32)
    plain = item_rows(scorer, codes)
    torch.testing.assert_close(item_rows(scorer, codes, own), plain + own)
    torch.testing.assert_close(item_logits(scorer, states, codes, own), states @ (plain + own).T)


@pytest.mark.parametrize("weight", [0.0, 0.5, 3.0])
@pytest.mark.parametrize("head", ["lm", "depth"])
def test_a_list_stands_in_the_order_of_both_probabilities(head: str, weight: float) -> None:
    model = small_model() if head == "lm" else DepthModel.around(small_model(), sid_token_ids()).eval()
    scorer = SIDScorer(model, sid_token_ids(), SIDTrie(CODES), "catalog")
    rows = item_rows(scorer, torch.tensor(CODES), torch.randn(len(CODES), 32)).detach()
    reader = CausalLM(scorer)
    plain = constrained_beam_search(reader, scorer.trie, PROMPTS, num_beams=7)
    found = constrained_beam_search(
        reader,
        scorer.trie,
        PROMPTS,
        num_beams=7,
        rescore=lambda beams, each: reranked(rows, beams.prompt_states, each, weight),
    )
    for row, prompt in enumerate(PROMPTS):
        state = scorer.hidden(input_ids=torch.tensor([prompt]))[0, -1]
        log_probs = (rows @ state).log_softmax(0)
        scores = {
            item: score + weight * float(log_probs[item])
            for item, score in zip(plain.items[row].tolist(), plain.scores[row].tolist(), strict=True)
        }
        expected = sorted(scores, key=lambda item: -scores[item])
        assert found.items[row].tolist() == expected
        assert found.codes[row].tolist() == CODES[expected].tolist()
        assert found.scores[row].tolist() == pytest.approx([scores[item] for item in expected], abs=1e-4)


def test_the_end_of_a_list_that_has_fewer_items_stays_its_end() -> None:
    scorer = SIDScorer(small_model(), sid_token_ids(), SIDTrie(CODES), "catalog")
    rows = item_rows(scorer, torch.tensor(CODES)).detach()
    found = constrained_beam_search(
        CausalLM(scorer),
        scorer.trie,
        PROMPTS[:1],
        num_beams=len(CODES),
        excluded=[[0, 5, 7]],
        rescore=lambda beams, each: reranked(rows, beams.prompt_states, each, 2.0),
    )
    assert found.items[0, -3:].tolist() == [PADDING] * 3
    assert found.scores[0, -3:].tolist() == [-torch.inf] * 3
    assert PADDING not in found.items[0, :-3]


def test_own_rows_are_trained_kept_and_handed_on(run: Path) -> None:
    for stage in ("sft", "rl"):
        own = load_file(run / stage / "item_rows.safetensors")["item_rows"]
        assert own.shape[0] == toy.NUM_ITEMS
        assert own.abs().min(dim=1).values.max() > 0
        assert not any("item_rows" in name for name in load_file(run / stage / "model.safetensors"))
    metrics = json.loads((run / "sft" / "metrics.json").read_text())
    model = SIDModel.load(run / "sft")
    assert metrics["parameters"] == model.model.num_parameters() + own.numel()


def test_the_command_line_orders_lists_too(run: Path, command: Callable[..., Ended]) -> None:
    orders = [
        command("recommend", run / "sft", "--history", "i02", "--rerank", weight, "--json").out
        for weight in (0, 5)
    ]
    plain, ordered = ([each["item_id"] for each in json.loads(order)] for order in orders)
    assert plain != ordered
    assert command("recommend", run / "sft", "--history", "i02", "--rerank", -1).status == 2


def test_reranking_acts_in_evaluation_and_in_recommend(run: Path, tmp_path: Path) -> None:
    output = shutil.copytree(run, tmp_path / "run")
    plain, ordered = (
        sidrec.Recommender.from_pretrained(output / "sft", rerank=weight).recommend(["i02"], k=10)
        for weight in (0.0, 5.0)
    )
    assert [each.item_id for each in plain] != [each.item_id for each in ordered]
    config = load_config(output / "sft" / "config.yaml", [f"output={output}", "evaluation.rerank=5"])
    sidrec.evaluate(config)
    found = SIDModel.load(output / "sft").reranking(5.0)
    ranked = found.rank(load_run(config).split.test.histories[:1], num_beams=10)
    metrics = json.loads((output / "evaluate" / "sft" / "metrics.json").read_text())
    assert found.own_rows is not None
    assert metrics["parameters"] == found.model.num_parameters() + found.own_rows.numel()
    assert found.reranking(0).num_parameters == found.model.num_parameters()
    table = pd.read_parquet(output / "evaluate" / "sft" / "predictions.parquet")
    names = [found.semantic_ids.item_ids[item] for item in ranked.items[0].tolist()]
    assert table[table["user_id"] == table["user_id"][0]]["item_id"].tolist() == names


def test_rl_is_judged_by_lists_in_the_order_that_will_be_shown(run: Path, tmp_path: Path) -> None:
    output = shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("rl"))
    judged = {}
    for weight in (0, 5):
        config = load_config(
            output / "sft" / "config.yaml", [f"output={output}", f"evaluation.rerank={weight}", "rl.steps=1"]
        )
        sidrec.rl(config)
        judged[weight] = json.loads((output / "rl" / "metrics.json").read_text())["ndcg@10"]["sft"]
        rows = load_run(config).split.valid
        ranked = SIDModel.load(output / "sft").reranking(weight).rank(rows.histories, num_beams=20)
        ranks = target_ranks(ranked.items.numpy(), rows.targets)
        assert judged[weight] == pytest.approx(float(metrics_at_k(ranks, ks=(10,))["ndcg@10"].mean()))
    assert judged[0] != judged[5]


def test_an_item_that_was_added_has_no_row_of_its_own(run: Path, tmp_path: Path) -> None:
    output = shutil.copytree(run, tmp_path / "run")
    sidrec.add_items(output, toy.items().iloc[[4]].assign(item_id="new"))
    model = SIDModel.load(output / "sft")
    assert model.own_rows is not None
    assert model.own_rows.shape[0] == toy.NUM_ITEMS + 1
    assert bool((model.own_rows[-1] == 0).all())
    assert "new" in [
        each.item_id
        for each in sidrec.Recommender.from_pretrained(output, rerank=0.5).recommend(["i02"], k=25)
    ]


def test_a_stopped_training_goes_on_to_the_same_rows(tokenized: Path, tmp_path: Path) -> None:
    whole, stopped = (config_of(tokenized, tmp_path / name, sft={**FEW, **ITEMS}) for name in ("a", "b"))
    assert trained(stopped, is_stopped=True) == trained(whole, is_stopped=False)


def test_a_model_that_tells_no_items_is_not_reranked(toy_run: Path) -> None:
    with pytest.raises(ConfigError, match=r"trained without sft\.item_loss.*Set rerank to 0"):
        sidrec.Recommender.from_pretrained(toy_run / "sft", rerank=0.5)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("sft.item_embedding=true", "item_embedding is a part of item_loss"),
        ("evaluation.rerank=-1", "evaluation.rerank"),
        ("evaluation={rerank: 1, ranking: exact}", "rerank orders what a beam search found"),
    ],
)
def test_what_would_change_nothing_is_refused(
    settings: str, said: str, tmp_path: Path, command: Callable[..., Ended]
) -> None:
    ended = command("sft", toy.write(tmp_path), settings)
    assert ended.status == 2
    assert said in ended.err
