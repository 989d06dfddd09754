"""How rollouts are drawn by each `rl.sampling`: which, in which order, with which weights."""

from typing import Any

import pytest
import torch
from models import random_codes, random_prompts, small_scorer

from sidrec.decoding import CausalLM, constrained_beam_search
from sidrec.rewards import Rollouts
from sidrec.sid_model import SIDModel
from sidrec.trainers.rl.drawing import Drawing, drawing_metrics, oversampled
from sidrec.trainers.rl.drawn import Drawn, is_repeated, most_distinct, with_target

RANDOM = ["sample", "dynamic", "sample_without_replacement", "mixed"]
SAMPLING = ["beam", *RANDOM]
NUM_ROWS = 12


@pytest.fixture(scope="module")
def model() -> SIDModel:
    return make_model()


def make_model(codes: Any = None, normalization: str = "catalog") -> SIDModel:
    """A small random model; what only prompts of words need is left out."""
    scorer, _ = small_scorer(normalization=normalization, codes=codes, initializer_range=0.15)
    parts: dict[str, Any] = {"text_tokenizer": None, "semantic_ids": None, "prompts": None}
    return SIDModel(scorer.model, **parts, scorer=scorer, reader=CausalLM(scorer), trie=scorer.trie)


def rows(count: int = NUM_ROWS) -> list[dict[str, Any]]:
    prompts = random_prompts(lengths=tuple(3 + n % 5 for n in range(count)))
    return [{"prompt_ids": prompt, "target": n % 40, "row": 7 * n} for n, prompt in enumerate(prompts)]


def everything(model: SIDModel) -> torch.Tensor:
    """The exact log-probabilities of all 40 items after each of `rows()`, (B, N)."""
    prompts = [row["prompt_ids"] for row in rows()]
    found = constrained_beam_search(model.reader, model.trie, prompts, num_beams=40)
    return torch.zeros(found.scores.shape).scatter(1, found.items, found.scores)


@pytest.mark.parametrize("add_target", [False, True])
@pytest.mark.parametrize("sampling", SAMPLING)
def test_rollouts_stand_in_the_order_of_the_policy(model, sampling, add_target):
    rollouts = Drawing(model, 6, sampling=sampling, add_target=add_target).draw(rows(), step=3)
    assert rollouts.items.shape == (NUM_ROWS, 6)
    expected = everything(model).gather(1, rollouts.items)
    torch.testing.assert_close(rollouts.log_probs, expected, atol=1e-4, rtol=0)
    assert (rollouts.log_probs.diff(dim=1) <= 1e-6).all()
    assert rollouts.weights is None


def test_beams_are_those_of_the_search_to_the_bit(model):
    rollouts = Drawing(model, 6).draw(rows(), step=0)
    found = model.search([row["prompt_ids"] for row in rows()], num_beams=6)
    assert torch.equal(rollouts.items, found.items)
    assert torch.equal(rollouts.log_probs, found.scores)
    again = Drawing(model, 6, seed=1).draw(rows(), step=5)
    assert torch.equal(rollouts.items, again.items)


@pytest.mark.parametrize("sampling", RANDOM)
def test_chance_depends_on_seed_step_and_row_alone(model, sampling):
    def draw(which: list[dict[str, Any]], *, step: int = 3, seed: int = 0) -> list[list[int]]:
        return Drawing(model, 6, sampling=sampling, seed=seed).draw(which, step).items.tolist()

    every = draw(rows())
    assert every == draw(rows())
    assert every == draw(rows()[:5]) + draw(rows()[5:])
    assert every[::-1] == draw(rows()[::-1])
    assert every != draw(rows(), step=4)
    assert every != draw(rows(), seed=1)
    assert every != draw([{**row, "row": row["row"] + 1} for row in rows()])


def test_which_draws_repeat_items(model):
    distinct = {}
    for sampling in SAMPLING:
        temperature = 1.0 if sampling == "beam" else 0.5
        rollouts = Drawing(model, 8, sampling=sampling, temperature=temperature).draw(rows(), 0)
        distinct[sampling] = drawing_metrics(rollouts)["distinct_items"]
    assert distinct["beam"] == distinct["sample_without_replacement"] == 8
    assert distinct["sample"] < distinct["dynamic"] < 8
    assert 4 <= distinct["mixed"] < 8


@pytest.mark.parametrize("sampling", RANDOM)
def test_a_low_temperature_draws_what_is_likely(model, sampling):
    means = [
        Drawing(model, 6, sampling=sampling, temperature=temperature).draw(rows(), 0).log_probs.mean()
        for temperature in (0.2, 1.0, 5.0)
    ]
    assert means[0] > means[1] + 0.1 > means[2] + 0.2


def test_mixed_holds_half_a_beam_search(model):
    rollouts = Drawing(model, 7, sampling="mixed").draw(rows(), 0)
    beams = model.search([row["prompt_ids"] for row in rows()], num_beams=3).items
    assert (rollouts.items.unsqueeze(2) == beams.unsqueeze(1)).any(1).all()
    longer = model.search([row["prompt_ids"] for row in rows()], num_beams=7).items
    assert (rollouts.items.sort(1).values != longer.sort(1).values).any(1).sum() > NUM_ROWS / 2


def test_dynamic_keeps_the_target_then_distinct_items():
    drawn = Drawn(
        torch.tensor([[3, 5, 3, 9, 5, 1], [3, 5, 3, 3, 5, 3]]),
        torch.tensor([[-1.0, -2, -1, -4, -2, -3], [-1, -2, -1, -1, -2, -1]]).double(),
        torch.zeros(2, 6).double(),
    )
    kept = most_distinct(drawn, torch.tensor([9, 7]), 4)
    # all four distinct ones, 9 though it is the least likely; both distinct ones and the likeliest again
    assert kept.items.tolist() == [[3, 5, 1, 9], [3, 3, 3, 5]]
    assert most_distinct(drawn, torch.tensor([9, 5]), 3).items.tolist() == [[3, 5, 9], [3, 3, 5]]
    assert most_distinct(drawn, torch.tensor([0, 5]), 3).items.tolist()[0] == [3, 5, 1]
    assert [oversampled(count) for count in (2, 3, 16)] == [3, 5, 24]


def test_repeated_items_are_those_that_stand_before():
    assert is_repeated(torch.tensor([[4, 4, 2, 4, 2]])).tolist() == [[False, True, False, True, True]]


def test_the_target_replaces_the_last_and_takes_its_place():
    drawn = Drawn(
        torch.tensor([[3, 5, 8], [3, 5, 8]]),
        torch.tensor([[-1.0, -2, -3]] * 2).double(),
        torch.ones(2, 3).double(),
    )
    found = with_target(drawn, torch.tensor([9, 5]), torch.tensor([-1.5, -2]).double())
    assert found.items.tolist() == [[3, 9, 5], [3, 5, 8]]
    assert found.scores.tolist() == [[-1, -1.5, -2], [-1, -2, -3]]


@pytest.mark.parametrize("sampling", SAMPLING)
def test_a_target_that_was_not_drawn_is_put_in(model, sampling):
    order = everything(model).argsort(1, descending=True)
    which = [row | {"target": int(order[n, 0 if n % 2 else 20])} for n, row in enumerate(rows())]
    plain, added = (
        Drawing(model, 6, sampling=sampling, add_target=add).draw(which, step=3) for add in (False, True)
    )
    there = plain.hits.any(1)
    assert 0 < there.sum() < NUM_ROWS
    assert added.hits.any(1).all()
    assert torch.equal(plain.target_drawn, there)
    assert torch.equal(added.target_drawn, there)
    assert torch.equal(added.items[there], plain.items[there])
    for row in (~there).nonzero().squeeze(1).tolist():
        expected = [*plain.items[row, :-1].tolist(), which[row]["target"]]
        assert sorted(added.items[row].tolist()) == sorted(expected)


def test_a_draw_is_measured_before_the_target_is_put_in():
    rollouts = Rollouts(torch.tensor([[1, 1, 2], [3, 4, 5]]), torch.tensor([2, 3]))
    measured = drawing_metrics(rollouts)
    assert measured == {"distinct_items": 2.5, "target_rate": 1}
    put = Rollouts(rollouts.items, rollouts.targets, target_drawn=torch.tensor([False, True]))
    assert drawing_metrics(put)["target_rate"] == 0.5


@pytest.mark.parametrize("shared", [False, True])
def test_beams_weigh_what_they_are_likely_to_be(shared):
    """Items that share a SID share its probability."""
    codes = random_codes()
    if shared:
        codes[1::2] = codes[::2]
    model = make_model(codes)
    rollouts = Drawing(model, 6, off_policy="importance").draw(rows(), 0)
    own = rollouts.log_probs - torch.tensor([2.0 if shared else 1.0]).log()
    torch.testing.assert_close(rollouts.weights, own.exp() / own.exp().sum(1, keepdim=True))
    torch.testing.assert_close(rollouts.weights.sum(1), torch.ones(NUM_ROWS))


def test_tempered_draws_weigh_the_policy_over_what_was_drawn_from(model):
    drawing = Drawing(model, 6, sampling="sample", temperature=2.0, off_policy="importance")
    rollouts = drawing.draw(rows(), 0)
    scores = everything(model)
    # p_T of an item is not p^(1/T), each step is normalized anew; but an item has one weight.
    for row in range(NUM_ROWS):
        by_item: dict[int, float] = {}
        for item, weight in zip(rollouts.items[row].tolist(), rollouts.weights[row].tolist(), strict=True):
            assert by_item.setdefault(item, weight) == pytest.approx(weight, rel=1e-4)
    # What a high temperature draws too often weighs less.
    likely = scores.gather(1, rollouts.items)
    centred = likely - likely.mean(1, keepdim=True)
    assert ((rollouts.weights - 1 / 6) * centred).sum() > 0
    plain = Drawing(model, 6, sampling="sample", temperature=1.0, off_policy="importance").draw(rows(), 0)
    torch.testing.assert_close(plain.weights, torch.full((NUM_ROWS, 6), 1 / 6), atol=1e-5, rtol=0)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
@pytest.mark.parametrize("sampling", ["sample", "sample_without_replacement", "mixed"])
def test_weighted_rollouts_estimate_what_the_policy_would_earn(model, sampling, temperature):
    """Self-normalized, so biased a little; without the weights they are far off."""
    row = rows()[4]
    values = torch.randn(40, generator=torch.Generator().manual_seed(1))
    prompt = constrained_beam_search(model.reader, model.trie, [row["prompt_ids"]], num_beams=40)
    # Of what is drawn too often: the beams, or too rarely: the likeliest item.
    values[prompt.items[0, : 8 if sampling == "mixed" else 1]] = 4
    truth = (prompt.scores.exp() * values[prompt.items]).sum().item()
    drawing = Drawing(model, 16, sampling=sampling, temperature=temperature, off_policy="importance")
    rollouts = drawing.draw([row | {"row": copy} for copy in range(400)], 0)
    earned = values[rollouts.items]
    weighted = (rollouts.weights * earned).sum(1)
    assert weighted.mean().item() == pytest.approx(truth, abs=0.08)
    if sampling != "sample" or temperature != 1:
        assert abs(earned.mean().item() - truth) > 0.2


@pytest.mark.parametrize("sampling", SAMPLING)
def test_rollouts_follow_the_normalization_of_the_policy(model, sampling):
    over_all = make_model(normalization="vocabulary")
    policy = over_all.normalized_over("catalog")
    assert policy.scorer.normalization == "catalog"
    assert over_all.normalized_over(None) is over_all
    assert over_all.normalized_over("vocabulary") is over_all
    one, other = (Drawing(each, 6, sampling=sampling).draw(rows(), 0) for each in (over_all, policy))
    assert (one.log_probs < other.log_probs[:, :1] + 1e-4).all()
    assert not torch.allclose(one.log_probs, other.log_probs, atol=1e-2)
    if sampling == "beam":
        assert not torch.equal(one.items, other.items)
    same = Drawing(model, 6, sampling=sampling).draw(rows(), 0)
    assert torch.equal(same.items, other.items)
