"""Losses of single tokens: smoothing by hand, tasks, and nothing computed where nothing is supervised."""

import numpy as np
import pytest
import torch
from models import random_codes, sid_token_ids, small_model
from torch import Tensor

from sidrec.scoring import SIDScorer
from sidrec.tasks.rows import IGNORED, NO_ITEM, TEXT, Row
from sidrec.trainers.flat_rows import FlatRows
from sidrec.trainers.sft import sft_losses
from sidrec.trie import SIDTrie

CODES = random_codes(num_items=12)  # 3 levels of 5, 6 and 4 codes
NORMALIZATIONS = ["vocabulary", "level", "catalog"]


def item_row(*items: int, task: int = 0) -> Row:
    """A history with a loss at every code."""
    tokens = [sid_token_ids()[level][CODES[item, level]] for item in items for level in range(3)]
    kinds = [IGNORED, *[0, 1, 2] * len(items)]
    return Row([1, *tokens], kinds, [NO_ITEM, *(item for item in items for _ in range(3))], task)


def title_row(*words: int, task: int = 0) -> Row:
    """A token of prompt and a title."""
    return Row([1, *words], [IGNORED] + [TEXT] * len(words), [NO_ITEM] * (len(words) + 1), task)


def losses_of(scorer: SIDScorer, rows: list[Row], smoothing: float = 0.0) -> tuple[Tensor, Tensor]:
    codes = torch.tensor(CODES)
    batch = FlatRows.of(rows).padded(0)
    return sft_losses(scorer, batch, codes, scorer.trie.walk(codes), smoothing=smoothing)[:2]


def scorer_of(normalization: str, **overrides: object) -> SIDScorer:
    return SIDScorer(small_model(**overrides), sid_token_ids(), SIDTrie(CODES), normalization)


def allowed_tokens(normalization: str, row: Row, place: int, vocabulary: int) -> list[int]:
    """What a token is normalized over, found by going through the whole catalogue."""
    level = row.kinds[place]
    if level == TEXT or normalization == "vocabulary":
        return list(range(vocabulary))
    codes = range(len(sid_token_ids()[level]))
    if normalization == "catalog":
        prefix = CODES[row.items[place], :level]
        codes = {int(item[level]) for item in CODES if (item[:level] == prefix).all()}
    return [sid_token_ids()[level][code] for code in sorted(codes)]


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_a_smoothed_loss_is_the_cross_entropy_to_the_mixed_distribution(normalization, smoothing):
    scorer = scorer_of(normalization)
    rows = [item_row(3, 7, 0), title_row(5, 6, 2)]
    expected = []
    for row in rows:
        with torch.no_grad():
            logits = scorer.model(torch.tensor([row.input_ids])).logits[0].double()
        for place in range(1, len(row.input_ids)):
            allowed = allowed_tokens(normalization, row, place, logits.shape[1])
            target = np.array([token == row.input_ids[place] for token in allowed], dtype=float)
            mixed = (1 - smoothing) * target + smoothing / len(allowed)
            log_probs = logits[place - 1, allowed].log_softmax(0).numpy()
            expected.append(-(mixed * log_probs).sum())
    found, _ = losses_of(scorer, rows, smoothing)
    np.testing.assert_allclose(sorted(found.tolist()), sorted(expected), atol=2e-5)


@pytest.mark.parametrize("normalization", ["level", "catalog"])
def test_smoothing_gives_forbidden_codes_nothing_to_pull_at(normalization):
    """The gradient of a loss over a prefix with one child is zero, however much is smoothed."""
    scorer = scorer_of(normalization)
    only = [item for item in range(len(CODES)) if (CODES[:, 0] == CODES[item, 0]).sum() == 1]
    row = item_row(only[0])
    second = Row(row.input_ids, [IGNORED, IGNORED, 1, IGNORED], row.items)
    losses, _ = losses_of(scorer, [second], smoothing=0.3)
    losses.sum().backward()
    moved = max(float(parameter.grad.abs().max()) for parameter in scorer.model.parameters())
    if normalization == "catalog":
        assert losses.item() == 0
        assert moved == 0
    else:  # the other codes of the level compete, and get their share
        assert losses.item() > 0
        assert moved > 0


def test_without_smoothing_the_losses_are_those_of_the_scorer():
    scorer = scorer_of("catalog")
    row = item_row(4)
    found, _ = losses_of(scorer, [row])
    hidden = scorer.hidden(input_ids=torch.tensor([row.input_ids]))[0]
    paths, codes = scorer.trie.walk(torch.tensor(CODES))[4], torch.tensor(CODES)[4]
    expected = [-scorer.log_probs(hidden[n], paths[n], codes[n], n).item() for n in range(3)]
    assert found.tolist() == pytest.approx(expected, abs=1e-6)


def test_every_loss_knows_the_task_of_its_row():
    scorer = scorer_of("catalog")
    rows = [title_row(5, 6, task=2), item_row(1, task=1), title_row(9, task=0)]
    losses, tasks = losses_of(scorer, rows)
    assert torch.bincount(tasks).tolist() == [1, 3, 2]
    for place, task in enumerate([2, 1, 0]):
        alone, _ = losses_of(scorer, rows[place : place + 1])
        assert sorted(losses[tasks == task].tolist()) == pytest.approx(sorted(alone.tolist()), abs=1e-5)


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_a_batch_with_nothing_supervised_costs_nothing_and_reaches_all_weights(normalization):
    """A process without a share of a batch still takes part in the sum of gradients."""
    scorer = scorer_of(normalization)
    losses, tasks = losses_of(scorer, [Row([0], [IGNORED], [NO_ITEM])])
    assert (losses.shape, tasks.shape) == ((0,), (0,))
    losses.sum().backward()
    for name, parameter in scorer.model.named_parameters():
        assert parameter.grad is not None, name
        assert not parameter.grad.any(), name


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_the_output_layer_is_computed_at_supervised_positions_only(normalization, monkeypatch):
    scorer = scorer_of(normalization)
    seen = []
    monkeypatch.setattr(
        scorer.head, "forward", lambda hidden: seen.append(hidden.shape[0]) or hidden @ scorer.head.weight.T
    )
    losses_of(scorer, [title_row(5, 6, 7, 8), item_row(2), Row([1, 5, 6], [IGNORED] * 3, [NO_ITEM] * 3)])
    assert seen == [7 if normalization == "vocabulary" else 4]  # 4 words and, as words too, 3 codes


def test_logits_of_titles_are_capped_as_the_model_caps_them():
    """Gemma 2 caps its logits softly."""
    scorer = scorer_of("catalog", kind="gemma2", head_dim=8, final_logit_softcapping=2.0)
    row = title_row(5, 6)
    with torch.no_grad():
        log_probs = scorer.model(torch.tensor([row.input_ids])).logits[0].log_softmax(-1)
    expected = [-log_probs[0, 5].item(), -log_probs[1, 6].item()]
    assert losses_of(scorer, [row])[0].tolist() == pytest.approx(expected, abs=1e-5)


def test_code_losses_of_a_vocabulary_are_refused():
    scorer = scorer_of("vocabulary")
    with pytest.raises(ValueError, match="a code is a token: use token_losses"):
        scorer.code_losses(torch.zeros(1, 32), torch.zeros(1, dtype=int), torch.zeros(1, dtype=int), 0)
