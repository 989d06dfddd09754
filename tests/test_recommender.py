"""Recommendations after a history: in Python, on the command line, and through one prompt for all."""

import json
import math
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
import torch
import toy
from conftest import Ended
from transformers import AutoModelForCausalLM, AutoTokenizer

import sidrec
from sidrec import Recommender
from sidrec.config import load_config
from sidrec.errors import SidrecError
from sidrec.item_vectors import item_vectors
from sidrec.scoring import SIDScorer
from sidrec.sid_model import SIDModel
from tokenizer.semantic_ids import SemanticIDs

IDS = [f"i{n:02d}" for n in range(toy.NUM_ITEMS)]


@pytest.fixture(scope="session")
def recommender(toy_run: Path) -> Recommender:
    return Recommender.from_pretrained(toy_run)


def test_the_rule_that_item_i_is_followed_by_i_plus_1_is_learnt(recommender: Recommender) -> None:
    histories = [[IDS[(n + step) % 24] for step in range(3)] for n in range(24)]
    first = [found[0].item_id for found in recommender.recommend(histories, k=1)]
    right = sum(item_id == IDS[(n + 3) % 24] for n, item_id in enumerate(first))
    assert right >= 20


def test_a_list_has_ranks_ids_titles_and_falling_scores(recommender: Recommender) -> None:
    found = recommender.recommend(["i03", "i04"], k=5)
    titles = dict(zip(IDS, toy.items()["title"], strict=True))
    assert [each.rank for each in found] == [1, 2, 3, 4, 5]
    assert [each.title for each in found] == [titles[each.item_id] for each in found]
    scores = [each.score for each in found]
    assert scores == sorted(scores, reverse=True)


def test_scores_are_log_probabilities_of_the_items(recommender: Recommender) -> None:
    """The toy model is trained with `sft.loss: catalog`: its beams are a distribution over items."""
    found = recommender.recommend(["i03", "i04"], k=24)
    assert math.isclose(sum(math.exp(each.score) for each in found), 1, abs_tol=1e-4)


def test_many_histories_give_a_list_each_as_one_by_one(recommender: Recommender) -> None:
    histories = [["i03"], ["i20", "i21", "i22"], ["i07", "i08"]]
    for found, history in zip(recommender.recommend(histories, k=4), histories, strict=True):
        alone = recommender.recommend(history, k=4)
        assert [each.item_id for each in found] == [each.item_id for each in alone]
        assert [each.score for each in found] == pytest.approx([each.score for each in alone], abs=1e-4)


def test_k_of_the_whole_catalogue_gives_each_item_once(recommender: Recommender) -> None:
    assert sorted(each.item_id for each in recommender.recommend(["i03"], k=24)) == IDS


def test_exclude_history_leaves_its_items_out_and_still_gives_k(recommender: Recommender) -> None:
    history = ["i03", "i04", "i05", "i03"]
    found = recommender.recommend(history, k=21, exclude_history=True)  # 24 items without 3
    assert sorted(each.item_id for each in found) == [item for item in IDS if item not in history]
    assert [each.rank for each in found] == list(range(1, 22))


def test_only_some_items_are_recommended_and_keep_their_scores(recommender: Recommender) -> None:
    wanted = pd.Series(["i20", "i05", "i11"], index=[7, 8, 9])
    whole = {each.item_id: each.score for each in recommender.recommend(["i03", "i04"], k=24)}
    found = recommender.recommend(["i03", "i04"], k=3, only=wanted)
    assert {each.item_id for each in found} == set(wanted)
    assert [each.score for each in found] == pytest.approx([whole[each.item_id] for each in found], abs=1e-4)


def test_excluded_items_are_left_out_beside_those_of_the_history(recommender: Recommender) -> None:
    found = recommender.recommend(
        [["i03", "i04"], ["i20", "i05"]], k=20, exclude=["i04", "i05"], exclude_history=True
    )
    assert "i03" not in {each.item_id for each in found[0]}
    for each in found:
        assert not {"i04", "i05"} & {item.item_id for item in each}
        assert len(each) == 20


def test_filters_that_leave_fewer_than_k_are_refused(recommender: Recommender) -> None:
    message = (
        r"k is 3, but the catalogue has 2 items that only and exclude leave without the 1 of the history"
    )
    with pytest.raises(SidrecError, match=message):
        recommender.recommend(["i03"], k=3, only=["i03", "i04"], exclude_history=True)
    with pytest.raises(SidrecError, match="only and exclude leave no item"):
        recommender.recommend(["i03"], k=1, only=["i03"], exclude=["i03"])
    with pytest.raises(SidrecError, match=r'no item with this id: "i99"'):
        recommender.recommend(["i03"], exclude=["i99"])


def test_a_history_may_be_a_column_of_a_table(recommender: Recommender) -> None:
    history = pd.DataFrame({"item": ["i03", "i04"]}, index=[5, 6])["item"]
    assert recommender.recommend(history, k=3) == recommender.recommend(["i03", "i04"], k=3)


def test_the_explanation_of_every_item_has_the_score_of_its_recommendation(recommender: Recommender) -> None:
    for each in recommender.recommend(["i03", "i04"], k=24):
        told = recommender.explain(["i03", "i04"], each.item_id)
        assert (told.item_id, told.title) == (each.item_id, each.title)
        assert told.score == pytest.approx(each.score, abs=1e-4)
        assert told.tokens == recommender._sid_model.semantic_ids.tokens(int(each.item_id[1:]))
        # The toy model is normalized over the catalogue, and no item is retired.
        for step in told.steps:
            assert step.probability == pytest.approx(math.exp(step.log_prob), abs=1e-5)


def test_an_explanation_reads_as_a_table(recommender: Recommender) -> None:
    told = recommender.explain(["i03"], "i04")
    summary, header, _, *lines = str(told).splitlines()
    assert summary.startswith(f"i04, {told.title}: score {told.score:.3f}, probability ")
    assert header.split("  ")[0] == "code"
    assert [line.split()[0] for line in lines] == told.tokens


def test_similar_items_are_those_with_the_nearest_embeddings_of_sid_tokens(recommender: Recommender) -> None:
    vectors = item_vectors(recommender._sid_model)
    torch.testing.assert_close(torch.tensor(vectors).norm(dim=1), torch.ones(24))
    found = recommender.similar_items("i03", k=23)
    assert sorted(each.item_id for each in found) == [item for item in IDS if item != "i03"]
    scores = [each.score for each in found]
    assert scores == sorted(scores, reverse=True)
    expected = [float(vectors[3] @ vectors[int(each.item_id[1:])]) for each in found]
    assert scores == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("k", [0, 24])
def test_more_similar_items_than_there_are_others_are_refused(recommender: Recommender, k: int) -> None:
    with pytest.raises(SidrecError, match=f"k is {k}, but there are 23 other items. Ask for 1 to 23"):
        recommender.similar_items("i03", k=k)


def test_fewer_beams_than_k_are_refused(recommender: Recommender) -> None:
    with pytest.raises(SidrecError, match=r"num_beams is 0, but k is 3"):
        recommender.recommend(["i03"], k=3, num_beams=0)


def test_one_empty_history_among_many_is_refused(recommender: Recommender) -> None:
    with pytest.raises(SidrecError, match="The history is empty"):
        recommender.recommend([["i03"], []])


def test_a_run_gives_what_its_rl_directory_gives(young_run: Path) -> None:
    of_run, of_rl, of_sft = (
        Recommender.from_pretrained(young_run / name).recommend(["i03"], k=5) for name in ("", "rl", "sft")
    )
    assert of_run == of_rl != of_sft


def test_a_run_without_rl_gives_what_its_sft_directory_gives(young_run: Path, tmp_path: Path) -> None:
    shutil.copytree(young_run / "sft", tmp_path / "sft")
    of_run, of_sft = (
        Recommender.from_pretrained(each).recommend(["i03"], k=5) for each in (tmp_path, young_run / "sft")
    )
    assert of_run == of_sft


def test_a_model_directory_moved_elsewhere_works_alone(
    toy_run: Path, tmp_path: Path, recommender: Recommender
) -> None:
    shutil.copytree(toy_run / "rl", tmp_path / "elsewhere")
    moved = Recommender.from_pretrained(str(tmp_path / "elsewhere"))
    assert moved.recommend(["i03"], k=5) == recommender.recommend(["i03"], k=5)


def test_the_command_prints_a_table(
    toy_run: Path, command: Callable[..., Ended], recommender: Recommender
) -> None:
    ended = command("recommend", toy_run, "--history", "i03", "i04", "-k", "2")
    first, second = recommender.recommend(["i03", "i04"], k=2)
    lines = [line.split("  ") for line in ended.out.splitlines()]
    assert ended.status == 0
    assert [cell.strip() for cell in lines[0] if cell] == ["rank", "item id", "title", "score"]
    assert [cell.strip() for cell in lines[2] if cell] == [
        "1",
        first.item_id,
        first.title,
        f"{first.score:.3f}",
    ]
    assert second.title in ended.out
    assert len(lines) == 4


def test_the_command_prints_json(
    toy_run: Path, command: Callable[..., Ended], recommender: Recommender
) -> None:
    ended = command(
        "recommend", toy_run, "--history", "i03", "i04", "-k", "22", "--exclude-history", "--json"
    )
    expected = recommender.recommend(["i03", "i04"], k=22, exclude_history=True)
    assert json.loads(ended.out) == [vars(each) for each in expected]


@pytest.mark.parametrize("name", ["sft", "rl"])
def test_transformers_loads_a_model_directory_as_it_is(toy_run: Path, name: str) -> None:
    model = AutoModelForCausalLM.from_pretrained(toy_run / name)
    text_tokenizer = AutoTokenizer.from_pretrained(toy_run / name)
    tokens = SemanticIDs.load(toy_run / name / "semantic_ids.parquet").tokens(3)
    ids = text_tokenizer("".join(tokens))["input_ids"]
    assert text_tokenizer.convert_ids_to_tokens(ids) == tokens
    logits = model(torch.tensor([[text_tokenizer.bos_token_id, *ids]])).logits
    assert logits.shape == (1, 4, len(text_tokenizer))


@pytest.mark.parametrize("template", ["compact", "instruct"])
def test_a_template_that_is_read_once_changes_no_recommendation(template: str, tmp_path: Path) -> None:
    path = toy.write(tmp_path, prompt={"template": template}, sft={"epochs": 1, "evaluations": 1})
    config = load_config(path)
    sidrec.tokenize(config)
    sidrec.sft(config)
    recommender = Recommender.from_pretrained(config.output)
    model = SIDModel.load(config.output / "sft")
    length = len(model.prompts.next_item_prefix())
    assert length == 1 if template == "compact" else length > 8
    for history in (["i00"], ["i05", "i01", "i02"]):
        rows = [int(item_id[1:]) for item_id in history]
        expected = model.rank([rows], num_beams=20)
        found = recommender.recommend(history)
        assert [each.item_id for each in found] == [f"i{row:02}" for row in expected.items[0, :10].tolist()]
        scores = torch.tensor([each.score for each in found])
        torch.testing.assert_close(scores, expected.scores[0, :10], atol=1e-4, rtol=0)


def read_by(inputs: dict[str, torch.Tensor]) -> Iterator[tuple[str, list[int]]]:
    """What a pass of the model reads of each row: ("row", all of it), or ("rollouts", a group's prompt)."""
    ids, mask = inputs["input_ids"], inputs.get("attention_mask")
    if mask is None:
        mask = torch.ones_like(ids)
    if mask.ndim == 2:
        yield from (("row", row[real.bool()].tolist()) for row, real in zip(ids, mask, strict=True))
    elif mask.shape[-1] == ids.shape[1]:
        seen = mask[:, 0, -1] == 0
        if "past_key_values" in inputs:  # a search: the last token sees the prompt
            yield from (("row", row[real].tolist()) for row, real in zip(ids, seen, strict=True))
            return
        # a group: the last token sees the prompt and its own two codes
        yield from (("rollouts", row[real].tolist()[:-2]) for row, real in zip(ids, seen, strict=True))


@pytest.mark.parametrize("template", ["compact", "instruct"])
def test_sft_rl_evaluation_and_recommend_feed_the_same_prompt(
    template: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The user of four events is tested on i00 i01 i02 -> i03; those of six train on the same."""
    fed: list[tuple[str, list[int]]] = []
    hidden = SIDScorer.hidden

    def recording_hidden(self: SIDScorer, **inputs: torch.Tensor) -> torch.Tensor:
        fed.extend(read_by(inputs))
        return hidden(self, **inputs)

    def fed_by(stage: Callable[[], object]) -> list[tuple[str, list[int]]]:
        fed.clear()
        stage()
        return list(fed)

    monkeypatch.setattr(SIDScorer, "hidden", recording_hidden)
    # So that each prompt is read in one piece, where it can be seen.
    monkeypatch.setattr("sidrec.decoding.beam_search.common_prefix", lambda prompts: [])
    monkeypatch.setattr("sidrec.prompts.PromptBuilder.next_item_prefix", lambda self: [])
    path = toy.write(
        tmp_path,
        prompt={"template": template},
        sft={"epochs": 1, "evaluations": 1},
        # One step over all 7 prompts; with all 24 items as rollouts no group is without its target.
        rl={"steps": 1, "evaluations": 1, "prompts_per_step": 7, "num_generations": 24},
    )
    events = [
        f"{user},i0{n},{n}" for user, number in (("u0", 6), ("u1", 6), ("four", 4)) for n in range(number)
    ]
    (tmp_path / "interactions.csv").write_text("\n".join(["user_id,item_id,timestamp", *events]))
    config = load_config(path)
    sidrec.tokenize(config)
    by_sft = fed_by(lambda: sidrec.sft(config))
    by_rl = fed_by(lambda: sidrec.rl(config))
    by_evaluate = fed_by(lambda: sidrec.evaluate(config))
    recommender = Recommender.from_pretrained(config.output)
    (read,) = fed_by(lambda: recommender.recommend(["i00", "i01", "i02"]))
    prompt = read[1]
    assert ("row", prompt) in by_evaluate
    assert ("row", prompt) in by_rl  # the search for rollouts
    assert ("rollouts", prompt) in by_rl  # the loss over them
    target = SemanticIDs.load(config.output / "sft" / "semantic_ids.parquet").tokens(3)
    answered = prompt + AutoTokenizer.from_pretrained(config.output / "sft").convert_tokens_to_ids(target)
    assert answered in [row[: len(answered)] for _, row in by_sft]
