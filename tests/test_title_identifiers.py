"""Items named by their titles: a trie of title tokens, and the same search, losses, rewards, evaluation."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import toy
from conftest import Ended
from models import random_codes, small_model, text_tokenizer

import sidrec
from sidrec.config import Config, load_config
from sidrec.decoding import pad_prompts
from sidrec.item_rows import item_rows
from sidrec.prompts import PromptBuilder, PromptSettings
from sidrec.recommender import Recommender
from sidrec.shared_prefix import completion_scores
from sidrec.sid_model import SIDModel
from sidrec.tasks.rows import IGNORED
from sidrec.trainers.rl.imitation import imitation_batch, imitation_loss
from sidrec.trainers.sft import target_losses
from sidrec.trie_arrays import END
from sidrec.vocabulary import SIDVocabulary
from tokenizer.semantic_ids import SemanticIDs

SIZES = (5, 6, 4)
TITLES = ["lamp", "lamp red", "lamp red old", "chair", "a blue chair", "lamp", "rug"]  # two are the same
CONFIGS = Path(__file__).parents[1] / "configs"


def settings_of(**changes: object) -> PromptSettings:
    named = {"template": "compact", "max_history": 4, "max_title_tokens": 9, "normalization": "catalog"}
    return PromptSettings(**(named | {"identifiers": "title"} | changes))


def make_model(**changes: object) -> SIDModel:
    words = text_tokenizer()
    SIDVocabulary.add_to(words, SIZES)
    ids = SemanticIDs([f"i{n}" for n in range(len(TITLES))], random_codes(num_items=len(TITLES)), SIZES)
    model = small_model(vocab_size=len(words))
    return SIDModel.assemble(model, words, ids, settings_of(**changes), titles=TITLES)


def builder(**changes: object) -> PromptBuilder:
    return make_model(**changes).prompts


def test_an_item_is_answered_with_its_title_and_an_end() -> None:
    model = make_model()
    prompts = model.prompts
    for item, title in enumerate(TITLES):
        *written, end = prompts.item_tokens[item]
        assert (model.text_tokenizer.decode(written), end) == (title, prompts.eos_id)
        assert [code for code in prompts.codes[item] if code != END] == prompts.item_tokens[item]


def test_no_title_is_the_beginning_of_another_and_equal_ones_share_a_leaf() -> None:
    trie = make_model().trie
    assert not trie.nests()
    assert trie.items_of(builder().item_tokens[0]) == [0, 5]
    assert trie.num_leaves == len(set(TITLES))


def test_a_title_is_cut_and_still_ends() -> None:
    prompts = builder(max_title_tokens=1)
    assert {len(tokens) for tokens in prompts.item_tokens} == {2}
    assert {tokens[-1] for tokens in prompts.item_tokens} == {prompts.eos_id}


def test_only_in_words_a_history_has_titles_without_an_end() -> None:
    compact, instruct = builder(), builder(template="instruct")
    ids = compact.item_tokens
    assert compact.next_item([0, 3]) == [compact.bos_id, *ids[0], *ids[3]]
    asked = instruct.next_item([0, 3])
    assert instruct.eos_id not in asked[1:]
    written = make_model(template="instruct").text_tokenizer.decode(asked)
    assert "lamp; chair" in written


def score_alone(model: SIDModel, prompt: list[int], tokens: list[int]) -> list[float]:
    """Log-probability of each token over the titles that go on so, by hand."""
    with torch.no_grad():
        logits = model.model(torch.tensor([prompt + tokens])).logits[0].double()
    found = []
    for place, token in enumerate(tokens):
        names = [name for name in model.prompts.item_tokens if name[:place] == tokens[:place]]
        allowed = sorted({name[place] for name in names})
        log_probs = logits[len(prompt) + place - 1, allowed].log_softmax(0)
        found.append(float(log_probs[allowed.index(token)]))
    return found


def test_a_search_scores_titles_as_one_after_the_other_does() -> None:
    model = make_model()
    found = model.rank([[3], [1, 4]], num_beams=len(TITLES))
    for row, history in enumerate([[3], [1, 4]]):
        prompt = model.prompts.next_item(history)
        assert sorted(found.items[row].tolist()) == list(range(len(TITLES)))
        for item, score in zip(found.items[row].tolist(), found.scores[row].tolist(), strict=True):
            assert score == pytest.approx(
                sum(score_alone(model, prompt, model.prompts.item_tokens[item])), abs=1e-4
            )
        distinct = {
            TITLES[item]: float(score)
            for item, score in zip(found.items[row], found.scores[row], strict=True)
        }
        assert sum(map(math.exp, distinct.values())) == pytest.approx(1, abs=1e-4)


def test_completions_of_unequal_length_are_scored_in_one_pass_with_finite_gradients() -> None:
    model = make_model()
    items = [0, 2, 3, 4]
    prompts = [model.prompts.next_item(history) for history in ([3], [1, 4])]
    codes = torch.tensor(model.prompts.codes)[items].expand(2, -1, -1)
    scores = completion_scores(model.scorer, *pad_prompts(prompts, 0), codes)
    for row, prompt in enumerate(prompts):
        for place, item in enumerate(items):
            tokens = model.prompts.item_tokens[item]
            expected = score_alone(model, prompt, tokens)
            assert scores.log_probs[row, place, : len(tokens)].tolist() == pytest.approx(expected, abs=1e-4)
            assert (scores.log_probs[row, place, len(tokens) :] == -torch.inf).all()
    real = codes != END
    assert (scores.entropies[~real] == 0).all()
    scores.log_probs.masked_fill(~real, 0.0).sum().backward()
    gradients = [parameter.grad for parameter in model.model.parameters()]
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert any(gradient.abs().max() > 0 for gradient in gradients)


def test_sft_and_continued_sft_have_the_losses_of_all_tokens_of_a_title() -> None:
    model = make_model()
    histories, targets = [[3], [1, 4], [0]], np.array([2, 0, 6])
    pairs = zip(histories, targets, strict=True)
    expected = [
        -sum(score_alone(model, model.prompts.next_item(history), model.prompts.item_tokens[target]))
        for history, target in pairs
    ]
    assert target_losses(model, histories, targets).tolist() == pytest.approx(expected, abs=1e-4)
    rows = [
        {"prompt_ids": model.prompts.next_item(history), "target": int(target)}
        for history, target in zip(histories, targets, strict=True)
    ]
    batch = imitation_batch(rows, torch.tensor(model.prompts.codes), 0)
    tokens = sum(len(model.prompts.item_tokens[target]) for target in targets)
    assert float(imitation_loss(model.scorer, batch)) == pytest.approx(sum(expected) / tokens, abs=1e-4)


def test_the_output_row_of_an_item_is_the_sum_over_its_title() -> None:
    model = make_model()
    weight = model.model.get_output_embeddings().weight
    found = item_rows(model.scorer, torch.tensor(model.prompts.codes))
    for item, tokens in enumerate(model.prompts.item_tokens):
        torch.testing.assert_close(found[item], weight[tokens].sum(0))


def test_a_saved_model_knows_its_items_by_their_titles(tmp_path: Path) -> None:
    model = make_model()
    model.save(tmp_path)
    again = SIDModel.load(tmp_path)
    assert again.prompts.item_tokens == model.prompts.item_tokens
    assert torch.equal(again.rank([[1]], num_beams=3).items, model.rank([[1]], num_beams=3).items)


CHAIN = {
    "model": {"identifiers": "title"},
    "sft": {"epochs": 12, "learning_rate": 3e-3, "tasks": {"next_item": 1}},
    "rl": {"steps": 4, "prompts_per_step": 12, "num_generations": 8, "learning_rate": 3e-4, "keep": "rl"},
}


@pytest.fixture(scope="module")
def titled(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """The whole chain."""
    config = load_config(toy.write(tmp_path_factory.mktemp("titled"), **CHAIN))
    for stage in (sidrec.tokenize, sidrec.sft, sidrec.rl, sidrec.evaluate):
        stage(config)
    return config


def test_the_whole_chain_learns_and_ranks_titles(titled: Config) -> None:
    sft = json.loads((titled.output / "sft" / "metrics.json").read_text())
    assert sft["valid"]["ndcg@10"] > 0.6  # by chance: .19
    rl = json.loads((titled.output / "rl" / "metrics.json").read_text())
    assert rl["kept"] == "rl"
    history = toy.history((titled.output / "rl" / "history.csv").read_bytes())
    lengths = [float(row["completion_length"]) for row in history if row["completion_length"]]
    prompts = SIDModel.load(titled.output / "rl").prompts
    assert all(min(map(len, prompts.item_tokens)) <= length <= prompts.codes.shape[1] for length in lengths)
    assert all(math.isfinite(float(row["grad_norm"])) for row in history if row["grad_norm"])
    found = json.loads((titled.output / "evaluate" / "rl" / "metrics.json").read_text())
    assert found["item_level"]["ndcg@10"]["value"] > 0.5
    assert found["invalid_items"] == 0


def test_an_item_is_explained_by_the_tokens_of_its_title_and_is_like_others(titled: Config) -> None:
    recommender = Recommender.from_pretrained(titled.output)
    for each in recommender.recommend(["i03"], k=5):
        told = recommender.explain(["i03"], each.item_id)
        assert told.score == pytest.approx(each.score, abs=1e-4)
        assert "".join(told.tokens[:-1]).strip() == each.title
    assert len(recommender.similar_items("i03", k=23)) == 23


def test_the_rollouts_of_a_group_are_rewarded_by_item(titled: Config) -> None:
    table = pd.read_parquet(titled.output / "rl" / "rollouts.parquet")
    assert (table[table["is_target"]]["reward_rule"] == 1).all()
    assert table["is_target"].any()


def test_new_items_are_known_by_their_titles(titled: Config, tmp_path: Path) -> None:
    toy.copy(titled.output, tmp_path)
    new = pd.DataFrame(
        {"item_id": ["new"], "title": ["violet lamp"], "description": ["A violet lamp for the home"]}
    )
    sidrec.add_items(tmp_path / "run", new)
    recommender = Recommender.from_pretrained(tmp_path / "run")
    found = recommender.recommend(["i03"], k=25)
    assert {each.item_id for each in found} == {*(f"i{n:02d}" for n in range(24)), "new"}
    assert [each.title for each in found if each.item_id == "new"] == ["violet lamp"]
    assert recommender.recommend(["new"], k=3)


@pytest.mark.parametrize("sampling", ["sample", "sample_without_replacement", "dynamic"])
def test_titles_are_drawn_in_every_way(sampling: str, titled: Config, tmp_path: Path) -> None:
    toy.copy(titled.output, tmp_path, without=("rl", "evaluate"))
    rl = CHAIN["rl"] | {"sampling": sampling, "steps": 2, "add_target": True}
    config = load_config(toy.write(tmp_path, **(CHAIN | {"rl": rl})))
    sidrec.rl(config)
    rows = toy.history((config.output / "rl" / "history.csv").read_bytes())
    assert all(math.isfinite(float(row["loss"])) for row in rows if row["loss"])


def test_inspect_shows_titles_as_what_is_learnt(titled: Config, command: Callable[..., Ended]) -> None:
    ended = command("inspect", titled.output.parent / "config.yaml", "--rows", "1")
    assert ended.status == 0
    assert "[[" in ended.out
    assert "lamp" in ended.out
    assert "<a_" not in ended.out


def test_the_default_tasks_leave_out_those_between_titles_and_semantic_ids(tmp_path: Path) -> None:
    path = toy.write(tmp_path)
    config = load_config(path, ["sft=null", "model.identifiers=title"][1:])
    assert set(config.sft.tasks) == {"next_item", "title_to_item", "item_to_title"}  # as the toy's file says
    path.write_text("model: {identifiers: title}\n")
    assert set(load_config(path).sft.tasks) == {"next_item"}


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("prompt.last_token=sum", "prompt.last_token=sum sums codes"),
        ("sft.item_dropout=0.1", "sft.item_dropout leaves out whole semantic IDs"),
        ("sft.sid_init=codebook", "sft.sid_init=codebook begins rows of codes"),
        (
            "sft.tasks={next_item: 1, title_to_item: 1}",
            "sft.tasks.title_to_item turns semantic IDs and titles",
        ),
        ("model.identifiers=name", "model.identifiers: expected 'sid' or 'title', got 'name'"),
    ],
)
def test_what_has_no_meaning_for_titles_is_refused(
    setting: str, sentence: str, titled: Config, tmp_path: Path, command: Callable[..., Ended]
) -> None:
    toy.copy(titled.output, tmp_path, without=("sft", "rl", "evaluate"))
    ended = command("sft", toy.write(tmp_path, **CHAIN), setting)
    assert ended.status == 2
    assert sentence in ended.err
    assert not (tmp_path / "run" / "sft.partial").exists()


def test_a_row_of_a_user_has_a_loss_at_every_token_of_every_title(titled: Config) -> None:
    from sidrec.stages.preview import preview

    [row] = preview(titled, 1)
    supervised = "".join(text for text, is_learnt in row.parts if is_learnt)
    assert all(f"{title}" in supervised for title in ("red lamp", "green lamp", "blue lamp"))
    assert row.tokens - row.supervised == 1  # the begin
    assert IGNORED == -1


def test_the_ready_config_is_read() -> None:
    config = load_config(CONFIGS / "titles.yaml")
    assert config.model.identifiers == "title"
    assert set(config.sft.tasks) == {"next_item"}
