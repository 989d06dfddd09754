"""Merged items through all stages, from a preset and from a model on disk: no second pipeline."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import toy
from conftest import Ended
from models import save_foreign_model
from test_depth_chain import FEW, config_of, valid_ndcg
from test_resume import results_of, stopped_after
from test_rl import HISTORIES, TARGETS, groups_of, make_trainer, prompts
from test_trained_parts import LORA, SID_ONLY
from transformers import AutoModelForCausalLM, Qwen3ForCausalLM

import sidrec
from sidrec.config import load_config
from sidrec.shared_prefix import completion_scores
from sidrec.sid_model import SIDModel

MERGED = {"history": "merged"}


@pytest.fixture(scope="module")
def run(tokenized: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A preset that was trained to read merged items on the toy catalogue, by SFT and RL."""
    config = config_of(
        tokenized,
        tmp_path_factory.mktemp("merged"),
        prompt=MERGED,
        sft={"epochs": 30, "item_loss": 0.5},
        rl={"keep": "rl"},
    )
    for stage in (sidrec.sft, sidrec.rl, sidrec.evaluate):
        stage(config)
    return config.output


def test_it_learns_that_an_item_is_followed_by_the_next(run: Path) -> None:
    metrics = json.loads((run / "sft" / "metrics.json").read_text())
    assert metrics["valid"]["ndcg@10"] > 0.9  # 0.19 by chance


def test_what_was_saved_ranks_as_what_was_trained(run: Path) -> None:
    model = SIDModel.load(run / "rl")
    assert model.scorer.merger is not None
    found = model.rank([[3, 4, 5], [20]], num_beams=24)
    exact = model.rank([[3, 4, 5], [20]], num_beams=24, ranking="exact")
    assert torch.equal(found.items, exact.items)
    assert sorted(found.items[0].tolist()) == list(range(24))


def test_its_weights_are_those_of_a_plain_model_which_reads_its_prompts_otherwise(
    run: Path, tmp_path: Path
) -> None:
    assert type(AutoModelForCausalLM.from_pretrained(run / "sft")) is Qwen3ForCausalLM
    other = shutil.copytree(run / "sft", tmp_path / "other", ignore=shutil.ignore_patterns("manifest.json"))
    settings = other / "prompts.json"
    settings.write_text(settings.read_text().replace('"merged"', '"codes"'))
    merged, codes = (SIDModel.load(path).rank([[3, 4, 5]], num_beams=5) for path in (run / "sft", other))
    assert not torch.allclose(merged.scores, codes.scores, atol=1e-3)


def test_a_new_item_can_be_recommended(run: Path, tmp_path: Path) -> None:
    output = shutil.copytree(run, tmp_path / "run")
    new = toy.items().iloc[[4]].assign(item_id="new", title="green chair the second")
    sidrec.add_items(output, new)
    items = sidrec.Recommender.from_pretrained(output / "rl").recommend(["i02", "i03"], k=25)
    assert "new" in [each.item_id for each in items]


def test_rl_compares_with_a_reference_that_merges_items_too(run: Path, tmp_path: Path) -> None:
    config = load_config(run / "sft" / "config.yaml")
    trainer = make_trainer(run, config, prompts(HISTORIES, TARGETS), tmp_path)
    made = trainer._generate_and_score_completions(groups_of(trainer)[:16])
    assert len(made["codes"])
    scorer = trainer._sid_model.scorer
    assert scorer.merger is not None
    policy = completion_scores(scorer, made["prompt_ids"], made["prompt_mask"], made["codes"])
    torch.testing.assert_close(made["ref_per_token_logps"], policy.log_probs, atol=1e-5, rtol=1e-5)


def test_a_stopped_training_goes_on_to_the_same_files(tokenized: Path, tmp_path: Path) -> None:
    changes: dict[str, Any] = {"prompt": MERGED, "sft": FEW}
    whole, stopped = (config_of(tokenized, tmp_path / name, **changes) for name in ("whole", "stopped"))
    sidrec.sft(whole)
    with stopped_after(1):
        sidrec.sft(stopped)
    sidrec.sft(stopped)
    assert results_of(stopped.output / "sft") == results_of(whole.output / "sft")


@pytest.mark.parametrize(
    ("kind", "part"), [("gpt2", {}), ("qwen2", LORA), ("llama", SID_ONLY), ("qwen3", {**LORA, "merge": True})]
)
def test_a_model_from_disk_is_trained_whole_or_in_part(
    kind: str, part: dict[str, Any], tokenized: Path, tmp_path: Path
) -> None:
    base = save_foreign_model(tmp_path / "base", kind)
    config = config_of(
        tokenized,
        tmp_path / "merged",
        model={"path": str(base)},
        prompt=MERGED,
        sft={**FEW, "learning_rate": 3e-2, **part},
    )
    sidrec.sft(config)
    loaded = SIDModel.load(config.output / "sft")
    metrics = json.loads((config.output / "sft" / "metrics.json").read_text())
    assert loaded.prompts.settings.template == "instruct"
    assert loaded.scorer.merger is not None
    assert metrics["valid"]["ndcg@10"] == pytest.approx(valid_ndcg(config, loaded), abs=1e-6)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("model.identifiers=title", "names items by tokens of text"),
        ("prompt.last_token=sum", "has the last token of an item stand for it"),
        ("model.head=depth", "reads an item as one position by itself"),
    ],
)
def test_what_does_not_go_with_merged_items_is_refused(
    settings: str, said: str, tokenized: Path, tmp_path: Path, command: Callable[..., Ended]
) -> None:
    config = config_of(tokenized, tmp_path / "a", prompt=MERGED)
    ended: Ended = command("sft", str(config.output.parent / "config.yaml"), settings)
    assert ended.status == 2
    assert said in ended.err
    assert "prompt.history=codes" in ended.err
    assert not (config.output / "sft").exists()


def test_a_recurrent_model_is_refused(tokenized: Path, tmp_path: Path, command: Callable[..., Ended]) -> None:
    base = save_foreign_model(tmp_path / "base", "mamba", state_size=4)
    config = config_of(tokenized, tmp_path / "a", model={"path": str(base)}, prompt=MERGED)
    ended: Ended = command("sft", str(config.output.parent / "config.yaml"))
    assert ended.status == 2
    assert "prompt.history=merged: MambaForCausalLM" in ended.err
    assert not (config.output / "sft").exists()
