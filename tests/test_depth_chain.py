"""A depth head through all stages, from a preset and from a model on disk: no second pipeline."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import toy
from conftest import Ended
from models import KINDS, save_foreign_model
from test_resume import results_of, stopped_after
from test_rl import HISTORIES, TARGETS, groups_of, make_trainer, prompts
from test_trained_parts import LORA, SID_ONLY

import sidrec
from sidrec.config import Config, load_config
from sidrec.shared_prefix import completion_scores
from sidrec.sid_model import SIDModel

DEPTH = {"head": "depth"}
FEW = {"epochs": 2, "evaluations": 2, "dropout": 0.1}


def config_of(tokenized: Path, folder: Path, **changes: Any) -> Config:
    path = toy.write(folder, **changes)
    shutil.copytree(tokenized, folder / "run")
    return load_config(path)


@pytest.fixture(scope="module")
def run(tokenized: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A preset that was trained with a depth head on the toy catalogue, by SFT and RL."""
    config = config_of(
        tokenized,
        tmp_path_factory.mktemp("depth"),
        model=DEPTH,
        sft={"epochs": 30, "item_loss": 0.5, "weight_average": 0.9},
        rl={"keep": "rl"},
    )
    for stage in (sidrec.sft, sidrec.rl, sidrec.evaluate):
        stage(config)
    return config.output


def test_it_learns_that_an_item_is_followed_by_the_next(run: Path) -> None:
    metrics = json.loads((run / "evaluate" / "sft" / "metrics.json").read_text())
    assert metrics["item_level"]["hr@3"]["value"] > 0.9


def test_what_was_saved_ranks_as_what_was_trained(run: Path) -> None:
    model = SIDModel.load(run / "rl")
    assert model.prompts.settings.head == "depth"
    found = model.rank([[3, 4, 5], [20]], num_beams=24)
    exact = model.rank([[3, 4, 5], [20]], num_beams=24, ranking="exact")
    assert torch.equal(found.items, exact.items)
    assert sorted(found.items[0].tolist()) == list(range(24))


def test_a_new_item_can_be_recommended(run: Path, tmp_path: Path) -> None:
    output = shutil.copytree(run, tmp_path / "run")
    new = toy.items().iloc[[4]].assign(item_id="new", title="green chair the second")
    sidrec.add_items(output, new)
    items = sidrec.Recommender.from_pretrained(output / "rl").recommend(["i02", "i03"], k=25)
    assert "new" in [each.item_id for each in items]


def test_rl_compares_with_a_reference_that_has_the_head_too(run: Path, tmp_path: Path) -> None:
    config = load_config(run / "sft" / "config.yaml")
    trainer = make_trainer(run, config, prompts(HISTORIES, TARGETS), tmp_path)
    made = trainer._generate_and_score_completions(groups_of(trainer)[:16])
    assert len(made["codes"])
    scorer = trainer._sid_model.scorer
    assert scorer.sums_codes
    policy = completion_scores(scorer, made["prompt_ids"], made["prompt_mask"], made["codes"])
    torch.testing.assert_close(made["ref_per_token_logps"], policy.log_probs, atol=1e-5, rtol=1e-5)


def test_a_stopped_training_goes_on_to_the_same_files(tokenized: Path, tmp_path: Path) -> None:
    changes: dict[str, Any] = {"model": DEPTH, "sft": {**FEW, "item_loss": 0.5, "weight_average": 0.9}}
    whole, stopped = (config_of(tokenized, tmp_path / name, **changes) for name in ("whole", "stopped"))
    sidrec.sft(whole)
    with stopped_after(1):
        sidrec.sft(stopped)
    sidrec.sft(stopped)
    assert results_of(stopped.output / "sft") == results_of(whole.output / "sft")


WHOLE: dict[str, Any] = {}
PARTS = [("qwen2", LORA), ("llama", SID_ONLY), ("qwen3", {**LORA, "merge": True})]


@pytest.mark.parametrize(("kind", "part"), [*((kind, WHOLE) for kind in KINDS), *PARTS], ids=str)
def test_a_model_from_disk_is_trained_whole_or_in_part(
    kind: str, part: dict[str, Any], tokenized: Path, tmp_path: Path
) -> None:
    base = save_foreign_model(tmp_path / "base", kind, tie_word_embeddings=kind != "llama")
    config = config_of(
        tokenized,
        tmp_path / "depth",
        model={"path": str(base), **DEPTH},
        sft={**FEW, "learning_rate": 3e-2, **part},
    )
    sidrec.sft(config)
    loaded = SIDModel.load(config.output / "sft")
    metrics = json.loads((config.output / "sft" / "metrics.json").read_text())
    assert loaded.scorer.sums_codes
    assert metrics["valid"]["ndcg@10"] == pytest.approx(valid_ndcg(config, loaded), abs=1e-6)


def valid_ndcg(config: Config, model: SIDModel) -> float:
    from sidrec.stages.run import load_run
    from sidrec.stages.training import Validation

    run = load_run(config)
    return Validation(model, run.split.valid, config.sft.validation_users, config)()["ndcg@10"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("model.identifiers=title", "names items by tokens of text"),
        ("prompt.last_token=sum", "says what an item's last token is read as"),
        ("sft.loss=vocabulary", "compares codes with all tokens"),
        ("rl.logprobs=vocabulary", "compares codes with all tokens"),
    ],
)
def test_what_a_depth_head_cannot_do_is_refused(
    settings: str, said: str, tokenized: Path, tmp_path: Path, command: Callable[..., Ended]
) -> None:
    config = config_of(tokenized, tmp_path / "a", model=DEPTH)
    ended: Ended = command("sft", str(config.output.parent / "config.yaml"), settings)
    assert ended.status == 2
    assert said in ended.err
    assert "model.head=lm" in ended.err
    assert not (config.output / "sft").exists()
