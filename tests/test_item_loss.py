"""The auxiliary loss on whole items: against a slow reference, where it acts, and what it leaves alone."""

from pathlib import Path

import numpy as np
import pytest
import torch
import toy
from conftest import Ended
from models import random_codes, sid_token_ids, small_model
from test_sft_losses import item_row, title_row

import sidrec
from sidrec.config import load_config
from sidrec.item_rows import item_rows
from sidrec.metrics import PADDING
from sidrec.scoring import SIDScorer
from sidrec.tasks.rows import Row
from sidrec.trainers.flat_rows import FlatRows
from sidrec.trainers.item_loss import item_losses
from sidrec.trainers.sft import sft_losses
from sidrec.trie import SIDTrie

CODES = random_codes(num_items=12)  # 3 levels of 5, 6 and 4 codes


def scorer_of(normalization: str = "catalog") -> SIDScorer:
    return SIDScorer(small_model(), sid_token_ids(), SIDTrie(CODES), normalization)


def auxiliary(scorer: SIDScorer, rows: list[Row], weight: float) -> torch.Tensor:
    codes, batch = torch.tensor(CODES), FlatRows.of(rows).padded(0)
    return sft_losses(scorer, batch, codes, scorer.trie.walk(codes), item_weight=weight)[2]


def test_an_item_row_is_the_sum_of_the_rows_of_its_codes_however_many_it_has() -> None:
    scorer = scorer_of()
    codes = CODES.copy()
    codes[3, 2] = PADDING
    codes[5, 1:] = PADDING
    weight = scorer.model.get_output_embeddings().weight
    for item, found in enumerate(item_rows(scorer, torch.tensor(codes))):
        tokens = [sid_token_ids()[level][code] for level, code in enumerate(codes[item]) if code >= 0]
        torch.testing.assert_close(found, weight[tokens].sum(0))


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_it_is_the_cross_entropy_over_all_items(smoothing: float) -> None:
    scorer = scorer_of()
    states, items = torch.randn(4, scorer.rows.layer.weight.shape[1]), torch.tensor([2, 7, 7, 0])
    found = item_losses(scorer, states, items, torch.tensor(CODES), smoothing=smoothing)
    rows = item_rows(scorer, torch.tensor(CODES)).detach().double().numpy()
    for state, item, loss in zip(states.double().numpy(), items.tolist(), found.tolist(), strict=True):
        logits = rows @ state
        log_probs = logits - np.log(np.exp(logits - logits.max()).sum()) - logits.max()
        target = np.full(len(CODES), smoothing / len(CODES))
        target[item] += 1 - smoothing
        assert loss == pytest.approx(-(target * log_probs).sum(), abs=1e-4)


@pytest.mark.parametrize("normalization", ["catalog", "vocabulary"])
def test_it_is_taken_where_a_semantic_id_begins_and_nowhere_else(normalization: str) -> None:
    scorer = scorer_of(normalization)
    rows = [item_row(3, 7), title_row(5, 6, 2), item_row(1)]
    expected = 0.0
    for row in rows[::2]:
        hidden = scorer.hidden(input_ids=torch.tensor([row.input_ids]))[0]
        places = [place for place, kind in enumerate(row.kinds) if kind == 0]
        items = torch.tensor([row.items[place] for place in places])
        states = hidden[[place - 1 for place in places]]
        expected += float(item_losses(scorer, states, items, torch.tensor(CODES)).sum())
    assert float(auxiliary(scorer, rows, 0.5)) == pytest.approx(expected / 2, rel=1e-5)
    assert float(auxiliary(scorer, rows, 0.0)) == 0
    assert float(auxiliary(scorer, [rows[1]], 0.5)) == 0


def test_it_pulls_at_the_codes_of_all_levels_from_the_first_state() -> None:
    scorer = scorer_of()
    row = item_row(4)
    first = Row(row.input_ids, [kind if kind == 0 else -100 for kind in row.kinds], row.items)
    auxiliary(scorer, [first], 1.0).backward()
    moved = scorer.model.get_output_embeddings().weight.grad.abs().sum(1)
    assert all(moved[ids].min() > 0 for ids in map(torch.tensor, sid_token_ids()[:1]))
    assert all(moved[sid_token_ids()[level][CODES[4, level]]] > 0 for level in range(3))


def test_sft_learns_otherwise_with_it_and_says_its_token_losses_alone(tmp_path: Path) -> None:
    histories = []
    for name, weight in (("without", 0.0), ("with", 1.0)):
        settings = {"item_loss": weight, "epochs": 1, "evaluations": 1, "learning_rate": 1e-9}
        config = load_config(toy.write(tmp_path / name, sft=settings))
        sidrec.tokenize(config)
        sidrec.sft(config)
        histories.append(toy.history((config.output / "sft" / "history.csv").read_bytes())[0])
    without, with_ = histories
    assert float(with_["loss/next_item"]) == pytest.approx(float(without["loss/next_item"]), rel=1e-4)
    assert float(with_["loss"]) > float(without["loss"]) + 0.5
    assert float(with_["grad_norm"]) != pytest.approx(float(without["grad_norm"]), rel=0.05)


def test_a_negative_weight_is_refused(tmp_path: Path, command) -> None:
    ended: Ended = command("sft", toy.write(tmp_path), "sft.item_loss=-1")
    assert ended.status == 2
    assert "sft.item_loss" in ended.err
