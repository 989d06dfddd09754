"""Exact ranking equals a beam search that never prunes and brute force; items left out are as if filtered."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from models import FIRST, KINDS, random_codes, random_prompts, small_scorer
from test_decoding import brute_force

from sidrec.decoding import CausalLMBeams, Ranking, pad_prompts, rank_items, rows_per_pass
from sidrec.exact import exact_scores, rank_exactly, rank_items_without
from sidrec.metrics import PADDING
from sidrec.scoring import SIDScorer
from sidrec.sid_model import SIDModel

NORMALIZATIONS = ["vocabulary", "level", "catalog"]
NOTHING = np.array([], dtype=np.int64)


def scores_of(scorer: SIDScorer, prompts: list[list[int]], *, nodes_per_pass: int = 128) -> torch.Tensor:
    input_ids, mask = pad_prompts(prompts, 0)
    with torch.no_grad():
        return exact_scores(
            CausalLMBeams(scorer, input_ids, mask), scorer.trie, nodes_per_pass=nodes_per_pass
        )


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
    everything = rank_items(scorer, random_prompts(), num_beams=40, pad_id=0)
    scores = scores_of(scorer, random_prompts(), nodes_per_pass=4)
    torch.testing.assert_close(scores, by_item(everything), atol=1e-4, rtol=0)
    best = rank_exactly(scorer, random_prompts(), num_beams=10, pad_id=0)
    torch.testing.assert_close(best.scores, everything.scores[:, :10], atol=1e-4, rtol=0)
    torch.testing.assert_close(scores.gather(1, best.items), best.scores, atol=1e-4, rtol=0)
    assert best.items.tolist() == everything.items[:, :10].tolist()


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
    everything = rank_items(scorer, random_prompts(), num_beams=30, pad_id=0)
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
    together = rank_exactly(scorer, random_prompts(), num_beams=40, pad_id=0)
    one_by_one = rank_exactly(scorer, random_prompts(), num_beams=40, pad_id=0, batch_size=1)
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
    for items in rank_exactly(scorer, random_prompts(), num_beams=9, pad_id=0).items.tolist():
        assert items in ([1, 0, 2, 3], [0, 2, 3, 1])


def test_rewinding_gives_the_beams_back() -> None:
    """A level is scored the same before and after something else was advanced below it."""
    scorer, _ = small_scorer()
    input_ids, mask = pad_prompts(random_prompts(), 0)
    with torch.no_grad():
        beams = CausalLMBeams(scorer, input_ids, mask)
        first = scorer.trie.children(torch.zeros((3, 1), dtype=torch.long), 0)
        beams.advance(torch.zeros_like(first.codes[:, 0]), first.codes[:, 0], 0)
        before = beams.score(first.states[:, 0], 1).log_probs
        below = scorer.trie.children(first.states[:, 0, :1], 1)
        beams.advance(torch.zeros_like(below.codes[:, 0]), below.codes[:, 0], 1)
        beams.rewind(1)
        assert torch.equal(beams.score(first.states[:, 0], 1).log_probs, before)
        beams.rewind(0)
        beams.advance(torch.zeros_like(first.codes[:, 0]), first.codes[:, 0], 0)
        again = beams.score(first.states[:, 0], 1).log_probs
    torch.testing.assert_close(again, before, atol=1e-6, rtol=0)


def test_a_node_that_sees_another_one_changes_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control: the equalities above would notice a wrong mask."""
    scorer, _ = small_scorer()
    right = scores_of(scorer, random_prompts())
    monkeypatch.setattr(torch, "eye", lambda n, dtype, device: torch.ones(n, n, dtype=dtype, device=device))
    assert not torch.allclose(scores_of(scorer, random_prompts()), right, atol=1e-3)


def test_rows_per_pass_keep_the_mask_small() -> None:
    """Keys: a prompt of 10, two levels of 100 nodes: 100 x 210 elements a row; 2**25 // 21,000 = 1,597."""
    scorer, _ = small_scorer()
    assert rows_per_pass(scorer, [[1] * 10, [1]], 100) == 1597
    assert rows_per_pass(scorer, [[1] * 10], 10_000) == 1


def test_nan_weights_raise_rather_than_return_items() -> None:
    scorer, _ = small_scorer(normalization="catalog")
    with torch.no_grad():
        scorer.model.get_output_embeddings().weight[FIRST + 6] = torch.nan
    with pytest.raises(RuntimeError, match="not finite"):
        rank_exactly(scorer, random_prompts(), num_beams=5, pad_id=0)


@pytest.mark.parametrize(("setting", "value"), [("num_beams", 0), ("nodes_per_pass", 0)])
def test_less_than_one_is_refused(setting: str, value: int) -> None:
    scorer, _ = small_scorer()
    with pytest.raises(ValueError, match=f"{setting} is 0; .* at least 1"):
        rank_exactly(scorer, random_prompts(), **{"num_beams": 3, "pad_id": 0, setting: value})


def test_an_exact_ranking_without_items_is_the_full_one_filtered() -> None:
    scorer, _ = small_scorer()
    everything = rank_exactly(scorer, random_prompts(), num_beams=40, pad_id=0)
    excluded = [NOTHING, everything.items[1, :30].numpy(), np.array([3, 3, 5, 8])]
    found = rank_exactly(scorer, random_prompts(), num_beams=7, pad_id=0, excluded=excluded)
    assert found.items.tolist() == filtered(everything, excluded, 7)
    assert (found.scores.diff(dim=1) <= 0).all()


def test_a_beam_ranking_without_items_is_a_beam_of_twice_the_width_filtered() -> None:
    scorer, _ = small_scorer()
    wide = rank_items(scorer, random_prompts(), num_beams=8, pad_id=0)
    excluded = [
        NOTHING,
        wide.items[1, 1:3].numpy(),
        np.arange(40)[~np.isin(np.arange(40), wide.items[2, 2:])],
    ]
    found = rank_items_without(scorer, random_prompts(), excluded=excluded, num_beams=4, pad_id=0)
    assert found.items.tolist() == filtered(wide, [each.tolist() for each in excluded], 4)
    kept = [[wide.items[row].tolist().index(item) for item in items] for row, items in enumerate(found.items)]
    torch.testing.assert_close(found.scores, wide.scores.gather(1, torch.tensor(kept)), atol=1e-5, rtol=0)


def test_a_beam_that_is_left_with_too_few_is_widened_and_the_others_are_not() -> None:
    """Of 6 beams row 1 keeps 2, fewer than 3, so it takes what 12 beams leave; rows 0 and 2 keep theirs."""
    scorer, _ = small_scorer()
    narrow, wide = (rank_items(scorer, random_prompts(), num_beams=n, pad_id=0) for n in (6, 12))
    excluded = [NOTHING, narrow.items[1, :4].numpy(), narrow.items[2, :2].numpy()]
    found = rank_items_without(scorer, random_prompts(), excluded=excluded, num_beams=3, pad_id=0)
    without = [each.tolist() for each in excluded]
    expected = filtered(narrow, without, 3)
    expected[1] = filtered(wide, without, 3)[1]
    assert found.items.tolist() == expected


def test_the_list_of_a_row_does_not_depend_on_the_histories_of_others() -> None:
    scorer, _ = small_scorer()
    excluded = [np.arange(3), np.arange(36), np.arange(20)]
    together = rank_items_without(scorer, random_prompts(), excluded=excluded, num_beams=4, pad_id=0)
    for row, prompt in enumerate(random_prompts()):
        alone = rank_items_without(scorer, [prompt], excluded=excluded[row : row + 1], num_beams=4, pad_id=0)
        assert alone.items[0].tolist() == together.items[row].tolist()


@pytest.mark.parametrize("rank", [rank_exactly, rank_items_without])
def test_a_catalogue_that_is_too_small_ends_a_list_in_padding(rank) -> None:
    scorer, _ = small_scorer()
    excluded = [np.arange(40), np.arange(1, 39), NOTHING]
    found = rank(scorer, random_prompts(), excluded=excluded, num_beams=50, pad_id=0)
    assert found.items.shape == (3, 40)
    assert found.items[0].tolist() == [PADDING] * 40
    assert sorted(found.items[1, :2].tolist()) == [0, 39]
    assert found.items[1, 2:].tolist() == [PADDING] * 38
    assert sorted(found.items[2].tolist()) == list(range(40))
    assert ((found.scores == -torch.inf) == (found.items == PADDING)).all()


def test_progress_counts_every_prompt() -> None:
    scorer, _ = small_scorer()
    seen: list[tuple[int, int]] = []
    rank_exactly(
        scorer,
        random_prompts(),
        num_beams=3,
        pad_id=0,
        batch_size=2,
        on_batch=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(2, 3), (3, 3)]


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
