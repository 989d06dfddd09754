"""Exact ranking equals a beam search that never prunes and brute force; items left out are as if filtered."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from models import FIRST, KINDS, random_codes, random_prompts, small_scorer
from test_decoding import brute_force

from sidrec.decoding import (
    CausalLM,
    Ranking,
    constrained_beam_search,
    exact_scores,
    exact_topk,
    pad_prompts,
    rank_all,
)
from sidrec.decoding.causal_lm import TreeBeams
from sidrec.decoding.prompts import Group
from sidrec.metrics import PADDING
from sidrec.scoring import SIDScorer
from sidrec.sid_model import SIDModel

NORMALIZATIONS = ["vocabulary", "level", "catalog"]
NOTHING = np.array([], dtype=np.int64)


def read(scorer: SIDScorer, prompts: list[list[int]], num_beams: int = 1) -> TreeBeams:
    reader = CausalLM(scorer)
    group = Group(list(range(len(prompts))), *pad_prompts(prompts, 0))
    beams = reader.read(group, reader.read_prefix([]), num_beams)
    assert isinstance(beams, TreeBeams)
    return beams


def scores_of(scorer: SIDScorer, prompts: list[list[int]], *, nodes_per_pass: int = 128) -> torch.Tensor:
    return exact_scores(read(scorer, prompts), scorer.trie, nodes_per_pass=nodes_per_pass)


def beam(scorer: SIDScorer, num_beams: int, **options: Any) -> Ranking:
    return constrained_beam_search(
        CausalLM(scorer), scorer.trie, random_prompts(), num_beams=num_beams, **options
    )


def every(scorer: SIDScorer, num_beams: int, **options: Any) -> Ranking:
    return rank_all(CausalLM(scorer), scorer.trie, random_prompts(), num_beams=num_beams, **options)


def proven(scorer: SIDScorer, num_beams: int, **options: Any) -> Ranking:
    found = exact_topk(CausalLM(scorer), scorer.trie, random_prompts(), num_beams=num_beams, **options)
    assert found.complete is not None
    assert found.complete.all()
    return found


def by_item(ranking: Ranking) -> torch.Tensor:
    """(B, N) scores in catalogue order, of a ranking of all items."""
    return ranking.scores.gather(1, ranking.items.argsort(1))


def filtered(ranking: Ranking, excluded: Sequence[Sequence[int]], places: int) -> list[list[int]]:
    """What is left of each list without its excluded items."""
    return [
        [item for item in items if item not in without][:places]
        for items, without in zip(ranking.items.tolist(), excluded, strict=True)
    ]


@pytest.mark.parametrize("kind", [*KINDS, "gpt2"])
@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize("unique", [True, False])
def test_it_equals_a_beam_search_that_never_prunes(kind: str, normalization: str, unique: bool) -> None:
    scorer, _ = small_scorer(kind, normalization, random_codes(unique=unique))
    everything = beam(scorer, 40)
    scores = scores_of(scorer, random_prompts(), nodes_per_pass=4)
    torch.testing.assert_close(scores, by_item(everything), atol=1e-4, rtol=0)
    best = every(scorer, 10)
    torch.testing.assert_close(best.scores, everything.scores[:, :10], atol=1e-4, rtol=0)
    torch.testing.assert_close(scores.gather(1, best.items), best.scores, atol=1e-4, rtol=0)
    assert best.items.tolist() == everything.items[:, :10].tolist()
    assert best.codes.tolist() == everything.codes[:, :10].tolist()
    certain = proven(scorer, 10)
    assert certain.items.tolist() == best.items.tolist()
    torch.testing.assert_close(certain.scores, best.scores, atol=1e-4, rtol=0)


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize("attn", ["sdpa", "eager"])
def test_it_equals_scoring_the_items_one_by_one(normalization: str, attn: str) -> None:
    scorer, codes = small_scorer(normalization=normalization, attn_implementation=attn)
    expected = torch.stack([brute_force(scorer, codes, prompt) for prompt in random_prompts()])
    torch.testing.assert_close(
        scores_of(scorer, random_prompts(), nodes_per_pass=3), expected.float(), atol=1e-4, rtol=0
    )


@pytest.mark.parametrize("sizes", [(40,), (7, 8), (3, 4, 3, 4)])
def test_any_number_of_levels_will_do(sizes: tuple[int, ...]) -> None:
    scorer, _ = small_scorer(codes=random_codes(30, sizes), sizes=sizes)
    everything = beam(scorer, 30)
    torch.testing.assert_close(
        scores_of(scorer, random_prompts(), nodes_per_pass=2), by_item(everything), atol=1e-4, rtol=0
    )


@pytest.mark.parametrize("nodes_per_pass", [1, 2, 7, 1000])
def test_the_number_of_nodes_per_pass_changes_nothing(nodes_per_pass: int) -> None:
    scorer, _ = small_scorer()
    torch.testing.assert_close(
        scores_of(scorer, random_prompts(), nodes_per_pass=nodes_per_pass),
        scores_of(scorer, random_prompts()),
        atol=1e-5,
        rtol=0,
    )


@pytest.mark.parametrize("nodes_per_pass", [1, 7, 1000])
def test_the_prompt_and_each_inner_node_pass_the_model_once(
    nodes_per_pass: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed: list[int] = []
    hidden = SIDScorer.hidden

    def counting_hidden(self: SIDScorer, **inputs: torch.Tensor) -> torch.Tensor:
        passed.append(inputs["input_ids"].shape[1])
        return hidden(self, **inputs)

    scorer, codes = small_scorer()
    monkeypatch.setattr(SIDScorer, "hidden", counting_hidden)
    scores_of(scorer, random_prompts(), nodes_per_pass=nodes_per_pass)
    inner = len(set(codes[:, 0].tolist())) + len({tuple(row) for row in codes[:, :2].tolist()})
    assert passed[0] == 9  # the longest prompt
    assert sum(passed[1:]) == inner
    assert max(passed[1:]) <= nodes_per_pass


def test_a_row_does_not_depend_on_its_neighbours() -> None:
    scorer, _ = small_scorer()
    together = every(scorer, 40)
    reader = CausalLM(scorer, memory_budget=1)
    one_by_one = rank_all(reader, scorer.trie, random_prompts(), num_beams=40)
    assert together.items.tolist() == one_by_one.items.tolist()
    torch.testing.assert_close(together.scores, one_by_one.scores, atol=1e-5, rtol=0)


def test_catalog_scores_are_a_distribution_over_items() -> None:
    scorer, _ = small_scorer(normalization="catalog")
    total = scores_of(scorer, random_prompts()).logsumexp(1)
    torch.testing.assert_close(total, torch.zeros(3), atol=1e-5, rtol=0)


def test_items_that_share_a_sid_share_its_score_in_catalogue_order() -> None:
    codes = np.array([[1, 1, 1], [2, 0, 0], [1, 1, 1], [1, 1, 1]])
    scorer, _ = small_scorer(codes=codes)
    scores = scores_of(scorer, random_prompts())
    assert (scores[:, [0, 2, 3]] == scores[:, [0]]).all()
    for items in every(scorer, 9).items.tolist():
        assert items in ([1, 0, 2, 3], [0, 2, 3, 1])


def test_rewinding_gives_the_beams_back() -> None:
    """A level is scored the same before and after something else was advanced below it."""
    scorer, _ = small_scorer()
    root = torch.zeros((3, 1), dtype=torch.long)
    beams = read(scorer, random_prompts())
    first = scorer.trie.children(root, 0).states[:, 0]  # (3, C)
    with torch.no_grad():
        beams.advance(torch.zeros_like(first), first, 0)
        before = beams.score(first, 1).log_probs
        below = scorer.trie.children(first[:, :1], 1).states[:, 0]
        beams.advance(torch.zeros_like(below), below, 1)
        beams.rewind(1)
        assert torch.equal(beams.score(first, 1).log_probs, before)
        beams.rewind(0)
        beams.advance(torch.zeros_like(first), first, 0)
        again = beams.score(first, 1).log_probs
    torch.testing.assert_close(again, before, atol=1e-6, rtol=0)


def test_a_node_that_sees_another_one_changes_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control: the equalities above would notice a wrong mask."""
    scorer, _ = small_scorer()
    right = scores_of(scorer, random_prompts())
    monkeypatch.setattr(torch, "eye", lambda n, dtype, device: torch.ones(n, n, dtype=dtype, device=device))
    assert not torch.allclose(scores_of(scorer, random_prompts()), right, atol=1e-3)


def test_nan_weights_raise_rather_than_return_items() -> None:
    scorer, _ = small_scorer(normalization="catalog")
    with torch.no_grad():
        scorer.model.get_output_embeddings().weight[FIRST + 6] = torch.nan
    for rank in (every, proven):
        with pytest.raises(RuntimeError, match="not finite"):
            rank(scorer, 5)


@pytest.mark.parametrize(("setting", "value"), [("num_beams", 0), ("nodes_per_pass", 0)])
def test_less_than_one_is_refused(setting: str, value: int) -> None:
    scorer, _ = small_scorer()
    with pytest.raises(ValueError, match=f"{setting} is 0; .* at least 1"):
        every(scorer, **{"num_beams": 3, setting: value})


@pytest.mark.parametrize("wrong", [{"num_beams": 0}, {"num_beams": 3, "max_nodes": 0}])
def test_less_than_one_node_is_refused(wrong: dict[str, int]) -> None:
    scorer, _ = small_scorer()
    with pytest.raises(ValueError, match="both must be at least 1"):
        proven(scorer, **wrong)


def test_an_exact_ranking_without_items_is_the_full_one_filtered() -> None:
    scorer, _ = small_scorer()
    everything = every(scorer, 40)
    excluded = [NOTHING, everything.items[1, :30].numpy(), np.array([3, 3, 5, 8])]
    found = every(scorer, 7, excluded=excluded)
    assert found.items.tolist() == filtered(everything, excluded, 7)
    assert (found.scores.diff(dim=1) <= 0).all()


@pytest.mark.parametrize("rank", [beam, every, proven])
def test_a_catalogue_that_is_too_small_ends_a_list_in_padding(rank) -> None:
    scorer, _ = small_scorer()
    excluded = [np.arange(40), np.arange(1, 39), NOTHING]
    found = rank(scorer, 50, excluded=excluded)
    assert found.items.shape == (3, 40)
    assert found.items[0].tolist() == [PADDING] * 40
    assert sorted(found.items[1, :2].tolist()) == [0, 39]
    assert found.items[1, 2:].tolist() == [PADDING] * 38
    assert sorted(found.items[2].tolist()) == list(range(40))
    assert ((found.scores == -torch.inf) == (found.items == PADDING)).all()


@pytest.mark.parametrize("ranking", ["beam", "exact"])
def test_a_model_leaves_out_items_that_its_prompt_no_longer_shows(toy_run: Path, ranking: str) -> None:
    """The prompt shows the newest 20 of these 22 items; of 24 items 2 are left."""
    model = SIDModel.load(toy_run / "sft")
    found = model.rank([list(range(22)), [3, 4]], num_beams=5, ranking=ranking, exclude_history=True)
    assert sorted(found.items[0, :2].tolist()) == [22, 23]
    assert found.items[0, 2:].tolist() == [PADDING] * 3
    assert PADDING not in found.items[1].tolist()
    assert not {3, 4} & set(found.items[1].tolist())


def test_a_model_ranks_exactly_what_a_full_beam_ranks(toy_run: Path) -> None:
    model = SIDModel.load(toy_run / "sft")
    histories = [[1, 2, 3], [7]]
    full = model.rank(histories, num_beams=24)
    assert model.rank(histories, num_beams=24, ranking="exact").items.tolist() == full.items.tolist()


def test_another_ranking_is_refused(toy_run: Path) -> None:
    with pytest.raises(ValueError, match='ranking is "best", expected "beam" or "exact"'):
        SIDModel.load(toy_run / "sft").rank([[1]], num_beams=3, ranking="best")


def test_rows_that_cannot_be_proven_are_scored_in_full(
    toy_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = SIDModel.load(toy_run / "sft")
    histories = [[1, 2, 3], [7]]
    expected = model.rank(histories, num_beams=3, ranking="exact", exclude_history=True)
    monkeypatch.setattr("sidrec.sid_model.exact_topk", partial(exact_topk, max_nodes=1))
    found = model.rank(histories, num_beams=3, ranking="exact", exclude_history=True)
    assert found.complete is not None
    assert not found.complete.all()
    assert found.items.tolist() == expected.items.tolist()
    torch.testing.assert_close(found.scores, expected.scores, atol=1e-5, rtol=0)
